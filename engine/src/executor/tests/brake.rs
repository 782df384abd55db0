//! The brake.

use super::*;

async fn pull(engine: &Engine, on: bool) {
    engine.brake(on, by()).await.unwrap();
}

async fn ask(engine: &Engine, id: &str) {
    let wish = wish(id, "two", Precedence::Supersede);
    engine.submit(vec![wish], by()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_the_brake_is_on_wishes_are_recorded_and_nothing_begins_also_after_a_restart() {
    let bench = Bench::default();
    let engine = bench.open().await;
    pull(&engine, true).await;
    assert_eq!(engine.braked(), Some("test".into()));
    ask(&engine, "x").await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    engine.close().await;

    let reopened = bench.open().await;
    reopened.drive(Drive::All).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!((bench.attempts(), bench.count("run_opened").await), (0, 0));

    pull(&reopened, false).await;
    until(&reopened, "x", EntityState::is_settled).await;
    assert_eq!((bench.attempts(), reopened.braked()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_when_the_brake_is_pulled_ends_and_nothing_follows_it() {
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
async fn a_wait_that_is_over_while_the_brake_is_on_goes_on_once_it_is_let_go() {
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
async fn a_brake_that_is_on_already_is_not_recorded_again() {
    let bench = Bench::default();
    let engine = bench.open().await;
    pull(&engine, true).await;
    pull(&engine, true).await;
    assert_eq!(bench.count("state_changed").await, 1);
}
