//! Entities that wait for the work of another.

use super::*;

#[tokio::test(start_paused = true)]
async fn many_wait_for_one_entity_that_works_once() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    let updates = ["x", "y", "z"].map(|id| wish(id, "needs", Precedence::Supersede));
    engine.submit(updates.to_vec(), by()).await.unwrap();
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
    wanted(&engine, "x", "needs").await;
    until(&engine, "x", state_is("Blocked")).await;
    engine.retry(entity("x"), by()).await.unwrap();
    settled(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn work_for_an_entity_ends_when_the_last_who_waits_is_gone() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T5", "404"))]);
    let engine = bench.open().await;
    wanted(&engine, "x", "needs").await;
    until(&engine, "x", state_is("Blocked")).await;
    engine
        .submit(vec![wish("x", "one", Precedence::Supreme)], by())
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
    engine.submit(needs, by()).await.unwrap();
    until_count(&bench, &engine, "intent", 1).await;
    let other = vec![wish("x", "one", Precedence::Supreme)];
    engine.submit(other, by()).await.unwrap();
    settled(&engine, "x").await;
    let is_open = |state: &EntityState| state.active.is_some();
    assert!(is_open(&engine.entity(&entity("image")).unwrap()));
    engine.close().await;
    let engine = bench.open().await;
    let another = Drive::These(vec![entity("y")]);
    engine.drive(another).await.unwrap();
    until(&engine, "image", |state| !is_open(state)).await;
}
