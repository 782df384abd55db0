//! A device with a volatile cache, and the file system on it at its least obliging.
//!
//! A sync covers what had been written to its file when it began, and holds once it returned.
//! Of everything else any 512-byte sector may be there or not, in any version since the last
//! sync; a file's length and each change of a folder likewise. `sync_file_range` promises
//! nothing. A folder's changes hold once the folder was synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::trace::{FileId, Op, Span, Trace};

const SECTOR: usize = 512;

type Names = BTreeMap<PathBuf, FileId>;

/// The device at an instant of a trace.
pub(crate) struct Device<'a> {
    trace: &'a Trace,
    /// One that forgets its syncs shows that this test can fail.
    deaf: bool,
    now: usize,
    next: usize,
    /// What no cut can take away.
    files: Vec<Vec<u8>>,
    names: Names,
    dirs: BTreeSet<PathBuf>,
    /// What a cut may take away, in the order it was asked for.
    pending: Vec<&'a (Span, Op)>,
}

/// What is left after the cut.
pub(crate) struct Image {
    files: Vec<Vec<u8>>,
    names: Names,
    dirs: BTreeSet<PathBuf>,
}

/// What becomes of what was not synced.
enum Fate {
    Lost,
    Kept,
    /// A front part is kept, the write at its end torn.
    Prefix(usize),
    /// Each call is kept with this chance.
    Calls(f64),
    /// Each sector is kept with this chance.
    Sectors(f64),
    /// Only a back part is kept: what was asked for last came first.
    Suffix(usize),
}

impl<'a> Device<'a> {
    pub(crate) fn new(trace: &'a Trace, deaf: bool) -> Self {
        let mut device = Self {
            trace,
            deaf,
            now: 0,
            next: 0,
            files: Vec::new(),
            names: Names::new(),
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

    /// Goes on to a later instant.
    pub(crate) fn advance(&mut self, to: usize) {
        while self.now < to {
            self.now += 1;
            // Calls stand in the trace by their ends; what ends later may have begun already and
            // is looked for when an image is made.
            while let Some(call) = self
                .trace
                .spans()
                .get(self.next)
                .filter(|(span, _)| span.end <= self.now)
            {
                self.next += 1;
                match &call.1 {
                    Op::Sync { .. } if self.deaf => {}
                    Op::Sync { file } => self.settle_file(call.0, *file),
                    Op::SyncDir { path } => self.settle_dir(call.0, path),
                    _ => self.pending.push(call),
                }
            }
        }
    }

    fn settle_file(&mut self, sync: Span, synced: FileId) {
        for call in std::mem::take(&mut self.pending) {
            let covered = call.0.end < sync.start;
            match &call.1 {
                Op::Write { file, at, data } if *file == synced && covered => {
                    put(&mut self.files, *file, *at, data);
                }
                Op::Truncate { file, len } if *file == synced && covered => {
                    file_mut(&mut self.files, *file).resize(*len, 0);
                }
                _ => self.pending.push(call),
            }
        }
    }

    fn settle_dir(&mut self, sync: Span, synced: &Path) {
        for call in std::mem::take(&mut self.pending) {
            if call.0.end < sync.start && parent_of(&call.1) == Some(synced) {
                change(&mut self.names, &mut self.dirs, &call.1);
            } else {
                self.pending.push(call);
            }
        }
    }

    /// One of the images that a cut at this instant may leave.
    pub(crate) fn image(&self, rng: &mut StdRng) -> Image {
        let begun = self.trace.spans().iter().skip(self.next).take(64);
        let begun = begun.filter(|(span, op)| {
            span.start <= self.now && !matches!(op, Op::Sync { .. } | Op::SyncDir { .. })
        });
        let pending: Vec<_> = self.pending.iter().copied().chain(begun).collect();
        let mut image = Image {
            files: self.files.clone(),
            names: self.names.clone(),
            dirs: self.dirs.clone(),
        };
        let fate = Fate::draw(pending.len(), rng);
        // Names come first or last: half of the time the folder was written although nothing
        // demanded it.
        let obliging = rng.random();
        for (number, (_, op)) in pending.into_iter().enumerate() {
            fate.play(&mut image, op, number, obliging, rng);
        }
        image
    }
}

/// A file of which the recording, played back to its end, differs from what is there.
pub(crate) fn unfaithful(trace: &Trace, dir: &Path) -> Option<PathBuf> {
    let mut device = Device::new(trace, false);
    device.advance(trace.end());
    let mut image = Image {
        files: device.files,
        names: device.names,
        dirs: device.dirs,
    };
    for (_, op) in device.pending {
        Fate::Kept.play(&mut image, op, 0, true, &mut StdRng::seed_from_u64(0));
    }
    let differs = |path: &Path, file: FileId| {
        std::fs::read(dir.join(path)).ok().as_ref() != image.files.get(file)
    };
    let mut names = image.names.iter();
    let found = names.find(|(path, file)| differs(path, **file));
    found.map(|(path, _)| path.clone())
}

impl Fate {
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

    fn play(&self, image: &mut Image, op: &Op, number: usize, obliging: bool, rng: &mut StdRng) {
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
            Op::Write { file, at, data } if whole && !matches!(self, Self::Sectors(_)) => {
                put(&mut image.files, *file, *at, data);
            }
            Op::Write { file, at, data } => sectors(image, *file, *at, data, part, rng),
            Op::Truncate { file, len } if whole => {
                file_mut(&mut image.files, *file).resize(*len, 0)
            }
            Op::Truncate { .. } | Op::Sync { .. } | Op::SyncDir { .. } => {}
            naming if whole || obliging => change(&mut image.names, &mut image.dirs, naming),
            _ => {}
        }
    }
}

/// Writes each sector with a chance; the file's length may be there without its content.
fn sectors(image: &mut Image, file: FileId, at: usize, data: &[u8], chance: f64, rng: &mut StdRng) {
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

/// The folder that an operation changes.
fn parent_of(op: &Op) -> Option<&Path> {
    match op {
        Op::Create { path, .. } | Op::MakeDir { path } | Op::Unlink { path } => path.parent(),
        Op::Rename { to, .. } => to.parent(),
        _ => None,
    }
}

fn change(names: &mut Names, dirs: &mut BTreeSet<PathBuf>, op: &Op) {
    match op {
        Op::Create { path, file } => {
            names.insert(path.clone(), *file);
        }
        Op::MakeDir { path } => {
            dirs.insert(path.clone());
        }
        Op::Unlink { path } => {
            names.remove(path);
        }
        Op::Rename { from, to } => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        _ => {}
    }
}

impl Image {
    /// Writes the image into an empty folder. A file whose folder is lost is lost with it.
    pub(crate) fn write_to(&self, dir: &Path) {
        for path in &self.dirs {
            // One whose parent is lost is lost with it.
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
