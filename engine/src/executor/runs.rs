//! From states to what follows: opening runs, starting nodes, taking in their ends.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::{
    attempt::Job,
    control::{Control, Effect, InFlight},
    handle::Notice,
    recorder::Cause,
    retry::{Retry, wait},
    timers::Waiter,
};
use crate::{
    journal::JournalError,
    model::{
        CancelMode, Command, EntityCommand, EntityId, EntityState, EventKind, Failure,
        FailureClass, Graph, GraphError, Name, Node, NodeState, Outcome, Payload, Precedence,
        RunId, RunResult, RunState, StreamId, Wait, Work, decide, decide_entity,
    },
    registry::AnyStep,
    workflow::Wish,
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
        }
    }

    // ---- wishes and entities ----

    /// Why a wish cannot be recorded, if so.
    pub(super) fn refusal(&self, wish: &Wish) -> Option<Failure> {
        if wish.precedence == Precedence::Record {
            return None;
        }
        let state = self
            .recorder
            .world
            .entity(&wish.entity)
            .cloned()
            .unwrap_or_default();
        let workflows = &self.parts.workflows;
        let graph = workflows.graph(&wish.entity, &state, &wish.workflow, &wish.desired);
        match graph.map(|graph| graph.validate()) {
            // Heavy parameters are moved into blobs when the run is opened.
            Ok(Ok(()) | Err(GraphError::TooHeavy(_))) => None,
            Ok(Err(error)) => Some(defect(error.to_string())),
            Err(failure) => Some(failure),
        }
    }

    /// Records a wish and drives its entity.
    pub(super) fn wish(&mut self, wish: Wish, desired: Payload, cause: &Cause) -> u64 {
        let newest = self
            .recorder
            .world
            .entity(&wish.entity)
            .and_then(|e| e.desired.as_ref());
        let generation = newest
            .map_or(0, |desired| desired.generation)
            .saturating_add(1);
        let kind = EventKind::Desired {
            generation,
            workflow: wish.workflow,
            precedence: wish.precedence,
            desired,
        };
        self.recorder.entity_event(&wish.entity, kind, cause);
        self.drive_entity(&wish.entity);
        generation
    }

    async fn settle_entity(&mut self, id: &EntityId) {
        if !self.is_driven(id) {
            return;
        }
        let Some(state) = self.recorder.world.entity(id).cloned() else {
            return;
        };
        match decide_entity(&state) {
            Some(EntityCommand::OpenRun {
                workflow,
                generation,
            }) => {
                self.open_run(id, &workflow, generation).await;
            }
            Some(EntityCommand::CancelRun { run, mode }) => self.ask_to_stop(run, mode),
            None => {}
        }
        self.record_state(id);
    }

    fn ask_to_stop(&mut self, run: RunId, mode: CancelMode) {
        if self
            .recorder
            .world
            .run(run)
            .is_some_and(|run| run.cancel.is_none())
        {
            self.recorder
                .run_event(run, EventKind::CancelRequested { mode }, &Cause::engine());
        }
    }

    fn record_state(&mut self, id: &EntityId) {
        let world = &self.recorder.world;
        let Some(view) = world.view(id) else { return };
        let now = self.parts.workflows.state(&view);
        if let Some((state, detail)) = now.filter(|now| view.entity.state.as_ref() != Some(now)) {
            let kind = EventKind::StateChanged { state, detail };
            self.recorder.entity_event(id, kind, &Cause::engine());
        }
    }

    async fn open_run(&mut self, id: &EntityId, workflow: &Name, generation: u64) {
        if self.unreadable.contains(id) {
            return;
        }
        match self.graph(id, workflow).await {
            Ok(graph) => self.record_run(id, workflow, generation, graph),
            Err(failure) => {
                tracing::error!(entity = %id, %failure, "what is wanted cannot be turned into a run");
                self.unreadable.insert(id.clone());
            }
        }
    }

    async fn graph(&self, id: &EntityId, workflow: &Name) -> Result<Graph, Failure> {
        let state = self.recorder.world.entity(id).cloned().unwrap_or_default();
        let desired = state.desired.as_ref().map(|wanted| wanted.desired.clone());
        let desired = self.parts.blobs.get(&desired.unwrap_or_default()).await;
        let desired = desired.map_err(|error| defect(error.to_string()))?;
        let graph = self.parts.workflows.graph(id, &state, workflow, &desired)?;
        let graph = self
            .spill(graph)
            .await
            .map_err(|error| defect(error.to_string()))?;
        graph
            .validate()
            .map_err(|error| defect(error.to_string()))?;
        Ok(graph)
    }

    /// Moves the longest parameters into blobs until the graph fits into one event.
    async fn spill(&self, mut graph: Graph) -> Result<Graph, JournalError> {
        while graph.weight() > Graph::MAX_WEIGHT {
            let longest = graph
                .nodes
                .iter_mut()
                .filter_map(|node| inline_of(&mut node.work));
            let Some(payload) =
                longest.max_by_key(|payload| payload.inline().map_or(0, <[u8]>::len))
            else {
                break;
            };
            let bytes = payload.inline().unwrap_or_default().to_vec();
            *payload = self.parts.blobs.put_blob(&bytes).await?;
        }
        Ok(graph)
    }

    fn record_run(&mut self, id: &EntityId, workflow: &Name, generation: u64, graph: Graph) {
        let run = RunId(Ulid::from_parts(self.parts.clock.now().0, rand::random()));
        let engine = Cause::engine();
        let workflow = workflow.clone();
        let opened = EventKind::RunOpened {
            run,
            workflow,
            generation,
        };
        self.recorder.entity_event(id, opened, &engine);
        let started = EventKind::RunStarted {
            entity: id.clone(),
            generation,
            graph,
        };
        self.recorder.run_event(run, started, &engine);
        self.recovered.insert(run);
    }

    // ---- runs ----

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

    fn record_engine(&mut self, run: RunId, kind: EventKind) {
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
        if self.in_flight.contains_key(&waiter) {
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

    fn launch(
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
        self.retries.retain(|(run, _), _| *run != id);
        self.effects.push(Effect::Forget(id));
        self.tell_waiting(id, entity, &result);
    }

    // ---- entities that wait for entities ----

    /// Sees to it that a run works for the other entity.
    fn require(&mut self, entity: &EntityId, workflow: &Name, desired: &Payload) {
        self.drive_entity(entity);
        if self.recorder.world.active_run(entity).is_some() {
            return;
        }
        let (entity, workflow) = (entity.clone(), workflow.clone());
        let precedence = Precedence::Queue;
        let wish = Wish {
            entity,
            workflow,
            precedence,
            desired: Vec::new(),
        };
        self.wish(wish, desired.clone(), &Cause::engine());
    }

    fn tell_waiting(&mut self, id: RunId, entity: &EntityId, result: &RunResult) {
        let output = self.recorder.world.run(id).and_then(|run| last_output(run));
        for (run, node, _) in self.recorder.world.waiting_for(entity) {
            let state = self
                .recorder
                .world
                .run(run)
                .and_then(|run| run.nodes.get(&node));
            let attempt = state.map_or(0, NodeState::attempt);
            let kind = match (result, &output) {
                (RunResult::Succeeded, Some(output)) => EventKind::StepSucceeded {
                    node,
                    attempt,
                    outcome: Outcome::AlreadyPresent,
                    output: output.clone(),
                },
                (RunResult::Failed(failure), _) => {
                    let failure = failure.clone();
                    EventKind::StepFailed {
                        node,
                        attempt,
                        failure,
                        retry: None,
                    }
                }
                _ => EventKind::StepInterrupted { node, attempt },
            };
            self.record_engine(run, kind);
        }
    }

    // ---- ends of attempts and waits ----

    pub(super) fn attempt_ended(
        &mut self,
        waiter: &Waiter,
        result: Result<(Outcome, Payload), Failure>,
    ) {
        let Some(attempt) = self.in_flight.remove(waiter) else {
            return;
        };
        self.dirty_runs.extend(self.limits.give_back(&attempt.lane));
        self.dirty_runs.insert(waiter.0);
        let unrecorded = attempt.unrecorded;
        match result {
            Ok((outcome, output)) => {
                let number = self.catch_up(waiter, unrecorded);
                self.retries.remove(waiter);
                let node = waiter.1.clone();
                let kind = EventKind::StepSucceeded {
                    node,
                    attempt: number,
                    outcome,
                    output,
                };
                self.record_engine(waiter.0, kind);
            }
            Err(_) if attempt.stop.is_cancelled() && unrecorded.is_some() => {}
            Err(_) if attempt.stop.is_cancelled() => {
                let attempt = self.catch_up(waiter, None);
                let kind = EventKind::StepInterrupted {
                    node: waiter.1.clone(),
                    attempt,
                };
                self.record_engine(waiter.0, kind);
            }
            Err(failure) => self.attempt_failed(waiter, unrecorded, failure),
        }
    }

    /// Records the start of an attempt that was not recorded; the attempt's number.
    fn catch_up(&mut self, waiter: &Waiter, unrecorded: Option<u32>) -> u32 {
        let node = || waiter.1.clone();
        let Some(attempt) = unrecorded else {
            let run = self.recorder.world.run(waiter.0);
            return run
                .and_then(|run| run.nodes.get(&waiter.1))
                .map_or(0, NodeState::attempt);
        };
        let run = self.recorder.world.run(waiter.0);
        let state = run.and_then(|run| run.nodes.get(&waiter.1));
        if matches!(
            state,
            Some(NodeState::Delayed { .. } | NodeState::Blocked { .. })
        ) {
            let timed = !matches!(state, Some(NodeState::Blocked { recheck: None, .. }));
            if timed {
                self.record_engine(waiter.0, EventKind::TimerDue { node: node() });
            }
        }
        self.record_engine(
            waiter.0,
            EventKind::StepStarted {
                node: node(),
                attempt,
            },
        );
        attempt
    }

    fn attempt_failed(&mut self, waiter: &Waiter, unrecorded: Option<u32>, failure: Failure) {
        let now = self.parts.clock.now();
        let tuning = self.parts.tuning.clone();
        let retry = self
            .retries
            .entry(waiter.clone())
            .or_insert_with(|| Retry::new(&tuning));
        let next = match failure.class {
            FailureClass::Transient => Some(retry.next(now)),
            FailureClass::Recheck => Some(wait(tuning.recheck, now)),
            FailureClass::Blocked | FailureClass::Failed => None,
        };
        if let (Some(attempt), Some(next)) = (unrecorded, next)
            && self.is_standing_at(waiter, &failure)
        {
            self.count_repeat(waiter, attempt, failure, next);
            return;
        }
        let attempt = self.catch_up(waiter, unrecorded);
        if let Some(retry) = self.retries.get_mut(waiter) {
            retry.repeats = 0;
            retry.attempt = attempt;
        }
        self.record_failure(waiter, attempt, failure, next);
    }

    fn record_failure(
        &mut self,
        waiter: &Waiter,
        attempt: u32,
        failure: Failure,
        next: Option<Wait>,
    ) {
        let node = waiter.1.clone();
        let kind = match failure.class {
            FailureClass::Transient | FailureClass::Failed => EventKind::StepFailed {
                node,
                attempt,
                failure,
                retry: next,
            },
            FailureClass::Recheck | FailureClass::Blocked => EventKind::StepBlocked {
                node,
                attempt,
                failure,
                recheck: next,
            },
        };
        self.record_engine(waiter.0, kind);
    }

    fn is_standing_at(&self, waiter: &Waiter, failure: &Failure) -> bool {
        let run = self.recorder.world.run(waiter.0);
        let state = run.and_then(|run| run.nodes.get(&waiter.1));
        state.and_then(NodeState::failure) == Some(failure)
    }

    /// A failure like the recorded one is counted; the journal does not grow by it.
    fn count_repeat(&mut self, waiter: &Waiter, attempt: u32, failure: Failure, next: Wait) {
        if let Some(retry) = self.retries.get_mut(waiter) {
            retry.repeats = retry.repeats.saturating_add(1);
            retry.attempt = attempt;
        }
        self.timers.arm(waiter.clone(), next);
        let (run, node) = waiter.clone();
        let delay_ms = next.delay_ms;
        let notice = Notice::Repeated {
            run,
            node,
            attempt,
            failure,
            delay_ms,
        };
        self.effects.push(Effect::Notice(notice));
    }

    /// A wait is over: the node is looked at again, without a record yet.
    pub(super) fn due(&mut self, waiter: &Waiter) {
        let Some(run) = self.recorder.world.run(waiter.0).cloned() else {
            return;
        };
        let standing = run.nodes.get(&waiter.1);
        let waits = matches!(
            standing,
            Some(NodeState::Delayed { .. } | NodeState::Blocked { .. })
        );
        if run.result().is_some() || run.cancel.is_some() || !waits {
            return;
        }
        let Some(graph) = run.graph.clone() else {
            return;
        };
        let Some(node) = graph.node(&waiter.1) else {
            return;
        };
        let Work::Step { step, version, .. } = &node.work else {
            return;
        };
        let Ok(found) = self.parts.registry.find(step, *version) else {
            return;
        };
        if self.in_flight.contains_key(waiter) {
            return;
        }
        if !self.limits.take(&node.lane, waiter.0) {
            self.timers.arm(
                waiter.clone(),
                wait(self.parts.tuning.first_retry, self.parts.clock.now()),
            );
            return;
        }
        let before = standing.map_or(0, NodeState::attempt);
        let counted = self.retries.get(waiter).map_or(0, |retry| retry.attempt);
        let attempt = before.max(counted).saturating_add(1);
        self.launch(waiter.clone(), &run, node, found, attempt, true);
    }
}

fn outputs(run: &RunState) -> BTreeMap<Name, Payload> {
    let done = run.nodes.iter().filter_map(|(name, state)| match state {
        NodeState::Succeeded { output, .. } => Some((name.clone(), output.clone())),
        _ => None,
    });
    done.collect()
}

fn last_output(run: &RunState) -> Option<Payload> {
    let last = run.graph.as_ref()?.nodes.last()?;
    match run.nodes.get(&last.name)? {
        NodeState::Succeeded { output, .. } => Some(output.clone()),
        _ => None,
    }
}

fn inline_of(work: &mut Work) -> Option<&mut Payload> {
    let payload = match work {
        Work::Step { params, .. } => params,
        Work::Entity { desired, .. } => desired,
    };
    payload.inline().is_some().then_some(payload)
}

fn defect(message: String) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0001", message)
        .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`")
}
