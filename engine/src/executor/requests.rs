//! Answers the requests that handles of the engine send to the loop.

use super::{
    config::{By, Cancelled, Retried},
    control::Control,
    error::EngineError,
    loop_state::Effect,
    projection::{Projection, awaited_entities},
    recorder::EventCause,
    request::{EngineRequest, GoneTest, Reply},
};
use crate::{
    journal::JournalError,
    model::{CancelMode, EntityId, EventKind, Failure, Name, Payload, RunId, Timestamp},
    retention::forgettable,
    workflow::DesiredUpdate,
};

impl Control {
    pub(super) async fn answer(&mut self, request: EngineRequest) {
        let quarantined = request.entity().and_then(|id| self.quarantined(id));
        if let Some(failure) = quarantined {
            request.refuse(EngineError::Refused(failure));
            return;
        }
        match request {
            EngineRequest::Submit { updates, by, reply } => self.submit(updates, by, reply).await,
            EngineRequest::Retry { entity, by, reply } => {
                let answer = self.retry(&entity, &cause(by));
                self.reply_later(reply, answer);
            }
            EngineRequest::Cancel {
                entity,
                run,
                by,
                reply,
            } => {
                let answer = self.cancel(&entity, run, &cause(by));
                self.reply_later(reply, answer);
            }
            EngineRequest::GlobalPause { on, by, reply } => {
                self.set_global_pause(on, &cause(by)).await;
                self.reply_later(reply, ());
            }
            EngineRequest::Drive { which, reply } => {
                self.drive(which);
                self.reply_later(reply, ());
            }
            EngineRequest::Erased {
                entity,
                secret,
                by,
                reply,
            } => {
                self.recorder
                    .entity_event(&entity, EventKind::SecretErased { secret }, &cause(by));
                self.reply_later(reply, ());
            }
            EngineRequest::Intend {
                entity,
                step,
                reply,
            } => {
                self.note_intent(&entity, step);
                self.reply_later(reply, ());
            }
            EngineRequest::Object {
                entity,
                waiter,
                fact,
                reply,
            } => match self.note_object(&entity, &waiter, fact) {
                Ok(()) => self.reply_later(reply, ()),
                Err(failure) => {
                    let _ = reply.send(Err(EngineError::Refused(failure)));
                }
            },
            EngineRequest::NoteState {
                entity,
                state,
                detail,
                by,
                reply,
            } => {
                self.note_state(&entity, state, detail, &cause(by));
                self.reply_later(reply, ());
            }
            EngineRequest::Note {
                entity,
                what,
                detail,
                by,
                reply,
            } => {
                let kind = EventKind::Noted { what, detail };
                self.recorder.entity_event(&entity, kind, &cause(by));
                self.reply_later(reply, ());
            }
            EngineRequest::Forget {
                before,
                is_gone,
                reply,
            } => {
                let forgotten = self.forget_ended(before, &*is_gone);
                let _ = reply.send(Ok(forgotten));
            }
            EngineRequest::Close => {}
        }
    }

    /// Why the engine does not work for an entity: its events cannot all be understood.
    pub(super) fn quarantined(&self, id: &EntityId) -> Option<Failure> {
        let why = self.recorder.projection.unreadable.get(id)?;
        Some(why.failure(id))
    }

    /// Returns how many were dropped.
    fn forget_ended(&mut self, before: Timestamp, is_gone: &GoneTest) -> usize {
        let streams = self.shared.projection(Projection::states).streams;
        let mut forgotten = forgettable(&streams, before, &is_gone);
        forgotten.retain(|run| !self.is_unwritten(*run));
        if !forgotten.is_empty() {
            let update = self.recorder.projection.forget(&forgotten);
            self.shared.forget(&forgotten);
            self.publish(update);
        }
        forgotten.len()
    }

    fn reply_later<T: Send + Sync + 'static>(&mut self, reply: Reply<T>, answer: T) {
        self.effects.push(Effect::Reply(Box::new(move |recorded| {
            let _ = reply.send(recorded.map(|()| answer));
        })));
    }

    async fn submit(&mut self, updates: Vec<DesiredUpdate>, by: By, reply: Reply<Vec<u64>>) {
        let refusal = updates.iter().find_map(|update| self.refusal(update));
        if let Some(failure) = refusal.or_else(|| self.parts.room.full()) {
            let _ = reply.send(Err(EngineError::Refused(failure)));
            return;
        }
        let stored = match self.store_payloads(updates).await {
            Ok(stored) => stored,
            Err(error) => {
                let _ = reply.send(Err(error.into()));
                return;
            }
        };
        let requester = cause(by);
        let generations = stored
            .into_iter()
            .map(|(update, desired)| self.record_update(update, desired, &requester))
            .collect();
        self.reply_later(reply, generations);
    }

    /// Stores desired states that are too long for an event as blobs, before any event is recorded.
    async fn store_payloads(
        &self,
        updates: Vec<DesiredUpdate>,
    ) -> Result<Vec<(DesiredUpdate, Payload)>, JournalError> {
        let mut stored = Vec::with_capacity(updates.len());
        for update in updates {
            let desired = self.parts.blobs.put(&update.desired).await?;
            stored.push((update, desired));
        }
        Ok(stored)
    }

    fn retry(&mut self, entity: &EntityId, cause: &EventCause) -> Retried {
        self.drive_entity(entity);
        self.gate.lanes.hurry();
        let signal = EventKind::Signal {
            signal: Name::of("retry"),
        };
        let Some(state) = self.recorder.projection.entity(entity) else {
            return Retried::NothingToDo;
        };
        if let Some(active) = &state.active {
            let mut runs = vec![active.run];
            runs.extend(self.awaited_runs(active.run));
            for run in runs {
                self.recorder.run_event(run, signal.clone(), cause);
            }
            return Retried::Signalled;
        }
        if state.is_settled() || state.desired.is_none() {
            return Retried::NothingToDo;
        }
        self.shared.set_unopened(entity, None);
        self.recorder
            .entity_event(entity, EventKind::RetryRequested, cause);
        Retried::Reopened
    }

    fn awaited_runs(&self, run: RunId) -> Vec<RunId> {
        let projection = &self.recorder.projection;
        let Some(state) = projection.run(run) else {
            return Vec::new();
        };
        awaited_entities(state)
            .filter_map(|(_, entity)| projection.active_run(entity))
            .collect()
    }

    fn cancel(&mut self, entity: &EntityId, only: Option<RunId>, cause: &EventCause) -> Cancelled {
        self.drive_entity(entity);
        let active = self.recorder.projection.active_run(entity);
        let Some(run) = active.filter(|run| only.is_none_or(|only| only == *run)) else {
            if only.is_none() && self.void_open_warrants(entity, cause) > 0 {
                return Cancelled::OrdersVoided;
            }
            return Cancelled::NothingToDo;
        };
        self.void_open_warrants(entity, cause);
        let mode = CancelMode::User;
        self.recorder
            .run_event(run, EventKind::CancelRequested { mode }, cause);
        Cancelled::Requested
    }
}

fn cause(by: By) -> EventCause {
    EventCause {
        actor: by.actor,
        reason: by.reason,
    }
}
