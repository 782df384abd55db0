//! What is published and not written yet.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    journal::{BatchLink, Offset, StatesUpdate, StreamState},
    model::StreamId,
};

/// Updates merged into one, as of the newest of them.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) as_of: Offset,
    pub(super) link: Option<BatchLink>,
    /// The newest state of each stream that changed; none where it is not kept any more.
    pub(super) streams: HashMap<StreamId, Option<StreamState>>,
}

#[derive(Default)]
struct PendingState {
    merged: Option<Merged>,
    /// As of which offset the newest update was.
    newest: Offset,
    closing: bool,
    out_of_use: bool,
}

/// Where updates wait for the thread that writes; at most one state a stream.
#[derive(Default)]
pub(super) struct Pending {
    state: Mutex<PendingState>,
    changed: Condvar,
}

impl Pending {
    /// Takes an update in. An index that is out of use takes none.
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

    /// Nothing more comes.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.changed.notify_all();
    }

    /// Nothing more is taken in.
    pub(super) fn give_up(&self) {
        let mut state = self.state();
        state.merged = None;
        state.out_of_use = true;
    }

    /// Waits until there is something to be written and it has gathered for a while, or is the
    /// last. Says whether there is anything; if not, it is the end.
    pub(super) fn wait(&self, gather: Duration) -> bool {
        let idle = |state: &mut PendingState| state.merged.is_none() && !state.is_ending();
        let state = self.changed.wait_while(self.state(), idle);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + gather;
        let state = self.changed.wait_timeout_while(state, gather, |state| {
            !state.is_ending() && Instant::now() < until
        });
        let (state, _) = state.unwrap_or_else(PoisonError::into_inner);
        state.merged.is_some()
    }

    /// Takes what is to be written.
    pub(super) fn take(&self) -> Option<Merged> {
        self.state().merged.take()
    }

    /// Whether anything waits to be written.
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
        let changed = changed.map(|state| (state.stream(), Some(state)));
        merged.streams.extend(changed);
        let forgotten = update.forgotten.into_iter();
        merged
            .streams
            .extend(forgotten.map(|stream| (stream, None)));
    }
}
