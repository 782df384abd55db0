//! Events that cannot be understood, and states that are dropped.

use super::*;
use crate::{executor::StateAsOf, model::EventKind};

async fn done(engine: &Engine, id: &str) {
    let update = update_of(id, "one", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    settled(engine, id).await;
}

fn strange() -> Event {
    Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::RetryRequested,
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_decoded_concerns_its_own_entity_alone() {
    let bench = Bench::default();
    let engine = bench.open().await;
    done(&engine, "poisoned").await;
    done(&engine, "other").await;
    engine.close().await;
    let stream = StreamId::Entity(entity("poisoned"));
    let offset = bench.journal.plant_undecodable(&stream, strange());

    let reopened = bench.open().await;
    reopened.drive(Drive::All).await.unwrap();
    let why = reopened.unreadable(&entity("poisoned")).unwrap();
    assert_eq!((why.stream.clone(), why.offset), (stream, offset));
    assert_eq!(reopened.all_unreadable().len(), 1);
    let update = update_of("poisoned", "one", Precedence::Supersede);
    let refused = reopened.submit(vec![update], by()).await.unwrap_err();
    assert!(refused.to_string().starts_with("VSI0018"), "{refused}");
    let retry_refused = reopened.retry(entity("poisoned"), by()).await.unwrap_err();
    assert!(
        retry_refused.to_string().contains("thing/poisoned"),
        "{retry_refused}"
    );
    done(&reopened, "other").await;
    assert_eq!(reopened.entity(&entity("other")).unwrap().runs.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_needs_an_entity_that_cannot_be_read_is_told_so_and_nothing_is_recorded_for_that() {
    let bench = Bench::default();
    let engine = bench.open().await;
    done(&engine, "image").await;
    submit_one(&engine, "waits", "needs").await;
    settled(&engine, "waits").await;
    engine.close().await;
    let stream = StreamId::Entity(entity("image"));
    bench.journal.plant_undecodable(&stream, strange());
    let of_image = || async {
        let heads = bench.journal.streams().await.unwrap();
        heads.into_iter().find(|head| head.stream == stream)
    };
    let before = of_image().await;

    let reopened = bench.open().await;
    submit_one(&reopened, "waits", "needs").await;
    let blocked = |state: &EntityState| {
        let run = reopened.run(state.active.as_ref()?.run)?;
        run.nodes.get(&Name::of("other"))?.failure().cloned()
    };
    until(&reopened, "waits", |state| blocked(state).is_some()).await;
    let failure = blocked(&reopened.entity(&entity("waits")).unwrap()).unwrap();
    assert_eq!(failure.code.as_str(), "VSI0018");
    assert_eq!(failure.object.as_str(), "thing/image");
    reopened.close().await;
    assert_eq!(of_image().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_event_cannot_be_decoded_makes_its_entity_unreadable() {
    let bench = Bench::default();
    let engine = bench.open().await;
    done(&engine, "x").await;
    let run = engine.entity(&entity("x")).unwrap().runs[0];
    engine.close().await;
    bench
        .journal
        .plant_undecodable(&StreamId::Run(run), strange());
    let again = bench.open().await;
    assert!(again.unreadable(&entity("x")).is_some());
}

#[tokio::test(start_paused = true)]
async fn of_a_forgotten_run_it_stays_known_that_it_was() {
    let bench = Bench::default();
    let engine = bench.open().await;
    done(&engine, "x").await;
    done(&engine, "x").await;
    let runs = engine.entity(&entity("x")).unwrap().runs.clone();
    let late = Timestamp(u64::MAX);
    let forgotten = engine.forget_ended(late, |_, _| false).await.unwrap();
    assert_eq!(forgotten, 1, "the newest one counts");
    assert!(engine.run(runs[0]).is_none() && engine.run(runs[1]).is_some());
    assert!(engine.was_attempted(runs[0], &Name::of("act")));
    let never = RunId(ulid::Ulid::from_parts(1, 1));
    assert!(!engine.was_attempted(never, &Name::of("act")));
    done(&engine, "x").await;
}

#[tokio::test(start_paused = true)]
async fn any_moment_of_the_past_can_be_seen() {
    let bench = Bench::default();
    let engine = bench.open().await;
    done(&engine, "x").await;
    let after_one = bench.events().await.len() as u64;
    done(&engine, "x").await;
    let past = |at| StateAsOf::load(bench.journal.as_ref(), at);
    assert!(past(0).await.unwrap().entities().is_empty());
    let runs = |state: &StateAsOf| state.entities()[&entity("x")].runs.len();
    assert_eq!(runs(&past(after_one).await.unwrap()), 1);
    assert_eq!(runs(&past(u64::MAX).await.unwrap()), 2);
}
