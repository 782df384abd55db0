//! The updates of an index that are published and not written yet.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    journal::{BatchLink, Offset, StatesUpdate, StreamState},
    model::StreamId,
};

/// Several updates merged into one, as of the newest.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) as_of: Offset,
    pub(super) link: Option<BatchLink>,
    /// The newest state of each changed stream; none if the state is to be removed.
    pub(super) streams: HashMap<StreamId, Option<StreamState>>,
}

#[derive(Default)]
struct PendingState {
    merged: Option<Merged>,
    /// The offset of the newest update.
    newest: Offset,
    closing: bool,
    out_of_use: bool,
}

/// The updates that wait for the writing thread; at most one state for each stream.
#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<PendingState>,
    changed: Condvar,
}

impl Pending {
    /// Adds an update; a closing or disabled index drops it.
    pub(super) fn add(&self, update: StatesUpdate) {
        let mut state = self.state();
        if state.closing || state.out_of_use {
            return;
        }
        if update.as_of < state.newest {
            let newest = state.newest;
            tracing::error!(
                as_of = update.as_of,
                newest,
                "an update of the index came too late"
            );
            state.merged = None;
            state.out_of_use = true;
        } else {
            state.newest = update.as_of;
            state.merge(update);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Closes the index: pending updates are still written, further ones are dropped.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    /// Disables the index: drops the pending update and all further ones.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        state.merged = None;
        state.out_of_use = true;
    }

    /// Waits for an update, and then gathers more for the time `gather`, unless the index is closing.
    /// False once there is nothing more to write.
    pub(super) fn wait(&self, gather: Duration) -> bool {
        let idle = |state: &mut PendingState| state.merged.is_none() && !state.is_ending();
        let waited = self.changed.wait_while(self.state(), idle);
        let busy = waited.unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + gather;
        let state = self.changed.wait_timeout_while(busy, gather, |state| {
            !state.is_ending() && Instant::now() < until
        });
        let (state, _) = state.unwrap_or_else(PoisonError::into_inner);
        state.merged.is_some()
    }

    /// Takes the update that is to be written.
    pub(super) fn take(&self) -> Option<Merged> {
        self.state().merged.take()
    }

    /// Whether an update waits to be written.
    #[cfg(test)]
    pub(super) fn has_any(&self) -> bool {
        self.state().merged.is_some()
    }

    fn state(&self) -> MutexGuard<'_, PendingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingState {
    fn is_ending(&self) -> bool {
        self.closing || self.out_of_use
    }

    fn merge(&mut self, update: StatesUpdate) {
        let merged = self.merged.get_or_insert_with(|| Merged {
            as_of: update.as_of,
            link: None,
            streams: HashMap::new(),
        });
        (merged.as_of, merged.link) = (update.as_of, update.link);
        let changed = update.changed.into_iter();
        let forgotten = update.forgotten.into_iter();
        merged
            .streams
            .extend(changed.map(|state| (state.stream(), Some(state))));
        merged
            .streams
            .extend(forgotten.map(|stream| (stream, None)));
    }
}
