//! Collects the events of one batch and keeps the states folded with them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::world::World;
use crate::{
    clock::Clock,
    journal::{Append, Journal, JournalError, Offset, Record},
    model::{Actor, Divergence, EntityId, Event, EventKind, RunId, StreamId, Text},
};

/// Who caused an event, and why.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    pub(super) actor: Actor,
    pub(super) reason: Text,
}

impl Cause {
    pub(super) fn engine() -> Self {
        Self {
            actor: Actor::Engine,
            reason: Text::default(),
        }
    }
}

/// The states, the batch that changes them, and what that batch touched.
pub(super) struct Recorder {
    pub(super) world: World,
    clock: Arc<dyn Clock>,
    batch: Vec<Append>,
    index: HashMap<StreamId, usize>,
    touched: BTreeSet<StreamId>,
    /// The first divergence met; the engine ends at it rather than writing what it cannot read.
    divergence: Option<Divergence>,
}

impl Recorder {
    pub(super) fn new(world: World, clock: Arc<dyn Clock>) -> Self {
        Self {
            world,
            clock,
            batch: Vec::new(),
            index: HashMap::new(),
            touched: BTreeSet::new(),
            divergence: None,
        }
    }

    /// Adds an event to the batch and folds it into the states.
    pub(super) fn record(&mut self, stream: StreamId, kind: EventKind, cause: &Cause) {
        let expected_seq = self.world.next_seq(&stream);
        let event = Event {
            at: self.clock.now(),
            actor: cause.actor.clone(),
            reason: cause.reason.clone(),
            kind,
        };
        if let Err(divergence) = self.world.apply(&stream, &event, Offset::MAX) {
            tracing::error!(%stream, %divergence, "an event was not recorded");
            self.divergence.get_or_insert(divergence);
            return;
        }
        self.touched.insert(stream.clone());
        let at = *self.index.entry(stream.clone()).or_insert_with(|| {
            self.batch.push(Append {
                stream,
                expected_seq,
                events: Vec::new(),
            });
            self.batch.len().saturating_sub(1)
        });
        if let Some(append) = self.batch.get_mut(at) {
            append.events.push(event);
        }
    }

    pub(super) fn entity_event(&mut self, id: &EntityId, kind: EventKind, cause: &Cause) {
        self.record(StreamId::Entity(id.clone()), kind, cause);
    }

    pub(super) fn run_event(&mut self, id: RunId, kind: EventKind, cause: &Cause) {
        self.record(StreamId::Run(id), kind, cause);
    }

    /// The streams written to since this was last asked.
    pub(super) fn take_touched(&mut self) -> BTreeSet<StreamId> {
        std::mem::take(&mut self.touched)
    }

    /// Makes the batch durable. Afterwards the states and the journal agree again.
    pub(super) async fn commit(&mut self, journal: &dyn Journal) -> Result<Vec<Record>, Failed> {
        if let Some(divergence) = self.divergence.take() {
            return Err(Failed::Divergence(divergence));
        }
        self.index.clear();
        if self.batch.is_empty() {
            return Ok(Vec::new());
        }
        let batch = std::mem::take(&mut self.batch);
        let records = journal.append(batch).await.map_err(Failed::Journal)?;
        for record in records.iter().filter(|record| record.seq == 0) {
            if let StreamId::Run(run) = record.stream
                && let Some(entry) = self.world.runs.get_mut(&run)
            {
                entry.sequence = record.offset;
            }
        }
        Ok(records)
    }
}

/// Why a batch was not made durable.
#[derive(Debug)]
pub(super) enum Failed {
    Journal(JournalError),
    Divergence(Divergence),
}
