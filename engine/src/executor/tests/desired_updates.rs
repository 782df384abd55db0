//! Submitting desired states.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_wish_becomes_a_run_that_ends() {
    let bench = Bench::default();
    let engine = bench.open().await;
    assert_eq!(
        engine
            .submit(vec![update_of("x", "two", Precedence::Supersede)], by())
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
async fn heavy_parameters_go_into_blobs() {
    let bench = Bench::default();
    let engine = bench.open().await;
    submit_one(&engine, "x", "heavy").await;
    settled(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn a_wish_that_makes_no_sense_is_refused_before_anything_is_recorded() {
    let bench = Bench::default();
    let engine = bench.open().await;
    let both = ["one", "refused"].map(|workflow| update_of("x", workflow, Precedence::Supersede));
    let answer = engine.submit(both.to_vec(), by()).await;
    assert!(matches!(answer, Err(EngineError::Refused(failure)) if failure.code.as_str() == "T1"));
    assert!(bench.events().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_is_kept_without_a_run() {
    let bench = Bench::default();
    let engine = bench.open().await;
    engine
        .submit(vec![update_of("host", "refused", Precedence::Record)], by())
        .await
        .unwrap();
    let state = engine.entity(&entity("host")).unwrap();
    assert!(state.runs.is_empty() && state.is_settled());
    assert_eq!(
        state.observed_generation(),
        1,
        "nothing is left to be done for it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_engine_goes_on_and_repeats_no_recorded_success() {
    let bench = Bench::default();
    let engine = bench.open().await;
    bench.script.next.lock().unwrap().push_back(Play::UntilLet);
    bench.script.hold.notify_one();
    bench.script.next.lock().unwrap().push_back(Play::UntilLet);
    submit_one(&engine, "x", "two").await;
    until_count(&bench, &engine, "step_started", 2).await;
    engine.close().await;
    let reopened = bench.open().await;
    assert_eq!(bench.attempts(), 2, "nothing is driven by opening");
    reopened.drive(Drive::All).await.unwrap();
    settled(&reopened, "x").await;
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
