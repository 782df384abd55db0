//! Runs: decides what follows, starts nodes, and ends runs.

use super::{
    admission::{Admission, WorkRequest},
    control::Control,
    loop_state::Effect,
    recorder::EventCause,
};
use crate::model::{
    CancelMode, Command, EntityId, EventKind, Failure, Graph, Name, Node, NodeState, Payload,
    RunId, RunResult, RunState, StreamId, Text, Work, decide,
};

impl Control {
    /// Decides until nothing more follows.
    pub(super) async fn settle(&mut self) {
        // Together with the runs whose attempts ended, so that the oldest run gets the free place.
        self.wake_waiting();
        loop {
            for stream in self.recorder.drain_touched() {
                self.touched(&stream);
            }
            if let Some(run) = self.dirty_runs.pop_first() {
                self.settle_run(run).await;
            } else if let Some(entity) = self.dirty_entities.pop_first() {
                self.settle_entity(&entity).await;
            } else if !self.wake_waiting() {
                return;
            }
        }
    }

    /// Marks the runs for decision that waited for a place that is free now. Returns whether there
    /// are any.
    fn wake_waiting(&mut self) -> bool {
        let woken = self.gate.wake();
        let has_woken = !woken.is_empty();
        self.dirty_runs.extend(woken);
        has_woken
    }

    fn touched(&mut self, stream: &StreamId) {
        match stream {
            StreamId::Run(run) => {
                self.dirty_runs.insert(*run);
                let entity = self
                    .recorder
                    .projection
                    .run(*run)
                    .and_then(|run| run.entity.clone());
                if let Some(entity) = entity {
                    self.dirty_entities.extend(
                        self.recorder
                            .projection
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

    async fn settle_run(&mut self, id: RunId) {
        let Some(run) = self.recorder.projection.run(id).cloned() else {
            return;
        };
        let (Some(graph), Some(entity)) = (run.graph.clone(), run.entity.clone()) else {
            return;
        };
        if run.result().is_some() || !self.is_driven(&entity) {
            return;
        }
        if self.recovered.insert(id) {
            self.recover(id, &run).await;
            self.dirty_runs.insert(id);
            return;
        }
        for command in decide(&graph, &run) {
            self.carry_out(id, &entity, &run, &graph, command);
        }
    }

    /// Handles the attempts that an earlier process left unfinished.
    async fn recover(&mut self, id: RunId, run: &RunState) {
        let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
        for node in nodes {
            let Some(NodeState::Running { attempt }) = run.nodes.get(&node.name) else {
                continue;
            };
            let (name, attempt) = (node.name.clone(), *attempt);
            match &node.work {
                Work::Step { .. } => {
                    let kind = self.unfinished(&(id, name), attempt).await;
                    self.recorder.run_event(id, kind, &EventCause::engine());
                }
                Work::Entity { .. } => self.wait_for_entity(id, node, attempt),
            }
        }
    }

    /// Ensures that a run works for the entity that a node waits for. If that entity is unreadable,
    /// the node is blocked until a user repairs it.
    fn wait_for_entity(&mut self, id: RunId, node: &Node, attempt: u32) {
        let Work::Entity {
            entity,
            workflow,
            desired,
        } = &node.work
        else {
            return;
        };
        match self.quarantined(entity) {
            None => self.require(entity, workflow, desired),
            Some(failure) => self.block(id, &node.name, attempt, failure),
        }
    }

    /// Blocks the node until a user requests a retry.
    fn block(&mut self, id: RunId, node: &Name, attempt: u32, failure: Failure) {
        let kind = EventKind::StepBlocked {
            node: node.clone(),
            attempt,
            failure,
            recheck: None,
        };
        self.record_engine(id, kind);
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
        self.recorder.run_event(run, kind, &EventCause::engine());
    }

    /// Whether no attempt of the run is in progress. Asks the interruptible ones to stop.
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
        let step = match &node.work {
            Work::Step { step, version, .. } => Some(self.parts.registry.find(step, *version)),
            Work::Entity { .. } => None,
        };
        // Only an attempt of a step occupies a place in the lane.
        let lane = match &step {
            Some(Ok(_)) => node.lane.clone(),
            _ => Text::default(),
        };
        let first = WorkRequest::FirstAttempt {
            run: id,
            lane: &lane,
        };
        if self.in_flight.contains_key(&waiter)
            || !self.may_start_suspect(&waiter)
            || self.gate.admit(first) != Admission::Granted
        {
            return;
        }
        let counted = self.retries.get(&waiter).map_or(0, |retry| retry.attempt);
        let next_attempt = attempt.max(counted.saturating_add(1));
        let started = EventKind::StepStarted {
            node: node.name.clone(),
            attempt: next_attempt,
        };
        self.record_engine(id, started);
        match step {
            None => self.wait_for_entity(id, node, next_attempt),
            Some(Err(failure)) => self.block(id, &node.name, next_attempt, failure),
            Some(Ok(step)) => self.launch(waiter, run, node, step, next_attempt, false),
        }
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
        if self.recorder.projection.waiting_for(entity).is_empty()
            && let Some(active) = self.recorder.projection.active_run(entity)
        {
            self.ask_to_stop(active, CancelMode::Unwanted);
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
        self.recorder
            .entity_event(entity, closed, &EventCause::engine());
        if matches!(result, RunResult::Failed(_)) {
            self.schedule_next_try(entity);
        }
        self.retries.retain(|(run, _), _| *run != id);
        self.suspects.forget(id);
        self.effects.push(Effect::Forget(id));
        self.report_waiting(id, entity, &result);
    }
}

/// The output of the run's last node, if that succeeded.
pub(super) fn last_output(run: &RunState) -> Option<Payload> {
    let last = run.graph.as_ref()?.nodes.last()?;
    match run.nodes.get(&last.name)? {
        NodeState::Succeeded { output, .. } => Some(output.clone()),
        _ => None,
    }
}
