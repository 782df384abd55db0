//! Launches attempts: collects their inputs, and tracks them while they are in progress.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    attempt::Job,
    control::Control,
    loop_state::{Effect, InFlight},
    notice::Notice,
    recorder::EventCause,
    request::EngineRequest,
    runs::last_output,
    timers::Waiter,
};
use crate::{
    model::{EntityId, EntityState, EventKind, Name, Node, NodeState, Payload, RunState, Work},
    registry::AnyStep,
    step::{ProgressSink, Recorded},
};

impl Control {
    /// Records that the step is about to act for the entity, once.
    pub(super) fn note_intent(&mut self, entity: &EntityId, step: Name) {
        if !self.is_intended(entity, &step) {
            self.recorder
                .entity_event(entity, EventKind::Intent { step }, &EventCause::engine());
        }
    }

    fn is_intended(&self, entity: &EntityId, step: &Name) -> bool {
        let intends = |state: &Arc<EntityState>| state.intents.contains(step);
        self.recorder.projection.entity(entity).is_some_and(intends)
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
        let (Some(entity), Some(engine)) = (run.entity.clone(), self.request_sender()) else {
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
            unclean: self.suspects.count_of(&waiter, !unrecorded),
            step_name: step_name.clone(),
            step,
            params: params.clone(),
            outputs: outputs(run),
            previous: self.previous_output(&entity),
            stopped: stop,
            progress: self.progress_sink(&entity, &waiter),
            objects: self.objects_of(&entity),
            engine,
            entity,
        };
        self.in_flight.insert(waiter, in_flight);
        self.effects.push(Effect::Attempt(Box::new(job)));
    }

    fn previous_output(&self, entity: &EntityId) -> Option<Payload> {
        let reached_by = self.recorder.projection.entity(entity)?.reached_by?;
        last_output(self.recorder.projection.run(reached_by)?)
    }

    /// A sender for requests of attempts; `None` once every handle is dropped and the loop is about
    /// to end.
    fn request_sender(&self) -> Option<mpsc::Sender<EngineRequest>> {
        self.requests.upgrade()
    }

    /// Access to the durable state for steps.
    fn recorded(&self) -> Arc<dyn Recorded> {
        self.shared.clone()
    }

    fn progress_sink(&self, entity: &EntityId, waiter: &Waiter) -> ProgressSink {
        let shared = self.shared.clone();
        let (entity, (run, node)) = (entity.clone(), waiter.clone());
        Arc::new(move |progress| {
            let (entity, node) = (entity.clone(), node.clone());
            let _ = shared.notices.send(Notice::Progress {
                entity,
                run,
                node,
                progress,
            });
        })
    }
}

fn outputs(run: &RunState) -> BTreeMap<Name, Payload> {
    let outputs = run.nodes.iter().filter_map(|(name, state)| match state {
        NodeState::Succeeded { output, .. } => Some((name.clone(), output.clone())),
        _ => None,
    });
    outputs.collect()
}
