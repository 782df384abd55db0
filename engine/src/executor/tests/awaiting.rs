//! Entities that wait for another entity.

use super::*;

#[tokio::test(start_paused = true)]
async fn many_wait_for_one_entity_that_works_once() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    let updates = ["x", "y", "z"].map(|id| update_of(id, "needs", Precedence::Supersede));
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
    submit_one(&engine, "x", "needs").await;
    until(&engine, "x", state_is("Blocked")).await;
    engine.retry(entity("x"), by()).await.unwrap();
    settled(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn work_for_an_entity_ends_when_the_last_who_waits_is_gone() {
    let bench = Bench::playing([Play::Fail(Failure::new(FailureClass::Blocked, "T5", "404"))]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "needs").await;
    until(&engine, "x", state_is("Blocked")).await;
    engine
        .submit(vec![update_of("x", "one", Precedence::Supreme)], by())
        .await
        .unwrap();
    settled(&engine, "x").await;
    until(&engine, "image", |state| state.active.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn work_that_nobody_wanted_any_more_ends_after_a_crash_whoever_is_driven_then() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    let needs = vec![update_of("x", "needs", Precedence::Supersede)];
    engine.submit(needs, by()).await.unwrap();
    until_count(&bench, &engine, "intent", 1).await;
    let other = vec![update_of("x", "one", Precedence::Supreme)];
    engine.submit(other, by()).await.unwrap();
    settled(&engine, "x").await;
    let is_open = |state: &EntityState| state.active.is_some();
    assert!(is_open(&engine.entity(&entity("image")).unwrap()));
    engine.close().await;
    let reopened = bench.open().await;
    let another = Drive::These(vec![entity("y")]);
    reopened.drive(another).await.unwrap();
    until(&reopened, "image", |state| !is_open(state)).await;
}

fn workflows_of(engine: &Engine, id: &str) -> Vec<String> {
    let state = engine.entity(&entity(id)).unwrap();
    let runs = state.runs.iter().map(|run| engine.run(*run).unwrap());
    runs.map(|run| run.graph.as_ref().unwrap().workflow.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_another_workflow_did_is_not_what_is_waited_for() {
    for queued in [false, true] {
        let bench = Bench::playing([Play::UntilLet]);
        let engine = bench.open().await;
        submit_one(&engine, "image", "watch").await;
        until_count(&bench, &engine, "intent", 1).await;
        if queued {
            let follows = vec![update_of("image", "one", Precedence::Queue)];
            engine.submit(follows, by()).await.unwrap();
        }
        submit_one(&engine, "x", "needs").await;
        until(&engine, "x", |state| state.active.is_some()).await;
        bench.script.hold.notify_one();
        settled(&engine, "x").await;
        let runs = workflows_of(&engine, "image");
        assert_eq!(runs, ["watch", "one"], "{queued}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_run_of_another_workflow_gives_way_to_what_is_waited_for() {
    let blocked = Failure::new(FailureClass::Blocked, "T5", "in use");
    let bench = Bench::playing([Play::Fail(blocked)]);
    let engine = bench.open().await;
    submit_one(&engine, "image", "two").await;
    until(&engine, "image", state_is("Blocked")).await;
    submit_one(&engine, "x", "needs").await;
    settled(&engine, "x").await;
    assert_eq!(workflows_of(&engine, "image"), ["two", "one"]);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_of_one_run_does_not_cancel_the_next() {
    let blocked = || Play::Fail(Failure::new(FailureClass::Blocked, "T5", "in use"));
    let bench = Bench::playing([blocked(), blocked()]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "two").await;
    until(&engine, "x", state_is("Blocked")).await;
    let first = engine.entity(&entity("x")).unwrap().active.clone();
    let first = first.unwrap().run;
    submit_one(&engine, "x", "one").await;
    until(&engine, "x", |state| state.runs.len() == 2).await;
    let late = engine.cancel_run(entity("x"), first, by()).await.unwrap();
    assert_eq!(late, Cancelled::NothingToDo);
    let second = engine.entity(&entity("x")).unwrap().active.clone();
    let second = second.unwrap().run;
    let done = engine.cancel_run(entity("x"), second, by()).await.unwrap();
    assert_eq!(done, Cancelled::Requested);
    until(&engine, "x", |state| state.active.is_none()).await;
}
