//! Helpers for the checks: streams, events and comparisons.

use std::fmt::Debug;

use ulid::Ulid;

use super::super::{Append, Journal, JournalError, Record};
use crate::model::{
    Actor, EntityId, Event, EventKind, Name, Payload, Precedence, RunId, StreamId, Text, Timestamp,
};

/// The result of a check; the error describes the violation.
pub(super) type JournalCheckResult = Result<(), String>;

/// Makes a `Check` from a function: takes its name and boxes its future.
macro_rules! check {
    ($name:ident) => {
        Check {
            name: stringify!($name),
            run: |subject| Box::pin($name(subject)),
        }
    };
}
pub(super) use check;

/// A stream of an entity.
pub(super) fn entity(id: &str) -> Result<StreamId, String> {
    EntityId::new(Name::of("vsi"), id)
        .map(StreamId::Entity)
        .map_err(|e| e.to_string())
}

/// A stream of a run.
pub(super) fn run(number: u64) -> StreamId {
    StreamId::Run(RunId(Ulid::from_parts(number, 7)))
}

/// An event that its number distinguishes from others.
pub(super) fn event(number: u64) -> Event {
    event_of(
        number,
        EventKind::StepSkipped {
            node: Name::of(&format!("node-{number}")),
        },
    )
}

/// An event that is too long for a record.
pub(super) fn huge() -> Event {
    event_of(
        0,
        EventKind::Desired {
            generation: 1,
            workflow: Name::of("provision_vsi"),
            precedence: Precedence::Supersede,
            desired: Payload::Inline(vec![b'x'; 5000]),
        },
    )
}

fn event_of(number: u64, kind: EventKind) -> Event {
    Event {
        at: Timestamp(number),
        actor: Actor::Engine,
        reason: Text::new("a check"),
        kind,
    }
}

/// A request for `count` events from `seq` on.
pub(super) fn append(stream: &StreamId, seq: u64, count: u64) -> Append {
    let events = (seq..seq.saturating_add(count)).map(event).collect();
    Append {
        stream: stream.clone(),
        expected_seq: seq,
        events,
    }
}

/// The whole journal, in one page.
pub(super) async fn everything(journal: &(impl Journal + ?Sized)) -> Result<Vec<Record>, String> {
    journal.read_all(0, usize::MAX).await.map_err(error_text)
}

/// The text of an unexpected error.
pub(super) fn error_text(error: JournalError) -> String {
    format!("unexpected error: {error}")
}

/// Checks that the found value is the expected one.
pub(super) fn same<T: PartialEq + Debug>(
    what: &str,
    found: &T,
    expected: &T,
) -> JournalCheckResult {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, should be {expected:?}"))
}

/// Checks that a condition holds.
pub(super) fn holds(what: &str, it: bool) -> JournalCheckResult {
    if it { Ok(()) } else { Err(what.to_owned()) }
}
