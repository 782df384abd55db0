//! Watches the free space of the disk that holds a state directory, and reacts when it gets scarce.
//!
//! If the disk becomes full in the middle of a write, the journal fails for this process. So the
//! engine starts nothing that it might not be able to record, and reserves space for work in
//! progress:
//!
//! | free space | level | reaction |
//! |---|---|---|
//! | the watermark or more | [`Level::Plenty`] | everything |
//! | less | [`Level::Low`] | no new run is opened; open runs continue |
//! | less than a reserve | [`Level::Full`] | the ballast is deleted; only work in progress continues |
//! | less than the reserve again | [`Level::Full`] | writes wait |
//!
//! The ballast is a file whose space lets work in progress end and be recorded. Until it exists
//! again no step is started and no desired state is accepted. Once there is room for the watermark
//! and the ballast, the ballast is written again and everything continues automatically. A second,
//! small ballast is deleted only when the state directory is opened on a full disk, because opening
//! writes the index.
//!
//! The disk is measured before each write of the journal and the checkpoints, and periodically by
//! the engine. Another program may still use the last bytes between a measurement and the next
//! write. Then the journal fails as it does when a disk breaks, and the next start reads it again.
//!
//! This module deletes nothing except its own ballast, and never refuses a write: it delays it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use rustix::io::Errno;
use tokio::sync::watch;

use crate::{
    files,
    journal::JournalError,
    model::{Failure, FailureClass},
};

/// The file that reserves space for work in progress.
const BALLAST: &str = "ballast";
/// The file that reserves space for opening a state directory on a full disk: the index writes when
/// it is opened.
const OPENING_BALLAST: &str = "ballast.last";
/// How often a write that waits for room measures again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

const MIB: u64 = 1024 * 1024;

/// Bytes that must be free for a write outside the log.
const WRITE_MIN: u64 = 4 * MIB;

/// Bytes reserved for opening: what the index and its copy need at first.
const TO_OPEN: u64 = 5 * MIB;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough for everything.
    Plenty,
    /// Below the watermark: no new run is opened.
    Low,
    /// The ballast was deleted: nothing is started until there is room again.
    Full,
}

/// The result of one measurement of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReading {
    /// The level.
    pub level: Level,
    /// Free bytes.
    pub free: u64,
    /// Free bytes that are needed for everything to continue.
    pub required: u64,
}

impl std::fmt::Display for DiskReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (free, required) = (self.free / MIB, self.required.div_ceil(MIB));
        write!(f, "{free} MiB are free where {required} MiB are wanted")
    }
}

/// A disk's size and the bytes that are free for this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    total: u64,
    free: u64,
}

impl Space {
    /// A disk of `total` bytes, of which `free` are free.
    pub(crate) fn of(total: u64, free: u64) -> Self {
        Self { total, free }
    }
}

type SpaceProbe = Arc<dyn Fn(&Path) -> io::Result<Space> + Send + Sync>;

/// The room of one state directory. Shared by everything that writes there.
pub struct Room {
    dir: PathBuf,
    look: Option<SpaceProbe>,
    /// Whether this process may write and delete the ballast.
    keeps_ballast: bool,
    seen: watch::Sender<DiskReading>,
    /// Whether space could not be reserved for the log.
    log_is_short: AtomicBool,
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut room = f.debug_struct("Room");
        room.field("dir", &self.dir).field("seen", &self.seen());
        room.finish_non_exhaustive()
    }
}

/// The bounds between levels, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RoomBounds {
    watermark: u64,
    ballast: u64,
    reserve: u64,
}

impl RoomBounds {
    /// Shares of the disk's size, limited to what a journal needs.
    fn of(total: u64) -> Self {
        let share = |part: u64, least: u64, most: u64| {
            let share = total.checked_div(part).unwrap_or_default();
            share.clamp(least.saturating_mul(MIB), most.saturating_mul(MIB))
        };
        Self {
            watermark: share(16, 16, 128),
            ballast: share(64, 4, 8),
            reserve: share(128, 4, 8),
        }
    }

    /// Bytes that must be free before the ballast is written again.
    fn to_refill(self, has_last: bool) -> u64 {
        let last = if has_last { 0 } else { TO_OPEN };
        let ballast = self.ballast.saturating_add(last);
        self.watermark.saturating_add(ballast)
    }
}

impl Room {
    /// Unlimited room, for stores that are not in a state directory.
    pub fn boundless() -> Arc<Self> {
        Arc::new(Self::new(PathBuf::new(), None))
    }

    fn new(dir: PathBuf, look: Option<SpaceProbe>) -> Self {
        let unmeasured = DiskReading {
            level: Level::Plenty,
            free: u64::MAX,
            required: 0,
        };
        Self {
            dir,
            look,
            keeps_ballast: true,
            seen: watch::Sender::new(unmeasured),
            log_is_short: AtomicBool::new(false),
        }
    }

    /// Notes that no space could be reserved for the log, or that it could be again. Work in
    /// progress ends in the space that the log still has.
    pub(crate) fn log_is_short(&self, short: bool) {
        if self.log_is_short.swap(short, Ordering::AcqRel) != short {
            self.measure();
        }
    }

    /// The room of the state directory `dir`; writes the ballast if there is room for it. Blocks.
    pub(crate) fn open(dir: &Path) -> Arc<Self> {
        Self::open_with(dir, Arc::new(space))
    }

    /// The room of a state directory that is only read: its ballast is not changed. Blocks.
    pub(crate) fn seen_from_outside(dir: &Path) -> Arc<Self> {
        let mut room = Self::new(dir.to_owned(), Some(Arc::new(space)));
        room.keeps_ballast = false;
        room.measure();
        Arc::new(room)
    }

    pub(crate) fn open_with(dir: &Path, look: SpaceProbe) -> Arc<Self> {
        let room = Self::new(dir.to_owned(), Some(look));
        if room.measure().free < TO_OPEN && room.dir.join(OPENING_BALLAST).exists() {
            room.give_up(OPENING_BALLAST);
            room.measure();
        }
        Arc::new(room)
    }

    /// Whether the room is unlimited.
    pub fn is_boundless(&self) -> bool {
        self.look.is_none()
    }

    /// The last measurement.
    pub fn seen(&self) -> DiskReading {
        *self.seen.borrow()
    }

    /// The failure for new work if the disk is full.
    pub(crate) fn full(&self) -> Option<Failure> {
        let reading = self.seen();
        (reading.level == Level::Full).then(|| {
            let message = format!("the state directory's disk is full: {reading}");
            let failure = Failure::new(FailureClass::Blocked, "VSI0011", message);
            failure
                .with_remedy("free space on it; the work in progress then continues automatically")
        })
    }

    /// Subscribes to the measurements.
    pub fn follow(&self) -> watch::Receiver<DiskReading> {
        self.seen.subscribe()
    }

    /// Measures the disk now, and deletes or rewrites the ballast if necessary. If the disk does
    /// not answer, the last measurement remains valid. Blocks.
    pub fn measure(&self) -> DiskReading {
        let Some(look) = &self.look else {
            return self.seen();
        };
        match look(&self.dir) {
            Ok(space) => self.judge(space, look),
            Err(error) => {
                tracing::warn!(%error, "how much room the state directory has is not known");
                self.seen()
            }
        }
    }

    fn judge(&self, space: Space, look: &SpaceProbe) -> DiskReading {
        let bounds = RoomBounds::of(space.total);
        let mut free = space.free;
        let to_refill = bounds.to_refill(self.dir.join(OPENING_BALLAST).exists());
        let mut has_ballast = self.dir.join(BALLAST).exists();
        if !has_ballast && free >= to_refill && self.keeps_ballast {
            self.set_aside(OPENING_BALLAST, TO_OPEN);
            has_ballast = self.set_aside(BALLAST, bounds.ballast);
            free = look(&self.dir).map_or(free, |refreshed| refreshed.free);
        }
        if has_ballast && free < bounds.reserve && self.keeps_ballast {
            self.give_up(BALLAST);
            has_ballast = false;
            free = look(&self.dir).map_or(free, |refreshed| refreshed.free);
        }
        // If there is free space but none of it can be reserved, the space still counts.
        let has_room = has_ballast || free >= to_refill;
        let (level, required) = match has_room && !self.log_is_short.load(Ordering::Acquire) {
            false => (Level::Full, to_refill),
            true if free < bounds.watermark => (Level::Low, bounds.watermark),
            true => (Level::Plenty, bounds.watermark),
        };
        self.note(DiskReading {
            level,
            free,
            required,
        })
    }

    fn note(&self, now: DiskReading) -> DiskReading {
        let mut changed = false;
        self.seen.send_if_modified(|last| {
            changed = last.level != now.level;
            *last = now;
            changed
        });
        if changed {
            tracing::info!(level = ?now.level, "the state directory's disk: {now}");
        }
        now
    }

    /// Waits until a write fits; returns immediately if it does. Blocks.
    ///
    /// # Errors
    /// When `closing` is set and there is no room.
    pub(crate) fn wait(&self, closing: &AtomicBool) -> Result<(), JournalError> {
        if self.look.is_none() {
            return Ok(());
        }
        loop {
            let reading = self.measure();
            if reading.level != Level::Full || reading.free >= WRITE_MIN {
                return Ok(());
            }
            if closing.load(Ordering::Acquire) {
                let why = format!("{reading}");
                return Err(JournalError::Storage(why));
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }

    /// Reserves the file; returns whether that succeeded. A file cut short by a kill or a full disk
    /// frees less space later, which the next measurement shows.
    fn set_aside(&self, name: &str, size: u64) -> bool {
        let set = allocate(&self.dir.join(name), size);
        if let Err(error) = &set {
            tracing::debug!(%error, "no room can be set aside");
            self.give_up(name);
        }
        set.is_ok()
    }

    fn give_up(&self, name: &str) {
        let removed = std::fs::remove_file(self.dir.join(name));
        // The point is the free space on the disk, which is available after the folder's sync at
        // the latest.
        if let Err(error) = removed.and_then(|()| files::sync_dir(&self.dir)) {
            tracing::warn!(%error, "reserved space cannot be released");
        }
    }
}

/// Creates a file whose blocks are really allocated, not only promised.
fn allocate(path: &Path, size: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(&file, flags, 0, size) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(&file, size)?,
        other => other?,
    }
    file.sync_all()
}

/// Writes random bytes, which no file system can compress.
fn fill(mut file: &File, size: u64) -> io::Result<()> {
    let mut noise = StdRng::seed_from_u64(size);
    let mut piece = vec![0; 64 << 10];
    let mut remaining = size;
    while remaining > 0 {
        noise.fill_bytes(&mut piece);
        let len =
            usize::try_from(remaining).map_or(piece.len(), |remaining| remaining.min(piece.len()));
        file.write_all(piece.get(..len).unwrap_or(&piece))?;
        remaining = remaining.saturating_sub(len as u64);
    }
    Ok(())
}

fn space(dir: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(Space::of(
        stat.f_blocks.saturating_mul(stat.f_frsize),
        stat.f_bavail.saturating_mul(stat.f_frsize),
    ))
}

#[cfg(test)]
mod tests;
