//! Simulates a device with a volatile cache, and a file system on it that gives the weakest guarantees.
//!
//! A sync covers the writes to its file that ended before it began, and they are durable once it returned.
//! Of all other writes any 512-byte sector may be stored or not, in any version since the last sync; the same
//! is true for a file's length and each change of a folder. `sync_file_range` guarantees nothing. A folder's
//! changes are durable once the folder was synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::trace::{CallSpan, DiskOp, FileId, Trace};

const SECTOR: usize = 512;

type FileNames = BTreeMap<PathBuf, FileId>;

/// The device at an instant of a trace.
pub(crate) struct PowerCutDevice<'a> {
    trace: &'a Trace,
    /// Whether syncs have no effect, which shows that the test can fail.
    ignores_syncs: bool,
    now: usize,
    next: usize,
    /// The durable files, which no cut can lose.
    files: Vec<Vec<u8>>,
    names: FileNames,
    dirs: BTreeSet<PathBuf>,
    /// The changes that a cut may lose, in the order of their calls.
    pending: Vec<&'a (CallSpan, DiskOp)>,
}

/// The content of the device after the cut.
pub(crate) struct DeviceImage {
    files: Vec<Vec<u8>>,
    names: FileNames,
    dirs: BTreeSet<PathBuf>,
}

/// What happens to the changes that were not synced.
enum UnsyncedFate {
    Lost,
    Kept,
    /// The first calls are stored, and the write after them is torn.
    Prefix(usize),
    /// Each call is stored with this probability.
    Calls(f64),
    /// Each sector is stored with this probability.
    Sectors(f64),
    /// Only the last calls are stored: the device reordered them.
    Suffix(usize),
}

impl<'a> PowerCutDevice<'a> {
    pub(crate) fn new(trace: &'a Trace, ignores_syncs: bool) -> Self {
        let mut device = Self {
            trace,
            ignores_syncs,
            now: 0,
            next: 0,
            files: Vec::new(),
            names: FileNames::new(),
            dirs: BTreeSet::new(),
            pending: Vec::new(),
        };
        for (path, content) in trace.before() {
            match content {
                Some(content) => {
                    device.names.insert(path.clone(), device.files.len());
                    device.files.push(content.clone());
                }
                None => {
                    device.dirs.insert(path.clone());
                }
            }
        }
        device
    }

    /// Advances to a later instant.
    pub(crate) fn advance(&mut self, to: usize) {
        while self.now < to {
            self.now += 1;
            // The trace has the calls in the order of their ends. Calls that have begun and end later
            // are considered when an image is made.
            while let Some(call) = self
                .trace
                .spans()
                .get(self.next)
                .filter(|(span, _)| span.end <= self.now)
            {
                self.next += 1;
                match &call.1 {
                    DiskOp::Sync { .. } if self.ignores_syncs => {}
                    DiskOp::Sync { file } => self.settle_file(call.0, *file),
                    DiskOp::SyncDir { path } => self.settle_dir(call.0, path),
                    _ => self.pending.push(call),
                }
            }
        }
    }

    fn settle_file(&mut self, sync: CallSpan, synced: FileId) {
        for call in std::mem::take(&mut self.pending) {
            let covered = call.0.end < sync.start;
            match &call.1 {
                DiskOp::Write { file, at, data } if *file == synced && covered => {
                    put(&mut self.files, *file, *at, data);
                }
                DiskOp::Truncate { file, len } if *file == synced && covered => {
                    file_mut(&mut self.files, *file).resize(*len, 0);
                }
                _ => self.pending.push(call),
            }
        }
    }

    fn settle_dir(&mut self, sync: CallSpan, synced: &Path) {
        for call in std::mem::take(&mut self.pending) {
            if call.0.end < sync.start && parent_of(&call.1) == Some(synced) {
                change(&mut self.names, &mut self.dirs, &call.1);
            } else {
                self.pending.push(call);
            }
        }
    }

    /// Draws one of the images that a cut at this instant may leave.
    pub(crate) fn image(&self, rng: &mut StdRng) -> DeviceImage {
        let begun = self.trace.spans().iter().skip(self.next).take(64);
        let begun = begun.filter(|(span, op)| {
            span.start <= self.now && !matches!(op, DiskOp::Sync { .. } | DiskOp::SyncDir { .. })
        });
        let pending: Vec<_> = self.pending.iter().copied().chain(begun).collect();
        let mut image = DeviceImage {
            files: self.files.clone(),
            names: self.names.clone(),
            dirs: self.dirs.clone(),
        };
        let fate = UnsyncedFate::draw(pending.len(), rng);
        // Half of the time the folders' changes are stored although no sync covered them.
        let names_stored = rng.random();
        for (number, (_, op)) in pending.into_iter().enumerate() {
            fate.play(&mut image, op, number, names_stored, rng);
        }
        image
    }
}

/// Replays the whole recording, and returns a file that then differs from the one in `dir`, if any.
pub(crate) fn differing_file(trace: &Trace, dir: &Path) -> Option<PathBuf> {
    let mut device = PowerCutDevice::new(trace, false);
    device.advance(trace.end());
    let mut image = DeviceImage {
        files: device.files,
        names: device.names,
        dirs: device.dirs,
    };
    for (_, op) in device.pending {
        UnsyncedFate::Kept.play(&mut image, op, 0, true, &mut StdRng::seed_from_u64(0));
    }
    let differs = |path: &Path, file: FileId| {
        std::fs::read(dir.join(path)).ok().as_ref() != image.files.get(file)
    };
    let mut names = image.names.iter();
    let found = names.find(|(path, file)| differs(path, **file));
    found.map(|(path, _)| path.clone())
}

impl UnsyncedFate {
    fn draw(pending: usize, rng: &mut StdRng) -> Self {
        match rng.random_range(0..10) {
            0 => Self::Lost,
            1 => Self::Kept,
            2 | 3 => Self::Prefix(rng.random_range(0..=pending)),
            4 => Self::Calls(rng.random()),
            5 => Self::Calls(0.95),
            6 => Self::Sectors(rng.random()),
            7 => Self::Sectors(0.98),
            8 => Self::Sectors(0.05),
            _ => Self::Suffix(rng.random_range(0..=pending)),
        }
    }

    fn play(
        &self,
        image: &mut DeviceImage,
        op: &DiskOp,
        number: usize,
        names_stored: bool,
        rng: &mut StdRng,
    ) {
        let (whole, part) = match self {
            Self::Lost => (false, 0.0),
            Self::Kept => (true, 1.0),
            Self::Prefix(len) if number == *len => (false, 0.5),
            Self::Prefix(len) => (number < *len, 0.0),
            Self::Calls(chance) => (rng.random_bool(*chance), 0.0),
            Self::Sectors(chance) => (rng.random_bool(*chance), *chance),
            Self::Suffix(from) => (number >= *from, 0.0),
        };
        match op {
            DiskOp::Write { file, at, data } if whole && !matches!(self, Self::Sectors(_)) => {
                put(&mut image.files, *file, *at, data);
            }
            DiskOp::Write { file, at, data } => sectors(image, *file, *at, data, part, rng),
            DiskOp::Truncate { file, len } if whole => {
                file_mut(&mut image.files, *file).resize(*len, 0)
            }
            DiskOp::Truncate { .. } | DiskOp::Sync { .. } | DiskOp::SyncDir { .. } => {}
            naming if whole || names_stored => change(&mut image.names, &mut image.dirs, naming),
            _ => {}
        }
    }
}

/// Writes each sector with this probability. The file may get its new length without the content.
fn sectors(
    image: &mut DeviceImage,
    file: FileId,
    at: usize,
    data: &[u8],
    chance: f64,
    rng: &mut StdRng,
) {
    if chance == 0.0 {
        return;
    }
    let mut done = 0;
    while done < data.len() {
        let len = (SECTOR - (at + done) % SECTOR).min(data.len() - done);
        if rng.random_bool(chance) {
            put(&mut image.files, file, at + done, &data[done..done + len]);
        }
        done += len;
    }
    let content = file_mut(&mut image.files, file);
    if content.len() < at + data.len() && rng.random() {
        content.resize(at + data.len(), 0);
    }
}

fn file_mut(files: &mut Vec<Vec<u8>>, file: FileId) -> &mut Vec<u8> {
    if files.len() <= file {
        files.resize(file + 1, Vec::new());
    }
    &mut files[file]
}

fn put(files: &mut Vec<Vec<u8>>, file: FileId, at: usize, data: &[u8]) {
    let content = file_mut(files, file);
    if content.len() < at + data.len() {
        content.resize(at + data.len(), 0);
    }
    content[at..at + data.len()].copy_from_slice(data);
}

/// The folder whose entries an operation changes.
fn parent_of(op: &DiskOp) -> Option<&Path> {
    match op {
        DiskOp::Create { path, .. } | DiskOp::MakeDir { path } | DiskOp::Unlink { path } => {
            path.parent()
        }
        DiskOp::Rename { to, .. } => to.parent(),
        _ => None,
    }
}

fn change(names: &mut FileNames, dirs: &mut BTreeSet<PathBuf>, op: &DiskOp) {
    match op {
        DiskOp::Create { path, file } => {
            names.insert(path.clone(), *file);
        }
        DiskOp::MakeDir { path } => {
            dirs.insert(path.clone());
        }
        DiskOp::Unlink { path } => {
            names.remove(path);
        }
        DiskOp::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        _ => {}
    }
}

impl DeviceImage {
    /// Writes the image into an empty folder, without the files whose folder is lost.
    pub(crate) fn write_to(&self, dir: &Path) {
        for path in &self.dirs {
            // This fails if the parent is lost; then the folder is lost with it.
            let _ = std::fs::create_dir(dir.join(path));
        }
        for (path, file) in &self.names {
            let path = dir.join(path);
            if path.parent().is_some_and(Path::is_dir) {
                std::fs::write(path, self.files.get(*file).map_or(&[][..], Vec::as_slice)).unwrap();
            }
        }
    }
}
