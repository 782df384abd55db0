//! Runs: deciding what follows, starting nodes, and ending.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    attempt::Job,
    control::{Control, Effect, InFlight},
    recorder::Cause,
    timers::Waiter,
};
use crate::{
    model::{
        CancelMode, Command, EntityId, EntityState, EventKind, Graph, Name, Node, NodeState,
        Payload, RunId, RunResult, RunState, StreamId, Work, decide,
    },
    registry::AnyStep,
};

impl Control {
    /// Decides until nothing follows any more.
    pub(super) async fn settle(&mut self) {
        loop {
            for stream in self.recorder.take_touched() {
                self.touched(&stream);
            }
            if let Some(run) = self.dirty_runs.pop_first() {
                self.settle_run(run);
            } else if let Some(entity) = self.dirty_entities.pop_first() {
                self.settle_entity(&entity).await;
            } else {
                return;
            }
        }
    }

    fn touched(&mut self, stream: &StreamId) {
        match stream {
            StreamId::Run(run) => {
                self.dirty_runs.insert(*run);
                let entity = self
                    .recorder
                    .world
                    .run(*run)
                    .and_then(|run| run.entity.clone());
                if let Some(entity) = entity {
                    self.dirty_entities.extend(
                        self.recorder
                            .world
                            .waiting_for(&entity)
                            .into_iter()
                            .map(|w| w.2),
                    );
                    self.dirty_entities.insert(entity);
                }
            }
            StreamId::Entity(entity) => {
                self.dirty_entities.insert(entity.clone());
            }
            StreamId::Journal => {}
        }
    }

    fn settle_run(&mut self, id: RunId) {
        let Some(run) = self.recorder.world.run(id).cloned() else {
            return;
        };
        let (Some(graph), Some(entity)) = (run.graph.clone(), run.entity.clone()) else {
            return;
        };
        if run.result().is_some() || !self.is_driven(&entity) {
            return;
        }
        if self.recovered.insert(id) {
            self.recover(id, &run);
            self.dirty_runs.insert(id);
            return;
        }
        for command in decide(&graph, &run) {
            self.carry_out(id, &entity, &run, &graph, command);
        }
    }

    /// Looks after the attempts that an earlier process did not see the end of.
    fn recover(&mut self, id: RunId, run: &RunState) {
        let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
        for node in nodes {
            let Some(NodeState::Running { attempt }) = run.nodes.get(&node.name) else {
                continue;
            };
            let (name, attempt) = (node.name.clone(), *attempt);
            match &node.work {
                Work::Step { .. } => {
                    let kind = EventKind::StepInterrupted {
                        node: name,
                        attempt,
                    };
                    self.recorder.run_event(id, kind, &Cause::engine());
                }
                Work::Entity {
                    entity,
                    workflow,
                    desired,
                } => {
                    self.require(entity, workflow, desired);
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        id: RunId,
        entity: &EntityId,
        run: &RunState,
        graph: &Graph,
        command: Command,
    ) {
        match command {
            Command::Start { node, attempt } => {
                if let Some(node) = graph.node(&node) {
                    self.start_node(id, run, node, attempt);
                }
            }
            Command::ArmTimer { node, wait } => {
                let waiter = (id, node);
                let counted = self
                    .retries
                    .get(&waiter)
                    .is_some_and(|retry| retry.repeats > 0);
                if !self.in_flight.contains_key(&waiter) && !counted {
                    self.timers.arm(waiter, wait);
                }
            }
            Command::Stop { node } => self.stop_node(id, run, graph, &node),
            Command::Skip { node } => {
                if self.is_idle(id) {
                    self.timers.disarm(&(id, node.clone()));
                    self.record_engine(id, EventKind::StepSkipped { node });
                }
            }
            Command::Finish { result } => self.finish(id, entity, result),
        }
    }

    pub(super) fn record_engine(&mut self, run: RunId, kind: EventKind) {
        self.recorder.run_event(run, kind, &Cause::engine());
    }

    /// Whether no attempt of the run is under way. Asks the interruptible ones to stop.
    fn is_idle(&self, run: RunId) -> bool {
        let mut idle = true;
        for (_, attempt) in self.in_flight.iter().filter(|((of, _), _)| *of == run) {
            idle = false;
            if attempt.interruptible {
                attempt.stop.cancel();
            }
        }
        idle
    }

    fn start_node(&mut self, id: RunId, run: &RunState, node: &Node, attempt: u32) {
        let waiter = (id, node.name.clone());
        if self.in_flight.contains_key(&waiter) || !self.may_start() {
            return;
        }
        let attempt = attempt.max(
            self.retries
                .get(&waiter)
                .map_or(0, |r| r.attempt)
                .saturating_add(1),
        );
        let started = EventKind::StepStarted {
            node: node.name.clone(),
            attempt,
        };
        match &node.work {
            Work::Entity {
                entity: other,
                workflow,
                desired,
            } => {
                self.record_engine(id, started);
                self.require(other, workflow, desired);
            }
            Work::Step { step, version, .. } => match self.parts.registry.find(step, *version) {
                Err(failure) => {
                    self.record_engine(id, started);
                    let node = node.name.clone();
                    let kind = EventKind::StepBlocked {
                        node,
                        attempt,
                        failure,
                        recheck: None,
                    };
                    self.record_engine(id, kind);
                }
                Ok(found) => {
                    if !self.limits.take(&node.lane, id) {
                        return;
                    }
                    self.record_engine(id, started);
                    self.launch(waiter, run, node, found, attempt, false);
                }
            },
        }
    }

    /// Records that the step is about to act for the entity, once.
    pub(super) fn note_intent(&mut self, entity: &EntityId, step: Name) {
        if !self.is_intended(entity, &step) {
            self.recorder
                .entity_event(entity, EventKind::Intent { step }, &Cause::engine());
        }
    }

    fn is_intended(&self, entity: &EntityId, step: &Name) -> bool {
        let known = |state: &Arc<EntityState>| state.intents.contains(step);
        self.recorder.world.entity(entity).is_some_and(known)
    }

    pub(super) fn launch(
        &mut self,
        waiter: Waiter,
        run: &RunState,
        node: &Node,
        step: Arc<dyn AnyStep>,
        attempt: u32,
        unrecorded: bool,
    ) {
        let Work::Step {
            step: step_name,
            params,
            ..
        } = &node.work
        else {
            return;
        };
        let (Some(entity), Some(engine)) = (run.entity.clone(), self.asker()) else {
            return;
        };
        self.timers.disarm(&waiter);
        let stop = CancellationToken::new();
        let in_flight = InFlight {
            stop: stop.clone(),
            lane: node.lane.clone(),
            interruptible: node.interruptible,
            unrecorded: unrecorded.then_some(attempt),
        };
        let job = Job {
            generation: run.generation,
            run: waiter.0,
            node: waiter.1.clone(),
            attempt,
            intended_before: self.is_intended(&entity, step_name),
            sequence: 0,
            recorded: self.recorded(),
            step_name: step_name.clone(),
            step,
            params: params.clone(),
            outputs: outputs(run),
            previous: self.previous_output(&entity),
            stopped: stop,
            progress: self.progress_sink(&entity, &waiter),
            engine,
            entity,
        };
        self.in_flight.insert(waiter, in_flight);
        self.effects.push(Effect::Attempt(Box::new(job)));
    }

    fn previous_output(&self, entity: &EntityId) -> Option<Payload> {
        let reached_by = self.recorder.world.entity(entity)?.reached_by?;
        last_output(self.recorder.world.run(reached_by)?)
    }

    fn stop_node(&mut self, id: RunId, run: &RunState, graph: &Graph, name: &Name) {
        if let Some(attempt) = self.in_flight.get(&(id, name.clone())) {
            attempt.stop.cancel();
            return;
        }
        let Some(Work::Entity { entity, .. }) = graph.node(name).map(|node| &node.work) else {
            return;
        };
        let attempt = run.nodes.get(name).map_or(0, NodeState::attempt);
        self.record_engine(
            id,
            EventKind::StepInterrupted {
                node: name.clone(),
                attempt,
            },
        );
        if self.recorder.world.waiting_for(entity).is_empty()
            && let Some(run) = self.recorder.world.active_run(entity)
        {
            self.ask_to_stop(run, CancelMode::Unwanted);
        }
    }

    fn finish(&mut self, id: RunId, entity: &EntityId, result: RunResult) {
        if !self.is_idle(id) {
            return;
        }
        self.record_engine(
            id,
            EventKind::RunFinished {
                result: result.clone(),
            },
        );
        let closed = EventKind::RunClosed {
            run: id,
            result: result.clone(),
        };
        self.recorder.entity_event(entity, closed, &Cause::engine());
        if matches!(result, RunResult::Failed(_)) {
            self.schedule_next_try(entity);
        }
        self.retries.retain(|(run, _), _| *run != id);
        self.effects.push(Effect::Forget(id));
        self.tell_waiting(id, entity, &result);
    }
}

fn outputs(run: &RunState) -> BTreeMap<Name, Payload> {
    let done = run.nodes.iter().filter_map(|(name, state)| match state {
        NodeState::Succeeded { output, .. } => Some((name.clone(), output.clone())),
        _ => None,
    });
    done.collect()
}

/// The output of the run's last node, where that succeeded.
pub(super) fn last_output(run: &RunState) -> Option<Payload> {
    let last = run.graph.as_ref()?.nodes.last()?;
    match run.nodes.get(&last.name)? {
        NodeState::Succeeded { output, .. } => Some(output.clone()),
        _ => None,
    }
}
