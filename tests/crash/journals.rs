//! The journal of a crash test: in memory, or the real one in files, which is left as a kill leaves it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::task::unconstrained;
use vsiflow_engine::{
    audit::AuditError,
    backup,
    journal::{
        Append, BatchLink, ChainedJournal, DiskJournal, Entry, Journal, JournalError,
        MemoryJournal, Missing, Offset, Record, States, StatesUpdate, Stored, StreamHead,
    },
    model::{Event, EventKind, Hash, Name, StreamId, Text, Timestamp},
};

use super::world::{JOURNAL, user};

/// Where the journal is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    Memory,
    /// Files and the index, as in a state directory.
    Disk,
}

/// The journal, which all processes of a test use one after another.
pub enum WorldJournals {
    Memory(Arc<MemoryJournal>),
    Disk(JournalsOnDisk),
}

impl WorldJournals {
    pub fn new(medium: Medium) -> Self {
        match medium {
            Medium::Memory => Self::Memory(Arc::default()),
            Medium::Disk => Self::Disk(JournalsOnDisk::new()),
        }
    }

    /// The journal as the present process has it open.
    pub fn current(&self) -> Arc<dyn ChainedJournal> {
        match self {
            Self::Memory(journal) => journal.clone(),
            Self::Disk(disk) => Arc::new(Waiting(disk.life().journal.clone())),
        }
    }

    /// Leaves the journal as after a kill, and opens it for the next process.
    pub fn killed(&self) -> Result<(), String> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Disk(disk) => disk.killed(),
        }
    }

    /// Copies all events into a new journal, and makes the last record undecodable.
    pub async fn spoil_last(&self) {
        let old = self.current();
        let links = old.read_links(0, usize::MAX).await.unwrap();
        let all = old.read_stored(0, usize::MAX).await.unwrap();
        let mut records: Vec<_> = all.into_iter().map(|stored| stored.bytes).collect();
        let last = records.last_mut().unwrap();
        last.push(0);
        let sum = crc32c::crc32c(&last[4..]).to_be_bytes();
        last[..4].copy_from_slice(&sum);
        let Self::Disk(disk) = self else {
            panic!("only a journal on a disk is spoilt");
        };
        let new = disk.begin_anew();
        let mut records = records.into_iter();
        for link in links {
            let count = usize::try_from(link.last - link.first + 1).unwrap();
            let batch = records.by_ref().take(count).collect();
            wait(new.restore(batch)).unwrap();
        }
    }

    /// How often an index was used as found, and how often it was not used.
    pub fn index_used(&self) -> (usize, usize) {
        match self {
            Self::Memory(_) => (0, 0),
            Self::Disk(disk) => disk.life().index_used,
        }
    }
}

/// A journal in files, on a file system in memory if possible.
pub struct JournalsOnDisk {
    life: Mutex<JournalLife>,
    root: TempDir,
}

struct JournalLife {
    number: usize,
    journal: Arc<DiskJournal>,
    index_used: (usize, usize),
}

impl JournalsOnDisk {
    fn new() -> Self {
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let root = root.unwrap();
        let journal = open(&folder(root.path(), 0)).unwrap();
        let life = JournalLife {
            number: 0,
            journal: Arc::new(journal),
            index_used: (0, 0),
        };
        Self {
            life: Mutex::new(life),
            root,
        }
    }

    fn life(&self) -> MutexGuard<'_, JournalLife> {
        self.life.lock().unwrap()
    }

    /// Continues with an empty journal.
    fn begin_anew(&self) -> Arc<DiskJournal> {
        let mut life = self.life();
        wait(life.journal.close());
        life.number += 1;
        let journal = open(&folder(self.root.path(), life.number)).unwrap();
        life.journal = Arc::new(journal);
        life.journal.clone()
    }

    /// Copies the log as it is now, without what closing the journal writes. The index is written later than
    /// the log: about every other time its copy is complete, otherwise it is as old as it happened to be.
    fn killed(&self) -> Result<(), String> {
        let mut life = self.life();
        let here = folder(self.root.path(), life.number);
        let next = folder(self.root.path(), life.number + 1);
        let head = wait(life.journal.head()).map_err(|error| error.to_string())?;
        let index_is_behind = head.is_some_and(|head| head.last % 2 == 1);
        copy(&here, &next, &|name| name != INDEX);
        if index_is_behind {
            copy(&here.join(INDEX), &next.join(INDEX), &|_| true);
        }
        wait(life.journal.close());
        if !index_is_behind {
            copy(&here.join(INDEX), &next.join(INDEX), &|_| true);
        }
        std::fs::remove_dir_all(&here).unwrap();
        let journal = open(&next).map_err(|error| format!("it cannot be opened: {error}"))?;
        if !journal.wants_all_states() {
            life.index_used.0 += 1
        } else {
            life.index_used.1 += 1
        }
        (life.number, life.journal) = (life.number + 1, Arc::new(journal));
        Ok(())
    }
}

impl Drop for JournalsOnDisk {
    fn drop(&mut self) {
        // Before the folder is deleted, because a task of a dead process may still use the journal.
        wait(self.life().journal.close());
    }
}

const INDEX: &str = "index";

fn folder(root: &Path, life: usize) -> PathBuf {
    root.join(life.to_string())
}

fn open(dir: &Path) -> Result<DiskJournal, JournalError> {
    wait(DiskJournal::open(dir, JOURNAL))
}

/// Copies the files of a folder, and skips those that are deleted during the copy.
fn copy(from: &Path, to: &Path, matches: &dyn Fn(&str) -> bool) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let (source, to) = (entry.path(), to.join(&name));
        if !matches(&name) {
            continue;
        }
        if source.is_dir() {
            copy(&source, &to, &|_| true);
        } else {
            match std::fs::copy(&source, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
        }
    }
}

/// Blocks this thread until the work is done. An idle runtime would advance the virtual time, and a story
/// is only repeatable if nothing else runs during the wait.
fn wait<T>(work: impl Future<Output = T>) -> T {
    // Without `unconstrained` a task that has used up its budget of tokio would wait for ever.
    futures::executor::block_on(unconstrained(work))
}

/// The real journal with blocking calls, so that none is pending when it returns to the runtime.
struct Waiting(Arc<DiskJournal>);

#[async_trait]
impl Journal for Waiting {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        wait(self.0.append(batch))
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        wait(self.0.read(stream, from_seq, limit))
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        wait(self.0.read_all(from, limit))
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        wait(self.0.streams())
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        wait(self.0.read_entries(from, limit))
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        wait(self.0.states(at))
    }

    fn publish(&self, update: StatesUpdate) {
        self.0.publish(update);
    }

    fn wants_all_states(&self) -> bool {
        self.0.wants_all_states()
    }

    fn base_is_due(&self) -> bool {
        self.0.base_is_due()
    }

    async fn write_base(&self, states: States) -> Result<Option<Hash>, JournalError> {
        wait(self.0.write_base(states))
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        wait(self.0.missing())
    }
}

#[async_trait]
impl ChainedJournal for Waiting {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        wait(self.0.read_stored(from, limit))
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        wait(self.0.read_links(from, limit))
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        wait(self.0.head())
    }

    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        wait(self.0.restore(batch))
    }
}

#[test]
fn a_killed_process_leaves_an_index_that_is_used_or_made_again() {
    use super::{
        gate::{Crash, CrashGate, CrashMoment},
        stories, story,
        world::{CrashWorld, Setup, in_virtual_time},
    };
    in_virtual_time(async {
        let world = CrashWorld::of(Setup::DISK).await;
        let at = |call| {
            let moment = CrashMoment::After;
            CrashGate::deadly(Crash { call, moment })
        };
        let gates: Vec<_> = (5..30).map(at).collect();
        let acts = stories::provision().acts;
        let played = story::tell(&world, &acts, &gates, std::time::Duration::ZERO).await;
        played.unwrap();
        let (used, made) = world.journals.index_used();
        assert!(used > 3 && made > 0, "{used} used, {made} made again");
    });
}

/// Records what `restore` and `restore --confirm` record; without the end of all orders, if those are to outlive it.
pub async fn begin_new_incarnation(
    journal: &dyn Journal,
    voids_orders: bool,
) -> Result<(), String> {
    let (by, now) = (user(), Timestamp(0));
    let event = Event {
        at: now,
        actor: by.actor.clone(),
        reason: by.reason.clone(),
        kind: EventKind::StateChanged {
            state: Name::of(backup::RESTORED),
            detail: Text::default(),
        },
    };
    let words = |error: AuditError| error.to_string();
    if voids_orders {
        let voided = backup::disown_objects(journal, &event).await;
        voided.map_err(words)?;
    }
    let confirmed = backup::confirmed(journal, JOURNAL, by.actor, by.reason, now).await;
    confirmed.map_err(words)
}
