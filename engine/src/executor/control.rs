//! The control loop, which makes all decisions and appends all events.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::timeout,
};

use super::{
    admission::AdmissionGate,
    attempt::AttemptEnd,
    circuit_breaker::{CircuitBreaker, Probed},
    config::EngineConfig,
    disk::RoomWatch,
    error::EngineError,
    global_pause::GlobalPause,
    limits::LaneLimits,
    loop_state::{BaseEnd, BaseWritten, Driven, Effect, InFlight, WritingBatch},
    notice::Notice,
    projection::Projection,
    recorder::Recorder,
    request::EngineRequest,
    retry::Retry,
    shared::EngineShared,
    timers::{Timers, Waiter},
    unclean_ends::SuspectSteps,
};
use crate::{
    journal::{JournalError, Record},
    model::{EntityId, Failure, Name, RunId},
    room::DiskReading,
};

/// The loop's state. One task owns all of it.
pub(super) struct Control {
    pub(super) parts: Arc<EngineConfig>,
    pub(super) recorder: Recorder,
    pub(super) shared: Arc<EngineShared>,
    /// For attempts; weak, so that the loop ends when every handle is dropped.
    pub(super) requests: mpsc::WeakSender<EngineRequest>,
    inbox: mpsc::Receiver<EngineRequest>,
    pub(super) attempts: JoinSet<AttemptEnd>,
    pub(super) tasks: HashMap<tokio::task::Id, Waiter>,
    pub(super) in_flight: BTreeMap<Waiter, InFlight>,
    pub(super) timers: Timers,
    pub(super) gate: AdmissionGate,
    pub(super) retries: HashMap<Waiter, Retry>,
    /// Effects of the decisions, carried out once those are durable.
    pub(super) effects: Vec<Effect>,
    pub(super) writing: Option<WritingBatch>,
    /// Deletions of finished runs' checkpoints that are in progress.
    pub(super) forgetting: JoinSet<()>,
    /// The base that is being written, if one is.
    pub(super) bases: JoinSet<Option<BaseWritten>>,
    pub(super) dirty_runs: BTreeSet<RunId>,
    pub(super) dirty_entities: BTreeSet<EntityId>,
    /// Runs whose interrupted attempts were recovered in this process.
    pub(super) recovered: BTreeSet<RunId>,
    /// The entities that the engine works for.
    pub(super) driven: Driven,
    /// Steps during which the process ended uncleanly.
    pub(super) suspects: SuspectSteps,
}

enum ControlInput {
    Written(Result<Vec<Record>, JournalError>),
    Request(EngineRequest),
    End(Result<(tokio::task::Id, AttemptEnd), JoinError>),
    Due(Waiter),
    Room(DiskReading),
    Probed(Probed),
    Base(BaseEnd),
    LeaseLost,
    Closed,
}

const REQUESTS_A_BATCH: usize = 256;
/// How long the shutdown waits for the deletion of obsolete checkpoints.
const FORGETTING: Duration = Duration::from_secs(2);

impl Control {
    pub(super) fn new(
        parts: Arc<EngineConfig>,
        projection: Projection,
        shared: Arc<EngineShared>,
        requests: mpsc::WeakSender<EngineRequest>,
        inbox: mpsc::Receiver<EngineRequest>,
    ) -> Self {
        let clock = parts.clock.clone();
        let suspects = SuspectSteps::new(clock.monotonic());
        Self {
            timers: Timers::new(parts.clock.clone()),
            gate: AdmissionGate {
                pause: GlobalPause::of(&projection),
                room: RoomWatch::new(parts.room.clone()),
                lanes: CircuitBreaker::new(parts.lanes.clone(), clock.clone(), &parts.tuning),
                limits: LaneLimits::new(parts.tuning.attempts_per_lane),
            },
            parts,
            shared,
            requests,
            inbox,
            attempts: JoinSet::new(),
            tasks: HashMap::new(),
            in_flight: BTreeMap::new(),
            recorder: Recorder::new(projection, clock),
            retries: HashMap::new(),
            effects: Vec::new(),
            writing: None,
            forgetting: JoinSet::new(),
            bases: JoinSet::new(),
            dirty_runs: BTreeSet::new(),
            dirty_entities: BTreeSet::new(),
            recovered: BTreeSet::new(),
            driven: Driven::default(),
            suspects,
        }
    }

    /// Runs until it is closed, every handle is dropped, the journal fails or the lease expires.
    pub(super) async fn run(mut self) {
        while let Some(first) = self.next().await {
            if matches!(first, ControlInput::LeaseLost) {
                tracing::error!("the lease is past: the engine ends");
                break;
            }
            if !self.batch(first).await {
                break;
            }
        }
        self.attempts.shutdown().await;
        self.store_orderly_end().await;
        self.gate.lanes.shutdown().await;
        self.bases.shutdown().await;
        self.finish_forgetting().await;
        let _ = self.shared.notices.send(Notice::Ended);
    }

    /// Takes all available input, decides what follows and starts making it durable. Returns
    /// whether the loop continues.
    async fn batch(&mut self, first: ControlInput) -> bool {
        self.decide(first).await.unwrap_or_else(|error| {
            tracing::error!(%error, "the engine ends");
            self.refuse_replies(&error);
            false
        })
    }

    async fn decide(&mut self, first: ControlInput) -> Result<bool, EngineError> {
        self.recorder.note_time();
        let mut continues = self.on_input(first).await?;
        continues &= self.drain_requests().await;
        self.drain_completions();
        self.check_base()?;
        self.settle().await;
        self.write()?;
        if !continues {
            self.write_out().await?;
        }
        Ok(continues)
    }

    /// Checkpoints that are not deleted by then remain.
    async fn finish_forgetting(&mut self) {
        let all_deleted = async { while self.forgetting.join_next().await.is_some() {} };
        let _ = timeout(FORGETTING, all_deleted).await;
        self.forgetting.shutdown().await;
    }

    async fn next(&mut self) -> Option<ControlInput> {
        // A fixed order, so that a simulation repeats exactly. No input starves: after the first
        // one, all available requests and ended attempts go into the same batch.
        tokio::select! {
            biased;
            () = self.parts.lease.ended() => Some(ControlInput::LeaseLost),
            written = WritingBatch::written(&mut self.writing) => Some(ControlInput::Written(written)),
            seen = self.gate.room.changed() => Some(ControlInput::Room(seen)),
            due = self.timers.due() => Some(ControlInput::Due(due)),
            probed = self.gate.lanes.probed() => Some(ControlInput::Probed(probed)),
            Some(end) = self.attempts.join_next_with_id() => Some(ControlInput::End(end)),
            Some(base) = self.bases.join_next() => Some(ControlInput::Base(base)),
            request = self.inbox.recv() => Some(request.map_or(ControlInput::Closed, ControlInput::Request)),
        }
    }

    /// Returns whether the loop continues.
    async fn on_input(&mut self, input: ControlInput) -> Result<bool, EngineError> {
        match input {
            ControlInput::Request(EngineRequest::Close)
            | ControlInput::Closed
            | ControlInput::LeaseLost => return Ok(false),
            ControlInput::Written(written) => self.written(written)?,
            ControlInput::Request(request) => self.answer(request).await,
            ControlInput::End(end) => self.ended(end),
            ControlInput::Due(waiter) => self.due(&waiter).await,
            ControlInput::Room(seen) => self.room_changed(seen),
            ControlInput::Probed(probed) => self.probed(probed).await,
            ControlInput::Base(base) => self.base_ended(base)?,
        }
        Ok(true)
    }

    /// Takes the available requests into the same batch. Returns whether the loop continues.
    async fn drain_requests(&mut self) -> bool {
        let mut continues = true;
        for _ in 0..REQUESTS_A_BATCH {
            let Ok(request) = self.inbox.try_recv() else {
                break;
            };
            match request {
                EngineRequest::Close => continues = false,
                request => self.answer(request).await,
            }
        }
        continues
    }

    /// Takes the available ends of attempts into the same batch.
    fn drain_completions(&mut self) {
        while let Some(end) = self.attempts.try_join_next_with_id() {
            self.ended(end);
        }
    }

    /// Takes finished bases. While attempts end all the time, the `select!` would never take them,
    /// and no other base would be started.
    fn check_base(&mut self) -> Result<(), EngineError> {
        while let Some(base) = self.bases.try_join_next() {
            self.base_ended(base)?;
        }
        Ok(())
    }

    fn ended(&mut self, end: Result<(tokio::task::Id, AttemptEnd), JoinError>) {
        match end {
            Ok((task, end)) => {
                self.tasks.remove(&task);
                if end.advanced
                    && let Some(retry) = self.retries.get_mut(&end.waiter)
                {
                    retry.begin_again();
                }
                self.attempt_ended(&end.waiter, end.result);
            }
            Err(error) => {
                if let Some(waiter) = self.tasks.remove(&error.id()) {
                    self.attempt_ended(&waiter, Err(panicked(&waiter.1)));
                }
            }
        }
    }
}

fn panicked(node: &Name) -> Failure {
    Failure::defect(format!("step {node} ended in a panic"))
}
