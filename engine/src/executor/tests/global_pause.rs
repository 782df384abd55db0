//! The global pause.

use super::*;

async fn pull(engine: &Engine, on: bool) {
    engine.set_global_pause(on, by()).await.unwrap();
}

async fn ask(engine: &Engine, id: &str) {
    let update = update_of(id, "two", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_all_is_paused_desired_states_are_recorded_and_nothing_begins_also_after_a_restart() {
    let bench = Bench::default();
    let engine = bench.open().await;
    pull(&engine, true).await;
    assert_eq!(engine.global_pause(), Some("test".into()));
    ask(&engine, "x").await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    engine.close().await;

    let reopened = bench.open().await;
    reopened.drive(Drive::All).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!((bench.attempts(), bench.count("run_opened").await), (0, 0));

    pull(&reopened, false).await;
    until(&reopened, "x", EntityState::is_settled).await;
    assert_eq!((bench.attempts(), reopened.global_pause()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_all_is_paused_ends_and_nothing_follows_it() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    ask(&engine, "x").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    pull(&engine, true).await;
    bench.script.hold.notify_one();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(
        (bench.attempts(), bench.count("step_succeeded").await),
        (1, 1)
    );
    pull(&engine, false).await;
    until(&engine, "x", EntityState::is_settled).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_while_all_is_paused_goes_on_once_it_is_lifted() {
    let bench = Bench::playing([Play::Fail(transient("once"))]);
    let engine = bench.open().await;
    ask(&engine, "x").await;
    while bench.count("step_failed").await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    pull(&engine, true).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts(), 1);
    pull(&engine, false).await;
    until(&engine, "x", EntityState::is_settled).await;
}

#[tokio::test(start_paused = true)]
async fn a_global_pause_that_is_on_already_is_not_recorded_again() {
    let bench = Bench::default();
    let engine = bench.open().await;
    pull(&engine, true).await;
    pull(&engine, true).await;
    assert_eq!(bench.count("state_changed").await, 1);
}
