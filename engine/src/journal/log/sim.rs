//! A simulated disk in memory that records its operations, fails on demand, and can lose power.
//!
//! A sync covers everything written to its file before it began. After a power cut, any 512-byte
//! sector that was not synced may be written or not, and any change of a folder since its last sync
//! may have happened or not. After a failed sync the file still reads as it was written, but a later
//! sync does not make that durable, because the kernel treats the pages as clean.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rand::{Rng as _, rngs::StdRng};

use super::{DiskFile, LogDisk};

const SECTOR: usize = 512;

type Id = usize;

/// An operation on the disk.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(String, Id),
    Write(Id, u64, Arc<[u8]>),
    Sync(Id),
    /// A sync that failed.
    FailedSync,
    Rename(String, String),
    Link(String, String),
    Remove(String),
    SyncFolder(String),
    /// A moment that the test notes by a number.
    Mark(u64),
}

#[derive(Default)]
struct SimState {
    names: BTreeMap<String, Id>,
    files: Vec<Vec<u8>>,
    ops: Vec<Op>,
}

/// Called before each sync with the number of the file; its error becomes the error of the sync.
type OnSync = Box<dyn Fn(usize) -> io::Result<()> + Send + Sync>;

/// The simulated disk, as the log uses it.
#[derive(Clone, Default)]
pub(crate) struct SimDisk {
    state: Arc<Mutex<SimState>>,
    on_sync: Arc<Mutex<Option<Arc<OnSync>>>>,
    /// Whether the disk is full: no file can be created or extended.
    pub(crate) full: Arc<AtomicBool>,
    /// How many bytes were read.
    pub(crate) read: Arc<AtomicU64>,
    /// The files that it began with.
    begun: Vec<Vec<u8>>,
    names: BTreeMap<String, Id>,
}

impl SimDisk {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn on_sync(&self, hook: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static) {
        *self.on_sync.lock().unwrap() = Some(Arc::new(Box::new(hook)));
    }

    fn state(&self) -> MutexGuard<'_, SimState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an [`Op::Mark`].
    pub(crate) fn mark(&self, number: u64) {
        self.state().ops.push(Op::Mark(number));
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.state().ops.clone()
    }

    /// Every file and its content.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter();
        files
            .map(|(name, id)| (name.clone(), state.files[*id].clone()))
            .collect()
    }

    /// A disk with these files, all of them durable.
    pub(crate) fn with(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut disk = Self::new();
        for (id, (name, content)) in files.into_iter().enumerate() {
            disk.begun.push(content);
            disk.names.insert(name, id);
        }
        *disk.state() = SimState {
            names: disk.names.clone(),
            files: disk.begun.clone(),
            ops: Vec::new(),
        };
        disk
    }

    fn sync(&self, id: Id) -> io::Result<()> {
        let hook = self.on_sync.lock().unwrap().clone();
        let allowed = hook.map_or(Ok(()), |hook| hook(id));
        self.state().ops.push(match allowed {
            Ok(()) => Op::Sync(id),
            Err(_) => Op::FailedSync,
        });
        allowed
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl LogDisk for SimDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let within = state.names.iter().filter_map(|(name, id)| {
            let file = name.strip_prefix(folder)?.strip_prefix('/')?;
            Some((file.to_owned(), state.files[*id].len() as u64))
        });
        Ok(within.collect())
    }

    fn make_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let id = *self.state().names.get(name).ok_or_else(missing)?;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if self.full.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = state.files.len();
        state.files.push(Vec::new());
        state.names.insert(name.to_owned(), id);
        state.ops.push(Op::Create(name.to_owned(), id));
        drop(state);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), id);
        state.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = *state.names.get(from).ok_or_else(missing)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(to.to_owned(), id);
        state.ops.push(Op::Link(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.names.remove(name).is_some() {
            state.ops.push(Op::Remove(name.to_owned()));
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.state().ops.push(Op::SyncFolder(folder.to_owned()));
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    id: Id,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let start = usize::try_from(at).unwrap();
        let content = state.files[self.id].get(start..).unwrap_or_default();
        let len = content.len().min(buffer.len());
        buffer[..len].copy_from_slice(&content[..len]);
        self.disk.read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let long = state.files[self.id].len() as u64;
        if self.disk.full.load(Ordering::Relaxed) && at.saturating_add(bytes.len() as u64) > long {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(
            &mut state.files[self.id],
            usize::try_from(at).unwrap(),
            bytes,
        );
        state.ops.push(Op::Write(self.id, at, bytes.into()));
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.id].len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(self.id)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync(self.id)
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Written bytes and their place in the file.
type WrittenSectors = (u64, Arc<[u8]>);

/// The device below the disk: the recorded operations, played back up to a moment.
#[derive(Default)]
pub(crate) struct Device {
    durable: Vec<Vec<u8>>,
    names: BTreeMap<String, Id>,
    /// Writes by file that no sync has covered.
    dirty: BTreeMap<Id, Vec<WrittenSectors>>,
    /// Changes of names that no sync has covered, with the folders that still have to be synced.
    renames: Vec<(Op, BTreeSet<String>)>,
    /// The newest mark.
    pub(crate) marked: u64,
    deaf: bool,
}

/// What happens to writes that were not synced.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    Sectors(f64),
    Calls(f64),
    /// Only the newer half of each file's writes is stored.
    Newest,
}

impl Device {
    /// A device that ignores syncs, to show that a test can fail.
    pub(crate) fn deaf() -> Self {
        Self {
            deaf: true,
            ..Self::default()
        }
    }

    pub(crate) fn play(&mut self, op: &Op) {
        match op {
            Op::Create(name, id) => {
                self.durable
                    .resize(self.durable.len().max(id + 1), Vec::new());
                self.rename(op, [name]);
            }
            Op::Write(id, at, bytes) => {
                self.dirty
                    .entry(*id)
                    .or_default()
                    .push((*at, bytes.clone()));
            }
            Op::Sync(id) if !self.deaf => {
                for (at, bytes) in self.dirty.remove(id).unwrap_or_default() {
                    put(&mut self.durable[*id], usize::try_from(at).unwrap(), &bytes);
                }
            }
            // The pages now count as clean and may never be written.
            Op::Sync(_) | Op::FailedSync => {}
            Op::Rename(from, to) => self.rename(op, [from, to]),
            Op::Link(_, to) => self.rename(op, [to]),
            Op::Remove(name) => self.rename(op, [name]),
            Op::SyncFolder(folder) => self.sync_folder(folder),
            Op::Mark(number) => self.marked = *number,
        }
    }

    fn rename<const N: usize>(&mut self, op: &Op, names: [&String; N]) {
        let folders = names
            .iter()
            .map(|name| folder_of(name).to_owned())
            .collect();
        self.renames.push((op.clone(), folders));
    }

    fn sync_folder(&mut self, folder: &str) {
        if self.deaf {
            return;
        }
        let mut waiting = Vec::new();
        for (op, mut folders) in std::mem::take(&mut self.renames) {
            folders.remove(folder);
            // A change that still waits for another folder does not delay later changes.
            if folders.is_empty() {
                apply(&mut self.names, &op);
            } else {
                waiting.push((op, folders));
            }
        }
        self.renames = waiting;
    }

    /// The files that are left if the power fails now.
    pub(crate) fn cut(&self, rng: &mut StdRng) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.names.clone();
        let keep = [0.0, 0.5, 1.0][rng.random_range(0..3)];
        for (op, _) in &self.renames {
            if rng.random_bool(keep) {
                apply(&mut names, op);
            }
        }
        let fate = match rng.random_range(0..5) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            2 => Fate::Sectors(rng.random()),
            3 => Fate::Calls(rng.random()),
            _ => Fate::Newest,
        };
        let content = |id: &Id| {
            let mut content = self.durable[*id].clone();
            let dirty = self.dirty.get(id).map(Vec::as_slice).unwrap_or_default();
            spoil(&mut content, dirty, fate, rng);
            content
        };
        let (names, ids): (Vec<_>, Vec<_>) = names.into_iter().unzip();
        names.into_iter().zip(ids.iter().map(content)).collect()
    }
}

fn apply(names: &mut BTreeMap<String, Id>, op: &Op) {
    match op {
        Op::Create(name, id) => {
            names.insert(name.clone(), *id);
        }
        Op::Rename(from, to) => {
            if let Some(id) = names.remove(from) {
                names.insert(to.clone(), id);
            }
        }
        Op::Link(from, to) => {
            if let Some(id) = names.get(from) {
                names.insert(to.clone(), *id);
            }
        }
        Op::Remove(name) => {
            names.remove(name);
        }
        _ => {}
    }
}

fn spoil(content: &mut Vec<u8>, dirty: &[WrittenSectors], fate: Fate, rng: &mut StdRng) {
    for (number, (at, bytes)) in dirty.iter().enumerate() {
        let start = usize::try_from(*at).unwrap();
        let keep = match fate {
            Fate::Lost => false,
            Fate::Kept | Fate::Sectors(_) => true,
            Fate::Calls(chance) => rng.random_bool(chance),
            Fate::Newest => number * 2 >= dirty.len(),
        };
        if !keep {
            continue;
        }
        let Fate::Sectors(chance) = fate else {
            put(content, start, bytes);
            continue;
        };
        let mut from = 0;
        while from < bytes.len() {
            let end = (((start + from) / SECTOR + 1) * SECTOR - start).min(bytes.len());
            if rng.random_bool(chance) {
                put(content, start + from, &bytes[from..end]);
            }
            from = end;
        }
    }
}

impl Device {
    /// A device on which all files that a disk began with are durable.
    pub(crate) fn of(disk: &SimDisk) -> Self {
        // The caller plays back the later operations.
        Self {
            durable: disk.begun.clone(),
            names: disk.names.clone(),
            ..Self::default()
        }
    }
}
