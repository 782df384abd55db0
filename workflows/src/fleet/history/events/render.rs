//! Renders events as history lines, one line for each event.

use std::collections::BTreeMap;

use serde::Deserialize;
use vsiflow_engine::{
    journal::Record,
    model::{
        EntityId, Event, EventKind, Failure, Name, Outcome, Payload, RunId, RunResult, StreamId,
        Timestamp, WarrantId,
    },
};

use super::{
    kept::KeptLines,
    line::{HistoryError, HistoryLine, class_name},
    took,
};
use crate::fleet::vsi::object::rfc3339;

/// Turns records into lines. Remembers when runs and attempts began until the run is closed.
#[derive(Default)]
pub(super) struct HistoryLines {
    runs: BTreeMap<RunId, (EntityId, Name, Timestamp)>,
    attempts: BTreeMap<RunId, BTreeMap<Name, Timestamp>>,
    /// The open orders.
    orders: BTreeMap<WarrantId, String>,
}

impl HistoryLines {
    /// Whether the beginning of this run was rendered.
    pub(super) fn knows(&self, run: RunId) -> bool {
        self.runs.contains_key(&run)
    }

    /// How many runs are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.runs.len().max(self.attempts.len())
    }

    /// Keeps the lines of a run.
    pub(super) fn keep_run(&mut self, of: &EntityId, records: &[Record], kept: &mut KeptLines) {
        for record in records {
            kept.keep(self.line(of, record));
            if let StreamId::Run(run) = record.stream
                && matches!(record.event.kind, EventKind::RunFinished { .. })
            {
                self.attempts.remove(&run);
            }
        }
    }

    /// The line of an event of an entity. What ends an order also shows the order.
    pub(super) fn line_with_order(&mut self, entity: &EntityId, record: &Record) -> HistoryLine {
        let mut line = self.line(entity, record);
        match &record.event.kind {
            EventKind::Warranted {
                warrant,
                object,
                act,
                ..
            } => {
                let (actor, at) = (&line.actor, &line.time);
                let order = format!("{act} of {object} ({warrant}), ordered by {actor} at {at}");
                self.orders.insert(*warrant, order);
            }
            EventKind::WarrantSpent { warrant, .. } | EventKind::WarrantVoided { warrant } => {
                line.detail = self.orders.remove(warrant).or(line.detail);
            }
            _ => {}
        }
        line
    }

    pub(super) fn line(&mut self, of: &EntityId, record: &Record) -> HistoryLine {
        let event = &record.event;
        let run = match &record.stream {
            StreamId::Run(run) => Some(*run),
            StreamId::Entity(_) | StreamId::Journal => run_of(&event.kind),
        };
        if let (Some(run), EventKind::RunStarted { entity, graph, .. }) = (run, &event.kind) {
            self.runs
                .insert(run, (entity.clone(), graph.workflow.clone(), event.at));
        }
        let known = run.and_then(|run| self.runs.get(&run));
        let entity = match &record.stream {
            StreamId::Entity(entity) => entity.to_string(),
            StreamId::Run(_) | StreamId::Journal => {
                known.map_or_else(|| of.to_string(), |known| known.0.to_string())
            }
        };
        let workflow = workflow_of(&event.kind).or(known.map(|known| &known.1));
        let (step, attempt) = event.kind.step();
        let line = HistoryLine {
            journal: None,
            offset: record.offset,
            time: rfc3339(event.at),
            entity,
            object: None,
            run: run.map(|run| run.to_string()),
            workflow: workflow.map(ToString::to_string),
            step: step.map(ToString::to_string),
            attempt,
            kind: event.kind.type_name().to_owned(),
            outcome: outcome(&event.kind),
            duration_ms: self.duration(run, event),
            actor: event.actor.to_string(),
            reason: event.reason.to_string(),
            detail: detail(&event.kind),
            error: failure(&event.kind).map(HistoryError::from),
            hash: record.hash.to_string(),
        };
        // No event of the run comes after this one.
        if let (Some(run), EventKind::RunClosed { .. }) = (run, &event.kind) {
            self.runs.remove(&run);
            self.attempts.remove(&run);
        }
        line
    }

    fn duration(&mut self, run: Option<RunId>, event: &Event) -> Option<u64> {
        let run = run?;
        match &event.kind {
            EventKind::StepStarted { node, .. } => {
                let attempts = self.attempts.entry(run).or_default();
                attempts.insert(node.clone(), event.at);
                None
            }
            EventKind::StepSucceeded { node, .. }
            | EventKind::StepFailed { node, .. }
            | EventKind::StepBlocked { node, .. }
            | EventKind::StepInterrupted { node, .. } => {
                let began = self.attempts.get(&run)?.get(node)?;
                Some(began.millis_until(event.at))
            }
            EventKind::RunFinished { .. } => Some(self.runs.get(&run)?.2.millis_until(event.at)),
            _ => None,
        }
    }
}

fn run_of(kind: &EventKind) -> Option<RunId> {
    match kind {
        EventKind::RunOpened { run, .. } | EventKind::RunClosed { run, .. } => Some(*run),
        _ => None,
    }
}

fn workflow_of(kind: &EventKind) -> Option<&Name> {
    match kind {
        EventKind::Desired { workflow, .. } | EventKind::RunOpened { workflow, .. } => {
            Some(workflow)
        }
        _ => None,
    }
}

fn failure(kind: &EventKind) -> Option<&Failure> {
    match kind {
        EventKind::StepFailed { failure, .. } | EventKind::StepBlocked { failure, .. } => {
            Some(failure)
        }
        EventKind::RunFinished { result } | EventKind::RunClosed { result, .. } => match result {
            RunResult::Failed(failure) => Some(failure),
            _ => None,
        },
        _ => None,
    }
}

fn outcome(kind: &EventKind) -> Option<String> {
    let outcome = match kind {
        EventKind::StepSucceeded { outcome, .. } => match outcome {
            Outcome::AlreadyPresent => "AlreadyPresent",
            Outcome::Created => "Created",
            Outcome::Updated => "Updated",
        },
        EventKind::RunFinished { result } | EventKind::RunClosed { result, .. } => match result {
            RunResult::Succeeded => "Succeeded",
            RunResult::Failed(_) => "Failed",
            RunResult::Cancelled => "Cancelled",
            RunResult::Superseded => "Superseded",
        },
        _ => return failure(kind).map(|failure| class_name(failure.class).to_owned()),
    };
    Some(outcome.to_owned())
}

fn detail(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::Desired { generation, .. } => Some(format!("generation {generation}")),
        EventKind::StateChanged { state, detail } if detail.is_empty() => Some(state.to_string()),
        EventKind::StateChanged { state, detail } => Some(format!("{state}: {detail}")),
        EventKind::StepFailed {
            retry: Some(wait), ..
        } => Some(format!("again in {}", took(wait.delay_ms))),
        EventKind::StepBlocked {
            recheck: Some(wait),
            ..
        } => Some(format!("checked again in {}", took(wait.delay_ms))),
        EventKind::RetryScheduled { wait } => Some(format!("again in {}", took(wait.delay_ms))),
        EventKind::Signal { signal } => Some(signal.to_string()),
        EventKind::CancelRequested { mode } => Some(format!("{mode:?}")),
        EventKind::SecretErased { secret } => Some(secret.to_string()),
        EventKind::ObjectMade { object, identity } => Some(format!("{object} ({identity})")),
        EventKind::ObjectBegun { object }
        | EventKind::ObjectInUse { object }
        | EventKind::ObjectGone { object } => Some(object.to_string()),
        EventKind::Warranted {
            warrant,
            object,
            act,
            shown,
        } if shown.is_empty() => Some(format!("{act} of {object} ({warrant})")),
        EventKind::Warranted {
            warrant,
            object,
            act,
            shown,
        } => Some(format!("{act} of {object} ({warrant}); shown: {shown}")),
        EventKind::WarrantSpent { warrant, .. } | EventKind::WarrantVoided { warrant } => {
            Some(warrant.to_string())
        }
        EventKind::StepSucceeded { output, .. } => note(output),
        EventKind::Noted { what, detail } if detail.is_empty() => Some(what.to_string()),
        EventKind::Noted { what, detail } => Some(format!("{what}: {detail}")),
        _ => None,
    }
}

/// The note of a step's output for people.
fn note(output: &Payload) -> Option<String> {
    #[derive(Deserialize)]
    struct RenderedNote {
        note: String,
    }
    let rendered: RenderedNote = serde_json::from_slice(output.inline()?).ok()?;
    Some(rendered.note)
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::model::{Actor, Graph, Hash, Outcome, Text};

    use super::*;

    /// The events of a run, then the event of its entity that closes the run.
    fn records(run: RunId, entity: &EntityId) -> Vec<Record> {
        let graph = Graph {
            workflow: Name::of("provision_vsi"),
            version: 1,
            nodes: Vec::new(),
        };
        let started = EventKind::RunStarted {
            entity: entity.clone(),
            generation: 1,
            graph,
        };
        let node = Name::of("define_domain");
        let begun = EventKind::StepStarted {
            node: node.clone(),
            attempt: 1,
        };
        let done = EventKind::StepSucceeded {
            node,
            attempt: 1,
            outcome: Outcome::Created,
            output: Payload::Inline(Vec::new()),
        };
        let result = RunResult::Succeeded;
        let finished = EventKind::RunFinished {
            result: result.clone(),
        };
        let kinds = [started, begun, done, finished];
        let of_run = kinds.map(|kind| (StreamId::Run(run), kind));
        let closed = EventKind::RunClosed { run, result };
        let all = of_run
            .into_iter()
            .chain([(StreamId::Entity(entity.clone()), closed)]);
        let record = |(offset, (stream, kind)): (usize, _)| Record {
            offset: offset as u64,
            stream,
            seq: offset as u64,
            event: Event {
                at: Timestamp(offset as u64 * 10),
                actor: Actor::Engine,
                reason: Text::default(),
                kind,
            },
            hash: Hash::of(b""),
        };
        all.enumerate().map(record).collect()
    }

    #[test]
    fn a_run_is_forgotten_when_it_is_closed_and_everything_of_it_was_told() {
        let entity = EntityId::new(Name::of("vsi"), "a").unwrap();
        let (run, nobody) = (RunId(ulid::Ulid::from_parts(1, 1)), &entity);
        let mut lines = HistoryLines::default();
        let rendered: Vec<_> = records(run, &entity)
            .iter()
            .map(|record| lines.line(nobody, record))
            .collect();
        let took: Vec<_> = rendered.iter().map(|line| line.duration_ms).collect();
        assert_eq!(took, [None, None, Some(10), Some(30), None]);
        let workflows = rendered.iter().map(|line| line.workflow.as_deref());
        assert!(workflows.eq([Some("provision_vsi"); 5]));
        assert_eq!(lines.remembered(), 0);
    }
}
