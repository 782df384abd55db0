//! The engine as its users see it, on a journal in memory, in virtual time.

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
    checkpoint::MemoryCheckpoints,
    clock::{Clock, SystemClock},
    journal::{Journal, MemoryJournal, Record},
    lease::Lease,
    model::*,
    registry::Registry,
    room::Room,
    step::{Done, Observed, Step, StepContext},
    workflow::{EntityView, Situation, Wish, Workflows},
};

mod bounds;
mod brake;
mod lanes;
mod next_try;

/// What the test's step does, attempt by attempt; afterwards it succeeds.
#[derive(Default)]
struct Script {
    next: Mutex<VecDeque<Play>>,
    attempts: AtomicU32,
    intents: Mutex<Vec<bool>>,
    hold: Notify,
}

enum Play {
    Fail(Failure),
    Panic,
    /// Ends when it is stopped, and not before.
    UntilStopped,
    /// Ends when the test lets it.
    UntilLet,
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
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        self.0.intents.lock().unwrap().push(cx.intended_before);
        let play = self.0.next.lock().unwrap().pop_front();
        match play {
            None => Ok(Done::created(params.clone())),
            Some(Play::Fail(failure)) => Err(failure),
            Some(Play::Panic) => panic!("the test asked for it"),
            Some(Play::UntilStopped) => {
                cx.stopped.cancelled().await;
                Err(transient("stopped"))
            }
            Some(Play::UntilLet) => {
                self.0.hold.notified().await;
                Ok(Done::created(params.clone()))
            }
        }
    }
}

struct TestWorkflows;

impl Workflows for TestWorkflows {
    fn graph(&self, _: &Situation<'_>, workflow: &Name, desired: &[u8]) -> Result<Graph, Failure> {
        let node = |name: &str, after: &[&str], work: Work| Node {
            name: Name::of(name),
            after: after.iter().map(|name| Name::of(name)).collect(),
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

fn wish(id: &str, workflow: &str, precedence: Precedence) -> Wish {
    Wish {
        entity: entity(id),
        workflow: Name::of(workflow),
        precedence,
        desired: b"1".to_vec(),
        made_from: None,
    }
}

#[derive(Clone)]
struct Bench {
    journal: Arc<MemoryJournal>,
    script: Arc<Script>,
    clock: Arc<dyn Clock>,
    room: Arc<Room>,
    lease: Arc<Lease>,
    lanes: Arc<lanes::Reach>,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            journal: Arc::default(),
            script: Arc::default(),
            clock: Arc::new(SystemClock),
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
        let mut registry = Registry::default();
        registry.add(Act(self.script.clone()));
        let parts = EngineParts {
            journal: self.journal.clone(),
            blobs: Arc::new(MemoryBlobs::default()),
            checkpoints: Arc::new(MemoryCheckpoints::default()),
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
        self.script.attempts.load(Ordering::SeqCst)
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

fn state_is(name: &'static str) -> impl Fn(&EntityState) -> bool {
    move |state| {
        state
            .state
            .as_ref()
            .is_some_and(|(state, _)| state.as_str() == name)
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_becomes_a_run_that_ends() {
    let bench = Bench::default();
    let engine = bench.open().await;
    assert_eq!(
        engine
            .desire(vec![wish("x", "two", Precedence::Supersede)], by())
            .await,
        Ok(vec![1])
    );
    settled(&engine, "x").await;
    assert_eq!(bench.attempts(), 2);
    let state = engine.entity(&entity("x")).unwrap();
    assert_eq!(
        engine.run(state.runs[0]).unwrap().result(),
        Some(&RunResult::Succeeded)
    );
    let events = bench.events().await;
    assert_eq!(events[0].event.actor, by().actor);
    assert_eq!(events[0].event.reason.as_str(), "test");
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_and_equal_ones_are_only_counted() {
    let bench = Bench::playing((0..50).map(|_| Play::Fail(transient("unreachable"))));
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    assert_eq!(bench.attempts(), 51);
    assert_eq!(bench.count("step_failed").await, 1, "49 more were like it");
    assert_eq!(bench.count("step_succeeded").await, 1);
}

#[tokio::test(start_paused = true)]
async fn another_failure_is_recorded() {
    let plays = ["a", "a", "b", "b"].map(|message| Play::Fail(transient(message)));
    let bench = Bench::playing(plays);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    assert_eq!(bench.count("step_failed").await, 2);
    let attempts: Vec<_> = bench
        .events()
        .await
        .iter()
        .filter_map(|record| match record.event.kind {
            EventKind::StepStarted { attempt, .. } => Some(attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, [1, 3, 5], "attempts that were only counted count");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_step_waits_for_retry() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T2", "key"))]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(bench.attempts(), 1);
    assert_eq!(
        engine.retry(entity("x"), by()).await,
        Ok(Retried::Signalled)
    );
    settled(&engine, "x").await;
    assert_eq!(
        engine.retry(entity("x"), by()).await,
        Ok(Retried::NothingToDo)
    );
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_others_remove_is_looked_at_every_five_minutes() {
    let full = || Play::Fail(Failure::new(FailureClass::Recheck, "T3", "pool full"));
    let bench = Bench::playing([full(), full(), full()]);
    let engine = bench.open().await;
    let began = tokio::time::Instant::now();
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    assert_eq!(began.elapsed().as_secs(), 900);
    assert_eq!(bench.count("step_blocked").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_final_failure_ends_the_run_and_retry_opens_another() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Failed, "T4", "boot"))]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "two", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", |state| state.last.is_some()).await;
    assert_eq!(bench.count("step_skipped").await, 1);
    assert_eq!(engine.retry(entity("x"), by()).await, Ok(Retried::Reopened));
    settled(&engine, "x").await;
    assert_eq!(engine.entity(&entity("x")).unwrap().runs.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_step_blocks_its_run_and_nothing_else() {
    let bench = Bench::playing([Play::Panic]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    engine
        .desire(vec![wish("y", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    settled(&engine, "y").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_needs_an_unknown_step_is_blocked_and_says_so() {
    let bench = Bench::default();
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "unknown", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    let code = engine.view(&entity("x"), |view| {
        view.obstacle.unwrap().failure.code.to_string()
    });
    assert_eq!(code.as_deref(), Some("VSI0005"));
}

#[tokio::test(start_paused = true)]
async fn a_newer_generation_lets_the_current_step_end_and_follows() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "two", Precedence::Supersede)], by())
        .await
        .unwrap();
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    assert_eq!(
        bench.count("run_finished").await,
        0,
        "the step is still acting"
    );
    bench.script.hold.notify_one();
    settled(&engine, "x").await;
    let state = engine.entity(&entity("x")).unwrap();
    let results: Vec<_> = state
        .runs
        .iter()
        .map(|run| engine.run(*run).unwrap().result().cloned())
        .collect();
    assert_eq!(
        results,
        [Some(RunResult::Superseded), Some(RunResult::Succeeded)]
    );
    assert_eq!(
        bench.attempts(),
        2,
        "the second step of the first run was not begun"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_comes_as_the_last_step_ends_supersedes_the_run() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    let one = || vec![wish("x", "one", Precedence::Supersede)];
    engine.desire(one(), by()).await.unwrap();
    until_count(&bench, &engine, "intent", 1).await;
    bench.script.hold.notify_one();
    engine.desire(one(), by()).await.unwrap();
    settled(&engine, "x").await;
    let state = engine.entity(&entity("x")).unwrap();
    let first = engine.run(state.runs[0]).unwrap();
    assert_eq!(first.result(), Some(&RunResult::Superseded));
    assert_eq!(state.reached, 2);
}

#[tokio::test(start_paused = true)]
async fn an_interruptible_step_is_stopped_at_once() {
    let bench = Bench::playing([Play::UntilStopped]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "watch", Precedence::Supersede)], by())
        .await
        .unwrap();
    engine
        .desire(vec![wish("x", "one", Precedence::Supreme)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    assert_eq!(bench.count("step_interrupted").await, 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_the_run_and_keeps_what_was_done() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T2", "key"))]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "one", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    assert_eq!(
        engine.cancel(entity("x"), by()).await,
        Ok(Cancelled::Requested)
    );
    until(&engine, "x", |state| state.active.is_none()).await;
    assert_eq!(
        engine
            .entity(&entity("x"))
            .unwrap()
            .last
            .as_ref()
            .unwrap()
            .result,
        RunResult::Cancelled
    );
    assert_eq!(
        engine.cancel(entity("x"), by()).await,
        Ok(Cancelled::NothingToDo)
    );
    assert_eq!(engine.retry(entity("x"), by()).await, Ok(Retried::Reopened));
    settled(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_engine_goes_on_and_repeats_no_recorded_success() {
    let bench = Bench::default();
    let engine = bench.open().await;
    bench.script.next.lock().unwrap().push_back(Play::UntilLet);
    bench.script.hold.notify_one();
    bench.script.next.lock().unwrap().push_back(Play::UntilLet);
    engine
        .desire(vec![wish("x", "two", Precedence::Supersede)], by())
        .await
        .unwrap();
    until_count(&bench, &engine, "step_started", 2).await;
    engine.close().await;
    let engine = bench.open().await;
    assert_eq!(bench.attempts(), 2, "nothing is driven by opening");
    engine.drive(Drive::All).await.unwrap();
    settled(&engine, "x").await;
    let started: Vec<_> = bench
        .events()
        .await
        .iter()
        .filter_map(|record| match &record.event.kind {
            EventKind::StepStarted { node, attempt } => Some((node.to_string(), *attempt)),
            _ => None,
        })
        .collect();
    assert_eq!(started, [("a".into(), 1), ("b".into(), 1), ("b".into(), 2)]);
    let intents = bench.script.intents.lock().unwrap().clone();
    assert_eq!(intents, [false, true, true], "the step had acted before");
}

async fn until_count(bench: &Bench, engine: &Engine, kind: &str, count: usize) {
    let mut notices = engine.notices();
    while bench.count(kind).await < count {
        notices.recv().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn many_wait_for_one_entity_that_works_once() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    let wishes = ["x", "y", "z"].map(|id| wish(id, "needs", Precedence::Supersede));
    engine.desire(wishes.to_vec(), by()).await.unwrap();
    bench.script.hold.notify_one();
    for id in ["x", "y", "z"] {
        settled(&engine, id).await;
    }
    assert_eq!(engine.entity(&entity("image")).unwrap().runs.len(), 1);
    assert_eq!(bench.attempts(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_obstacle_of_the_entity_waited_for_is_seen_by_those_who_wait() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T5", "404"))]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "needs", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    engine.retry(entity("x"), by()).await.unwrap();
    settled(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn work_for_an_entity_ends_when_the_last_who_waits_is_gone() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T5", "404"))]);
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "needs", Precedence::Supersede)], by())
        .await
        .unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    engine
        .desire(vec![wish("x", "one", Precedence::Supreme)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    until(&engine, "image", |state| state.active.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_wanted_any_more_ends_after_a_crash_whoever_is_driven_then() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    let needs = vec![wish("x", "needs", Precedence::Supersede)];
    engine.desire(needs, by()).await.unwrap();
    until_count(&bench, &engine, "intent", 1).await;
    let other = vec![wish("x", "one", Precedence::Supreme)];
    engine.desire(other, by()).await.unwrap();
    settled(&engine, "x").await;
    let is_open = |state: &EntityState| state.active.is_some();
    assert!(is_open(&engine.entity(&entity("image")).unwrap()));
    engine.close().await;
    let engine = bench.open().await;
    let another = Drive::These(vec![entity("y")]);
    engine.drive(another).await.unwrap();
    until(&engine, "image", |state| !is_open(state)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_attempted_is_known_after_it_was_given_up() {
    let bench = Bench::playing([Play::Fail(transient("lost"))]);
    let engine = bench.open().await;
    let one = vec![wish("x", "one", Precedence::Supersede)];
    engine.desire(one, by()).await.unwrap();
    until_count(&bench, &engine, "step_failed", 1).await;
    engine.cancel(entity("x"), by()).await.unwrap();
    until(&engine, "x", |state| state.active.is_none()).await;
    let run = engine.entity(&entity("x")).unwrap().runs[0];
    let node = engine.run(run).unwrap().nodes[&Name::of("a")].clone();
    assert_eq!(node, NodeState::Skipped { attempt: 1 });
}

#[tokio::test(start_paused = true)]
async fn heavy_parameters_go_into_blobs() {
    let bench = Bench::default();
    let engine = bench.open().await;
    engine
        .desire(vec![wish("x", "heavy", Precedence::Supersede)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_makes_no_sense_is_refused_before_anything_is_recorded() {
    let bench = Bench::default();
    let engine = bench.open().await;
    let both = ["one", "refused"].map(|workflow| wish("x", workflow, Precedence::Supersede));
    let answer = engine.desire(both.to_vec(), by()).await;
    assert!(matches!(answer, Err(EngineError::Refused(failure)) if failure.code.as_str() == "T1"));
    assert!(bench.events().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_is_kept_without_a_run() {
    let bench = Bench::default();
    let engine = bench.open().await;
    engine
        .desire(vec![wish("host", "refused", Precedence::Record)], by())
        .await
        .unwrap();
    let state = engine.entity(&entity("host")).unwrap();
    assert!(state.runs.is_empty() && state.is_settled());
}
