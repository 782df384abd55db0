//! Measures the engine on a journal in PostgreSQL, with runs of nine steps that do nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tokio::{
    sync::{broadcast::error::RecvError, oneshot},
    task::JoinHandle,
};
use vsiflow_engine::{
    Engine, EngineConfig, Notice,
    clock::SystemClock,
    executor::{By, Tuning},
    model::{
        Actor, EntityId, EventKind, Failure, Graph, Name, Node, Payload, Precedence, RunId,
        StreamId, Text, Work,
    },
    registry::Registry,
    step::{Done, Observed, Step, StepContext},
    workflow::{DesiredUpdate, EntityView, Situation, Workflows},
};
use vsiflow_postgres::{Held, PostgresBlobs, PostgresCheckpoints, PostgresJournal, hold};

use crate::{Answer, TIME};

/// The steps of a run, the same number as for provisioning a VSI.
const STEPS: [&str; 9] = [
    "resolve_host",
    "ensure_base_image",
    "clone_boot_disk",
    "write_cidata",
    "create_console_log",
    "attach_data_disks",
    "define_domain",
    "start_domain",
    "monitor_console",
];

/// The figures measured at one concurrency.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) steps_per_s: f64,
    pub(crate) step_p50_ms: f64,
    pub(crate) step_p99_ms: f64,
    pub(crate) run_p99_ms: f64,
}

/// How the steps behave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steps {
    /// They end immediately.
    End,
    /// They run until the process ends.
    Stay,
}

/// When the last step of each run began, and the times between two consecutive steps of a run.
#[derive(Default)]
pub(crate) struct Times {
    last: HashMap<RunId, Instant>,
    passed: Vec<Duration>,
}

struct Nothing<const N: usize> {
    steps: Steps,
    times: Arc<Mutex<Times>>,
}

#[async_trait]
impl<const N: usize> Step for Nothing<N> {
    #[expect(clippy::indexing_slicing, reason = "the compiler checks it")]
    const NAME: &'static str = STEPS[N];
    type Params = ();
    type Output = ();

    async fn observe(&self, _: &StepContext, (): &()) -> Result<Observed<()>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, context: &StepContext, (): &()) -> Result<Done<()>, Failure> {
        if self.steps == Steps::Stay {
            std::future::pending::<()>().await;
        }
        let now = Instant::now();
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let last = if N.saturating_add(1) == STEPS.len() {
            times.last.remove(&context.run)
        } else {
            times.last.insert(context.run, now)
        };
        if let Some(last) = last {
            times.passed.push(now.duration_since(last));
        }
        Ok(Done::created(()))
    }
}

/// A graph in which each step follows the previous one.
fn graph() -> Graph {
    let mut nodes = Vec::<Node>::new();
    for step in STEPS {
        let after = nodes.last().map(|node| node.name.clone());
        nodes.push(Node {
            name: Name::of(step),
            after: after.into_iter().collect(),
            work: Work::Step {
                step: Name::of(step),
                version: 1,
                params: Payload::Inline(b"null".to_vec()),
            },
            lane: Text::default(),
            interruptible: false,
        });
    }
    Graph {
        workflow: Name::of("provision_vsi"),
        version: 1,
        nodes,
    }
}

struct NineSteps;

impl Workflows for NineSteps {
    fn graph(&self, _: &Situation<'_>, _: &Name, _: &[u8]) -> Result<Graph, Failure> {
        Ok(graph())
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

/// An engine on a journal that this process holds.
pub(crate) struct Open {
    pub(crate) engine: Engine,
    journal: Arc<PostgresJournal>,
    held: Arc<Held>,
    keeper: JoinHandle<()>,
    times: Arc<Mutex<Times>>,
}

/// Waits for the lease of the journal, then opens an engine on it.
pub(crate) async fn open(url: &str, steps: Steps) -> Answer<Open> {
    let held = Held::win(&url.parse()?, hold::LEASE_DURATION, |_| {}).await?;
    let journal = Arc::new(PostgresJournal::open(held.clone()).await?);
    let renewed = held.clone();
    let keeper = tokio::spawn(async move {
        renewed.keep().await;
    });
    let times = Arc::new(Mutex::new(Times::default()));
    let mut registry = Registry::default();
    registry
        .add(Nothing::<0> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<1> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<2> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<3> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<4> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<5> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<6> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<7> {
            steps,
            times: times.clone(),
        })
        .add(Nothing::<8> {
            steps,
            times: times.clone(),
        });
    let engine = Engine::open(EngineConfig {
        journal: journal.clone(),
        blobs: Arc::new(PostgresBlobs::of(&journal)),
        checkpoints: Arc::new(PostgresCheckpoints::of(&journal)),
        registry,
        workflows: Arc::new(NineSteps),
        lanes: Arc::new(vsiflow_engine::lane::AlwaysUp),
        clock: Arc::new(SystemClock),
        journal_id: journal.identity().journal_id.as_str().into(),
        room: vsiflow_engine::room::Room::boundless(),
        lease: held.lease(),
        tuning: Tuning::default(),
    })
    .await?;
    Ok(Open {
        engine,
        journal,
        held,
        keeper,
        times,
    })
}

impl Open {
    /// Submits a desired state of an entity, which starts a run.
    pub(crate) async fn submit(&self, name: &str) -> Answer<()> {
        self.engine
            .submit(vec![update(entity(name)?)], by())
            .await?;
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.engine.close().await;
        self.journal.close().await;
        self.keeper.abort();
        self.held.release().await;
    }
}

fn entity(name: &str) -> Answer<EntityId> {
    Ok(EntityId::new(Name::of("vsi"), name.to_owned())?)
}

fn update(entity: EntityId) -> DesiredUpdate {
    DesiredUpdate {
        entity,
        workflow: Name::of("provision_vsi"),
        precedence: Precedence::Supersede,
        desired: b"{}".to_vec(),
        made_from: None,
        orders: Vec::new(),
        voids: Vec::new(),
    }
}

fn by() -> By {
    By {
        actor: Actor::Engine,
        reason: Text::default(),
    }
}

/// The callers that wait for the end of a run, by entity.
type Waiting = Arc<Mutex<HashMap<EntityId, oneshot::Sender<()>>>>;

/// Notifies each waiting caller when its run has ended.
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
            // Only a stalled machine makes it lag this far, and then the figures are void.
            Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
        }
    }
}

/// Runs one entity after the other until `until`. Returns how long each run took.
async fn worker(
    engine: Engine,
    waiting: Waiting,
    name: usize,
    until: Instant,
) -> Answer<Vec<Duration>> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let entity = entity(&format!("{name}-{}", took.len()))?;
        let (sender, ended) = oneshot::channel();
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(entity.clone(), sender);
        let start = Instant::now();
        engine.submit(vec![update(entity)], by()).await?;
        ended.await?;
        took.push(start.elapsed());
    }
    Ok(took)
}

fn share(times: &mut [Duration], part: usize) -> f64 {
    times.sort_unstable();
    let at = (times.len() * part / 100).min(times.len().saturating_sub(1));
    times
        .get(at)
        .map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

/// Measures steps per second and the time of a step with `runs` concurrent runs.
pub(crate) async fn rate(url: &str, runs: usize) -> Answer<Rate> {
    let open = open(url, Steps::End).await?;
    let waiting = Waiting::default();
    let notifier = tokio::spawn(notify_waiters(open.engine.clone(), waiting.clone()));
    let start = Instant::now();
    let workers: Vec<_> = (0..runs)
        .map(|name| {
            let (engine, waiting) = (open.engine.clone(), waiting.clone());
            tokio::spawn(worker(engine, waiting, name, start + TIME))
        })
        .collect();
    let mut took = Vec::new();
    for worker in workers {
        took.extend(worker.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let times = open.times.clone();
    open.close().await;
    notifier.await?;
    let mut passed =
        std::mem::take(&mut times.lock().unwrap_or_else(PoisonError::into_inner).passed);
    Ok(Rate {
        steps_per_s: (took.len() * STEPS.len()) as f64 / seconds,
        step_p50_ms: share(&mut passed, 50),
        step_p99_ms: share(&mut passed, 99),
        run_p99_ms: share(&mut took, 99),
    })
}
