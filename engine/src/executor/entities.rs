//! Entities: their desired states, the runs that these need, and which run waits for which entity.

use std::sync::Arc;

use ulid::Ulid;

use super::{
    admission::{Admission, WorkRequest},
    control::Control,
    loop_state::Effect,
    notice::Notice,
    projection::UnreadableEntity,
    recorder::EventCause,
    retry::wait,
    runs::last_output,
};
use crate::{
    journal::JournalError,
    model::{
        ActiveRun, Actor, CancelMode, Desired, EntityCommand, EntityId, EntityState, EventKind,
        Failure, FailureClass, Graph, GraphError, Name, NodeState, Outcome, Payload, Precedence,
        RunId, RunResult, RunState, Text, Work, decide_entity,
    },
    workflow::{DesiredUpdate, Situation},
};

/// The node name under which the wait for an entity's next run is stored, beside the waits of the
/// failed run's nodes.
pub(super) const NEXT_TRY: &str = "next_try";

impl Control {
    /// Why a desired state cannot be recorded; `None` if it can.
    pub(super) fn refusal(&self, update: &DesiredUpdate) -> Option<Failure> {
        if let Some(failure) = self.quarantined(&update.entity) {
            return Some(failure);
        }
        let state = self
            .recorder
            .projection
            .entity(&update.entity)
            .cloned()
            .unwrap_or_default();
        let newest = state.desired.as_ref().map_or(0, |d| d.generation);
        if update
            .made_from
            .is_some_and(|made_from| made_from != newest)
        {
            return Some(outdated(&update.entity));
        }
        if !state.admits(update.precedence) {
            return Some(outranked(&update.entity));
        }
        if update.precedence == Precedence::Record {
            return None;
        }
        let ordered = state.with_orders(&update.orders);
        let graph = self.make_graph(&update.entity, &ordered, &update.workflow, &update.desired);
        match graph.map(|graph| graph.validate()) {
            // Parameters that are too heavy are moved into blobs when the run is opened.
            Ok(Ok(()) | Err(GraphError::TooHeavy(_))) => None,
            Ok(Err(error)) => Some(Failure::defect(error.to_string())),
            Err(failure) => Some(failure),
        }
    }

    /// Records a desired state and drives its entity.
    pub(super) fn record_update(
        &mut self,
        update: DesiredUpdate,
        desired: Payload,
        cause: &EventCause,
    ) -> u64 {
        let newest = self
            .recorder
            .projection
            .entity(&update.entity)
            .and_then(|e| e.desired.as_ref());
        let generation = newest
            .map_or(0, |newest| newest.generation)
            .saturating_add(1);
        let kind = EventKind::Desired {
            generation,
            workflow: update.workflow,
            precedence: update.precedence,
            desired,
        };
        self.recorder.entity_event(&update.entity, kind, cause);
        self.void_orders_of(&update.entity, &update.voids, cause);
        self.replace_orders(&update.entity, &update.orders, cause);
        for order in update.orders {
            self.record_order(&update.entity, order, cause);
        }
        self.drive_entity(&update.entity);
        self.shared.set_unopened(&update.entity, None);
        // Immediately, because a step that ends in this same batch must not let the run succeed
        // although a newer desired state exists.
        let called_for = (self.recorder.projection.entity(&update.entity))
            .and_then(|state| decide_entity(state));
        if let Some(EntityCommand::CancelRun { run, mode }) = called_for {
            self.ask_to_stop(run, mode);
        }
        generation
    }

    pub(super) async fn settle_entity(&mut self, id: &EntityId) {
        if !self.is_driven(id) {
            return;
        }
        let Some(state) = self.recorder.projection.entity(id).cloned() else {
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
            Some(EntityCommand::ArmTimer { after, wait }) => {
                self.timers.arm((after, Name::of(NEXT_TRY)), wait);
            }
            None => {}
        }
        self.record_state(id);
    }

    /// Records when another run follows the one that has just failed, if the workflow wants one.
    pub(super) fn schedule_next_try(&mut self, id: &EntityId) {
        let Some(state) = self.recorder.projection.entity(id) else {
            return;
        };
        let is_newest = |desired: &Desired| desired.generation == state.attempted;
        if !state.desired.as_ref().is_some_and(is_newest) {
            return;
        }
        if let Some(delay) = self.parts.workflows.next_try(id, state) {
            let kind = EventKind::RetryScheduled {
                wait: wait(delay, self.parts.clock.now()),
            };
            self.recorder.entity_event(id, kind, &EventCause::engine());
        }
    }

    /// Requests a retry after the wait that follows a failed run.
    pub(super) fn next_try_due(&mut self, after: RunId) {
        let projection = &self.recorder.projection;
        let entity = projection.run(after).and_then(|run| run.entity.clone());
        let Some(entity) = entity else { return };
        let waits = projection.entity(&entity).is_some_and(|state| {
            let newest = state.last.as_ref().map(|last| last.run);
            state.next_try.is_some() && newest == Some(after)
        });
        if waits {
            let cause = EventCause {
                actor: Actor::Engine,
                reason: Text::new("the wait after the failed run is over"),
            };
            self.recorder
                .entity_event(&entity, EventKind::RetryRequested, &cause);
        }
    }

    pub(super) fn ask_to_stop(&mut self, run: RunId, mode: CancelMode) {
        if self
            .recorder
            .projection
            .run(run)
            .is_some_and(|run| run.cancel.is_none())
        {
            self.recorder.run_event(
                run,
                EventKind::CancelRequested { mode },
                &EventCause::engine(),
            );
        }
    }

    fn record_state(&mut self, id: &EntityId) {
        let projection = &self.recorder.projection;
        let Some(view) = projection.view(id) else {
            return;
        };
        if view.run.is_none() && view.entity.last.is_some() {
            // The newest run is archived: its final state was recorded and remains valid.
            return;
        }
        let computed = self.parts.workflows.state(&view);
        let changed = computed.filter(|computed| view.entity.state.as_ref() != Some(computed));
        if let Some((state, detail)) = changed {
            let kind = EventKind::StateChanged { state, detail };
            self.recorder.entity_event(id, kind, &EventCause::engine());
        }
    }

    /// Records the state in which an observation outside runs found an entity. Does nothing while a
    /// run is open, because the run then determines the state.
    pub(super) fn note_state(
        &mut self,
        id: &EntityId,
        state: Name,
        detail: Text,
        cause: &EventCause,
    ) {
        let Some(entity) = self.recorder.projection.entity(id) else {
            return;
        };
        let new_state = Some((state.clone(), detail.clone()));
        if entity.active.is_none() && entity.state != new_state {
            let kind = EventKind::StateChanged { state, detail };
            self.recorder.entity_event(id, kind, cause);
        }
    }

    async fn open_run(&mut self, id: &EntityId, workflow: &Name, generation: u64) {
        if self.shared.unopened(id).is_some()
            || self.gate.admit(WorkRequest::Run) != Admission::Granted
        {
            return;
        }
        match self.graph(id, workflow).await {
            Ok(graph) => self.record_run(id, workflow, generation, graph),
            Err(failure) => {
                tracing::error!(entity = %id, %failure, "the desired state cannot be turned into a run");
                self.shared.set_unopened(id, Some(failure.clone()));
                let entity = id.clone();
                let notice = Notice::Unopened { entity, failure };
                self.effects.push(Effect::Notice(notice));
            }
        }
    }

    async fn graph(&self, id: &EntityId, workflow: &Name) -> Result<Graph, Failure> {
        let state = self
            .recorder
            .projection
            .entity(id)
            .cloned()
            .unwrap_or_default();
        let desired = state.desired.as_ref().map(|newest| newest.desired.clone());
        let desired = (self.parts.blobs.get(&desired.unwrap_or_default()).await)
            .map_err(|error| unread(id, &error))?;
        let graph = self.make_graph(id, &state, workflow, &desired)?;
        let graph = self
            .spill(graph)
            .await
            .map_err(|error| Failure::defect(error.to_string()))?;
        graph
            .validate()
            .map_err(|error| Failure::defect(error.to_string()))?;
        Ok(graph)
    }

    fn make_graph(
        &self,
        id: &EntityId,
        entity: &EntityState,
        workflow: &Name,
        desired: &[u8],
    ) -> Result<Graph, Failure> {
        let runs = |run: RunId| self.recorder.projection.run(run).cloned();
        let situation = Situation {
            id,
            entity,
            runs: &runs,
        };
        self.parts.workflows.graph(&situation, workflow, desired)
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
        let engine = EventCause::engine();
        let opened = EventKind::RunOpened {
            run,
            workflow: workflow.clone(),
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

    /// Ensures that a run of that workflow works for the awaited entity. A run of another workflow
    /// ends after its current step. A supreme desired state is waited for instead.
    pub(super) fn require(&mut self, entity: &EntityId, workflow: &Name, desired: &Payload) {
        self.drive_entity(entity);
        let state = self.recorder.projection.entity(entity);
        let precedence = match state.filter(|state| state.active.is_some()) {
            Some(state) if is_coming(state, workflow) => return,
            Some(_) => Precedence::Supersede,
            None => Precedence::Queue,
        };
        let (entity, workflow) = (entity.clone(), workflow.clone());
        let update = DesiredUpdate {
            entity,
            workflow,
            precedence,
            desired: Vec::new(),
            made_from: None,
            orders: Vec::new(),
            voids: Vec::new(),
        };
        self.record_update(update, desired.clone(), &EventCause::engine());
    }

    pub(super) fn report_waiting(&mut self, id: RunId, entity: &EntityId, result: &RunResult) {
        let output = self
            .recorder
            .projection
            .run(id)
            .and_then(|run| last_output(run));
        for (run, node, _) in self.recorder.projection.waiting_for(entity) {
            let state = self
                .recorder
                .projection
                .run(run)
                .and_then(|run| run.nodes.get(&node));
            let attempt = state.map_or(0, NodeState::attempt);
            let waited_for = output
                .as_ref()
                .filter(|_| self.is_waited_for(id, run, &node));
            let kind = match (result, waited_for) {
                (RunResult::Succeeded, Some(awaited)) => EventKind::StepSucceeded {
                    node,
                    attempt,
                    outcome: Outcome::AlreadyPresent,
                    output: awaited.clone(),
                },
                (RunResult::Failed(failure), _) if self.is_waited_for(id, run, &node) => {
                    EventKind::StepFailed {
                        node,
                        attempt,
                        failure: failure.clone(),
                        retry: None,
                    }
                }
                _ => EventKind::StepInterrupted { node, attempt },
            };
            self.record_engine(run, kind);
        }
    }

    /// Whether a node waits for the result of this run, and not for another workflow of the same
    /// entity. After a supreme desired state no other run will follow, so the wait ends with this
    /// run.
    fn is_waited_for(&self, ended: RunId, waiting: RunId, node: &Name) -> bool {
        let projection = &self.recorder.projection;
        let ended = projection.run(ended);
        let state = ended.and_then(|run| projection.entity(run.entity.as_ref()?));
        let newest = state.and_then(|state| state.desired.as_ref());
        if newest.is_some_and(|desired| desired.precedence == Precedence::Supreme) {
            return true;
        }
        let graph = |run: Option<&Arc<RunState>>| run.and_then(|run| run.graph.clone());
        let waiting_graph = graph(projection.run(waiting));
        let awaited = waiting_graph.as_ref().and_then(|nodes| nodes.node(node));
        match (awaited.map(|awaited_node| &awaited_node.work), graph(ended)) {
            (Some(Work::Entity { workflow, .. }), Some(ended)) => *workflow == ended.workflow,
            _ => true,
        }
    }
}

/// Whether a run of the workflow is open or comes next, or the newest desired state is supreme and
/// unfinished.
fn is_coming(state: &EntityState, workflow: &Name) -> bool {
    let is_open = |active: &ActiveRun| active.workflow == *workflow;
    // Work queued behind a blocked run would never start, so only superseding work counts.
    let is_next = |newest: &Desired| {
        newest.workflow == *workflow && newest.precedence == Precedence::Supersede
    };
    state.active.as_ref().is_some_and(is_open)
        || state.desired.as_ref().is_some_and(is_next)
        || !state.admits(Precedence::Supersede)
}

fn inline_of(work: &mut Work) -> Option<&mut Payload> {
    let payload = match work {
        Work::Step { params, .. } => params,
        Work::Entity { desired, .. } => desired,
    };
    payload.inline().is_some().then_some(payload)
}

/// The failure if the desired state cannot be read.
fn unread(entity: &EntityId, error: &JournalError) -> Failure {
    match error {
        damage if damage.is_damage() => UnreadableEntity::lost(entity, &error.to_string()),
        other => Failure::defect(other.to_string()),
    }
}

/// The failure if another desired state was recorded after the one that this request was based on.
fn outdated(entity: &EntityId) -> Failure {
    let message = "something else was asked for at the same moment";
    Failure::new(FailureClass::Transient, "VSI0014", message)
        .of_object(entity.to_string())
        .with_remedy("check the desired state with `vsiflow get`, then run the command again")
}

/// The failure if a supreme desired state (a deletion) is in progress, which no other may follow
/// yet.
fn outranked(entity: &EntityId) -> Failure {
    let message = "it is being deleted, and no other request may follow";
    Failure::new(FailureClass::Blocked, "VSI0015", message)
        .of_object(entity.to_string())
        .with_remedy("wait until it is gone, then run the command again")
}
