//! Sabotage: an index with states that the log does not have yet, and that a start trusts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use vsiflow_engine::{
    journal::{
        Append, Folded, Journal, JournalError, JournalLayer, Offset, Record, States, StatesUpdate,
        StreamState,
    },
    model::StreamId,
};

/// The index, which outlives the process: its offset and the states.
#[derive(Default)]
pub struct StoredIndex(Mutex<(Offset, BTreeMap<StreamId, StreamState>)>);

impl StoredIndex {
    fn states(&self) -> Option<States> {
        let index = self.0.lock().unwrap();
        (index.0 > 0).then(|| States {
            as_of: index.0,
            link: None,
            streams: index.1.values().cloned().collect(),
        })
    }

    /// Adds a batch before it is appended to the log.
    fn foresee(&self, batch: &[Append]) {
        let mut index = self.0.lock().unwrap();
        for append in batch {
            let was = index.1.get(&append.stream).cloned();
            let Some(is) = after(was, append) else { return };
            index.1.insert(append.stream.clone(), is);
            index.0 += append.events.len() as u64;
        }
    }

    fn take(&self, update: StatesUpdate) {
        let mut index = self.0.lock().unwrap();
        index.0 = update.as_of;
        let changed = update.changed.into_iter();
        index.1.extend(changed.map(|state| (state.stream(), state)));
        for stream in update.forgotten {
            index.1.remove(&stream);
        }
    }
}

/// The state of a stream after these events; none for a stream that is not folded here.
fn after(was: Option<StreamState>, append: &Append) -> Option<StreamState> {
    match (&append.stream, was) {
        (StreamId::Entity(id), was) => {
            let mut folded = match was {
                Some(StreamState::Entity(_, folded)) => folded,
                _ => Folded::default(),
            };
            let state = Arc::make_mut(&mut folded.state);
            for event in &append.events {
                state.apply(event).ok()?;
            }
            folded.next_seq += append.events.len() as u64;
            Some(StreamState::Entity(id.clone(), folded))
        }
        (StreamId::Run(id), was) => {
            let mut folded = match was {
                Some(StreamState::Run(_, folded)) => folded,
                _ => Folded::default(),
            };
            let state = Arc::make_mut(&mut folded.state);
            for event in &append.events {
                state.apply(event).ok()?;
            }
            folded.next_seq += append.events.len() as u64;
            Some(StreamState::Run(*id, folded))
        }
        (StreamId::Journal, _) => None,
    }
}

/// A journal with an index that is ahead of its log.
pub struct Ahead {
    inner: Arc<dyn Journal>,
    index: Arc<StoredIndex>,
}

impl Ahead {
    pub fn new(inner: Arc<dyn Journal>, index: Arc<StoredIndex>) -> Self {
        Self { inner, index }
    }
}

#[async_trait]
impl JournalLayer for Ahead {
    fn inner(&self) -> &dyn Journal {
        &*self.inner
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        self.index.foresee(&batch);
        self.inner.append(batch).await
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        match self.index.states().filter(|_| at.is_none()) {
            Some(states) => Ok(states),
            None => self.inner.states(at).await,
        }
    }

    fn publish(&self, update: StatesUpdate) {
        self.index.take(update);
    }

    fn wants_all_states(&self) -> bool {
        self.index.states().is_none()
    }

    fn base_is_due(&self) -> bool {
        false
    }
}
