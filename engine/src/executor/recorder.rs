//! Collects the events of one batch and folds them into the states.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::projection::Projection;
use crate::{
    clock::Clock,
    journal::{Append, Offset},
    model::{Actor, Divergence, EntityId, Event, EventKind, RunId, StreamId, Text, Timestamp},
};

/// Milliseconds: if wall and monotonic clock differ by more, the wall clock was set.
const JUMP_MS: u64 = 60_000;

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct RecordTime {
    wall: Timestamp,
    monotonic: Duration,
}

impl RecordTime {
    fn of(clock: &dyn Clock) -> Self {
        Self {
            wall: clock.now(),
            monotonic: clock.monotonic(),
        }
    }

    /// By how many milliseconds the wall clock was set between the two moments; negative if it was
    /// set back.
    fn jumped_since(self, before: Self) -> i64 {
        let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let passed = self.monotonic.saturating_sub(before.monotonic).as_millis();
        let passed_ms = signed(u64::try_from(passed).unwrap_or(u64::MAX));
        let wall_ms = signed(self.wall.0).saturating_sub(signed(before.wall.0));
        wall_ms.saturating_sub(passed_ms)
    }
}

/// The actor and reason of an event.
#[derive(Clone, Debug)]
pub(super) struct EventCause {
    pub(super) actor: Actor,
    pub(super) reason: Text,
}

impl EventCause {
    pub(super) fn engine() -> Self {
        Self {
            actor: Actor::Engine,
            reason: Text::default(),
        }
    }
}

/// The states, the batch that changes them, and the streams that it touched.
pub(super) struct Recorder {
    pub(super) projection: Projection,
    clock: Arc<dyn Clock>,
    batch: Vec<Append>,
    index: HashMap<StreamId, usize>,
    touched: BTreeSet<StreamId>,
    time: RecordTime,
    /// The first divergence; the engine ends because of it instead of writing what it cannot read.
    divergence: Option<Divergence>,
}

impl Recorder {
    pub(super) fn new(projection: Projection, clock: Arc<dyn Clock>) -> Self {
        Self {
            projection,
            time: RecordTime::of(clock.as_ref()),
            clock,
            batch: Vec::new(),
            index: HashMap::new(),
            touched: BTreeSet::new(),
            divergence: None,
        }
    }

    /// Adds an event to the batch and folds it into the states.
    pub(super) fn record(&mut self, stream: StreamId, kind: EventKind, cause: &EventCause) {
        let expected_seq = self.projection.next_seq(&stream);
        let event = Event {
            at: self.clock.now(),
            actor: cause.actor.clone(),
            reason: cause.reason.clone(),
            kind,
        };
        if let Err(divergence) = self.projection.apply(&stream, &event, Offset::MAX) {
            tracing::error!(%stream, %divergence, "an event was not recorded");
            self.divergence.get_or_insert(divergence);
            return;
        }
        self.touched.insert(stream.clone());
        let position = *self.index.entry(stream.clone()).or_insert_with(|| {
            self.batch.push(Append {
                stream,
                expected_seq,
                events: Vec::new(),
            });
            self.batch.len().saturating_sub(1)
        });
        if let Some(append) = self.batch.get_mut(position) {
            append.events.push(event);
        }
    }

    pub(super) fn entity_event(&mut self, id: &EntityId, kind: EventKind, cause: &EventCause) {
        self.record(StreamId::Entity(id.clone()), kind, cause);
    }

    pub(super) fn run_event(&mut self, id: RunId, kind: EventKind, cause: &EventCause) {
        self.record(StreamId::Run(id), kind, cause);
    }

    /// Records that the wall clock was set since the last call: times before and after it cannot be
    /// compared.
    pub(super) fn note_time(&mut self) {
        let time = RecordTime::of(self.clock.as_ref());
        let by_ms = time.jumped_since(std::mem::replace(&mut self.time, time));
        if by_ms.unsigned_abs() > JUMP_MS {
            let kind = EventKind::ClockJumped { by_ms };
            self.record(StreamId::Journal, kind, &EventCause::engine());
        }
    }

    /// The streams written to since the last call.
    pub(super) fn drain_touched(&mut self) -> BTreeSet<StreamId> {
        std::mem::take(&mut self.touched)
    }

    /// Ends the batch: returns the appends, and the states of the streams that they touch.
    pub(super) fn seal(&mut self) -> Result<(Vec<Append>, Projection), Divergence> {
        if let Some(divergence) = self.divergence.take() {
            return Err(divergence);
        }
        self.index.clear();
        let batch = std::mem::take(&mut self.batch);
        let streams = batch.iter().map(|append| &append.stream);
        let states = self.projection.part(streams);
        Ok((batch, states))
    }

    /// Whether the batch has an event of that run.
    pub(super) fn is_in_batch(&self, run: RunId) -> bool {
        self.index.contains_key(&StreamId::Run(run))
    }
}
