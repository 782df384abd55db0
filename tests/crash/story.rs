//! Runs a user's story: a list of commands and waits, carried out in order although the process dies.

use std::{cell::Cell, sync::Arc, time::Duration};

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, NodeState};
use vsiflow_steps::sim::Content;
use vsiflow_workflows::{
    fleet::{
        Adopting, ErrorKind, Fleet, FleetError, RestoreOptions, SeenSchedules, ShutdownPolicy,
        SnapshotObject, SnapshotRequest,
    },
    record::PowerAction,
};

use super::{
    check,
    documents::{self, Group, PoolDocument, VsiDocument},
    gate::CrashGate,
    ownership,
    world::{CrashWorld, FOREVER, user},
};

/// One command or wait of a story.
#[derive(Clone, Debug)]
pub enum StoryAct {
    Apply(Vec<VsiDocument>),
    /// Applies the pool `web`.
    ApplyPool(PoolDocument),
    /// Scales the pool to this many members.
    Scale(i64),
    /// Deletes the pool with its members.
    DeletePool,
    /// Waits until the outcome for the pool is decided: its phase, and how many members are ready.
    PoolDecided(&'static str, u32),
    /// Applies the group `grp`.
    ApplyGroup(Group),
    /// Scales the pool `b` of the group to this many members.
    ScaleGroup(i64),
    /// Deletes the group with everything that was made for it.
    DeleteGroup,
    /// Waits until the outcome for the group is decided: its phase, and how many members are ready.
    GroupDecided(&'static str, u32),
    Delete(&'static str),
    Forget(&'static str),
    /// Adopts a domain on this host.
    Adopt(&'static str, Uuid),
    /// Deletes a data disk, by its policy.
    DeleteDisk(&'static str),
    /// Deletes a network from its hosts.
    DeleteNetwork(&'static str),
    /// Waits until the outcome for a network is decided: its host, and its name there.
    NetworkDecided(&'static str, &'static str),
    /// Waits until the outcome for a data disk is decided.
    DiskDecided(Uuid),
    Retry(Uuid),
    Cancel(Uuid),
    /// Gives a power command, which makes this generation of the VSI.
    Power(&'static str, Uuid, PowerAction, u64),
    /// Takes a snapshot of a VSI: its name and UID.
    TakeSnapshot(&'static str, &'static str, Uuid),
    /// The same, with the guest's memory.
    TakeMemory(&'static str, &'static str, Uuid),
    /// Restores a VSI from a snapshot, which makes this generation of the VSI.
    RestoreSnapshot(&'static str, Uuid, u64),
    /// Deletes a snapshot.
    DeleteSnapshot(&'static str),
    /// Waits until the outcome for a snapshot is decided.
    SnapshotDecided(Uuid),
    /// Sets the wall clock forward by this many minutes.
    Later(i64),
    /// Applies schedules until the VSI has this many snapshots, all whole, and none is due.
    Scheduled(&'static str, usize),
    /// Writes into the boot disk of a VSI that is off, on this host.
    Scribble(&'static str, Uuid),
    /// Approves the change that waits for approval.
    Approve(&'static str),
    /// Restarts the host once, as after a power loss.
    HostRestarts(&'static str),
    /// Cordons a host and shuts down what runs there.
    Drain(&'static str),
    /// Cordons a host and moves its pool members to other hosts.
    Move(&'static str),
    /// Uncordons a host, and starts again the guests that a drain shut down.
    Uncordon(&'static str),
    /// Sets or ends the global pause.
    Pause(bool),
    /// Scans the hosts and acts on the drift found.
    Look,
    /// Waits until the outcome is decided.
    Decided(Uuid),
    /// Waits until this many boots have failed since one was last requested.
    FailedBoots(Uuid, u32),
    /// Uploads an image ahead of time and waits for it.
    Upload(&'static str),
    /// Removes unused images, and waits for that.
    Prune,
    /// Starts to remove unused images, without waiting.
    BeginPrune,
    /// Removes images by the image policies of the hosts.
    ImagePolicies,
    /// Waits until the VSI's run has reached this step, or its outcome is decided.
    At(Uuid, &'static str),
}

/// Runs the story. One process after another dies at its gate, and the last one lives to the end. A command
/// that was not answered is given again, as a person would.
pub async fn tell(
    world: &CrashWorld,
    acts: &[StoryAct],
    gates: &[Arc<CrashGate>],
    downtime: Duration,
) -> Result<(), String> {
    let place = Cell::new(0);
    let lives = Box::pin(lives(world, acts, gates, downtime, &place));
    let ended = tokio::time::timeout(FOREVER, lives).await;
    ended.map_err(|_| format!("the story never ends: {:?}", acts.get(place.get())))??;
    world.audit.verdict()
}

async fn lives(
    world: &CrashWorld,
    acts: &[StoryAct],
    gates: &[Arc<CrashGate>],
    downtime: Duration,
    place: &Cell<usize>,
) -> Result<(), String> {
    for gate in gates.iter().cloned().chain([CrashGate::safe()]) {
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
    world: &CrashWorld,
    acts: &[StoryAct],
    gate: &Arc<CrashGate>,
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

async fn perform(world: &CrashWorld, fleet: &Fleet, act: &StoryAct) -> Result<(), FleetError> {
    match act {
        StoryAct::Apply(vsis) => fleet
            .apply(documents::resolved(vsis), user())
            .await
            .map(drop),
        StoryAct::ApplyPool(pool) => fleet.apply(pool.resolved(), user()).await.map(drop),
        StoryAct::Scale(replicas) => {
            let scaled = fleet.pools().scale("default", "web", *replicas, user());
            scaled.await.map(drop)
        }
        StoryAct::DeletePool => delete_pool(fleet).await,
        StoryAct::PoolDecided(phase, ready) => pool_decided(fleet, phase, *ready).await,
        StoryAct::ApplyGroup(group) => fleet.apply(group.resolved(), user()).await.map(drop),
        StoryAct::ScaleGroup(replicas) => {
            let scaled = fleet
                .groups()
                .scale("default", "grp", "b", *replicas, user());
            scaled.await.map(drop)
        }
        StoryAct::DeleteGroup => delete_group(fleet).await,
        StoryAct::GroupDecided(phase, ready) => group_decided(fleet, phase, *ready).await,
        StoryAct::Delete(name) => delete(fleet, name, false).await,
        StoryAct::Forget(name) => delete(fleet, name, true).await,
        StoryAct::Adopt(host, uid) => adopt(fleet, host, *uid).await,
        StoryAct::DeleteDisk(name) => delete_disk(fleet, name).await,
        StoryAct::DeleteNetwork(name) => {
            match fleet
                .networks()
                .delete("default", name, false, user())
                .await
            {
                Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            }
        }
        StoryAct::NetworkDecided(host, name) => {
            let network = ownership::network(host, name);
            fleet.decided(&network).await.map(drop)
        }
        StoryAct::DiskDecided(uid) => fleet.decided(&ownership::disk(*uid)).await.map(drop),
        StoryAct::Retry(uid) => fleet.retry(ownership::entity(*uid), user()).await.map(drop),
        StoryAct::Cancel(uid) => fleet
            .cancel(ownership::entity(*uid), user())
            .await
            .map(drop),
        StoryAct::Power(name, uid, action, makes) => {
            power(world, fleet, name, *uid, *action, *makes).await
        }
        StoryAct::TakeSnapshot(vsi, name, uid) => {
            take_snapshot(fleet, vsi, name, *uid, false).await
        }
        StoryAct::TakeMemory(vsi, name, uid) => take_snapshot(fleet, vsi, name, *uid, true).await,
        StoryAct::RestoreSnapshot(name, uid, makes) => {
            if generation(world, *uid) >= *makes {
                Ok(())
            } else {
                fleet
                    .snapshots()
                    .restore("default", name, RestoreOptions::default(), user())
                    .await
                    .map(drop)
            }
        }
        StoryAct::DeleteSnapshot(name) => {
            match fleet
                .snapshots()
                .delete("default", name, false, user())
                .await
            {
                Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
                done => done.map(drop),
            }
        }
        StoryAct::SnapshotDecided(uid) => fleet.decided(&ownership::snapshot(*uid)).await.map(drop),
        StoryAct::Later(minutes) => {
            world.clock.jump(minutes * 60_000);
            Ok(())
        }
        StoryAct::Scheduled(vsi, whole) => scheduled(fleet, vsi, *whole).await,
        StoryAct::Scribble(host, uid) => {
            let sim = world.hosts.sim(host).await.unwrap();
            sim.with(|state| {
                let boot_disk = state.domains[uid].spec.disks[0].path.clone();
                let (_, name) = boot_disk.rsplit_once('/').unwrap();
                let pool = state.pools.get_mut("images").unwrap();
                let volume = pool.volumes.get_mut(name).unwrap();
                volume.content = Content::Inline(b"written after the snapshot".to_vec());
            })
            .await;
            Ok(())
        }
        StoryAct::Approve(name) => approve(fleet, name).await,
        StoryAct::HostRestarts(host) => {
            let sim = world.hosts.sim(host).await.unwrap();
            sim.with(|state| {
                if state.boots == 1 {
                    state.restart();
                }
            })
            .await;
            Ok(())
        }
        StoryAct::Drain(host) => {
            let how = ShutdownPolicy::default();
            fleet.hosts().drain(host, how, user()).await.map(drop)
        }
        StoryAct::Move(host) => Box::pin(fleet.hosts().drain_moving(host, None, user()))
            .await
            .map(drop),
        StoryAct::Uncordon(host) => fleet.hosts().uncordon(host, true, user()).await.map(drop),
        StoryAct::Pause(on) => fleet.set_global_pause(*on, user()).await,
        StoryAct::Look => fleet.hosts().scan(true).await.map(drop),
        StoryAct::Decided(uid) => fleet.decided(&ownership::entity(*uid)).await.map(drop),
        StoryAct::FailedBoots(uid, boots) => fail(world, fleet, *uid, *boots).await,
        StoryAct::Upload(image) => upload(fleet, image).await,
        StoryAct::Prune => prune(fleet).await,
        StoryAct::BeginPrune => begin_prune(fleet).await,
        StoryAct::ImagePolicies => image_policies(fleet).await,
        StoryAct::At(uid, node) => reaches(world, fleet, *uid, node).await,
    }
}

/// Deletes a VSI. If it is not found, the same command has deleted it, and its answer was lost.
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

/// Gives a power command, unless it is already recorded and only its answer was lost.
async fn power(
    world: &CrashWorld,
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

fn generation(world: &CrashWorld, uid: Uuid) -> u64 {
    let ledger = world.audit.ledger();
    let desired = ledger.vsi(uid).and_then(|vsi| vsi.desired.as_ref());
    desired.map_or(0, |desired| desired.generation)
}

/// Takes a snapshot. If it exists, the same command has taken it, and its answer was lost.
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

/// Applies schedules as a daemon does. However often it dies, no due time gets two snapshots.
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

/// Approves a change. If none waits, the same command has approved it, and its answer was lost.
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

/// Applies image policies as a daemon does: interrupted work is resumed first.
async fn image_policies(fleet: &Fleet) -> Result<(), FleetError> {
    fleet.drive_all().await?;
    for (image, _) in fleet.images().interrupted().await? {
        fleet.decided(&image).await?;
    }
    fleet.images().apply_policies().await.map(drop)
}

async fn fail(world: &CrashWorld, fleet: &Fleet, uid: Uuid, boots: u32) -> Result<(), FleetError> {
    let failures = || {
        let ledger = world.audit.ledger();
        ledger.vsi(uid).map_or(0, |entity| entity.failures)
    };
    while failures() < boots {
        // Resuming nothing fails if the engine has stopped.
        fleet.resume(Vec::new(), user()).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn reaches(
    world: &CrashWorld,
    fleet: &Fleet,
    uid: Uuid,
    node: &str,
) -> Result<(), FleetError> {
    let there = || {
        let ledger = world.audit.ledger();
        ledger
            .node(uid, node)
            .is_some_and(|state| *state != NodeState::Waiting)
    };
    while !there() && fleet.verdict(&ownership::entity(uid)).is_none() {
        // Resuming nothing fails if the engine has stopped.
        fleet.resume(Vec::new(), user()).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
