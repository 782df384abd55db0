//! Snapshots: what is copied, and what attempts that ended early leave.

use vsiflow_engine::model::Text;

use super::{
    boot_disks::{refusal, with_objects},
    *,
};
use crate::{
    guards,
    ports::{DomainState, LayerSpec, Leftovers, VolumeFormat, VolumeSpec, conformance::unguarded},
    sim::{Content, Fault, Faults, SimHostState},
    snapshot::{
        CopyDisks, DiskCopy, MergeLayers, RestoreDisks, copy_disks, merge_layers, restore_disks,
    },
};

const SNAPSHOT: Uuid = Uuid::from_u128(0x40);

fn disks(world: &World) -> Vec<DiskCopy> {
    vec![DiskCopy {
        disk: "boot".to_owned(),
        volume: world.boot(),
        copy: names::snapshot_copy(POOL, SNAPSHOT, 0),
        layer: Some(names::snapshot_layer(POOL, SNAPSHOT, 0)),
    }]
}

fn restoring(world: &World) -> restore_disks::Params {
    restore_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        snapshot: "first".to_owned(),
        disks: vec![restore_disks::DiskToRestore {
            of: disks(world).remove(0),
            size: None,
            recorded: true,
            expected: None,
        }],
        named: Vec::new(),
        for_memory: false,
    }
}

fn taking(world: &World) -> copy_disks::Params {
    copy_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: disks(world),
        quiesce: false,
        off_because: None,
        memory: None,
    }
}

async fn copy(world: &World) -> Result<Done<copy_disks::Output>, Failure> {
    let step = CopyDisks::new(world.hosts.clone());
    world.attempt(&step, &taking(world)).await
}

async fn merge(world: &World) -> Result<Done<merge_layers::Output>, Failure> {
    let step = MergeLayers::new(world.hosts.clone());
    let params = merge_layers::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: disks(world),
    };
    world.drive(&step, &params).await
}

async fn running() -> World {
    let world = World::new().await;
    world.provision().await.unwrap();
    world
}

/// Simulates a write of the guest into the files that its definition names.
async fn writes(world: &World, text: &str) {
    let (sim, uuid) = (world.sim().await, world.uuid);
    let write = |state: &mut SimHostState| {
        let path = state.domains[&uuid].spec.disks[0].path.clone();
        let (folder, name) = path.rsplit_once('/').unwrap();
        let pool = state.pools.values_mut().find(|pool| pool.path == folder);
        let volume = pool.unwrap().volumes.get_mut(name).unwrap();
        volume.content = Content::Inline(text.as_bytes().to_vec());
    };
    sim.with(write).await;
}

async fn content(world: &World, key: &VolumeKey) -> String {
    let bytes = world.ports().await.storage.read(key, 0, 64).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn leftovers(world: &World) -> Vec<String> {
    let volumes = world.ports().await.storage.volumes(POOL).await.unwrap();
    let names = volumes.into_iter().map(|volume| volume.key.name);
    names.filter(|name| name.starts_with("snapshot-")).collect()
}

async fn state(world: &World) -> DomainState {
    let domain = world.ports().await.domains.domain(world.uuid).await;
    domain.unwrap().unwrap().state
}

/// A journal that was restored from a backup taken during the copying: its newer copy has taken the snapshot.
#[tokio::test(start_paused = true)]
async fn a_copy_that_a_newer_copy_of_the_journal_made_whole_is_not_made_again() {
    let world = running().await;
    writes(&world, "before").await;
    copy(&world).await.unwrap();
    let copied = guards::object_name(&disks(&world)[0].copy);
    let restored = Ledger {
        objects: Objects {
            made: [(copied.clone(), Text::default())].into(),
            newest: Some(copied),
            ..Objects::default()
        },
        ..Ledger::default()
    };
    let world = World {
        ledger: Arc::new(restored),
        ..world
    };
    writes(&world, "after").await;
    let refused = copy(&world).await.map(|done| done.output);
    assert_eq!(code(refused), "VSI0207");
    assert_eq!(content(&world, &disks(&world)[0].copy).await, "before");
}

/// A journal that was restored from a backup taken when the copying was only intended.
#[tokio::test(start_paused = true)]
async fn a_copy_is_not_made_again_by_an_intent_whose_end_may_be_forgotten() {
    let world = running().await;
    writes(&world, "before").await;
    copy(&world).await.unwrap();
    let world = with_objects(world, Objects::none());
    writes(&world, "after").await;
    let restored = CopyDisks::new(Arc::new(HostsOfRestored(world.hosts.clone())));
    assert_eq!(refusal(&world, &restored, &taking(&world)).await, "VSI0207");
    assert_eq!(content(&world, &disks(&world)[0].copy).await, "before");
}

#[tokio::test(start_paused = true)]
async fn a_guest_writes_on_while_its_disks_are_copied_and_nothing_of_it_is_lost() {
    let world = running().await;
    writes(&world, "before").await;
    let taken = copy(&world).await.unwrap().output;
    assert!(taken.running);
    writes(&world, "after").await;
    assert_eq!(content(&world, &disks(&world)[0].copy).await, "before");
    assert_eq!(content(&world, &world.boot()).await, "before");
    assert_eq!(merge(&world).await.unwrap().output.merged, ["boot"]);
    assert_eq!(content(&world, &world.boot()).await, "after");
    assert_eq!(content(&world, &disks(&world)[0].copy).await, "before");
    assert_eq!(
        leftovers(&world).await,
        [disks(&world)[0].copy.name.clone()]
    );
    assert_eq!(state(&world).await, DomainState::Running);
}

/// Layers without a record that this run added them: the disks below may be of any moment.
#[tokio::test(start_paused = true)]
async fn layers_that_nobody_vouches_for_are_merged_and_the_copy_is_begun_anew() {
    let world = running().await;
    let layer = LayerSpec {
        target: "vda".to_owned(),
        path: format!(
            "/var/lib/libvirt/images/{}",
            disks(&world)[0].layer.as_ref().unwrap().name
        ),
    };
    world.intend("copy_disks");
    let domains = world.ports().await.domains;
    domains
        .add_layers(world.uuid, &[layer], false)
        .await
        .unwrap();
    writes(&world, "in the layer").await;
    copy(&world).await.unwrap();
    assert_eq!(
        content(&world, &disks(&world)[0].copy).await,
        "in the layer"
    );
    merge(&world).await.unwrap();
    assert_eq!(content(&world, &world.boot()).await, "in the layer");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_went_off_with_a_layer_is_merged_without_running() {
    let world = running().await;
    copy(&world).await.unwrap();
    writes(&world, "in the layer").await;
    let sim = world.sim().await;
    sim.with(SimHostState::restart).await;
    assert_eq!(state(&world).await, DomainState::ShutOff);
    merge(&world).await.unwrap();
    assert_eq!(content(&world, &world.boot()).await, "in the layer");
    assert_eq!(state(&world).await, DomainState::ShutOff);
    assert_eq!(sim.count("start").await, 1, "its guest carried nothing out");
    assert_eq!(leftovers(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_must_be_off_or_has_no_agent_is_refused_and_nothing_is_left() {
    let world = running().await;
    let step = CopyDisks::new(world.hosts.clone());
    let off = copy_disks::Params {
        off_because: Some("its memory is protected".to_owned()),
        ..taking(&world)
    };
    let refused = world.attempt(&step, &off).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0222");
    let quiesced = copy_disks::Params {
        quiesce: true,
        ..taking(&world)
    };
    let quiesced_refused = world.attempt(&step, &quiesced).await.unwrap_err();
    assert_eq!(quiesced_refused.code.as_str(), "VSI0222");
    assert!(leftovers(&world).await.is_empty());
    assert_eq!(state(&world).await, DomainState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_our_own_is_told_from_a_foreign_one_of_such_a_name() {
    let world = running().await;
    let ports = world.ports().await;
    let below = ports.storage.volume(&world.boot()).await.unwrap().unwrap();
    let spec = VolumeSpec {
        key: disks(&world)[0].layer.clone().unwrap(),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: Some((below.path.clone(), VolumeFormat::Qcow2)),
    };
    ports.storage.create(&spec).await.unwrap();
    let code = |on: &World| {
        let (cx, ports, below) = (on.cx("test", false), ports.clone(), below.clone());
        async move {
            let over = guards::nothing_over(&cx, &ports, &[&below]).await;
            over.unwrap_err().code.to_string()
        }
    };
    assert_eq!(
        code(&world).await,
        "VSI0210",
        "this journal knows of no such snapshot"
    );
    let refused = copy(&world).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0207", "its name is in use");
    let begun = (world.run(), Name::of("copy_disks"));
    world.attempted.lock().unwrap().steps.insert(begun);
    assert_eq!(code(&world).await, "VSI0223");
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_put_back_only_while_the_guest_is_off_and_is_grown_to_its_size() {
    let world = running().await;
    writes(&world, "before").await;
    copy(&world).await.unwrap();
    merge(&world).await.unwrap();
    writes(&world, "after").await;
    let step = RestoreDisks::new(world.hosts.clone());
    let mut params = restoring(&world);
    params.disks[0].size = Some(1 << 40);
    let refused = world.attempt(&step, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0209");
    assert_eq!(content(&world, &world.boot()).await, "after");
    world.power_off().await;
    world.drive(&step, &params).await.unwrap();
    assert_eq!(content(&world, &world.boot()).await, "before");
    let volume = world.ports().await.storage.volume(&world.boot()).await;
    assert_eq!(volume.unwrap().unwrap().capacity, 1 << 40);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_its_guest_has_as_raw_is_put_back_as_raw() {
    let world = running().await;
    let (sim, uuid, boot) = (world.sim().await, world.uuid, world.boot());
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        domain.spec.disks[0].format = VolumeFormat::Raw;
        let pool = state.pools.get_mut(&boot.pool).unwrap();
        pool.volumes.get_mut(&boot.name).unwrap().format = "raw".to_owned();
    })
    .await;
    world.power_off().await;
    copy(&world).await.unwrap();
    let copied = disks(&world).remove(0).copy;
    let format = async |key: &VolumeKey| {
        let volume = world.ports().await.storage.volume(key).await;
        volume.unwrap().unwrap().format
    };
    assert_eq!(format(&copied).await, "qcow2");
    let step = RestoreDisks::new(world.hosts.clone());
    world.drive(&step, &restoring(&world)).await.unwrap();
    assert_eq!(format(&boot).await, "raw");
}

/// Without its copy nothing is deleted.
#[tokio::test(start_paused = true)]
async fn a_snapshot_whose_copy_is_gone_destroys_nothing() {
    let world = running().await;
    writes(&world, "after").await;
    world.power_off().await;
    let step = RestoreDisks::new(world.hosts.clone());
    let params = restoring(&world);
    let refused = world.attempt(&step, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0206");
    assert_eq!(content(&world, &world.boot()).await, "after");
}

/// A snapshot that was cancelled for the deletion of its VSI can still be deleted.
#[tokio::test(start_paused = true)]
async fn nothing_is_to_be_merged_once_the_disks_are_gone() {
    let world = running().await;
    let ports = world.ports().await;
    ports.domains.destroy(world.uuid).await.unwrap();
    let undefinition = unguarded::undefinition(world.uuid, Leftovers::Delete);
    ports.domains.undefine(&undefinition).await.unwrap();
    world.delete_by_hand(&world.boot()).await;
    assert!(merge(&world).await.unwrap().output.merged.is_empty());
}

/// The run died while it copied; an administrator wrote an earlier definition again.
#[tokio::test(start_paused = true)]
async fn a_layer_that_was_never_merged_is_not_deleted() {
    let world = running().await;
    copy(&world).await.unwrap();
    writes(&world, "in the layer").await;
    let (sim, uuid) = (world.sim().await, world.uuid);
    let below = format!("/var/lib/libvirt/images/{}", world.boot().name);
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        domain.end(DomainState::ShutOff);
        domain.spec.disks[0].path = below;
        domain.mark.as_mut().unwrap().snapshot = None;
    })
    .await;
    let layer = disks(&world)[0].layer.clone().unwrap();
    for refused in [
        merge(&world).await.map(|done| done.output.merged.len()),
        copy(&world).await.map(|done| done.output.copies.len()),
    ] {
        assert_eq!(code(refused), "VSI0232");
    }
    assert_eq!(content(&world, &layer).await, "in the layer");
}

/// The guest is switched back, and the run dies before it records that.
#[tokio::test(start_paused = true)]
async fn a_layer_whose_merge_ended_unrecorded_is_deleted() {
    let world = running().await;
    copy(&world).await.unwrap();
    writes(&world, "in the layer").await;
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("end_merge", 1, Fault::LostReply))
        .await;
    merge(&world).await.unwrap();
    assert_eq!(content(&world, &world.boot()).await, "in the layer");
    assert_eq!(leftovers(&world).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_somebody_else_began_is_not_ended() {
    let world = running().await;
    copy(&world).await.unwrap();
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(|state| state.begin_block_copy(uuid, "vda", "/srv/copy"))
        .await;
    let step = MergeLayers::new(world.hosts.clone());
    let params = merge_layers::Params {
        host: HOST.to_owned(),
        uuid,
        disks: disks(&world),
    };
    let waiting = world.attempt(&step, &params).await.unwrap_err();
    assert_eq!(waiting.code.as_str(), "VSI0104");
    assert!(waiting.message.as_str().contains("block copy"), "{waiting}");
    assert_eq!(sim.count("end_merge").await, 0);
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        domain.block_copies.clear();
    })
    .await;
    merge(&world).await.unwrap();
}

/// After the first copy something else merges the layers, and the guest writes on.
#[tokio::test(start_paused = true)]
async fn copies_of_two_moments_are_not_mixed() {
    let world = running().await;
    let data = DiskCopy {
        disk: "data".to_owned(),
        volume: world.key("data-1"),
        copy: names::snapshot_copy(POOL, SNAPSHOT, 1),
        layer: Some(names::snapshot_layer(POOL, SNAPSHOT, 1)),
    };
    let mut params = taking(&world);
    params.disks.push(data);
    writes(&world, "before").await;
    let step = CopyDisks::new(world.hosts.clone());
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("clone", 2, Fault::Unreachable))
        .await;
    world.attempt(&step, &params).await.unwrap_err();
    let domains = world.ports().await.domains;
    for target in ["vda", "vdc"] {
        domains.begin_merge(world.uuid, target).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        domains.end_merge(world.uuid, target).await.unwrap();
    }
    writes(&world, "after").await;
    world.drive(&step, &params).await.unwrap();
    assert_eq!(content(&world, &params.disks[0].copy).await, "after");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_not_what_was_recorded_replaces_nothing() {
    let world = running().await;
    writes(&world, "before").await;
    let taken = copy(&world).await.unwrap().output;
    merge(&world).await.unwrap();
    writes(&world, "after").await;
    world.power_off().await;
    let step = RestoreDisks::new(world.hosts.clone());
    let mut params = restoring(&world);
    params.disks[0].expected = taken.copies[0].sum.clone();
    let name = disks(&world)[0].copy.name.clone();
    let sim = world.sim().await;
    let become_text = |text: &'static str| {
        let (sim, name) = (sim.clone(), name.clone());
        async move {
            sim.with(|state| {
                let pool = state.pools.get_mut(POOL).unwrap();
                let copy = pool.volumes.get_mut(&name).unwrap();
                copy.content = Content::Inline(text.as_bytes().to_vec());
            })
            .await;
        }
    };
    for damaged in ["befort", "longer than before"] {
        become_text(damaged).await;
        let refused = world.attempt(&step, &params).await.unwrap_err();
        assert_eq!(refused.code.as_str(), "VSI0235");
        assert_eq!(content(&world, &world.boot()).await, "after");
    }
    become_text("before").await;
    world.drive(&step, &params).await.unwrap();
    assert_eq!(content(&world, &world.boot()).await, "before");
}
