//! A VSI whose blob is lost or whose record cannot be decoded does not disturb the others: they work, also
//! after restarts. Nothing is deleted that the unreadable VSI may name.

use uuid::Uuid;
use vsiflow_engine::{
    journal::Append,
    model::{Actor, Event, EventKind, StreamId, Text, Timestamp},
    secret::{Secret, Secrets as _},
};
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet, FleetError, ShutdownPolicy, Verdict},
    phase::Phase,
    record::PowerAction,
};

use super::{
    documents::{self, VsiDocument},
    gate::CrashGate,
    ownership,
    world::{CrashWorld, Setup, in_virtual_time, reached, user},
};

const A: &str = "sim:a";
const ONE: u128 = 1;
const TWO: u128 = 2;
const HEAVY: u128 = 3;
const SPARE: u128 = 4;

async fn start(world: &CrashWorld) -> Fleet {
    world.start(&CrashGate::safe()).await.unwrap()
}

/// Makes three VSIs. The desired state of the last one is too large for an event, so it is in a blob.
async fn fleet(world: &CrashWorld) -> Fleet {
    let vsis = [("one", ONE), ("two", TWO), ("heavy", HEAVY)];
    let mut vsis = vsis.map(|(name, number)| VsiDocument::new(name, number, A));
    vsis[0] = vsis[0].clone().with_disk(SPARE);
    vsis[0].disk_goes = true;
    let mut resolved = documents::resolved(&vsis);
    let labels = &mut resolved.vsis[2].desired.labels;
    labels.insert("padding".to_owned(), "x".repeat(4_000));
    let fleet = start(world).await;
    fleet.apply(resolved, user()).await.unwrap();
    for vsi in &vsis {
        reached(&fleet, vsi.uid).await;
    }
    fleet
}

async fn restarted(world: &CrashWorld, fleet: Fleet) -> Fleet {
    fleet.close().await;
    world.journals.killed().unwrap();
    start(world).await
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, FleetError>, code: &str) {
    let error = answer.unwrap_err();
    assert_eq!(
        (error.kind, error.failure.code.as_str()),
        (ErrorKind::Blocked, code),
        "{error}"
    );
    assert!(!error.failure.remedy.is_empty());
}

/// Checks that the VSI is shown as unreadable under its name, and that all commands for it are refused.
async fn is_unreadable(fleet: &Fleet) {
    let all = fleet.vsis().list(false).await.unwrap();
    let unreadable = all
        .iter()
        .filter(|vsi| vsi.status.phase == Phase::Unreadable);
    let names: Vec<_> = unreadable.map(|vsi| vsi.metadata.name.as_str()).collect();
    assert_eq!(names, ["heavy"]);
    let shown = fleet.vsis().get("default", "heavy").await.unwrap();
    assert_eq!(shown.status.conditions[0].reason, "VSI0018");
    assert!(shown.status.description.contains("restore a backup"));
    assert_refused(
        fleet.vsis().delete("default", "heavy", true, user()).await,
        "VSI0018",
    );
    let again = documents::resolved(&[VsiDocument::new("heavy", HEAVY, A)]);
    assert_refused(fleet.apply(again, user()).await, "VSI0018");
}

async fn nothing_is_taken_away(fleet: &Fleet) {
    assert_refused(fleet.images().unneeded(0).await, "VSI0019");
    for image in fleet.images().list().await.unwrap() {
        assert_refused(fleet.images().remove(&image, user()).await, "VSI0019");
    }
    let disk = fleet
        .disks()
        .delete("default", "data-4", false, user())
        .await;
    assert_refused(disk, "VSI0019");
}

async fn power(fleet: &Fleet, uid: Uuid, name: &str, action: PowerAction) {
    let how = ShutdownPolicy::default();
    let deleted = fleet
        .vsis()
        .power("default", name, action, how, user())
        .await;
    deleted.unwrap();
    reached(fleet, uid).await;
}

/// Checks that all commands for the other VSIs work.
async fn all_else_works(fleet: &Fleet) {
    let (one, two) = (documents::uuid(ONE), documents::uuid(TWO));
    assert_eq!(
        fleet
            .vsis()
            .get("default", "one")
            .await
            .unwrap()
            .status
            .phase,
        Phase::Running
    );
    assert!(
        !fleet
            .history()
            .lines("default", "one")
            .await
            .unwrap()
            .is_empty()
    );
    fleet.disks().list(true).await.unwrap();
    fleet.hosts().list().await.unwrap();
    fleet.networks().list().await.unwrap();
    fleet.vsis().contract_ends().await.unwrap();
    fleet.hosts().inventory(documents::host(A)).await.unwrap();
    fleet.hosts().scan(true).await.unwrap();
    power(fleet, one, "one", PowerAction::Stop).await;
    power(fleet, one, "one", PowerAction::Start).await;
    assert!(fleet.unsettled(None).await.unwrap().is_empty());
    assert!(fleet.interrupted().await.unwrap().is_empty());
    let mut changed = VsiDocument::new("two", TWO, A);
    changed.cpus = 3;
    let new = VsiDocument::new("new", 9, A);
    let resolved = documents::resolved(&[changed, new.clone()]);
    fleet.plan(&resolved).await.unwrap();
    fleet.apply(resolved, user()).await.unwrap();
    reached(fleet, two).await;
    reached(fleet, new.uid).await;
    let drained = fleet
        .hosts()
        .drain(A, ShutdownPolicy::default(), user())
        .await
        .unwrap();
    assert_eq!(drained.len(), 3);
    assert_eq!(fleet.hosts().unreadable(A).await.unwrap().len(), 1);
    for entity in &drained {
        assert_eq!(fleet.decided(entity).await.unwrap(), Verdict::Reached);
    }
    fleet.hosts().uncordon(A, true, user()).await.unwrap();
    reached(fleet, one).await;
    reached(fleet, two).await;
    for (name, orphan) in [("two", true), ("new", false)] {
        let entity = fleet
            .vsis()
            .delete("default", name, orphan, user())
            .await
            .unwrap();
        assert_eq!(fleet.decided(&entity).await.unwrap(), Verdict::Reached);
    }
}

#[test]
fn a_lost_blob_concerns_its_own_vsi_alone() {
    in_virtual_time(async {
        let world = CrashWorld::of(Setup::DISK).await;
        let fleet = fleet(&world).await;
        let stray = world
            .secrets
            .put(Secret::new("stray".to_owned()))
            .await
            .unwrap();
        assert!(world.blobs.lose("\"name\":\"heavy\"").await > 0);
        let fleet = restarted(&world, fleet).await;
        is_unreadable(&fleet).await;
        nothing_is_taken_away(&fleet).await;
        all_else_works(&fleet).await;
        let fleet = restarted(&world, fleet).await;
        is_unreadable(&fleet).await;
        assert!(world.secrets.get(&stray).await.is_ok(), "it may be needed");

        world.blobs.find();
        let fleet = restarted(&world, fleet).await;
        let heavy = fleet.vsis().get("default", "heavy").await.unwrap();
        assert_eq!(heavy.status.phase, Phase::Running);
        fleet.images().unneeded(0).await.unwrap();
        assert!(world.secrets.get(&stray).await.is_err(), "it is unused");
        let gone = fleet
            .vsis()
            .delete("default", "heavy", false, user())
            .await
            .unwrap();
        assert_eq!(fleet.decided(&gone).await.unwrap(), Verdict::Reached);
    });
}

#[test]
fn a_record_that_nobody_can_decode_concerns_its_own_vsi_alone_over_restarts() {
    in_virtual_time(async {
        let world = CrashWorld::of(Setup::DISK).await;
        let fleet = fleet(&world).await;
        let stray = world
            .secrets
            .put(Secret::new("stray".to_owned()))
            .await
            .unwrap();
        fleet.close().await;
        plant(&world).await;
        let mut started_again = start(&world).await;
        for _ in 0..2 {
            is_unreadable(&started_again).await;
            nothing_is_taken_away(&started_again).await;
            // The index that is written now must not skip the unreadable record.
            started_again = restarted(&world, started_again).await;
        }
        all_else_works(&started_again).await;
        started_again = restarted(&world, started_again).await;
        is_unreadable(&started_again).await;
        assert!(world.secrets.get(&stray).await.is_ok(), "it may be needed");
    });
}

/// Adds an event of the VSI of which only the envelope can be decoded.
async fn plant(world: &CrashWorld) {
    let stream = StreamId::Entity(ownership::entity(documents::uuid(HEAVY)));
    let journal = world.journals.current();
    let heads = journal.streams().await.unwrap();
    let head = heads.into_iter().find(|head| head.stream == stream);
    let event = Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::RetryRequested,
    };
    let append = Append {
        stream,
        expected_seq: head.unwrap().next_seq,
        events: vec![event],
    };
    journal.append(vec![append]).await.unwrap();
    world.journals.spoil_last().await;
}
