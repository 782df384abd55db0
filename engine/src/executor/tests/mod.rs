//! The engine through its public interface, on a journal in memory, in virtual time.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::{
    blob::MemoryBlobs,
    checkpoint::{Checkpoints, MemoryCheckpoints},
    clock::{Clock, SystemClock},
    journal::{Journal, MemoryJournal, Record},
    lease::Lease,
    model::*,
    registry::Registry,
    room::Room,
    step::{Done, Observed, Step, StepContext},
    workflow::{DesiredUpdate, EntityView, Situation, Workflows},
};

mod awaiting;
mod bounds;
mod desired_updates;
mod ending;
mod failures;
mod global_pause;
mod lanes;
mod next_try;
mod quarantine;
mod unclean_ends;
mod warrants;
mod writing;

/// The results of the test's step, attempt by attempt; later attempts succeed.
#[derive(Default)]
struct Script {
    next: Mutex<VecDeque<Play>>,
    /// The numbers of the attempts, as the step was told them.
    attempts: Mutex<Vec<u32>>,
    intents: Mutex<Vec<bool>>,
    hold: Notify,
}

enum Play {
    Fail(Failure),
    /// Fails after it has done a part.
    Advance(Failure),
    Panic,
    /// Ends only when it is stopped.
    UntilStopped,
    /// Ends when the test releases it.
    UntilLet,
    /// Destroys the entity's object, then ends so.
    Destroy(Result<(), Failure>),
    /// Makes objects of other entities anew.
    Remake,
}

struct Act(Arc<Script>);

#[async_trait]
impl Step for Act {
    const NAME: &'static str = "act";
    type Params = String;
    type Output = String;

    async fn observe(&self, _: &StepContext, _: &String) -> Result<Observed<String>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &String) -> Result<Done<String>, Failure> {
        self.0.attempts.lock().unwrap().push(cx.attempt);
        self.0.intents.lock().unwrap().push(cx.intended_before);
        let play = self.0.next.lock().unwrap().pop_front();
        match play {
            None => Ok(Done::created(params.clone())),
            Some(Play::Fail(failure)) => Err(failure),
            Some(Play::Advance(failure)) => {
                cx.note_advance();
                Err(failure)
            }
            Some(Play::Panic) => panic!("the test asked for it"),
            Some(Play::UntilStopped) => {
                cx.stopped.cancelled().await;
                Err(transient("stopped"))
            }
            Some(Play::Destroy(result)) => warrants::destroy(cx, params, result).await,
            Some(Play::Remake) => warrants::remake(cx, params).await,
            Some(Play::UntilLet) => {
                self.0.hold.notified().await;
                Ok(Done::created(params.clone()))
            }
        }
    }
}

struct TestWorkflows;

impl Workflows for TestWorkflows {
    fn graph(&self, at: &Situation<'_>, workflow: &Name, desired: &[u8]) -> Result<Graph, Failure> {
        let node = |name: &str, after: &[&str], work: Work| Node {
            name: Name::of(name),
            after: after.iter().map(|before| Name::of(before)).collect(),
            work,
            lane: lanes::lane(workflow),
            interruptible: workflow.as_str() == "watch" || name == "other",
        };
        let step = || Work::Step {
            step: Name::of("act"),
            version: 1,
            params: Payload::Inline(serde_json::to_vec(workflow.as_str()).unwrap()),
        };
        let other = || Work::Entity {
            entity: entity("image"),
            workflow: Name::of("one"),
            desired: Payload::Inline(b"1".to_vec()),
        };
        let nodes = match workflow.as_str() {
            "two" => vec![node("a", &[], step()), node("b", &["a"], step())],
            "needs" => vec![node("other", &[], other()), node("a", &["other"], step())],
            "unknown" => vec![node(
                "a",
                &[],
                Work::Step {
                    step: Name::of("nobody"),
                    version: 1,
                    params: Payload::default(),
                },
            )],
            "heavy" => vec![node(
                "a",
                &[],
                Work::Step {
                    step: Name::of("act"),
                    version: 1,
                    params: Payload::Inline(serde_json::to_vec(&"x".repeat(9_000)).unwrap()),
                },
            )],
            // Fails only when the run is opened, not when the desired state is submitted.
            "late" if at.entity.desired.is_some() => {
                return Err(Failure::new(FailureClass::Blocked, "T6", "too late"));
            }
            "refused" => return Err(Failure::new(FailureClass::Blocked, "T1", "refused")),
            _ => vec![node("a", &[], step())],
        };
        let _ = desired;
        Ok(Graph {
            workflow: workflow.clone(),
            version: 1,
            nodes,
        })
    }

    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)> {
        let blocked = view
            .obstacle
            .is_some_and(|o| matches!(o.state, NodeState::Blocked { .. }));
        let name = if blocked {
            "Blocked"
        } else if view.entity.is_settled() {
            "Settled"
        } else {
            "Busy"
        };
        Some((Name::of(name), Text::default()))
    }

    fn next_try(&self, id: &EntityId, state: &EntityState) -> Option<Duration> {
        next_try::delay(id, state)
    }
}

fn transient(message: &str) -> Failure {
    Failure::new(FailureClass::Transient, "T0", message)
}

fn entity(id: &str) -> EntityId {
    EntityId::new(Name::of("thing"), id).unwrap()
}

fn by() -> By {
    By {
        actor: Actor::Unix {
            uid: 1,
            name: "user".into(),
        },
        reason: "test".into(),
    }
}

fn update_of(id: &str, workflow: &str, precedence: Precedence) -> DesiredUpdate {
    DesiredUpdate {
        entity: entity(id),
        workflow: Name::of(workflow),
        precedence,
        desired: b"1".to_vec(),
        made_from: None,
        orders: Vec::new(),
        voids: Vec::new(),
    }
}

/// Submits an ordinary desired state, which is recorded.
async fn submit_one(engine: &Engine, id: &str, workflow: &str) {
    let update = update_of(id, workflow, Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
}

#[derive(Clone)]
struct Bench {
    journal: Arc<MemoryJournal>,
    script: Arc<Script>,
    clock: Arc<dyn Clock>,
    checkpoints: Arc<dyn Checkpoints>,
    room: Arc<Room>,
    lease: Arc<Lease>,
    lanes: Arc<lanes::LaneReach>,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            journal: Arc::default(),
            script: Arc::default(),
            clock: Arc::new(SystemClock),
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            room: Room::boundless(),
            lease: Lease::endless(),
            lanes: Arc::default(),
        }
    }
}

impl Bench {
    fn playing(plays: impl IntoIterator<Item = Play>) -> Self {
        let bench = Self::default();
        bench.script.next.lock().unwrap().extend(plays);
        bench
    }

    async fn open(&self) -> Engine {
        self.open_on(self.journal.clone()).await
    }

    async fn open_on(&self, journal: Arc<dyn Journal>) -> Engine {
        let mut registry = Registry::default();
        registry.add(Act(self.script.clone()));
        let parts = EngineConfig {
            journal,
            blobs: Arc::new(MemoryBlobs::default()),
            checkpoints: self.checkpoints.clone(),
            registry,
            workflows: Arc::new(TestWorkflows),
            lanes: self.lanes.clone(),
            clock: self.clock.clone(),
            journal_id: "test".into(),
            room: self.room.clone(),
            lease: self.lease.clone(),
            tuning: Tuning::default(),
        };
        Engine::open(parts).await.unwrap()
    }

    fn attempts(&self) -> u32 {
        let attempts = self.script.attempts.lock().unwrap();
        u32::try_from(attempts.len()).unwrap()
    }

    async fn events(&self) -> Vec<Record> {
        self.journal.read_all(0, 10_000).await.unwrap()
    }

    async fn count(&self, kind: &str) -> usize {
        self.events()
            .await
            .iter()
            .filter(|record| record.event.kind.type_name() == kind)
            .count()
    }
}

/// Waits until the entity's state satisfies the condition.
async fn until(engine: &Engine, id: &str, holds: impl Fn(&EntityState) -> bool) {
    let mut notices = engine.notices();
    let reached = async {
        while !engine
            .entity(&entity(id))
            .is_some_and(|state| holds(&state))
        {
            notices.recv().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(86_400), reached)
        .await
        .expect("in time");
}

async fn settled(engine: &Engine, id: &str) {
    until(engine, id, EntityState::is_settled).await;
}

/// Waits until the journal holds that many events of the kind.
async fn until_count(bench: &Bench, engine: &Engine, kind: &str, count: usize) {
    let mut notices = engine.notices();
    while bench.count(kind).await < count {
        notices.recv().await.unwrap();
    }
}

fn state_is(name: &'static str) -> impl Fn(&EntityState) -> bool {
    move |state| {
        state
            .state
            .as_ref()
            .is_some_and(|(state, _)| state.as_str() == name)
    }
}
