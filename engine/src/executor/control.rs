//! The one loop that decides and appends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{End, Job},
    brake::Brake,
    disk::RoomWatch,
    error::EngineError,
    handle::{Notice, Reply, Request, Shared},
    lanes::{LaneWatch, Probed},
    limits::Limits,
    parts::{By, Cancelled, Drive, EngineParts, Retried},
    recorder::{Cause, Recorder},
    retry::Retry,
    timers::{Timers, Waiter},
    told,
    world::{World, awaited_entities},
};
use crate::{
    journal::JournalError,
    model::{CancelMode, EntityId, EventKind, Failure, Name, Payload, RunId, StreamId, Text},
    room::Seen,
    workflow::Wish,
};

/// An attempt under way.
pub(super) struct InFlight {
    pub(super) stop: CancellationToken,
    pub(super) lane: Text,
    pub(super) interruptible: bool,
    /// Its start is not recorded: it repeats a recorded failure and is recorded only if it ends
    /// otherwise.
    pub(super) unrecorded: Option<u32>,
}

/// What is done once the batch is durable.
pub(super) enum Effect {
    Attempt(Box<Job>),
    Forget(RunId),
    Notice(Notice),
    Reply(Box<dyn FnOnce(Result<(), EngineError>) + Send + Sync>),
}

/// The loop's state. Everything in it belongs to one task.
pub(super) struct Control {
    pub(super) parts: Arc<EngineParts>,
    pub(super) recorder: Recorder,
    shared: Arc<Shared>,
    /// For attempts; weak, so that the loop ends when every handle is gone.
    requests: mpsc::WeakSender<Request>,
    inbox: mpsc::Receiver<Request>,
    attempts: JoinSet<End>,
    tasks: HashMap<tokio::task::Id, Waiter>,
    pub(super) in_flight: BTreeMap<Waiter, InFlight>,
    pub(super) timers: Timers,
    pub(super) room: RoomWatch,
    pub(super) limits: Limits,
    pub(super) lanes: LaneWatch,
    pub(super) brake: Brake,
    pub(super) retries: HashMap<Waiter, Retry>,
    pub(super) effects: Vec<Effect>,
    pub(super) dirty_runs: BTreeSet<RunId>,
    pub(super) dirty_entities: BTreeSet<EntityId>,
    /// Runs whose interrupted attempts were looked after in this process.
    pub(super) recovered: BTreeSet<RunId>,
    /// Entities whose wish could not be turned into a graph.
    pub(super) unreadable: BTreeSet<EntityId>,
    drive_all: bool,
    driven: BTreeSet<EntityId>,
}

enum Input {
    Request(Request),
    End(Result<(tokio::task::Id, End), JoinError>),
    Due(Waiter),
    Room(Seen),
    Probed(Probed),
    LeaseLost,
    Closed,
}

const REQUESTS_A_BATCH: usize = 256;

impl Control {
    pub(super) fn new(
        parts: Arc<EngineParts>,
        world: World,
        shared: Arc<Shared>,
        requests: mpsc::WeakSender<Request>,
        inbox: mpsc::Receiver<Request>,
    ) -> Self {
        let clock = parts.clock.clone();
        Self {
            timers: Timers::new(parts.clock.clone()),
            room: RoomWatch::new(parts.room.clone()),
            limits: Limits::new(parts.tuning.attempts_per_lane),
            lanes: LaneWatch::new(parts.lanes.clone(), parts.clock.clone(), &parts.tuning),
            brake: Brake::of(&world),
            parts,
            shared,
            requests,
            inbox,
            attempts: JoinSet::new(),
            tasks: HashMap::new(),
            in_flight: BTreeMap::new(),
            recorder: Recorder::new(world, clock),
            retries: HashMap::new(),
            effects: Vec::new(),
            dirty_runs: BTreeSet::new(),
            dirty_entities: BTreeSet::new(),
            recovered: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            drive_all: false,
            driven: BTreeSet::new(),
        }
    }

    /// Works until it is closed, every handle is gone, the journal fails or the lease is past.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.next().await {
            if matches!(first, Input::LeaseLost) {
                tracing::error!("the lease is past: the engine ends");
                break;
            }
            self.recorder.note_time();
            let mut open = self.take_in(first).await;
            for _ in 0..REQUESTS_A_BATCH {
                let Ok(request) = self.inbox.try_recv() else {
                    break;
                };
                open &= self.take_in(Input::Request(request)).await;
            }
            self.take_in_ends().await;
            self.settle().await;
            if let Err(error) = self.commit().await {
                tracing::error!(%error, "the engine ends");
                break;
            }
            if !open {
                break;
            }
        }
        self.attempts.shutdown().await;
        self.lanes.shutdown().await;
        let _ = self.shared.notices.send(Notice::Ended);
    }

    async fn next(&mut self) -> Option<Input> {
        // A fixed order, so that a simulation repeats exactly. Nobody is left out: whatever comes
        // first, the requests and ends that are there go into the same batch.
        tokio::select! {
            biased;
            () = self.parts.lease.ended() => Some(Input::LeaseLost),
            seen = self.room.changed() => Some(Input::Room(seen)),
            due = self.timers.due() => Some(Input::Due(due)),
            probed = self.lanes.probed() => Some(Input::Probed(probed)),
            Some(end) = self.attempts.join_next_with_id() => Some(Input::End(end)),
            request = self.inbox.recv() => Some(request.map_or(Input::Closed, Input::Request)),
        }
    }

    /// Returns whether the loop goes on.
    async fn take_in(&mut self, input: Input) -> bool {
        match input {
            Input::Request(Request::Close) | Input::Closed | Input::LeaseLost => return false,
            Input::Request(request) => self.answer(request).await,
            Input::End(end) => self.ended(end),
            Input::Due(waiter) => self.due(&waiter),
            Input::Room(seen) => self.room_changed(seen),
            Input::Probed(probed) => self.probed(probed),
        }
        true
    }

    /// Ends that are there already go into the same batch.
    async fn take_in_ends(&mut self) {
        while let Some(end) = self.attempts.try_join_next_with_id() {
            self.take_in(Input::End(end)).await;
        }
    }

    fn ended(&mut self, end: Result<(tokio::task::Id, End), JoinError>) {
        match end {
            Ok((task, end)) => {
                self.tasks.remove(&task);
                self.attempt_ended(&end.waiter, end.result);
            }
            Err(error) => {
                if let Some(waiter) = self.tasks.remove(&error.id()) {
                    self.attempt_ended(&waiter, Err(panicked(&waiter.1)));
                }
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Desire { wishes, by, reply } => self.desire(wishes, by, reply).await,
            Request::Retry { entity, by, reply } => {
                let answer = self.retry(&entity, &cause(by));
                self.reply_later(reply, answer);
            }
            Request::Cancel { entity, by, reply } => {
                let answer = self.cancel(&entity, &cause(by));
                self.reply_later(reply, answer);
            }
            Request::Brake { on, by, reply } => {
                self.set_brake(on, &cause(by));
                self.reply_later(reply, ());
            }
            Request::Drive { which, reply } => {
                self.drive(which);
                self.reply_later(reply, ());
            }
            Request::Erased {
                entity,
                secret,
                by,
                reply,
            } => {
                self.recorder
                    .entity_event(&entity, EventKind::SecretErased { secret }, &cause(by));
                self.reply_later(reply, ());
            }
            Request::Intend {
                entity,
                step,
                reply,
            } => {
                self.note_intent(&entity, step);
                self.reply_later(reply, ());
            }
            Request::NoteState {
                entity,
                state,
                detail,
                by,
                reply,
            } => {
                self.note_state(&entity, state, detail, &cause(by));
                self.reply_later(reply, ());
            }
            Request::Close => {}
        }
    }

    fn reply_later<T: Send + Sync + 'static>(&mut self, reply: Reply<T>, answer: T) {
        self.effects.push(Effect::Reply(Box::new(move |done| {
            let _ = reply.send(done.map(|()| answer));
        })));
    }

    async fn desire(&mut self, wishes: Vec<Wish>, by: By, reply: Reply<Vec<u64>>) {
        let refusal = wishes.iter().find_map(|wish| self.refusal(wish));
        if let Some(failure) = refusal.or_else(|| self.parts.room.full()) {
            let _ = reply.send(Err(EngineError::Refused(failure)));
            return;
        }
        let kept = match self.keep(wishes).await {
            Ok(kept) => kept,
            Err(error) => {
                let _ = reply.send(Err(error.into()));
                return;
            }
        };
        let cause = cause(by);
        let kept = kept.into_iter();
        let generations = kept
            .map(|(wish, desired)| self.wish(wish, desired, &cause))
            .collect();
        self.reply_later(reply, generations);
    }

    /// Makes what is wanted durable where it is too long for an event, before any event.
    async fn keep(&self, wishes: Vec<Wish>) -> Result<Vec<(Wish, Payload)>, JournalError> {
        let mut kept = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let desired = self.parts.blobs.put(&wish.desired).await?;
            kept.push((wish, desired));
        }
        Ok(kept)
    }

    pub(super) fn is_driven(&self, entity: &EntityId) -> bool {
        self.drive_all || self.driven.contains(entity)
    }

    pub(super) fn drive_entity(&mut self, entity: &EntityId) {
        if self.driven.insert(entity.clone()) {
            self.dirty_entities.insert(entity.clone());
            self.dirty_runs
                .extend(self.recorder.world.active_run(entity));
        }
    }

    fn drive(&mut self, which: Drive) {
        match which {
            Drive::All => {
                self.drive_all = true;
                let entities: Vec<_> = self.recorder.world.entities.keys().cloned().collect();
                entities.iter().for_each(|entity| self.drive_entity(entity));
            }
            Drive::These(entities) => entities.iter().for_each(|entity| self.drive_entity(entity)),
        }
        self.drive_unwanted();
    }

    /// Runs that nobody waits for any more: nobody would ask for their end after a crash either.
    fn drive_unwanted(&mut self) {
        let world = &self.recorder.world;
        let unwanted = world.entities.iter().filter(|(_, entry)| {
            let active = entry.state.active.as_ref();
            let run = active.and_then(|active| world.run(active.run));
            run.is_some_and(|run| run.cancel == Some(CancelMode::Unwanted))
        });
        let unwanted: Vec<_> = unwanted.map(|(id, _)| id.clone()).collect();
        unwanted.iter().for_each(|entity| self.drive_entity(entity));
    }

    fn retry(&mut self, entity: &EntityId, cause: &Cause) -> Retried {
        self.drive_entity(entity);
        self.lanes.hurry();
        let signal = EventKind::Signal {
            signal: Name::of("retry"),
        };
        let Some(state) = self.recorder.world.entity(entity) else {
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
        self.unreadable.remove(entity);
        self.recorder
            .entity_event(entity, EventKind::RetryRequested, cause);
        Retried::Reopened
    }

    fn awaited_runs(&self, run: RunId) -> Vec<RunId> {
        let world = &self.recorder.world;
        let Some(state) = world.run(run) else {
            return Vec::new();
        };
        awaited_entities(state)
            .filter_map(|(_, entity)| world.active_run(entity))
            .collect()
    }

    fn cancel(&mut self, entity: &EntityId, cause: &Cause) -> Cancelled {
        self.drive_entity(entity);
        let Some(run) = self.recorder.world.active_run(entity) else {
            return Cancelled::NothingToDo;
        };
        let mode = CancelMode::User;
        self.recorder
            .run_event(run, EventKind::CancelRequested { mode }, cause);
        Cancelled::Requested
    }

    async fn commit(&mut self) -> Result<(), EngineError> {
        let lease = self.parts.lease.clone();
        let journal = self.parts.journal.clone();
        let committed = self
            .recorder
            .commit(journal.as_ref(), &lease)
            .await
            .map_err(EngineError::from);
        match committed {
            Ok(records) => {
                let streams: BTreeSet<StreamId> =
                    records.iter().map(|record| record.stream.clone()).collect();
                self.shared
                    .publish(&self.recorder.world, streams.into_iter());
                for record in records {
                    told::tell(&record, &self.recorder.world);
                    let _ = self.shared.notices.send(Notice::Recorded(Arc::new(record)));
                }
                self.carry_out_effects().await;
                Ok(())
            }
            Err(error) => {
                for effect in std::mem::take(&mut self.effects) {
                    if let Effect::Reply(reply) = effect {
                        reply(Err(error.clone()));
                    }
                }
                Err(error)
            }
        }
    }

    async fn carry_out_effects(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                Effect::Attempt(job) => self.start(*job),
                Effect::Notice(notice) => {
                    let _ = self.shared.notices.send(notice);
                }
                Effect::Reply(reply) => reply(Ok(())),
                Effect::Forget(run) => {
                    if let Err(error) = self.parts.checkpoints.forget(run).await {
                        tracing::warn!(%run, %error, "checkpoints of a finished run stay");
                    }
                }
            }
        }
    }

    fn start(&mut self, mut job: Job) {
        // Known only now that the run's first event is durable.
        job.sequence = self
            .recorder
            .world
            .runs
            .get(&job.run)
            .map_or(0, |run| run.sequence);
        let waiter = (job.run, job.node.clone());
        let handle = self.attempts.spawn(job.run(self.parts.clone()));
        self.tasks.insert(handle.id(), waiter);
    }

    /// A way for attempts to ask; none once every handle is gone and the loop is about to end.
    pub(super) fn asker(&self) -> Option<mpsc::Sender<Request>> {
        self.requests.upgrade()
    }

    /// What is durable, for steps that ask.
    pub(super) fn recorded(&self) -> Arc<dyn crate::step::Recorded> {
        self.shared.clone()
    }

    pub(super) fn progress_sink(
        &self,
        entity: &EntityId,
        waiter: &Waiter,
    ) -> crate::step::ProgressSink {
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

fn cause(by: By) -> Cause {
    Cause {
        actor: by.actor,
        reason: by.reason,
    }
}

fn panicked(node: &Name) -> Failure {
    Failure::defect(format!("step {node} ended in a panic"))
}
