//! Every event of a VSI, in the journal's order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    journal::{Offset, Record, Rest},
    model::{
        Actor, EntityId, EntityState, Event, EventKind, Failure, FailureClass, Name, Outcome,
        RunId, RunResult, StreamId, Timestamp, Work,
    },
};

use super::{Fleet, FleetError};
use crate::wanted::host_entity;

/// One event. The names of its keys are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// The journal-wide order.
    pub offset: Offset,
    /// When, RFC 3339 with milliseconds, UTC.
    pub time: String,
    /// The entity the event is of.
    pub entity: String,
    /// The run, for events of a run.
    pub run: Option<String>,
    /// The run's workflow.
    pub workflow: Option<String>,
    /// The node of the run.
    pub step: Option<String>,
    /// The attempt, from 1.
    pub attempt: Option<u32>,
    /// The kind of event, such as `step_succeeded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it came out, where something came out.
    pub outcome: Option<String>,
    /// Milliseconds since the attempt, or the run, began.
    pub duration_ms: Option<u64>,
    /// Who caused it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it says beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The failure it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HistoryError>,
    /// The link of the stream's chain.
    pub hash: String,
}

/// A failure in a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryError {
    /// The documented code.
    pub code: String,
    /// What the engine does about it.
    pub class: String,
    /// What happened.
    pub message: String,
    /// The host.
    pub host: String,
    /// The object.
    pub object: String,
    /// What the user can do.
    pub remedy: String,
}

impl From<&Failure> for HistoryError {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.to_string(),
            class: class_name(failure.class).to_owned(),
            message: failure.message.to_string(),
            host: failure.host.to_string(),
            object: failure.object.to_string(),
            remedy: failure.remedy.to_string(),
        }
    }
}

/// The word for a failure class.
pub(crate) fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Transient => "transient",
        FailureClass::Recheck => "recheck",
        FailureClass::Blocked => "blocked",
        FailureClass::Failed => "failed",
    }
}

const PAGE: usize = 1_000;
/// How an image is told from a VSI.
const IMAGE: &str = "image/";
/// How a data disk is.
const DISK: &str = "disk/";
/// How a host is.
const HOST: &str = "host/";
/// What says who paused everything.
const BRAKE: &str = "engine/brake";

/// A host's entity, or the brake's.
fn other_entity(name: &str) -> Option<EntityId> {
    let host = name.strip_prefix(HOST).map(host_entity);
    let (kind, id) = BRAKE.split_once('/')?;
    let brake = (name == BRAKE).then(|| EntityId::new(Name::of(kind), id));
    host.or(brake)?.ok()
}

impl Fleet {
    /// The history of a VSI, deleted ones included: its own events, those of its runs, and those
    /// of the base image's runs it waited for. A line of the kind `archived` stands for those that
    /// compaction moved into archives. `disk/NAME` is that of a data disk, `image/NAME` that of the
    /// images of this name, those that were removed included, `host/ID` that of a host, and
    /// `engine/brake` tells who paused everything.
    ///
    /// # Errors
    /// When there is none of that name, or the journal cannot be read.
    pub async fn history(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        if let Some(disk) = name.strip_prefix(DISK) {
            let known = self.find_disk(namespace, disk, true).await?;
            return self.lines(&known.entity, &known.state).await;
        }
        if let Some(entity) = other_entity(name) {
            let state = self.engine.entity(&entity);
            let state = state.ok_or_else(|| FleetError::not_found("entity", name))?;
            return self.lines(&entity, &state).await;
        }
        let Some(image) = name.strip_prefix(IMAGE) else {
            let known = self.find(namespace, name, true).await?;
            return self.lines(&known.entity, &known.state).await;
        };
        let images = self.images_named(image).await?;
        let mut lines = Vec::new();
        for (entity, state) in &images {
            lines.extend(self.lines(entity, state).await?);
        }
        lines.sort_by_key(|line| line.offset);
        Ok(lines)
    }

    /// Every event of an entity and of its runs.
    async fn lines(
        &self,
        entity: &EntityId,
        state: &EntityState,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        let mut all = self.records(&StreamId::Entity(entity.clone())).await?;
        for run in &state.runs {
            let records = self.records(&StreamId::Run(*run)).await?;
            for other in self.awaited_runs(*run, &records) {
                all.extend(self.records(&StreamId::Run(other)).await?);
            }
            all.extend(records);
        }
        all.sort_by_key(|record| record.offset);
        all.dedup_by_key(|record| record.offset);
        let mut lines = Lines::default().of(entity, &all);
        if let Some(line) = self.archived_line(entity).await? {
            // Kept events of an open run may be older.
            let at = lines.partition_point(|other| other.offset < line.offset);
            lines.insert(at, line);
        }
        Ok(lines)
    }

    async fn archived_line(&self, entity: &EntityId) -> Result<Option<HistoryLine>, FleetError> {
        let stream = StreamId::Entity(entity.clone());
        let Some(seal) = self.journal.seal(&stream).await? else {
            return Ok(None);
        };
        let horizon = self.journal.horizon().await?;
        let archives = horizon.into_iter().flat_map(|horizon| horizon.archives);
        let files = archives.filter(|a| a.end > seal.first && a.first <= seal.last);
        let files: Vec<_> = files.map(|archive| archive.file_name()).collect();
        let at = match &seal.rest {
            Rest::Entity(snapshot) => snapshot.changed,
            _ => Timestamp::default(),
        };
        let detail = format!(
            "{} events and those of the runs that ended are archived in {}",
            seal.next_seq,
            files.join(", ")
        );
        Ok(Some(HistoryLine {
            offset: seal.last,
            time: super::object::rfc3339(at),
            entity: entity.to_string(),
            kind: "archived".to_owned(),
            actor: Actor::Engine.to_string(),
            detail: Some(detail),
            hash: seal.hash.to_string(),
            ..HistoryLine::default()
        }))
    }

    pub(crate) async fn records(&self, stream: &StreamId) -> Result<Vec<Record>, FleetError> {
        let mut all = Vec::new();
        loop {
            let next = all
                .last()
                .map_or(0, |last: &Record| last.seq.saturating_add(1));
            let page = self.journal.read(stream, next, PAGE).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The runs of other entities that went on while this run waited for them.
    fn awaited_runs(&self, run: RunId, records: &[Record]) -> BTreeSet<RunId> {
        let Some(state) = self.engine.run(run) else {
            return BTreeSet::new();
        };
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return BTreeSet::new();
        };
        let nodes = state.graph.iter().flat_map(|graph| &graph.nodes);
        let entities = nodes.filter_map(|node| match &node.work {
            Work::Entity { entity, .. } => Some(entity),
            Work::Step { .. } => None,
        });
        let began = |time: RunId| time.0.timestamp_ms();
        let mut runs = BTreeSet::new();
        for entity in entities.filter_map(|entity| self.engine.entity(entity)) {
            let until = last.event.at.0;
            let open = entity.active.as_ref().map(|active| active.run);
            let before = entity
                .runs
                .iter()
                .rev()
                .find(|id| began(**id) < first.event.at.0);
            let within = entity.runs.iter().filter(|id| {
                began(**id) >= first.event.at.0 && (began(**id) <= until || open == Some(**id))
            });
            runs.extend(within.copied());
            runs.extend(before.filter(|id| open == Some(**id)).copied());
        }
        runs
    }
}

/// Turns records into lines, remembering what began when.
#[derive(Default)]
struct Lines {
    runs: BTreeMap<RunId, (EntityId, Name, Timestamp)>,
    attempts: BTreeMap<(RunId, Name), Timestamp>,
}

impl Lines {
    fn of(mut self, entity: &EntityId, records: &[Record]) -> Vec<HistoryLine> {
        records
            .iter()
            .map(|record| self.line(entity, record))
            .collect()
    }

    fn line(&mut self, of: &EntityId, record: &Record) -> HistoryLine {
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
        let (step, attempt) = step_of(&event.kind);
        HistoryLine {
            offset: record.offset,
            time: super::object::rfc3339(event.at),
            entity,
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
        }
    }

    fn duration(&mut self, run: Option<RunId>, event: &Event) -> Option<u64> {
        let run = run?;
        match &event.kind {
            EventKind::StepStarted { node, .. } => {
                self.attempts.insert((run, node.clone()), event.at);
                None
            }
            EventKind::StepSucceeded { node, .. }
            | EventKind::StepFailed { node, .. }
            | EventKind::StepBlocked { node, .. }
            | EventKind::StepInterrupted { node, .. } => {
                let began = self.attempts.get(&(run, node.clone()))?;
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

fn step_of(kind: &EventKind) -> (Option<&Name>, Option<u32>) {
    match kind {
        EventKind::StepStarted { node, attempt }
        | EventKind::StepSucceeded { node, attempt, .. }
        | EventKind::StepFailed { node, attempt, .. }
        | EventKind::StepBlocked { node, attempt, .. }
        | EventKind::StepInterrupted { node, attempt } => (Some(node), Some(*attempt)),
        EventKind::StepSkipped { node } | EventKind::TimerDue { node } => (Some(node), None),
        EventKind::Intent { step } => (Some(step), None),
        _ => (None, None),
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
        } => Some(format!("again in {} ms", wait.delay_ms)),
        EventKind::StepBlocked {
            recheck: Some(wait),
            ..
        } => Some(format!("looked at again in {} ms", wait.delay_ms)),
        EventKind::RetryScheduled { wait } => Some(format!("again in {} ms", wait.delay_ms)),
        EventKind::Signal { signal } => Some(signal.to_string()),
        EventKind::CancelRequested { mode } => Some(format!("{mode:?}")),
        EventKind::SecretErased { secret } => Some(secret.to_string()),
        _ => None,
    }
}
