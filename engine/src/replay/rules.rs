//! The rules for which event may be recorded where.

use std::collections::{BTreeMap, BTreeSet};

use super::{Deviation, Replay, deviation};
use crate::{
    journal::Record,
    model::{
        Actor, CancelMode, Command, EntityCommand, EntityId, EventKind, Graph, Name, NodeState,
        RunId, RunResult, RunState, StreamId, Work, decide, decide_entity,
    },
};

/// What one batch says across its streams. Within a batch the streams come one after another, so
/// events in two streams that belong together are compared at the end of the batch.
#[derive(Default)]
pub(super) struct Round {
    /// Runs whose entity, at some point within the batch, required them to make way for a newer
    /// desired state.
    unwanted: BTreeSet<RunId>,
    /// Entities for which a run stopped waiting.
    left: BTreeSet<EntityId>,
    opened: BTreeMap<RunId, (EntityId, u64)>,
    closed: BTreeMap<RunId, (EntityId, RunResult)>,
    started: BTreeMap<RunId, (EntityId, u64, Record)>,
    finished: BTreeMap<RunId, (EntityId, RunResult, Record)>,
    cancelled: Vec<(RunId, EntityId, CancelMode, Record)>,
    entity_records: BTreeMap<RunId, Record>,
}

impl Round {
    /// The round at the beginning of a batch.
    pub(super) fn before(replay: &Replay, records: &[Record]) -> Self {
        let mut round = Self::default();
        for record in records {
            let StreamId::Run(run) = record.stream else {
                continue;
            };
            let entity = replay.open.get(&run).and_then(|run| run.entity.as_ref());
            if let Some(entity) = entity {
                round.note_unwanted(replay, entity);
            }
        }
        round
    }

    fn note_unwanted(&mut self, replay: &Replay, entity: &EntityId) {
        let state = replay.entities.get(entity);
        if let Some(EntityCommand::CancelRun { run, .. }) = state.and_then(decide_entity) {
            self.unwanted.insert(run);
        }
    }

    /// Checks an event against its stream, and notes what other streams have to confirm.
    pub(super) fn check(
        &mut self,
        replay: &Replay,
        record: &Record,
        rest: &[Record],
    ) -> Result<(), Deviation> {
        match &record.stream {
            StreamId::Entity(id) => self.check_entity(replay, id, record),
            StreamId::Run(id) => match (&record.event.kind, replay.open.get(id)) {
                (EventKind::RunStarted { .. }, None) => self.check_start(*id, record),
                (_, Some(run)) => {
                    check_run(run, record, rest)?;
                    self.note_run(*id, run, record);
                    Ok(())
                }
                // Folding the event reports the error.
                (_, None) => Ok(()),
            },
            StreamId::Journal => Ok(()),
        }
    }

    fn check_entity(
        &mut self,
        replay: &Replay,
        id: &EntityId,
        record: &Record,
    ) -> Result<(), Deviation> {
        match &record.event.kind {
            EventKind::RunOpened {
                run,
                workflow,
                generation,
            } => {
                let decided = replay.entities.get(id).and_then(decide_entity);
                let (workflow, generation) = (workflow.clone(), *generation);
                let opened = EntityCommand::OpenRun {
                    workflow,
                    generation,
                };
                if decided.as_ref() != Some(&opened) {
                    return Err(deviation(record, &called_for(decided.as_ref())));
                }
                self.opened.insert(*run, (id.clone(), generation));
                self.entity_records.insert(*run, record.clone());
            }
            EventKind::RunClosed { run, result } => {
                self.closed.insert(*run, (id.clone(), result.clone()));
                self.entity_records.insert(*run, record.clone());
            }
            EventKind::RetryRequested if record.event.actor == Actor::Engine => {
                let decided = replay.entities.get(id).and_then(decide_entity);
                if !matches!(decided, Some(EntityCommand::ArmTimer { .. })) {
                    return Err(deviation(record, "no retry: no wait for one was recorded"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn check_start(&mut self, id: RunId, record: &Record) -> Result<(), Deviation> {
        let EventKind::RunStarted {
            entity,
            generation,
            graph,
        } = &record.event.kind
        else {
            return Ok(());
        };
        if let Err(why) = graph.validate() {
            return Err(deviation(
                record,
                &format!("a graph that can be run ({why})"),
            ));
        }
        let started = (entity.clone(), *generation, record.clone());
        self.started.insert(id, started);
        Ok(())
    }

    fn note_run(&mut self, id: RunId, run: &RunState, record: &Record) {
        let Some(entity) = run.entity.clone() else {
            return;
        };
        match &record.event.kind {
            EventKind::CancelRequested { mode } => {
                self.cancelled.push((id, entity, *mode, record.clone()));
            }
            EventKind::StepInterrupted { node, .. } => {
                let node = run.graph.as_ref().and_then(|graph| graph.node(node));
                if let Some(Work::Entity { entity: child, .. }) = node.map(|node| &node.work) {
                    self.left.insert(child.clone());
                }
            }
            EventKind::RunFinished { result } => {
                let finished = (entity, result.clone(), record.clone());
                self.finished.insert(id, finished);
            }
            _ => {}
        }
    }

    /// Notes the consequences of an event after it was folded.
    pub(super) fn after(&mut self, replay: &Replay, record: &Record) {
        if let StreamId::Entity(id) = &record.stream {
            self.note_unwanted(replay, id);
        }
    }

    /// Compares the streams of the batch with each other; returns the first of several deviations.
    pub(super) fn close(mut self) -> Result<(), Deviation> {
        let mut deviations = self.unfounded_cancels();
        deviations.extend(self.unpaired_starts());
        deviations.extend(self.unpaired_ends());
        let first = deviations
            .into_iter()
            .min_by_key(|deviation| deviation.offset);
        first.map_or(Ok(()), Err)
    }

    fn unfounded_cancels(&mut self) -> Vec<Deviation> {
        let unfounded = |(run, entity, mode, record): (RunId, EntityId, CancelMode, Record)| {
            let expected = match mode {
                CancelMode::User => return None,
                CancelMode::Superseded if self.unwanted.contains(&run) => return None,
                CancelMode::Unwanted if self.left.contains(&entity) => return None,
                CancelMode::Superseded => "no cancel: nothing newer is wanted",
                CancelMode::Unwanted => "no cancel: no run has stopped waiting for its entity",
            };
            Some(deviation(&record, expected))
        };
        let cancelled = std::mem::take(&mut self.cancelled);
        cancelled.into_iter().filter_map(unfounded).collect()
    }

    fn unpaired_starts(&mut self) -> Vec<Deviation> {
        let mut deviations = Vec::new();
        for (run, (entity, generation, record)) in std::mem::take(&mut self.started) {
            if self.opened.remove(&run) != Some((entity, generation)) {
                let expected = "no start: its entity did not open this run in the same batch";
                deviations.push(deviation(&record, expected));
            }
        }
        let unstarted = self.opened.keys();
        let records = unstarted.filter_map(|run| self.entity_records.get(run));
        let expected = "the run's stream to begin in the same batch";
        deviations.extend(records.map(|record| deviation(record, expected)));
        deviations
    }

    fn unpaired_ends(&mut self) -> Vec<Deviation> {
        let mut deviations = Vec::new();
        for (run, (entity, result, record)) in std::mem::take(&mut self.finished) {
            if self.closed.remove(&run) != Some((entity, result)) {
                let expected = "its entity to close the run, with the same result, in the same \
                                batch";
                deviations.push(deviation(&record, expected));
            }
        }
        let unfinished = self.closed.keys();
        let records = unfinished.filter_map(|run| self.entity_records.get(run));
        let expected = "the run to finish in the same batch";
        deviations.extend(records.map(|record| deviation(record, expected)));
        deviations
    }
}

/// Checks an event of a run's stream against the decisions for the run's state.
fn check_run(run: &RunState, record: &Record, rest: &[Record]) -> Result<(), Deviation> {
    let Some(graph) = run.graph.as_deref() else {
        return Ok(());
    };
    let kind = &record.event.kind;
    let allowed = match kind {
        EventKind::StepStarted { node, attempt } => {
            let decided = |command: &Command| match command {
                // Attempts that ended like the recorded one were counted, not recorded, so the
                // number may be higher.
                Command::Start {
                    node: decided,
                    attempt: least,
                } => decided == node && attempt >= least,
                _ => false,
            };
            calls_for(graph, run, decided) || is_caught_up(run, node, *attempt, record, rest)
        }
        EventKind::StepSkipped { node } => calls_for(
            graph,
            run,
            |command| matches!(command, Command::Skip { node: decided } if decided == node),
        ),
        EventKind::RunFinished { result } => calls_for(
            graph,
            run,
            |command| matches!(command, Command::Finish { result: decided } if decided == result),
        ),
        _ => true,
    };
    if allowed {
        Ok(())
    } else {
        Err(deviation(record, &commands_text(&decide(graph, run))))
    }
}

fn calls_for(graph: &Graph, run: &RunState, matches: impl Fn(&Command) -> bool) -> bool {
    decide(graph, run).iter().any(matches)
}

/// Whether this start is recorded late. An attempt that repeats a recorded failure is recorded only
/// if it ends differently, together with its end. The run may be about to end by then.
fn is_caught_up(
    run: &RunState,
    node: &Name,
    attempt: u32,
    record: &Record,
    rest: &[Record],
) -> bool {
    let node_state = run.nodes.get(node);
    let waited = matches!(node_state, Some(NodeState::Ready { attempt: last }) if attempt > *last);
    let next = rest.iter().find(|next| next.stream == record.stream);
    let ended = next.and_then(|next| match &next.event.kind {
        EventKind::StepSucceeded {
            node: ended_node,
            attempt: tried,
            ..
        }
        | EventKind::StepFailed {
            node: ended_node,
            attempt: tried,
            ..
        }
        | EventKind::StepBlocked {
            node: ended_node,
            attempt: tried,
            ..
        }
        | EventKind::StepInterrupted {
            node: ended_node,
            attempt: tried,
        } => Some((ended_node, *tried)),
        _ => None,
    });
    waited && ended == Some((node, attempt))
}

/// A short description of an event.
pub(super) fn event_text(kind: &EventKind) -> String {
    let name = kind.type_name();
    match kind {
        EventKind::StepStarted { node, attempt }
        | EventKind::StepSucceeded { node, attempt, .. }
        | EventKind::StepFailed { node, attempt, .. }
        | EventKind::StepBlocked { node, attempt, .. }
        | EventKind::StepInterrupted { node, attempt } => {
            format!("{name} {node} (attempt {attempt})")
        }
        EventKind::StepSkipped { node } | EventKind::TimerDue { node } => format!("{name} {node}"),
        EventKind::RunOpened {
            workflow,
            generation,
            ..
        } => format!("{name} {workflow} (generation {generation})"),
        EventKind::RunFinished { result } | EventKind::RunClosed { result, .. } => {
            format!("{name} {}", result_text(result))
        }
        EventKind::CancelRequested { mode } => format!("{name} {mode:?}"),
        EventKind::Desired { generation, .. } => format!("{name} (generation {generation})"),
        _ => name.to_owned(),
    }
}

fn result_text(result: &RunResult) -> String {
    match result {
        RunResult::Failed(failure) => format!("failed ({})", failure.code),
        RunResult::Succeeded => "succeeded".to_owned(),
        RunResult::Cancelled => "cancelled".to_owned(),
        RunResult::Superseded => "superseded".to_owned(),
    }
}

fn commands_text(commands: &[Command]) -> String {
    let texts = commands.iter().filter_map(|command| match command {
        Command::Start { node, attempt } => {
            Some(format!("step_started {node} (attempt {attempt} or later)"))
        }
        Command::Skip { node } => Some(format!("step_skipped {node}")),
        Command::Finish { result } => Some(format!("run_finished {}", result_text(result))),
        Command::ArmTimer { .. } | Command::Stop { .. } => None,
    });
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() {
        "nothing that the engine does on its own".to_owned()
    } else {
        texts.join(" or ")
    }
}

fn called_for(command: Option<&EntityCommand>) -> String {
    match command {
        Some(EntityCommand::OpenRun {
            workflow,
            generation,
        }) => format!("run_opened {workflow} (generation {generation})"),
        Some(EntityCommand::CancelRun { run, .. }) => format!("the run {run} to end first"),
        Some(EntityCommand::ArmTimer { .. }) => "no run before a wait is over".to_owned(),
        None => "no run: the newest desired state needs none".to_owned(),
    }
}
