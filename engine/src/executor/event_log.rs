//! Writes events to the process log, for users who collect logs instead of journals.

use super::projection::Projection;
use crate::{
    journal::Record,
    model::{EntityId, EventKind, Failure, RunId, StreamId},
};

/// Logs a durable event, with the ids to find it in the journal. Texts in events hold no secrets,
/// so this line holds none.
pub(super) fn log_record(record: &Record, projection: &Projection) {
    let (entity, run) = place(&record.stream, projection);
    let (step, attempt) = record.event.kind.step();
    let failure = failure(&record.event.kind);
    tracing::info!(
        target: "vsiflow_engine::events",
        offset = record.offset,
        entity = entity.map(tracing::field::display),
        run = run.map(tracing::field::display),
        step = step.map(tracing::field::display),
        attempt,
        code = failure.map(|failure| tracing::field::display(&failure.code)),
        host = failure.map(|failure| tracing::field::display(&failure.host)),
        failure = failure.map(|failure| tracing::field::display(&failure.message)),
        "{}",
        record.event.kind.type_name()
    );
}

fn place<'a>(
    stream: &'a StreamId,
    projection: &'a Projection,
) -> (Option<&'a EntityId>, Option<RunId>) {
    match stream {
        StreamId::Entity(id) => (Some(id), None),
        StreamId::Run(run) => {
            let state = projection.run(*run);
            (state.and_then(|state| state.entity.as_ref()), Some(*run))
        }
        StreamId::Journal => (None, None),
    }
}

fn failure(kind: &EventKind) -> Option<&Failure> {
    match kind {
        EventKind::StepFailed { failure, .. } | EventKind::StepBlocked { failure, .. } => {
            Some(failure)
        }
        _ => None,
    }
}
