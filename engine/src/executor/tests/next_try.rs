//! Runs that follow failed runs automatically.

use super::*;

/// The workflow `again` is tried three times: after 10 s, then after 20 s.
pub(super) fn delay(_: &EntityId, state: &EntityState) -> Option<Duration> {
    let again = state.desired.as_ref()?.workflow.as_str() == "again" && state.failures < 3;
    again.then(|| Duration::from_secs(10 * u64::from(state.failures)))
}

fn failing(times: usize) -> Bench {
    let failed = || Play::Fail(Failure::new(FailureClass::Failed, "T4", "boot"));
    Bench::playing((0..times).map(|_| failed()))
}

async fn begin(bench: &Bench) -> Engine {
    let engine = bench.open().await;
    let update = update_of("x", "again", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    engine
}

async fn until_failed(engine: &Engine, failures: u32) {
    let failed = |state: &EntityState| state.active.is_none() && state.failures == failures;
    until(engine, "x", failed).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_followed_by_others_after_growing_waits_up_to_a_limit() {
    let bench = failing(9);
    let engine = begin(&bench).await;
    let began = tokio::time::Instant::now();
    until_failed(&engine, 3).await;
    // The wall clock, which the end of a wait depends on, advances a little during virtual time.
    let waited = began.elapsed();
    assert!((29..=30).contains(&waited.as_secs()), "{waited:?}");
    assert_eq!(engine.entity(&entity("x")).unwrap().next_try, None);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts(), 3, "the limit was reached");
    assert_eq!(bench.count("retry_scheduled").await, 2);
    replay_holds(&bench).await;

    // A retry by a user begins a new series.
    assert_eq!(engine.retry(entity("x"), by()).await, Ok(Retried::Reopened));
    until_failed(&engine, 1).await;
    until_failed(&engine, 3).await;
    assert_eq!(bench.attempts(), 6);
    replay_holds(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_succeeds_ends_the_series() {
    let bench = failing(1);
    let engine = begin(&bench).await;
    settled(&engine, "x").await;
    let state = engine.entity(&entity("x")).unwrap();
    assert_eq!((state.failures, state.next_try), (0, None));
    assert_eq!(state.runs.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_wait_goes_on_in_another_process_once_its_entity_is_driven() {
    let bench = failing(1);
    let engine = begin(&bench).await;
    until_failed(&engine, 1).await;
    engine.close().await;
    let reopened = bench.open().await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts(), 1, "nothing is driven by opening");
    reopened.drive(Drive::All).await.unwrap();
    settled(&reopened, "x").await;
    assert_eq!(bench.attempts(), 2);
    replay_holds(&bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_desired_state_and_a_retry_take_the_place_of_the_wait() {
    let bench = failing(2);
    let engine = begin(&bench).await;
    until_failed(&engine, 1).await;
    assert_eq!(engine.retry(entity("x"), by()).await, Ok(Retried::Reopened));
    until(&engine, "x", |state| {
        state.active.is_none() && state.runs.len() == 2
    })
    .await;
    let newer = update_of("x", "one", Precedence::Supersede);
    engine.submit(vec![newer], by()).await.unwrap();
    settled(&engine, "x").await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts(), 3);
    replay_holds(&bench).await;
}

async fn replay_holds(bench: &Bench) {
    crate::replay::replay(bench.journal.as_ref(), true)
        .await
        .unwrap();
}
