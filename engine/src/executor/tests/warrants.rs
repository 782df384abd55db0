//! An object is destroyed only by an order for it, once.

use super::*;
use crate::{
    replay::replay,
    step::{ObjectChange, ObjectFact},
    workflow::DestructionOrder,
};

const DISK: &str = "images/boot.qcow2";

/// What [`Play::Destroy`] does: a success is recorded with the end of the object.
pub(super) async fn destroy(
    cx: &StepContext,
    params: &str,
    result: Result<(), Failure>,
) -> Result<Done<String>, Failure> {
    let object = Text::new(DISK);
    let fact = ObjectFact::Destroying {
        object: object.clone(),
    };
    cx.ledger.record(fact).await?;
    result?;
    cx.ledger.record(ObjectFact::Gone { object }).await?;
    Ok(Done::created(params.to_owned()))
}

/// What [`Play::Remake`] does: an attempt that is repeated records the same again.
pub(super) async fn remake(cx: &StepContext, params: &str) -> Result<Done<String>, Failure> {
    for owner in ["owner", "owner", "nobody"] {
        let fact = ObjectFact::Of {
            owner: entity(owner),
            object: Text::new(DISK),
            change: ObjectChange::Made(Text::new("8:1")),
        };
        cx.ledger.record(fact).await?;
    }
    let identity = cx.recorded.identity_of(&entity("owner"), &Text::new(DISK));
    assert_eq!(identity, Some(Text::new("8:1")));
    Ok(Done::created(params.to_owned()))
}

fn order() -> DestructionOrder {
    DestructionOrder {
        object: Text::new(DISK),
        act: Name::of("rebuild"),
        shown: Text::new("the boot disk is made anew"),
    }
}

fn ordered(workflow: &str) -> DesiredUpdate {
    DesiredUpdate {
        orders: vec![order()],
        voids: Vec::new(),
        ..update_of("x", workflow, Precedence::Supersede)
    }
}

fn blocked_code(engine: &Engine) -> Option<String> {
    engine.view(&entity("x"), |view| {
        view.obstacle
            .map(|obstacle| obstacle.failure.code.to_string())
    })?
}

#[tokio::test(start_paused = true)]
async fn a_step_without_an_order_destroys_nothing() {
    let bench = Bench::playing([Play::Destroy(Ok(()))]);
    let engine = bench.open().await;
    submit_one(&engine, "x", "one").await;
    until(&engine, "x", state_is("Blocked")).await;
    assert_eq!(blocked_code(&engine).as_deref(), Some("VSI0041"));
    assert_eq!(bench.count("warrant_spent").await, 0);
    assert_eq!(bench.count("object_gone").await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_permits_to_destroy_once() {
    let bench = Bench::playing([Play::Destroy(Ok(())), Play::Destroy(Ok(()))]);
    let engine = bench.open().await;
    engine.submit(vec![ordered("one")], by()).await.unwrap();
    settled(&engine, "x").await;
    assert_eq!(bench.count("warrant_spent").await, 1);
    submit_one(&engine, "x", "one").await;
    until(&engine, "x", state_is("Blocked")).await;
    assert_eq!(bench.count("warrant_spent").await, 1);
    let replayed = replay(bench.journal.as_ref(), true).await.unwrap();
    assert!(replayed.events > 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_step_makes_of_another_entity_is_recorded_once_and_in_the_stream_of_that_entity() {
    let bench = Bench::playing([]);
    let engine = bench.open().await;
    submit_one(&engine, "owner", "one").await;
    settled(&engine, "owner").await;
    bench.script.next.lock().unwrap().push_back(Play::Remake);
    submit_one(&engine, "x", "one").await;
    settled(&engine, "x").await;
    let made = |id: &str| engine.view(&entity(id), |view| view.entity.objects.made.len());
    assert_eq!(
        (made("owner"), made("x"), made("nobody")),
        (Some(1), Some(0), None)
    );
    assert_eq!(bench.count("object_made").await, 1);
    replay(bench.journal.as_ref(), true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_step_that_failed_after_it_spent_its_order_may_act_again_in_its_run_alone() {
    let bench = Bench::playing([
        Play::Destroy(Err(transient("the reply was lost"))),
        Play::Destroy(Err(Failure::new(FailureClass::Failed, "T3", "half"))),
        Play::Destroy(Ok(())),
    ]);
    let engine = bench.open().await;
    engine.submit(vec![ordered("one")], by()).await.unwrap();
    until(&engine, "x", |state| state.last.is_some()).await;
    assert_eq!(bench.count("warrant_spent").await, 1);
    let state = engine.entity(&entity("x")).unwrap();
    let begun = state.objects.unfinished.get(&Text::new(DISK));
    assert_eq!(begun, Some(&Name::of("rebuild")));
    engine.retry(entity("x"), by()).await.unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    assert_eq!(blocked_code(&engine).as_deref(), Some("VSI0041"));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_engine_continues_what_its_order_permits() {
    let bench = Bench::playing([Play::UntilLet]);
    let engine = bench.open().await;
    engine.submit(vec![ordered("one")], by()).await.unwrap();
    until_count(&bench, &engine, "step_started", 1).await;
    engine.close().await;
    bench
        .script
        .next
        .lock()
        .unwrap()
        .push_back(Play::Destroy(Ok(())));
    let restarted = bench.open().await;
    restarted.drive(Drive::All).await.unwrap();
    settled(&restarted, "x").await;
    assert_eq!(bench.count("warrant_spent").await, 1);
    assert_eq!(bench.count("object_gone").await, 1);
}

#[tokio::test(start_paused = true)]
async fn cancel_voids_orders_that_were_not_used() {
    let blocks = Failure::new(FailureClass::Blocked, "T2", "key");
    let bench = Bench::playing([Play::Fail(blocks), Play::Destroy(Ok(()))]);
    let engine = bench.open().await;
    engine.submit(vec![ordered("one")], by()).await.unwrap();
    until(&engine, "x", state_is("Blocked")).await;
    engine.cancel(entity("x"), by()).await.unwrap();
    until(&engine, "x", |state| state.active.is_none()).await;
    assert_eq!(bench.count("warrant_voided").await, 1);
    engine.retry(entity("x"), by()).await.unwrap();
    until(&engine, "x", |state| state.active.is_some()).await;
    until(&engine, "x", state_is("Blocked")).await;
    assert_eq!(blocked_code(&engine).as_deref(), Some("VSI0041"));
}

#[tokio::test(start_paused = true)]
async fn cancel_voids_orders_also_where_no_run_is_open() {
    let fails = Failure::new(FailureClass::Failed, "T3", "boot");
    let bench = Bench::playing([Play::Fail(fails)]);
    let engine = bench.open().await;
    engine.submit(vec![ordered("one")], by()).await.unwrap();
    until(&engine, "x", |state| state.last.is_some()).await;
    let cancelled = engine.cancel(entity("x"), by()).await;
    assert_eq!(cancelled, Ok(Cancelled::OrdersVoided));
    let state = engine.entity(&entity("x")).unwrap();
    assert!(!state.objects.is_ordered(&Text::new(DISK)));
}

/// The state of an entity with an open run of this generation.
fn with_open_run(generation: u64) -> EntityState {
    let mut state = EntityState::default();
    let opened = EventKind::RunOpened {
        run: RunId(ulid::Ulid::from_parts(1, generation.into())),
        workflow: Name::of("one"),
        generation,
    };
    state.apply(&happened(opened)).unwrap();
    state
}

fn happened(kind: EventKind) -> Event {
    Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

#[test]
fn a_definition_of_the_open_run_stays_in_use_although_what_lasted_under_its_name_is_gone() {
    let object = Text::new(DISK);
    let used = happened(EventKind::ObjectInUse {
        object: object.clone(),
    });
    let gone = happened(EventKind::ObjectGone { object });
    let mut state = with_open_run(3);
    state.apply(&used).unwrap();
    state.apply(&gone).unwrap();
    assert_eq!(state.made_from(), 3);
    let mut later = with_open_run(4);
    later.objects = state.objects;
    later.apply(&gone).unwrap();
    assert_eq!(later.made_from(), 0, "a deletion leaves no definition");
}

/// The objects after these events of an entity with an open run.
fn objects_after(events: Vec<EventKind>) -> Objects {
    let mut state = with_open_run(1);
    for event in events {
        state.apply(&happened(event)).unwrap();
    }
    state.objects
}

#[test]
fn what_no_definition_names_is_begun_until_it_is_handed_to_a_guest() {
    let (first, second) = (Text::new("images/boot"), Text::new("images/boot-1"));
    let begun = |object: &Text| EventKind::ObjectBegun {
        object: object.clone(),
    };
    let made = |object: &Text| EventKind::ObjectMade {
        object: object.clone(),
        identity: Text::new("8:1"),
    };
    let used = |object: &Text| EventKind::ObjectInUse {
        object: object.clone(),
    };
    let gone = |object: &Text| EventKind::ObjectGone {
        object: object.clone(),
    };
    let objects = objects_after(vec![
        begun(&first),
        made(&first),
        used(&first),
        begun(&second),
    ]);
    assert!(objects.begun.contains(&second) && !objects.begun.contains(&first));
    // The definition was switched, and the disk before it is still what a guest wrote.
    let switched = vec![begun(&first), made(&first), used(&first), begun(&second)];
    let switched = switched.into_iter().chain([made(&second), used(&second)]);
    let switched = objects_after(switched.collect());
    assert!(switched.begun.is_empty() && switched.made.contains_key(&first));
    // What lasts for one start is nothing that a guest wrote, once no definition names it.
    let ephemeral = vec![begun(&first), used(&first), begun(&second), used(&second)];
    let left = objects_after(ephemeral);
    assert_eq!(left.begun, [first.clone()].into());
    // A name is never used again.
    let deleted = objects_after(vec![begun(&first), used(&first), gone(&first)]);
    assert!(deleted.begun.is_empty() && deleted.newest == Some(first));
}

#[test]
fn a_copy_of_a_journal_counts_what_was_begun_as_written_by_a_guest() {
    let object = Text::new(DISK);
    let begun = EventKind::ObjectBegun {
        object: object.clone(),
    };
    let objects = objects_after(vec![begun.clone()]);
    let events: Vec<_> = [begun].into_iter().chain(objects.disowned()).collect();
    let copied = objects_after(events);
    assert!(copied.begun.is_empty() && copied.made.contains_key(&object));
    assert!(!copied.is_whole(&object, &Text::new("8:1")));
}

#[test]
fn a_warrant_is_spent_once_and_only_by_an_open_run() {
    let mut state = EntityState::default();
    let event = happened;
    let (run, warrant) = (
        RunId(ulid::Ulid::from_parts(1, 1)),
        WarrantId(ulid::Ulid::from_parts(1, 2)),
    );
    let spent = EventKind::WarrantSpent {
        warrant,
        run,
        node: Name::of("a"),
    };
    assert!(state.apply(&event(spent.clone())).is_err());
    let warranted = EventKind::Warranted {
        warrant,
        object: Text::new(DISK),
        act: Name::of("rebuild"),
        shown: Text::default(),
    };
    state.apply(&event(warranted.clone())).unwrap();
    assert!(state.apply(&event(warranted)).is_err());
    assert!(
        state.apply(&event(spent.clone())).is_err(),
        "no run is open"
    );
    let opened = EventKind::RunOpened {
        run,
        workflow: Name::of("one"),
        generation: 1,
    };
    state.apply(&event(opened)).unwrap();
    state.apply(&event(spent.clone())).unwrap();
    assert!(state.apply(&event(spent)).is_err(), "spent twice");
}
