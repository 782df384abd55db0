//! Room on the disk that holds a state directory, and what is done when it gets scarce.
//!
//! A disk that is full in the middle of a write ends the journal for this process. So nothing is
//! begun that might not be recorded, and what is under way can be:
//!
//! | free | level | what happens |
//! |---|---|---|
//! | the watermark or more | [`Level::Plenty`] | everything |
//! | less | [`Level::Low`] | no new run is opened; open runs go on |
//! | less than a reserve | [`Level::Full`] | the ballast, a file that was set aside for this, is removed. What is under way ends and is recorded; no step is started and no desired state is taken |
//! | less than the reserve again | [`Level::Full`] | writing waits |
//!
//! Once there is room for the watermark and the ballast, the ballast is made again and everything
//! continues by itself. A second, small ballast is kept until somebody opens the state directory
//! on a disk that is full all the same, so that it can be looked at.
//!
//! The disk is looked at before each write of the journal and the checkpoints, and now and then
//! by the engine. Somebody else may still take the last bytes between a look and the write after
//! it; then the journal fails as it does when a disk breaks, and the next start reads again.
//!
//! What it never does: it removes nothing but its own ballast, and refuses no write: it delays.

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

/// The file that is set aside for what is under way.
const BALLAST: &str = "ballast";
/// The file that is set aside so that a state directory on a full disk can be opened: the index
/// writes when it is opened.
const LAST: &str = "ballast.last";
/// How often a write that waits for room looks again.
const AGAIN: Duration = Duration::from_millis(200);

const MIB: u64 = 1024 * 1024;

/// What has to be free for a write beside the log, in bytes.
const A_WRITE: u64 = 4 * MIB;

/// What is kept for opening, in bytes: what the index and its copy aside take at first.
const TO_OPEN: u64 = 5 * MIB;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough for everything.
    Plenty,
    /// Below the watermark: no new run is opened.
    Low,
    /// The ballast was given up: nothing is started until there is room again.
    Full,
}

/// What was seen when the disk was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskReading {
    /// How much room that is.
    pub level: Level,
    /// Free bytes.
    pub free: u64,
    /// Free bytes from which on everything continues.
    pub required: u64,
}

impl std::fmt::Display for DiskReading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (free, required) = (self.free / MIB, self.required.div_ceil(MIB));
        write!(f, "{free} MiB are free where {required} MiB are wanted")
    }
}

/// A disk's size and what is free of it for this user, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    total: u64,
    free: u64,
}

impl Space {
    /// Of `total` bytes, `free` are free.
    pub(crate) fn of(total: u64, free: u64) -> Self {
        Self { total, free }
    }
}

type SpaceProbe = Arc<dyn Fn(&Path) -> io::Result<Space> + Send + Sync>;

/// The room of one state directory. Shared by all that write there.
pub struct Room {
    dir: PathBuf,
    look: Option<SpaceProbe>,
    /// Whether the ballast is this process's to make and give up.
    keeps_ballast: bool,
    seen: watch::Sender<DiskReading>,
    /// No room could be set aside for the log.
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
    /// Shares of the disk, within what a journal can do with.
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

    /// What has to be free before the ballast is made again.
    fn to_refill(self, has_last: bool) -> u64 {
        let last = if has_last { 0 } else { TO_OPEN };
        let ballast = self.ballast.saturating_add(last);
        self.watermark.saturating_add(ballast)
    }
}

impl Room {
    /// Room without an end, for stores that are not in a state directory.
    pub fn boundless() -> Arc<Self> {
        Arc::new(Self::new(PathBuf::new(), None))
    }

    fn new(dir: PathBuf, look: Option<SpaceProbe>) -> Self {
        let seen = DiskReading {
            level: Level::Plenty,
            free: u64::MAX,
            required: 0,
        };
        Self {
            dir,
            look,
            keeps_ballast: true,
            seen: watch::Sender::new(seen),
            log_is_short: AtomicBool::new(false),
        }
    }

    /// Tells that no room could be set aside for the log, or that it could again: what is under
    /// way ends in the room that it has left.
    pub(crate) fn log_is_short(&self, short: bool) {
        if self.log_is_short.swap(short, Ordering::AcqRel) != short {
            self.measure();
        }
    }

    /// The room of the state directory `dir`: sets the ballast aside where there is room for it.
    /// Blocks.
    pub(crate) fn open(dir: &Path) -> Arc<Self> {
        Self::open_with(dir, Arc::new(space))
    }

    /// The room of a state directory that is only looked at: its ballast stays as it is. Blocks.
    pub(crate) fn seen_from_outside(dir: &Path) -> Arc<Self> {
        let mut room = Self::new(dir.to_owned(), Some(Arc::new(space)));
        room.keeps_ballast = false;
        room.measure();
        Arc::new(room)
    }

    pub(crate) fn open_with(dir: &Path, look: SpaceProbe) -> Arc<Self> {
        let room = Self::new(dir.to_owned(), Some(look));
        if room.measure().free < TO_OPEN && room.dir.join(LAST).exists() {
            room.give_up(LAST);
            room.measure();
        }
        Arc::new(room)
    }

    /// Whether it has no end.
    pub fn is_boundless(&self) -> bool {
        self.look.is_none()
    }

    /// What was seen last.
    pub fn seen(&self) -> DiskReading {
        *self.seen.borrow()
    }

    /// Why nothing new is taken on now, if so.
    pub(crate) fn full(&self) -> Option<Failure> {
        let seen = self.seen();
        (seen.level == Level::Full).then(|| {
            let message = format!("the state directory's disk is full: {seen}");
            let failure = Failure::new(FailureClass::Blocked, "VSI0011", message);
            failure
                .with_remedy("free space on it; the work in progress then continues automatically")
        })
    }

    /// Follows what is seen.
    pub fn follow(&self) -> watch::Receiver<DiskReading> {
        self.seen.subscribe()
    }

    /// Looks at the disk now; gives the ballast up, or makes it again, where that is due. A disk
    /// that does not answer is taken to be as it was. Blocks.
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
        let to_refill = bounds.to_refill(self.dir.join(LAST).exists());
        let mut has_ballast = self.dir.join(BALLAST).exists();
        if !has_ballast && free >= to_refill && self.keeps_ballast {
            self.set_aside(LAST, TO_OPEN);
            has_ballast = self.set_aside(BALLAST, bounds.ballast);
            free = look(&self.dir).map_or(free, |refreshed| refreshed.free);
        }
        if has_ballast && free < bounds.reserve && self.keeps_ballast {
            self.give_up(BALLAST);
            has_ballast = false;
            free = look(&self.dir).map_or(free, |refreshed| refreshed.free);
        }
        // Where there is room and none of it can be set aside, there is room all the same.
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
        self.seen.send_if_modified(|seen| {
            changed = seen.level != now.level;
            *seen = now;
            changed
        });
        if changed {
            tracing::info!(level = ?now.level, "the state directory's disk: {now}");
        }
        now
    }

    /// Waits until a write fits; returns at once where one does. Blocks.
    ///
    /// # Errors
    /// When it is `closing` and there is no room.
    pub(crate) fn wait(&self, closing: &AtomicBool) -> Result<(), JournalError> {
        if self.look.is_none() {
            return Ok(());
        }
        loop {
            let seen = self.measure();
            if seen.level != Level::Full || seen.free >= A_WRITE {
                return Ok(());
            }
            if closing.load(Ordering::Acquire) {
                let why = format!("{seen}");
                return Err(JournalError::Storage(why));
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Whether that file is there now. One that is cut short by a kill or a full disk gives
    /// less than was meant, which the next look sees.
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
        // Only space on the disk is of use, and that comes with the folder's sync at the latest.
        if let Err(error) = removed.and_then(|()| files::sync_dir(&self.dir)) {
            tracing::warn!(%error, "reserved space cannot be released");
        }
    }
}

/// A file whose room is really taken, not only promised.
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

/// Writes what no file system can make smaller.
fn fill(mut file: &File, size: u64) -> io::Result<()> {
    let mut noise = StdRng::seed_from_u64(size);
    let mut piece = vec![0; 64 << 10];
    let mut left = size;
    while left > 0 {
        noise.fill_bytes(&mut piece);
        let len = usize::try_from(left).map_or(piece.len(), |left| left.min(piece.len()));
        file.write_all(piece.get(..len).unwrap_or(&piece))?;
        left = left.saturating_sub(len as u64);
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
