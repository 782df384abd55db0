//! A user's story: what is asked for, one thing after another, whatever dies in between.

use std::{cell::Cell, sync::Arc, time::Duration};

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, NodeState};
use vsiflow_steps::sim::Content;
use vsiflow_workflows::{
    fleet::{
        Adopting, ErrorKind, Fleet, FleetError, RestoreScope, SeenSchedules, ShutdownPolicy,
        SnapshotObject, SnapshotRequest,
    },
    record::PowerAction,
};

use super::{
    check,
    documents::{self, Group, Pool, Vsi},
    gate::Gate,
    ownership,
    world::{FOREVER, World, user},
};

/// One thing a user does or waits for.
#[derive(Clone, Debug)]
pub enum Act {
    Apply(Vec<Vsi>),
    /// Applies the pool `web`.
    ApplyPool(Pool),
    /// Gives the pool so many members.
    Scale(i64),
    /// Deletes the pool with its members.
    DeletePool,
    /// Waits until the outcome for the pool is decided: its phase, and how many members are ready.
    PoolDecided(&'static str, u32),
    /// Applies the group `grp`.
    ApplyGroup(Group),
    /// Gives the pool `b` of the group so many members.
    ScaleGroup(i64),
    /// Deletes the group with all that was made for it.
    DeleteGroup,
    /// Waits until the outcome for the group is decided: its phase, and how many members are ready.
    GroupDecided(&'static str, u32),
    Delete(&'static str),
    Forget(&'static str),
    /// Takes a domain on that host into management.
    Adopt(&'static str, Uuid),
    /// Deletes a data disk, by its policy.
    DeleteDisk(&'static str),
    /// Deletes a network from its hosts.
    DeleteNetwork(&'static str),
    /// Waits until the outcome for a network on a host is decided, by its name there.
    NetworkDecided(&'static str, &'static str),
    /// Waits until the outcome for a data disk is decided.
    DiskDecided(Uuid),
    Retry(Uuid),
    Cancel(Uuid),
    /// A power command that makes this generation of the VSI.
    Power(&'static str, Uuid, PowerAction, u64),
    /// Takes a snapshot of a VSI: its name and UID.
    TakeSnapshot(&'static str, &'static str, Uuid),
    /// The same, with the guest's memory.
    TakeMemory(&'static str, &'static str, Uuid),
    /// Puts a VSI back to a snapshot, which makes this generation of the VSI.
    RestoreSnapshot(&'static str, Uuid, u64),
    /// Deletes a snapshot.
    DeleteSnapshot(&'static str),
    /// Waits until the outcome for a snapshot is decided.
    SnapshotDecided(Uuid),
    /// The wall clock continues by that many minutes at once.
    Later(i64),
    /// Looks at schedules until the VSI has so many snapshots, all whole, and none is due.
    Scheduled(&'static str, usize),
    /// Somebody writes into the boot disk of a VSI that is off, on that host.
    Scribble(&'static str, Uuid),
    /// Approves what waits for it.
    Approve(&'static str),
    /// The host loses its power and comes up again, once.
    HostRestarts(&'static str),
    /// Cordons a host and shuts down what runs there.
    Drain(&'static str),
    /// Cordons a host and has members of pools made elsewhere.
    Move(&'static str),
    /// Lets a host take new VSIs again, and brings back what was there.
    Uncordon(&'static str),
    /// Pauses everything, or lets it go on.
    Pause(bool),
    /// Looks at the hosts, and acts on what is found.
    Look,
    /// Waits until the outcome is decided.
    Decided(Uuid),
    /// Waits until so many boots have failed since somebody asked for one.
    FailedBoots(Uuid, u32),
    /// Brings an image ahead of time and waits for it.
    Upload(&'static str),
    /// Removes what nobody needs, and waits for that.
    Prune,
    /// Begins to remove unused images, and does not wait for it.
    BeginPrune,
    /// Removes what the hosts' image policies say.
    ImagePolicies,
    /// Waits until the VSI's run has come to that node, or its outcome is decided.
    At(Uuid, &'static str),
}

/// Tells the story, dying at the gates one after another; the last life is not disturbed.
/// A command that was not answered is given again, as a person would.
pub async fn tell(
    world: &World,
    acts: &[Act],
    gates: &[Arc<Gate>],
    downtime: Duration,
) -> Result<(), String> {
    let place = Cell::new(0);
    let lives = Box::pin(lives(world, acts, gates, downtime, &place));
    let ended = tokio::time::timeout(FOREVER, lives).await;
    ended.map_err(|_| format!("the story never ends: {:?}", acts.get(place.get())))??;
    world.audit.verdict()
}

async fn lives(
    world: &World,
    acts: &[Act],
    gates: &[Arc<Gate>],
    downtime: Duration,
    place: &Cell<usize>,
) -> Result<(), String> {
    for gate in gates.iter().cloned().chain([Gate::safe()]) {
        tokio::select! {
            biased;
            () = gate.died() => {}
            ended = live(world, acts, &gate, place) => return ended,
        }
        world.journals.killed()?;
        tokio::time::sleep(downtime).await;
        check::acknowledged_is_there(world).await?;
    }
    Err("even the undisturbed life died".to_owned())
}

async fn live(
    world: &World,
    acts: &[Act],
    gate: &Arc<Gate>,
    place: &Cell<usize>,
) -> Result<(), String> {
    let words = |error: FleetError| format!("a command failed: {error}");
    let fleet = world.start(gate).await.map_err(words)?;
    let mut open = fleet.interrupted().await.map_err(words)?;
    let disks = fleet.disks().interrupted().await.map_err(words)?;
    let snapshots = fleet.snapshots().interrupted().await.map_err(words)?;
    let pools = fleet.pools().interrupted().await.map_err(words)?;
    let groups = fleet.groups().interrupted().await.map_err(words)?;
    let networks = fleet.networks().interrupted().await.map_err(words)?;
    let pools = pools.into_iter().chain(groups).chain(networks);
    let others = disks.into_iter().chain(snapshots).chain(pools);
    open.extend(others.map(|(entity, _, _)| entity));
    fleet.resume(open, user()).await.map_err(words)?;
    while let Some(act) = acts.get(place.get()) {
        perform(world, &fleet, act)
            .await
            .map_err(|error| format!("{act:?}: {error}"))?;
        place.set(place.get() + 1);
    }
    Ok(())
}

async fn perform(world: &World, fleet: &Fleet, act: &Act) -> Result<(), FleetError> {
    match act {
        Act::Apply(vsis) => fleet
            .apply(documents::resolved(vsis), user())
            .await
            .map(drop),
        Act::ApplyPool(pool) => fleet.apply(pool.resolved(), user()).await.map(drop),
        Act::Scale(replicas) => {
            let scaled = fleet.pools().scale("default", "web", *replicas, user());
            scaled.await.map(drop)
        }
        Act::DeletePool => delete_pool(fleet).await,
        Act::PoolDecided(phase, ready) => pool_decided(fleet, phase, *ready).await,
        Act::ApplyGroup(group) => fleet.apply(group.resolved(), user()).await.map(drop),
        Act::ScaleGroup(replicas) => {
            let scaled = fleet
                .groups()
                .scale("default", "grp", "b", *replicas, user());
            scaled.await.map(drop)
        }
        Act::DeleteGroup => delete_group(fleet).await,
        Act::GroupDecided(phase, ready) => group_decided(fleet, phase, *ready).await,
        Act::Delete(name) => delete(fleet, name, false).await,
        Act::Forget(name) => delete(fleet, name, true).await,
        Act::Adopt(host, uid) => adopt(fleet, host, *uid).await,
        Act::DeleteDisk(name) => delete_disk(fleet, name).await,
        Act::DeleteNetwork(name) => {
            match fleet
                .networks()
                .delete("default", name, false, user())
                .await
            {
                Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            }
        }
        Act::NetworkDecided(host, name) => {
            let network = ownership::network(host, name);
            fleet.decided(&network).await.map(drop)
        }
        Act::DiskDecided(uid) => fleet.decided(&ownership::disk(*uid)).await.map(drop),
        Act::Retry(uid) => fleet.retry(ownership::entity(*uid), user()).await.map(drop),
        Act::Cancel(uid) => fleet
            .cancel(ownership::entity(*uid), user())
            .await
            .map(drop),
        Act::Power(name, uid, action, makes) => {
            power(world, fleet, name, *uid, *action, *makes).await
        }
        Act::TakeSnapshot(vsi, name, uid) => take_snapshot(fleet, vsi, name, *uid, false).await,
        Act::TakeMemory(vsi, name, uid) => take_snapshot(fleet, vsi, name, *uid, true).await,
        Act::RestoreSnapshot(name, uid, makes) => {
            if generation(world, *uid) >= *makes {
                Ok(())
            } else {
                fleet
                    .snapshots()
                    .restore("default", name, RestoreScope::All, user())
                    .await
                    .map(drop)
            }
        }
        Act::DeleteSnapshot(name) => {
            match fleet
                .snapshots()
                .delete("default", name, false, user())
                .await
            {
                Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            }
        }
        Act::SnapshotDecided(uid) => fleet.decided(&ownership::snapshot(*uid)).await.map(drop),
        Act::Later(minutes) => {
            world.clock.jump(minutes * 60_000);
            Ok(())
        }
        Act::Scheduled(vsi, whole) => scheduled(fleet, vsi, *whole).await,
        Act::Scribble(host, uid) => {
            let sim = world.hosts.sim(host).await.unwrap();
            let name = format!("boot-{uid}.qcow2");
            sim.with(|state| {
                let pool = state.pools.get_mut("images").unwrap();
                let volume = pool.volumes.get_mut(&name).unwrap();
                volume.content = Content::Inline(b"written after the snapshot".to_vec());
            })
            .await;
            Ok(())
        }
        Act::Approve(name) => approve(fleet, name).await,
        Act::HostRestarts(host) => {
            let sim = world.hosts.sim(host).await.unwrap();
            sim.with(|state| {
                if state.boots == 1 {
                    state.restart();
                }
            })
            .await;
            Ok(())
        }
        Act::Drain(host) => {
            let how = ShutdownPolicy::default();
            fleet.hosts().drain(host, how, user()).await.map(drop)
        }
        Act::Move(host) => Box::pin(fleet.hosts().drain_moving(host, user()))
            .await
            .map(drop),
        Act::Uncordon(host) => fleet.hosts().uncordon(host, true, user()).await.map(drop),
        Act::Pause(on) => fleet.set_global_pause(*on, user()).await,
        Act::Look => fleet.hosts().scan(true).await.map(drop),
        Act::Decided(uid) => fleet.decided(&ownership::entity(*uid)).await.map(drop),
        Act::FailedBoots(uid, boots) => fail(world, fleet, *uid, *boots).await,
        Act::Upload(image) => upload(fleet, image).await,
        Act::Prune => prune(fleet).await,
        Act::BeginPrune => begin_prune(fleet).await,
        Act::ImagePolicies => image_policies(fleet).await,
        Act::At(uid, node) => reaches(world, fleet, *uid, node).await,
    }
}

/// One that is gone already was deleted by the same command, whose answer was lost.
pub async fn delete(fleet: &Fleet, name: &str, orphan: bool) -> Result<(), FleetError> {
    match fleet.vsis().delete("default", name, orphan, user()).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        done => done.map(drop),
    }
}

async fn pool_decided(fleet: &Fleet, phase: &str, ready: u32) -> Result<(), FleetError> {
    fleet.decided(&ownership::pool()).await?;
    let status = fleet.pools().get("default", "web").await?.status;
    if (status.phase, status.ready_replicas) == (phase, ready) {
        return Ok(());
    }
    let (found, members) = (status.phase, status.ready_replicas);
    let message = format!("the pool is {found} with {members}: {}", status.message);
    Err(Failure::new(FailureClass::Failed, "VSI0001", message).into())
}

async fn group_decided(fleet: &Fleet, phase: &str, ready: u32) -> Result<(), FleetError> {
    fleet.decided(&ownership::group()).await?;
    let status = fleet.groups().get("default", "grp").await?.status;
    if (status.phase, status.ready_replicas) == (phase, ready) {
        return Ok(());
    }
    let (found, members) = (status.phase, status.ready_replicas);
    let message = format!("the group is {found} with {members}: {}", status.message);
    Err(Failure::new(FailureClass::Failed, "VSI0001", message).into())
}

async fn delete_group(fleet: &Fleet) -> Result<(), FleetError> {
    match fleet.groups().delete("default", "grp", false, user()).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        done => done.map(drop),
    }
}

async fn delete_pool(fleet: &Fleet) -> Result<(), FleetError> {
    match fleet.pools().delete("default", "web", false, user()).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        done => done.map(drop),
    }
}

async fn adopt(fleet: &Fleet, host: &str, uid: Uuid) -> Result<(), FleetError> {
    let what = Adopting {
        host: documents::host(host),
        domain: uid.to_string(),
        namespace: None,
        name: None,
        force: false,
    };
    fleet.vsis().adopt(what, user()).await.map(drop)
}

async fn delete_disk(fleet: &Fleet, name: &str) -> Result<(), FleetError> {
    match fleet.disks().delete("default", name, false, user()).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        done => done.map(drop),
    }
}

/// One that was recorded is not given again, although its answer was lost.
async fn power(
    world: &World,
    fleet: &Fleet,
    name: &str,
    uid: Uuid,
    action: PowerAction,
    makes: u64,
) -> Result<(), FleetError> {
    if generation(world, uid) >= makes {
        return Ok(());
    }
    let how = ShutdownPolicy::default();
    fleet
        .vsis()
        .power("default", name, action, how, user())
        .await
        .map(drop)
}

fn generation(world: &World, uid: Uuid) -> u64 {
    let ledger = world.audit.ledger();
    let desired = ledger.vsi(uid).and_then(|vsi| vsi.desired.as_ref());
    desired.map_or(0, |desired| desired.generation)
}

/// One that is there was taken by the same command, whose answer was lost.
async fn take_snapshot(
    fleet: &Fleet,
    vsi: &str,
    name: &str,
    uid: Uuid,
    memory: bool,
) -> Result<(), FleetError> {
    if fleet.snapshots().find("default", name).await.is_ok() {
        return Ok(());
    }
    let request = SnapshotRequest {
        name: Some(name.to_owned()),
        uid: Some(uid),
        memory,
        ..SnapshotRequest::default()
    };
    let taken = fleet
        .snapshots()
        .take("default", vsi, request, user())
        .await;
    taken.map(drop)
}

/// As a daemon does it. However often it dies, no due time gets two snapshots.
async fn scheduled(fleet: &Fleet, vsi: &str, whole: usize) -> Result<(), FleetError> {
    let mut seen = SeenSchedules::default();
    loop {
        fleet.snapshots().apply_schedules(&mut seen).await?;
        let all = fleet.snapshots().list(true).await?;
        let mut due: Vec<_> = all.iter().map(|one| &one.status.scheduled_time).collect();
        due.sort();
        if due.windows(2).any(|pair| pair[0] == pair[1]) {
            let message = format!("a due time has two snapshots: {due:?}");
            return Err(Failure::new(FailureClass::Failed, "VSI0001", message).into());
        }
        let is = |one: &&SnapshotObject, phase| one.status.phase == phase;
        let ready = all.iter().filter(|one| is(one, "Ready")).count();
        let gone = all.iter().filter(|one| is(one, "Deleted")).count();
        let conditions = fleet.vsis().get("default", vsi).await?.status.conditions;
        let current = conditions.iter().find(|one| one.name == "SnapshotsCurrent");
        let current = current.is_some_and(|one| one.status == "True" && one.reason != "Due");
        if current && ready == whole && ready + gone == all.len() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What waits no more was approved by the same command, whose answer was lost.
async fn approve(fleet: &Fleet, name: &str) -> Result<(), FleetError> {
    match fleet
        .vsis()
        .approve("default", &[name.to_owned()], user())
        .await
    {
        Err(error) if error.failure.code.as_str() == "VSI0704" => Ok(()),
        done => done.map(drop),
    }
}

async fn upload(fleet: &Fleet, image: &str) -> Result<(), FleetError> {
    let (host, record) = documents::image(image);
    let entity = fleet.images().upload(host, &record, user()).await?;
    fleet.decided(&entity).await.map(drop)
}

async fn prune(fleet: &Fleet) -> Result<(), FleetError> {
    for image in fleet.images().unneeded(0).await? {
        let entity = fleet.images().remove(&image, user()).await?;
        fleet.decided(&entity).await?;
    }
    Ok(())
}

async fn begin_prune(fleet: &Fleet) -> Result<(), FleetError> {
    for image in fleet.images().unneeded(0).await? {
        fleet.images().remove(&image, user()).await?;
    }
    Ok(())
}

/// As a daemon does it: what was begun before continues first.
async fn image_policies(fleet: &Fleet) -> Result<(), FleetError> {
    fleet.drive_all().await?;
    for (image, _) in fleet.images().interrupted().await? {
        fleet.decided(&image).await?;
    }
    fleet.images().apply_policies().await.map(drop)
}

async fn fail(world: &World, fleet: &Fleet, uid: Uuid, boots: u32) -> Result<(), FleetError> {
    let failures = || {
        let ledger = world.audit.ledger();
        ledger.vsi(uid).map_or(0, |entity| entity.failures)
    };
    while failures() < boots {
        // Asking for nothing tells whether the engine still works.
        fleet.resume(Vec::new(), user()).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn reaches(world: &World, fleet: &Fleet, uid: Uuid, node: &str) -> Result<(), FleetError> {
    let there = || {
        let ledger = world.audit.ledger();
        ledger
            .node(uid, node)
            .is_some_and(|state| *state != NodeState::Waiting)
    };
    while !there() && fleet.verdict(&ownership::entity(uid)).is_none() {
        // Asking for nothing tells whether the engine still works.
        fleet.resume(Vec::new(), user()).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
