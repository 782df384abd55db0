//! The handle through which other code uses the engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
};

use futures::FutureExt as _;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    as_of::StateAsOf,
    config::{By, Cancelled, Drive, EngineConfig, Retried},
    control::Control,
    error::EngineError,
    global_pause,
    notice::Notice,
    projection::{Projection, UnreadableEntity},
    request::{EngineRequest, Reply},
    shared::EngineShared,
};
use crate::{
    audit::{SigningKey, payloads},
    journal::Offset,
    model::{EntityId, EntityState, Failure, Name, Payload, RunId, RunState, Text, Timestamp},
    room::{DiskReading, Room},
    step::{Recorded, StepContext},
    workflow::{DesiredUpdate, EntityView},
};

const REQUESTS: usize = 1_024;
const NOTICES: usize = 8_192;

/// A running engine. Cheap to clone; see the documentation of the module for its guarantees.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::Sender<EngineRequest>,
    shared: Arc<EngineShared>,
    room: Arc<Room>,
    observes_only: bool,
}

impl Engine {
    /// Folds the journal and starts the engine. It does not drive any entity yet.
    ///
    /// # Errors
    /// When the journal cannot be read or is inconsistent.
    pub async fn open(parts: EngineConfig) -> Result<Self, EngineError> {
        Self::start(parts, false).await
    }

    /// The same for a journal that was restored and not confirmed: it can be read. Every request
    /// that would record or do something fails with [`EngineError::ObservesOnly`].
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub async fn observe(parts: EngineConfig) -> Result<Self, EngineError> {
        Self::start(parts, true).await
    }

    /// The same for a journal that this process only reads: it shows what the journal holds now,
    /// and nothing that is recorded later.
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub async fn open_to_read(parts: &EngineConfig) -> Result<Self, EngineError> {
        let projection = Projection::load(parts.journal.as_ref()).await?;
        Ok(Self::of_projection(projection, parts.room.clone()))
    }

    /// An engine that shows a past state. Requests that would record or do something fail as with
    /// [`Engine::observe`].
    pub fn of_past(past: StateAsOf, room: Arc<Room>) -> Self {
        Self::of_projection(past.into_projection(), room)
    }

    fn of_projection(projection: Projection, room: Arc<Room>) -> Self {
        // No loop receives requests.
        let (requests, _) = mpsc::channel(1);
        let (notices, _) = broadcast::channel(1);
        Self {
            requests,
            shared: Arc::new(EngineShared::new(projection, notices)),
            room,
            observes_only: true,
        }
    }

    async fn start(parts: EngineConfig, observes_only: bool) -> Result<Self, EngineError> {
        let mut projection = Projection::load(parts.journal.as_ref()).await?;
        let update = projection.first_update(parts.journal.wants_all_states());
        if !update.changed.is_empty() && projection.unreadable.is_empty() {
            parts.journal.publish(update);
        }
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (notices, _) = broadcast::channel(NOTICES);
        let shared = Arc::new(EngineShared::new(projection.clone(), notices));
        let room = parts.room.clone();
        let weak = requests.downgrade();
        let control = Control::new(Arc::new(parts), projection, shared.clone(), weak, inbox);
        let observed = shared.clone();
        tokio::spawn(async move {
            let run = AssertUnwindSafe(control.run()).catch_unwind().await;
            if run.is_err() {
                tracing::error!("the engine panicked, and ends");
                let _ = observed.notices.send(Notice::Ended);
            }
        });
        Ok(Self {
            requests,
            shared,
            room,
            observes_only,
        })
    }

    /// Signs the events that commit to bases with that key from now on. Only the first call has an
    /// effect.
    pub fn sign_bases_with(&self, key: Arc<SigningKey>) {
        // A second key would add nothing.
        let _ = self.shared.signer.set(key);
    }

    /// Records the desired states, all of them or none, and drives their entities. Returns the
    /// generation of each.
    ///
    /// # Errors
    /// [`EngineError::Refused`] when a desired state is not valid or cannot be admitted, before
    /// anything is recorded.
    pub async fn submit(
        &self,
        updates: Vec<DesiredUpdate>,
        by: By,
    ) -> Result<Vec<u64>, EngineError> {
        self.ask(|reply| EngineRequest::Submit { updates, by, reply })
            .await
    }

    /// Immediately tries again what is blocked, delayed, failed or cancelled, and drives the
    /// entity.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn retry(&self, entity: EntityId, by: By) -> Result<Retried, EngineError> {
        self.ask(|reply| EngineRequest::Retry { entity, by, reply })
            .await
    }

    /// Asks the entity's open run to stop; existing objects remain. Orders to destroy something that are not
    /// used yet are void, also where no run is open.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn cancel(&self, entity: EntityId, by: By) -> Result<Cancelled, EngineError> {
        let run = None;
        self.ask(|reply| EngineRequest::Cancel {
            entity,
            run,
            by,
            reply,
        })
        .await
    }

    /// The same for that run only: a run that was opened later is not affected.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn cancel_run(
        &self,
        entity: EntityId,
        run: RunId,
        by: By,
    ) -> Result<Cancelled, EngineError> {
        let run = Some(run);
        self.ask(|reply| EngineRequest::Cancel {
            entity,
            run,
            by,
            reply,
        })
        .await
    }

    /// Continues the open runs and unattempted desired states of these entities.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn drive(&self, which: Drive) -> Result<(), EngineError> {
        self.ask(|reply| EngineRequest::Drive { which, reply })
            .await
    }

    /// Sets the global pause, which survives restarts, or ends it. While it is on no run is opened
    /// and no step started; steps in progress end.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn set_global_pause(&self, on: bool, by: By) -> Result<(), EngineError> {
        self.ask(|reply| EngineRequest::GlobalPause { on, by, reply })
            .await
    }

    /// The reason of the global pause; `None` if it is off.
    pub fn global_pause(&self) -> Option<Text> {
        self.projection(global_pause::why)
    }

    /// Why the desired state of an entity cannot be turned into a run. A retry, a newer desired
    /// state and a restart try again.
    pub fn unopened(&self, entity: &EntityId) -> Option<Failure> {
        self.shared.unopened(entity)
    }

    /// Records that a secret of the entity was erased.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn erased(&self, entity: EntityId, secret: Name, by: By) -> Result<(), EngineError> {
        self.ask(|reply| EngineRequest::Erased {
            entity,
            secret,
            by,
            reply,
        })
        .await
    }

    /// Drops the states of runs that ended before that moment and that no existing entity refers
    /// to; returns how many. Their events and history remain.
    ///
    /// # Errors
    /// When the engine has ended, or only observes.
    pub async fn forget_ended(
        &self,
        before: Timestamp,
        is_gone: impl Fn(&EntityId, &EntityState) -> bool + Send + Sync + 'static,
    ) -> Result<usize, EngineError> {
        let is_gone = Arc::new(is_gone);
        self.ask(|reply| EngineRequest::Forget {
            before,
            is_gone,
            reply,
        })
        .await
    }

    /// A context to ask what a step would find for this entity now, by what the journal of that identity has
    /// recorded.
    pub fn question(&self, entity: EntityId, journal_id: Arc<str>) -> StepContext {
        let sequence = self.projection(|projection| projection.as_of);
        let recorded: Arc<dyn Recorded> = self.shared.clone();
        StepContext::of_question(entity, journal_id, sequence, recorded)
    }

    /// The last measured room on the state directory's disk.
    pub fn room(&self) -> DiskReading {
        self.room.seen()
    }

    /// The measured room itself, for another engine in this process.
    pub fn watched_room(&self) -> Arc<Room> {
        self.room.clone()
    }

    /// Whether desired states are accepted now.
    ///
    /// # Errors
    /// [`EngineError::Refused`] while the state directory's disk is full.
    pub fn takes_updates(&self) -> Result<(), EngineError> {
        self.room
            .full()
            .map_or(Ok(()), |why| Err(EngineError::Refused(why)))
    }

    /// Records the state in which an observation outside runs found an entity. Does nothing while a
    /// run is open for it, or if that state is recorded already.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn note_state(
        &self,
        entity: EntityId,
        state: Name,
        detail: Text,
        by: By,
    ) -> Result<(), EngineError> {
        self.ask(|reply| EngineRequest::NoteState {
            entity,
            state,
            detail,
            by,
            reply,
        })
        .await
    }

    /// Records an action on an entity that changes neither its desired state nor its state; durable
    /// when it returns.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn note(
        &self,
        entity: EntityId,
        what: Name,
        detail: Text,
        by: By,
    ) -> Result<(), EngineError> {
        self.ask(|reply| EngineRequest::Note {
            entity,
            what,
            detail,
            by,
            reply,
        })
        .await
    }

    /// Whether the engine only observes; see [`Engine::observe`].
    pub fn observes_only(&self) -> bool {
        self.observes_only
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> EngineRequest,
    ) -> Result<T, EngineError> {
        if self.observes_only {
            return Err(EngineError::ObservesOnly);
        }
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(request(reply))
            .await
            .map_err(|_| EngineError::Ended)?;
        answer.await.map_err(|_| EngineError::Ended)?
    }

    /// Ends the engine. Attempts in progress are dropped, their outcome counts as unknown, and the
    /// next start continues. Returns when nothing runs any more.
    pub async fn close(&self) {
        let mut notices = self.notices();
        if self.requests.send(EngineRequest::Close).await.is_err() {
            return;
        }
        loop {
            match notices.recv().await {
                Ok(Notice::Ended) | Err(broadcast::error::RecvError::Closed) => return,
                _ => {}
            }
            if self.requests.is_closed() {
                return;
            }
        }
    }

    /// Subscribes to the engine's notices from now on.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// The recorded state of the entity.
    pub fn entity(&self, id: &EntityId) -> Option<Arc<EntityState>> {
        self.projection(|projection| projection.entity(id).cloned())
    }

    /// All entities.
    pub fn entities(&self) -> BTreeMap<EntityId, Arc<EntityState>> {
        self.projection(|projection| {
            projection
                .entities
                .iter()
                .map(|(id, entry)| (id.clone(), entry.state.clone()))
                .collect()
        })
    }

    /// All entities of a kind. The cost is proportional to their number.
    pub fn entities_of(&self, kind: &Name) -> Vec<(EntityId, Arc<EntityState>)> {
        let first = EntityId::before(kind.clone());
        self.projection(|projection| {
            let entities = projection.entities.range(first..);
            entities
                .take_while(|(id, _)| id.kind() == kind)
                .map(|(id, entry)| (id.clone(), entry.state.clone()))
                .collect()
        })
    }

    /// The entities whose recorded state changed since the last call; all of them on the first
    /// call. For a single caller that maintains an index of them. At most as many as there are.
    pub fn drain_touched(&self) -> BTreeSet<EntityId> {
        self.shared.drain_touched()
    }

    /// The recorded state of the run.
    pub fn run(&self, id: RunId) -> Option<Arc<RunState>> {
        self.projection(|projection| projection.run(id).cloned())
    }

    /// The offset after the newest event that is shown, which is that of the next event.
    pub fn end(&self) -> Offset {
        self.projection(|projection| projection.as_of)
    }

    /// The offset of the run's first event: it orders runs also if the clock was set back.
    pub fn offset_of(&self, id: RunId) -> Option<Offset> {
        self.projection(|projection| projection.runs.get(&id).map(|folded| folded.first))
    }

    /// When the entity's first event was recorded, and when the name of its state last changed.
    pub fn times(&self, id: &EntityId) -> Option<(Timestamp, Timestamp)> {
        self.projection(|projection| {
            let folded = projection.entities.get(id)?;
            Some((folded.created, folded.changed))
        })
    }

    /// Why the events of an entity cannot be understood; `None` if they can.
    pub fn unreadable(&self, id: &EntityId) -> Option<UnreadableEntity> {
        self.projection(|projection| projection.unreadable.get(id).cloned())
    }

    /// Every entity whose events cannot be understood.
    pub fn all_unreadable(&self) -> BTreeMap<EntityId, UnreadableEntity> {
        self.projection(|projection| projection.unreadable.clone())
    }

    /// The blobs among all payloads in the states of an entity and of its runs.
    pub fn blobs_of(&self, id: &EntityId) -> Vec<Payload> {
        self.projection(|projection| {
            let Some(entity) = projection.entities.get(id) else {
                return Vec::new();
            };
            let runs = entity
                .state
                .runs
                .iter()
                .filter_map(|run| projection.run(*run));
            let of_runs = runs.flat_map(|run| payloads::of_run(run));
            payloads::of_entity(&entity.state)
                .into_iter()
                .chain(of_runs)
                .filter(|payload| payload.inline().is_none())
                .cloned()
                .collect()
        })
    }

    /// Every run whose own state names this entity, whatever the entity's state says.
    pub fn runs_of(&self, id: &EntityId) -> Vec<RunId> {
        self.projection(|projection| {
            let runs = projection.runs.iter();
            runs.filter(|(_, run)| run.state.entity.as_ref() == Some(id))
                .map(|(run, _)| *run)
                .collect()
        })
    }

    /// Passes the entity, with its newest run and its obstacle, to `look`, which must be quick.
    pub fn view<T>(&self, id: &EntityId, look: impl FnOnce(EntityView<'_>) -> T) -> Option<T> {
        self.projection(|projection| projection.view(id).map(look))
    }

    #[cfg(test)]
    pub(super) fn was_attempted(&self, run: RunId, step: &Name) -> bool {
        self.projection(|projection| projection.was_attempted(run, step))
    }

    fn projection<T>(&self, look: impl FnOnce(&Projection) -> T) -> T {
        self.shared.projection(look)
    }
}
