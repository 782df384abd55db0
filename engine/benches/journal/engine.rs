//! Measures whole runs of nine steps that do nothing, through the engine and its journal on disk.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::sync::{broadcast::error::RecvError, oneshot};
use vsiflow_engine::{
    Engine, EngineConfig, Notice,
    checkpoint::FileCheckpoints,
    clock::SystemClock,
    executor::{By, Tuning},
    journal::DiskJournal,
    model::{Actor, EntityId, EventKind, Failure, Graph, Name, Precedence, StreamId, Text},
    registry::Registry,
    step::{Done, Observed, Step, StepContext},
    workflow::{DesiredUpdate, EntityView, Situation, Workflows},
};

use crate::{
    Answer, TIME,
    sample::{self, STEPS},
};

/// What was measured of the engine: steps per second, and how long a run takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) steps_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Called each time a step runs.
pub(crate) type Ran = Arc<dyn Fn() + Send + Sync>;

/// A step that always finds work to do and does nothing.
struct Nothing<const N: usize>(Ran);

#[async_trait]
impl<const N: usize> Step for Nothing<N> {
    #[expect(clippy::indexing_slicing, reason = "the compiler checks it")]
    const NAME: &'static str = STEPS[N];
    type Params = ();
    type Output = ();

    async fn observe(&self, _: &StepContext, (): &()) -> Result<Observed<()>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, _: &StepContext, (): &()) -> Result<Done<()>, Failure> {
        (self.0)();
        Ok(Done::created(()))
    }
}

struct NineSteps;

impl Workflows for NineSteps {
    fn graph(&self, _: &Situation<'_>, _: &Name, _: &[u8]) -> Result<Graph, Failure> {
        Ok(sample::graph())
    }

    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)> {
        let name = if view.entity.is_settled() {
            "Running"
        } else {
            "Provisioning"
        };
        Some((Name::of(name), Text::default()))
    }
}

/// An engine on a journal in `dir`.
pub(crate) async fn open(dir: &Path, ran: Ran) -> Answer<(Engine, Arc<DiskJournal>)> {
    let journal = Arc::new(DiskJournal::open(dir, "bench").await?);
    let mut registry = Registry::default();
    registry
        .add(Nothing::<0>(ran.clone()))
        .add(Nothing::<1>(ran.clone()))
        .add(Nothing::<2>(ran.clone()))
        .add(Nothing::<3>(ran.clone()))
        .add(Nothing::<4>(ran.clone()))
        .add(Nothing::<5>(ran.clone()))
        .add(Nothing::<6>(ran.clone()))
        .add(Nothing::<7>(ran.clone()))
        .add(Nothing::<8>(ran));
    let parts = EngineConfig {
        journal: journal.clone(),
        blobs: Arc::new(vsiflow_engine::blob::DirBlobs::open(dir.join("blobs")).await?),
        checkpoints: Arc::new(FileCheckpoints::open(dir.join("checkpoints")).await?),
        registry,
        workflows: Arc::new(NineSteps),
        lanes: Arc::new(vsiflow_engine::lane::AlwaysUp),
        clock: Arc::new(SystemClock),
        journal_id: "bench".into(),
        room: vsiflow_engine::room::Room::boundless(),
        lease: vsiflow_engine::lease::Lease::endless(),
        tuning: Tuning::default(),
    };
    Ok((Engine::open(parts).await?, journal))
}

/// One sender per entity that a worker waits for; it fires when the entity's run ends.
type Waiting = Arc<Mutex<HashMap<EntityId, oneshot::Sender<()>>>>;

/// Notifies the waiting workers when their entity's run has ended.
async fn notify_waiters(engine: Engine, waiting: Waiting) {
    let mut notices = engine.notices();
    drop(engine);
    loop {
        match notices.recv().await {
            Ok(Notice::Recorded(record)) => {
                if let (StreamId::Entity(id), EventKind::RunClosed { .. }) =
                    (&record.stream, &record.event.kind)
                {
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.remove(id).map(|waiter| waiter.send(()));
                }
            }
            Ok(Notice::Ended) | Err(RecvError::Closed) => return,
            // Only a machine that stops for a while lets it lag this far; the result is useless
            // then.
            Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
        }
    }
}

/// Executes one run after the other until `until`; returns how long each took.
async fn worker(
    engine: Engine,
    waiting: Waiting,
    name: usize,
    until: Instant,
) -> Answer<Vec<Duration>> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let entity = EntityId::new(Name::of("vsi"), format!("{name}-{}", took.len()))?;
        let (sender, ended) = oneshot::channel();
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(entity.clone(), sender);
        let update = DesiredUpdate {
            entity,
            workflow: Name::of("provision_vsi"),
            precedence: Precedence::Supersede,
            desired: b"{}".to_vec(),
            made_from: None,
            orders: Vec::new(),
            voids: Vec::new(),
        };
        let by = By {
            actor: Actor::Engine,
            reason: Text::default(),
        };
        let start = Instant::now();
        engine.submit(vec![update], by).await?;
        ended.await?;
        took.push(start.elapsed());
    }
    Ok(took)
}

/// Steps per second and the duration of a run when `runs` runs execute at the same time.
pub(crate) async fn rate(dir: &Path, runs: usize) -> Answer<Rate> {
    let dir = dir.join(format!("engine-{runs}"));
    let (engine, journal) = open(&dir, Arc::new(|| {})).await?;
    let waiting = Waiting::default();
    let notifier = tokio::spawn(notify_waiters(engine.clone(), waiting.clone()));
    let start = Instant::now();
    let workers: Vec<_> = (0..runs)
        .map(|name| tokio::spawn(worker(engine.clone(), waiting.clone(), name, start + TIME)))
        .collect();
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    engine.close().await;
    notifier.await?;
    journal.close().await;
    took.sort_unstable();
    let share = |part: usize| {
        let at = (took.len() * part / 100).min(took.len().saturating_sub(1));
        took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
    };
    Ok(Rate {
        steps_per_s: (took.len() * STEPS.len()) as f64 / seconds,
        p50_ms: share(50),
        p99_ms: share(99),
    })
}
