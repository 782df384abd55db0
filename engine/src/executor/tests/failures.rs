//! The consequences of a step's failure: another attempt, a wait, or the run's end.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_transient_failure_is_tried_again_and_equal_ones_are_only_counted() {
    let bench = Bench::playing((0..50).map(|_| Play::Fail(transient("unreachable"))));
    let engine = bench.open().await;
    submit_one(&engine, "x", "one").await;
    settled(&engine, "x").await;
    assert_eq!(bench.attempts(), 51);
    assert_eq!(bench.count("step_failed").await, 1, "49 more were like it");
    assert_eq!(bench.count("step_succeeded").await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_got_further_is_soon_followed_by_the_next() {
    let waited = async |play: fn(Failure) -> Play| {
        let bench = Bench::playing((0..30).map(|_| play(transient("cut off"))));
        let engine = bench.open().await;
        let began = tokio::time::Instant::now();
        submit_one(&engine, "x", "one").await;
        settled(&engine, "x").await;
        began.elapsed()
    };
    let advancing = waited(Play::Advance).await;
    assert!(advancing < Duration::from_secs(60), "{advancing:?}");
    assert!(waited(Play::Fail).await > Duration::from_secs(600));
}

#[tokio::test(start_paused = true)]
async fn another_failure_is_recorded() {
    let plays = ["a", "a", "b", "b"].map(|message| Play::Fail(transient(message)));
    let bench = Bench::playing(plays);
    let engine = bench.open().await;
    submit_one(&engine, "x", "one").await;
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
    let told = bench.script.attempts.lock().unwrap().clone();
    assert_eq!(told, [1, 2, 3, 4, 5], "the step is told the same number");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_step_waits_for_retry() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T2", "key"))]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "one").await;
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
    submit_one(&engine, "x", "one").await;
    settled(&engine, "x").await;
    // The wall clock, which the end of a wait depends on, advances a little during virtual time.
    let waited = began.elapsed();
    assert!((899..=900).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(bench.count("step_blocked").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_final_failure_ends_the_run_and_retry_opens_another() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Failed, "T4", "boot"))]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "two").await;
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
    submit_one(&engine, "x", "one").await;
    until(&engine, "x", state_is("Blocked")).await;
    submit_one(&engine, "y", "one").await;
    settled(&engine, "y").await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_needs_an_unknown_step_is_blocked_and_says_so() {
    let bench = Bench::default();
    let engine = bench.open().await;
    submit_one(&engine, "x", "unknown").await;
    until(&engine, "x", state_is("Blocked")).await;
    let code = engine.view(&entity("x"), |view| {
        view.obstacle.unwrap().failure.code.to_string()
    });
    assert_eq!(code.as_deref(), Some("VSI0005"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_become_a_run_is_told_until_something_else_is_wanted() {
    let bench = Bench::playing([]);
    let engine = bench.open().await;
    let mut notices = engine.notices();
    submit_one(&engine, "x", "late").await;
    let reported = async {
        loop {
            if let Notice::Unopened { failure, .. } = notices.recv().await.unwrap() {
                return failure;
            }
        }
    };
    let reported = tokio::time::timeout(Duration::from_secs(60), reported).await;
    assert_eq!(reported.expect("in time").code.as_str(), "T6");
    assert!(engine.unopened(&entity("x")).is_some());
    submit_one(&engine, "x", "one").await;
    settled(&engine, "x").await;
    assert_eq!(engine.unopened(&entity("x")), None);
}
