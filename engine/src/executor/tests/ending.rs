//! Runs that end early: superseded by a newer desired state, or cancelled.

use async_trait::async_trait;

use super::*;
use crate::{journal::JournalError, model::RunId};

/// Checkpoints on a full disk: all writes wait.
struct WaitingStep;

#[async_trait]
impl Checkpoints for WaitingStep {
    async fn put(&self, _: RunId, _: &Name, _: Vec<u8>) -> Result<(), JournalError> {
        std::future::pending().await
    }

    async fn get(&self, _: RunId, _: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(None)
    }

    async fn forget(&self, _: RunId) -> Result<(), JournalError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_for_checkpoints_that_nobody_needs_any_more() {
    let bench = Bench {
        checkpoints: Arc::new(WaitingStep),
        ..Bench::default()
    };
    let engine = bench.open().await;
    let through = async {
        for entity in ["x", "y"] {
            submit_one(&engine, entity, "one").await;
            settled(&engine, entity).await;
        }
        engine.close().await;
    };
    let through = tokio::time::timeout(Duration::from_secs(10), through);
    through.await.expect("in time");
}

#[tokio::test(start_paused = true)]
async fn a_newer_generation_lets_the_current_step_end_and_follows() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "two").await;
    submit_one(&engine, "x", "one").await;
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
    let one = || vec![update_of("x", "one", Precedence::Supersede)];
    engine.submit(one(), by()).await.unwrap();
    until_count(&bench, &engine, "intent", 1).await;
    bench.script.hold.notify_one();
    engine.submit(one(), by()).await.unwrap();
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
    submit_one(&engine, "x", "watch").await;
    engine
        .submit(vec![update_of("x", "one", Precedence::Supreme)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    assert_eq!(bench.count("step_interrupted").await, 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_the_run_and_keeps_what_was_done() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T2", "key"))]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "one").await;
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
async fn what_was_attempted_is_known_after_it_was_given_up() {
    let bench = Bench::playing([Play::Fail(transient("lost"))]);
    let engine = bench.open().await;
    let one = vec![update_of("x", "one", Precedence::Supersede)];
    engine.submit(one, by()).await.unwrap();
    until_count(&bench, &engine, "step_failed", 1).await;
    engine.cancel(entity("x"), by()).await.unwrap();
    until(&engine, "x", |state| state.active.is_none()).await;
    let run = engine.entity(&entity("x")).unwrap().runs[0];
    let node = engine.run(run).unwrap().nodes[&Name::of("a")].clone();
    assert_eq!(node, NodeState::Skipped { attempt: 1 });
}
