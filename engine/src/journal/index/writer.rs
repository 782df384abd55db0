//! The background thread that writes an index.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{
    Index, IndexDeadlines, Unusable,
    header::{self, IndexHeader},
    load::{StateStore, key},
    marker, open,
    pending::{Merged, Pending},
};
use crate::{
    journal::{StreamState, stored::states::encode_state},
    model::StreamId,
    permit::WritePermit,
};

/// The most states of one batch. For more, the header is removed first and written with the last
/// batch, so that an incomplete update is never used.
const BATCH: usize = 1024;

/// The writing thread, to wait for its end.
pub(super) struct Thread {
    /// Disconnected when the thread ends; taken by the first caller that waits.
    ended: Mutex<Option<Receiver<()>>>,
    patience: Duration,
}

impl Thread {
    fn none() -> Self {
        Self {
            ended: Mutex::new(None),
            patience: Duration::ZERO,
        }
    }

    /// Waits for the end of the thread; abandons it if that takes too long. Blocks.
    pub(super) fn wait(&self) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = ended.take().map(|ended| ended.recv_timeout(self.patience));
        if let Some(Err(RecvTimeoutError::Timeout)) = waited {
            tracing::warn!("the index was not closed in time: the next start may take longer");
        }
    }
}

impl Index {
    /// A disabled index: it accepts updates and drops them.
    pub(super) fn disabled() -> Self {
        let pending = Arc::new(Pending::default());
        pending.give_up();
        Self {
            pending,
            permit: WritePermit::always(),
            thread: Arc::new(Thread::none()),
        }
    }
}

/// Starts the thread that writes an open index.
pub(super) fn start(
    store: StateStore,
    dir: &Path,
    boot_id: String,
    permit: &WritePermit,
    pace: IndexDeadlines,
) -> Index {
    let permit = permit.for_another();
    let pending = Arc::new(Pending::default());
    let (end, ended) = mpsc::sync_channel(1);
    let writer = IndexWriter {
        pending: Arc::clone(&pending),
        dir: dir.to_owned(),
        boot_id,
        permit: permit.clone(),
        gather: pace.gather,
    };
    let spawned = thread::Builder::new()
        .name("index-writer".to_owned())
        .spawn(move || {
            writer.run(store);
            drop(end);
        });
    if let Err(error) = spawned {
        tracing::warn!(%error, "the index has no thread to write: it is out of use");
        return Index::disabled();
    }
    let thread = Thread {
        ended: Mutex::new(Some(ended)),
        patience: pace.close,
    };
    Index {
        pending,
        permit,
        thread: Arc::new(thread),
    }
}

struct IndexWriter {
    pending: Arc<Pending>,
    dir: PathBuf,
    boot_id: String,
    permit: WritePermit,
    gather: Duration,
}

impl IndexWriter {
    /// Writes until the index is closed. A failure affects only the index.
    fn run(self, store: StateStore) {
        // The store is dropped inside, because sled may panic there too.
        let written = catch_unwind(AssertUnwindSafe(|| self.write_all(store)))
            .unwrap_or_else(|panic| Err(Unusable::Panicked(open::text(&*panic))));
        self.pending.give_up();
        if let Err(why) = written {
            tracing::warn!("the index is disabled, so the next start takes longer: {why}");
            marker::leave(&self.dir);
        }
    }

    fn write_all(&self, mut store: StateStore) -> Result<(), Unusable> {
        while self.pending.wait(self.gather) {
            // On a full disk the index lags behind; updates that arrive in the meantime are merged.
            if !self.has_room() {
                return Ok(());
            }
            if let Some(merged) = self.pending.take() {
                self.write(&mut store, merged)?;
            }
        }
        Ok(())
    }

    /// Waits for room on the disk; false if the index is being closed.
    fn has_room(&self) -> bool {
        self.permit.to_grow().is_ok()
    }

    fn write(&self, store: &mut StateStore, merged: Merged) -> Result<(), Unusable> {
        let header = IndexHeader {
            boot_id: self.boot_id.clone(),
            as_of: merged.as_of,
            link: merged.link,
        };
        let mut changes = merged.streams.into_iter();
        let mut remaining = changes.len();
        if remaining > BATCH {
            store.db.remove(header::KEY)?;
        }
        loop {
            let mut batch = sled::Batch::default();
            remaining = remaining.saturating_sub(BATCH);
            for (stream, state) in changes.by_ref().take(BATCH) {
                change(store, &mut batch, &stream, state.as_ref())?;
            }
            if remaining == 0 {
                batch.insert(header::KEY, header.encode(&store.sums)?);
            }
            store.db.apply_batch(batch)?;
            // So that the batch survives a kill of the process; sled syncs nothing here.
            store.db.flush()?;
            if remaining == 0 || !self.has_room() {
                return Ok(());
            }
        }
    }
}

/// Puts a stream's new state, or its removal, into a batch.
fn change(
    store: &mut StateStore,
    batch: &mut sled::Batch,
    stream: &StreamId,
    state: Option<&StreamState>,
) -> Result<(), Unusable> {
    let key = key(stream);
    let encoded = state.map(encode_state).transpose();
    let bytes = encoded.map_err(|e| Unusable::Failed(e.to_string()))?;
    store.sums.set(&key, bytes.as_deref());
    match bytes {
        Some(bytes) => batch.insert(key, bytes),
        None => batch.remove(key),
    }
    Ok(())
}
