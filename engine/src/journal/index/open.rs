//! Opens an index: decides whether an existing one is used, and moves it aside if not.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use super::{
    Facts, Index, IndexDeadlines, LinkBefore, OpenedIndex, PACE, Unusable,
    load::{self, StateStore},
    marker::{self, OpeningMarker},
    writer,
};
use crate::{files, journal::States, permit::WritePermit};

/// The ending of the name of an index that was moved aside.
const ASIDE: &str = ".aside";

/// See [`Index::open`].
pub(super) fn to_write(
    dir: &Path,
    facts: Facts,
    permit: WritePermit,
    pace: IndexDeadlines,
) -> OpenedIndex {
    let (index, rebuilt) = match find_or_make(dir, &facts, pace) {
        Ok(index) => index,
        Err(why) => {
            tracing::warn!("the index cannot be used, so the next start takes longer: {why}");
            return OpenedIndex {
                index: Index::disabled(),
                states: None,
                rebuilt: Some(why),
            };
        }
    };
    let (store, states) = index;
    OpenedIndex {
        index: writer::start(store, dir, facts.boot_id, &permit, pace),
        states,
        rebuilt,
    }
}

type FoundIndex = ((StateStore, Option<States>), Option<Unusable>);

/// The existing index, or an empty one and why the existing one is not used.
fn find_or_make(dir: &Path, facts: &Facts, pace: IndexDeadlines) -> Result<FoundIndex, Unusable> {
    let (_marker, was_left) = OpeningMarker::set(dir, pace.open)?;
    let loaded = if was_left {
        Err(Unusable::LeftOpening)
    } else {
        find(dir, facts, pace.open)
    };
    match loaded {
        Ok((store, states)) => Ok(((store, Some(states)), None)),
        Err(why) if why.blames_the_disk() => Err(why),
        Err(why) => {
            let store = make(dir, &why, pace.open)?;
            Ok(((store, None), Some(why).filter(Unusable::is_worth_noting)))
        }
    }
}

/// An index that is being read in a separate thread; see [`Index::begin_read`].
pub(in crate::journal) struct IndexReading {
    dir: PathBuf,
    begun: Result<OpeningThread<(StateStore, States)>, Unusable>,
}

impl IndexReading {
    pub(super) fn of(dir: &Path, boot_id: &str) -> Self {
        let begun = marker::check(dir).and_then(|()| load_in_thread(dir, boot_id, false));
        Self {
            dir: dir.to_owned(),
            begun,
        }
    }

    /// The states. Blocks, for at most 20 s for loading them and 20 s for closing the database.
    ///
    /// # Errors
    /// Why they cannot be used; the caller folds them instead.
    pub(in crate::journal) fn states(self, link_before: &LinkBefore) -> Result<States, Unusable> {
        let states = self.begun.and_then(|begun| {
            let (store, loaded) = begun.wait(PACE.read)?;
            let (store, loaded) = fitting(store, loaded, link_before, PACE.read)?;
            release(store, PACE.read)?;
            Ok(loaded)
        });
        if states.as_ref().err().is_some_and(Unusable::is_dangerous) {
            marker::leave(&self.dir);
        }
        states
    }
}

/// See [`Index::peek`].
pub(super) fn to_repair(dir: &Path, pace: IndexDeadlines) -> Result<States, Unusable> {
    marker::check(dir)?;
    if !dir.try_exists()? {
        return Err(Unusable::Absent);
    }
    let dir = dir.to_owned();
    in_thread(pace.open, move || load::peek(&dir))
}

/// Moves an index aside, if there is one.
pub(super) fn discard(dir: &Path) -> io::Result<()> {
    move_aside(dir)
}

/// The index in `dir` and its states, if they pass all checks.
fn find(dir: &Path, facts: &Facts, patience: Duration) -> Result<(StateStore, States), Unusable> {
    let (store, states) = load_in_thread(dir, &facts.boot_id, true)?.wait(patience)?;
    fitting(store, states, &facts.link_before, patience)
}

/// Begins to load the index in `dir`, in a separate thread.
fn load_in_thread(
    dir: &Path,
    boot_id: &str,
    sync: bool,
) -> Result<OpeningThread<(StateStore, States)>, Unusable> {
    if !dir.try_exists()? {
        return Err(Unusable::Absent);
    }
    let (dir, boot_id) = (dir.to_owned(), boot_id.to_owned());
    OpeningThread::begin(move || {
        if sync {
            load::sync_all(&dir)?;
        }
        load::load(&dir, &boot_id)
    })
}

/// The loaded states, if the log has a batch that ends at their offset, with the same link.
fn fitting(
    store: StateStore,
    states: States,
    link_before: &LinkBefore,
    patience: Duration,
) -> Result<(StateStore, States), Unusable> {
    if link_before(states.as_of) == Some(states.link) {
        return Ok((store, states));
    }
    release(store, patience)?;
    Err(Unusable::Misfit(states.as_of))
}

/// Closes a database in a separate thread, because sled may fail there too.
fn release(store: StateStore, patience: Duration) -> Result<(), Unusable> {
    in_thread(patience, move || {
        drop(store);
        Ok(())
    })
}

/// Creates an empty index in place of one that is not used.
fn make(dir: &Path, why: &Unusable, patience: Duration) -> Result<StateStore, Unusable> {
    if *why == Unusable::Absent {
        remove(dir)?;
    } else {
        move_aside(dir)?;
    }
    files::create_dir(dir)?;
    let dir = dir.to_owned();
    in_thread(patience, move || load::make(&dir))
}

/// Moves an index aside for later examination; it replaces the one that was moved aside before.
fn move_aside(dir: &Path) -> io::Result<()> {
    let aside = marker::beside(dir, ASIDE);
    remove(&aside)?;
    match std::fs::rename(dir, &aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Does `work` in a thread, which is abandoned if it does not end in time.
pub(super) fn in_thread<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, Unusable> + Send + 'static,
) -> Result<T, Unusable> {
    OpeningThread::begin(work)?.wait(patience)
}

/// Work in a separate thread whose result can be waited for.
struct OpeningThread<T>(mpsc::Receiver<Result<T, Unusable>>);

impl<T: Send + 'static> OpeningThread<T> {
    fn begin(
        work: impl FnOnce() -> Result<T, Unusable> + Send + 'static,
    ) -> Result<Self, Unusable> {
        let (done, result) = mpsc::sync_channel(1);
        let caught = move || {
            let outcome = catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|panic| Err(Unusable::Panicked(text(&*panic))));
            // An error means that the caller has stopped waiting.
            let _ = done.send(outcome);
        };
        thread::Builder::new()
            .name("index-open".to_owned())
            .spawn(caught)
            .map_err(|e| Unusable::Failed(format!("no thread to open it: {e}")))?;
        Ok(Self(result))
    }

    /// The result of the work. Blocks, for at most `patience`; then the thread is abandoned.
    fn wait(self, patience: Duration) -> Result<T, Unusable> {
        match self.0.recv_timeout(patience) {
            Ok(worked) => worked,
            Err(RecvTimeoutError::Timeout) => Err(Unusable::Hung),
            Err(RecvTimeoutError::Disconnected) => Err(Unusable::Panicked(String::new())),
        }
    }
}

/// The message of a panic.
pub(super) fn text(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
        .to_owned()
}
