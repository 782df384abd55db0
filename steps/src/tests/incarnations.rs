//! Another file under the name of a disk.

use vsiflow_engine::model::{ObjectInUse, Text};

use super::{
    boot_disks::{exists, refusal, running, with_objects},
    endings::{undefine_params, volumes},
    *,
};
use crate::{
    disk::{CreateVolume, DeleteVolume, FillVolume, create_volume, delete_volume, fill_volume},
    guards,
    ports::{VolumeFormat, VolumeSpec},
    sim::{Fault, Faults},
    snapshot::{DiskCopy, RestoreDisks, restore_disks},
};

#[tokio::test(start_paused = true)]
async fn a_file_that_took_the_place_of_a_boot_disk_is_not_deleted_by_the_order_for_that_disk() {
    let world = running().await;
    world.power_off().await;
    let (object, identity) = first_made(&world);
    let known = Objects {
        made: [(object.clone(), identity)].into(),
        ..Objects::default()
    };
    let world = with_objects(world, known.clone());
    let boot = world.boot();
    replace_by_hand(&world, &boot).await;
    let remove = vsi::DeleteVolumes::new(world.hosts.clone());
    let params = volumes(&world);
    let undefine = vsi::UndefineDomain::new(world.hosts.clone());
    let definition = vsi::undefine_domain::Params {
        volumes: params.volumes.clone(),
        ..undefine_params(&world)
    };
    assert_eq!(refusal(&world, &undefine, &definition).await, "VSI0236");
    assert_eq!(refusal(&world, &remove, &params).await, "VSI0236");
    assert!(exists(&world, &boot).await);
    // Once the replacement of the disk was begun, what is there is half of it.
    let begun = Objects {
        unfinished: [(object, Name::of("rebuild"))].into(),
        ..known
    };
    let world = with_objects(world, begun);
    world.attempt(&undefine, &definition).await.unwrap();
    world.attempt(&remove, &params).await.unwrap();
    assert!(!exists(&world, &boot).await);
}

/// The order meant the file that is gone; what is there now may have what the guest wrote since.
#[tokio::test(start_paused = true)]
async fn a_guest_is_not_taken_from_a_file_that_took_the_place_of_the_ordered_one() {
    let world = running().await;
    world.power_off().await;
    let known = Objects {
        made: [first_made(&world)].into(),
        ..Objects::default()
    };
    let world = with_objects(world, known);
    let define = vsi::DefineDomain::new(world.hosts.clone());
    let switch = vsi::define_domain::Params {
        boot: Some(names::boot_disk(POOL, world.uuid, 1)),
        replaces: Some(world.boot()),
        ..world.define_domain()
    };
    let outputs = world.outputs.lock().unwrap().clone();
    world.next_run(None).await;
    *world.outputs.lock().unwrap() = outputs;
    replace_by_hand(&world, &world.boot()).await;
    assert_eq!(refusal(&world, &define, &switch).await, "VSI0236");
}

/// What was recorded first as made, and what identifies it.
fn first_made(world: &World) -> (Text, Text) {
    let facts = world.ledger.facts.lock().unwrap();
    facts.iter().find_map(made_fact).unwrap()
}

fn made_fact(fact: &ObjectFact) -> Option<(Text, Text)> {
    match fact {
        ObjectFact::Made { object, identity } => Some((object.clone(), identity.clone())),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_starts_on_another_file_is_the_one_that_later_orders_mean() {
    let world = running().await;
    world.power_off().await;
    let object = guards::object_name(&world.boot());
    let used = ObjectInUse {
        object: object.clone(),
        generation: 1,
    };
    let known = Objects {
        made: [(object.clone(), Text::new("/elsewhere born 1"))].into(),
        in_use: Some(used),
        ..Objects::default()
    };
    let world = with_objects(world, known);
    world.next_run(None).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    let params = vsi::start_domain::Params {
        named: vec![world.boot(), world.key("data-1")],
        ..world.start_domain()
    };
    world.attempt(&start, &params).await.unwrap();
    let facts = world.ledger.facts.lock().unwrap();
    let (recorded, identity) = facts.iter().find_map(made_fact).unwrap();
    assert_eq!(recorded, object);
    assert_ne!(identity.as_str(), "/elsewhere born 1");
    assert!(identity.as_str().contains(" as qcow2"), "{identity}");
}

/// A data disk that was made, with what its journal recorded of it.
async fn with_data_disk() -> (World, VolumeKey) {
    let world = World::new().await;
    let key = world.key(&Uuid::from_u128(0xd15c).to_string());
    let create = CreateVolume::new(world.hosts.clone());
    let params = create_volume::Params {
        host: HOST.to_owned(),
        volume: key.clone(),
        size: 1 << 20,
        format: VolumeFormat::Qcow2,
        recorded: false,
        made: false,
        adopted: false,
    };
    world.attempt(&create, &params).await.unwrap();
    remember(&world);
    (world, key)
}

/// Takes into the journal what the steps recorded of data disks.
fn remember(world: &World) {
    let others = world.ledger.others();
    assert!(!others.is_empty());
    world.attempted.lock().unwrap().others.extend(others);
}

/// An administrator makes the volume.
async fn make_by_hand(world: &World, key: &VolumeKey) {
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: None,
    };
    let storage = world.ports().await.storage;
    storage.create(&spec).await.unwrap();
}

/// An administrator puts another file under the name of the volume.
async fn replace_by_hand(world: &World, key: &VolumeKey) {
    world.delete_by_hand(key).await;
    make_by_hand(world, key).await;
}

fn deletion_of(key: &VolumeKey) -> delete_volume::Params {
    delete_volume::Params {
        host: HOST.to_owned(),
        volume: key.clone(),
        recorded: true,
        filled: false,
    }
}

/// The restoration of the data disk from a copy in its pool.
async fn restoration_of(world: &World, key: &VolumeKey) -> restore_disks::Params {
    let copy = names::snapshot_copy(POOL, Uuid::from_u128(9), 0);
    make_by_hand(world, &copy).await;
    restore_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        snapshot: "before".to_owned(),
        disks: vec![restore_disks::DiskToRestore {
            of: DiskCopy {
                disk: "data".to_owned(),
                volume: key.clone(),
                copy,
                layer: None,
            },
            size: None,
            recorded: true,
            expected: None,
        }],
        named: Vec::new(),
        for_memory: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_took_the_place_of_a_data_disk_is_neither_deleted_nor_restored_over() {
    let (world, disk) = with_data_disk().await;
    let delete = DeleteVolume::new(world.hosts.clone());
    let restore = RestoreDisks::new(world.hosts.clone());
    let restoration = restoration_of(&world, &disk).await;
    replace_by_hand(&world, &disk).await;
    assert_eq!(
        refusal(&world, &delete, &deletion_of(&disk)).await,
        "VSI0236"
    );
    assert_eq!(refusal(&world, &restore, &restoration).await, "VSI0236");
    assert!(exists(&world, &disk).await);
}

#[tokio::test(start_paused = true)]
async fn a_restored_data_disk_is_the_one_that_later_orders_mean() {
    let (world, disk) = with_data_disk().await;
    let restore = RestoreDisks::new(world.hosts.clone());
    let restoration = restoration_of(&world, &disk).await;
    world.attempt(&restore, &restoration).await.unwrap();
    let delete = DeleteVolume::new(world.hosts.clone());
    assert_eq!(
        refusal(&world, &delete, &deletion_of(&disk)).await,
        "VSI0236"
    );
    remember(&world);
    world.attempt(&delete, &deletion_of(&disk)).await.unwrap();
    assert!(!exists(&world, &disk).await);
}

/// What is there after an interrupted restoration is half of a copy, and any file.
#[tokio::test(start_paused = true)]
async fn a_data_disk_whose_restoration_was_interrupted_is_restored_again() {
    let (world, disk) = with_data_disk().await;
    let restore = RestoreDisks::new(world.hosts.clone());
    let restoration = restoration_of(&world, &disk).await;
    let is_lost = Faults::none().at("clone", 1, Fault::LostReply);
    world.sim().await.set_faults(is_lost).await;
    world.attempt(&restore, &restoration).await.unwrap_err();
    remember(&world);
    world.attempt(&restore, &restoration).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_starts_on_another_data_disk_is_the_one_that_later_orders_mean() {
    let (world, disk) = with_data_disk().await;
    world.provision().await.unwrap();
    world.power_off().await;
    let path = format!("/var/lib/libvirt/images/{}", disk.name);
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        let mut data = domain.spec.disks[0].clone();
        data.path = path;
        domain.spec.disks.push(data);
    })
    .await;
    replace_by_hand(&world, &disk).await;
    world.next_run(None).await;
    let start = vsi::StartDomain::new(world.hosts.clone());
    let params = vsi::start_domain::Params {
        named: vec![world.boot(), world.key("data-1"), disk.clone()],
        ..world.start_domain()
    };
    world.attempt(&start, &params).await.unwrap();
    let before = world.attempted.lock().unwrap().others.clone();
    remember(&world);
    assert_ne!(before, world.attempted.lock().unwrap().others);
}

/// Only the VSI that restores a disk may have half of it.
#[tokio::test(start_paused = true)]
async fn a_half_restored_data_disk_is_given_to_no_other_guest_and_copied_by_nobody() {
    let (world, disk) = with_data_disk().await;
    let restore = RestoreDisks::new(world.hosts.clone());
    let restoration = restoration_of(&world, &disk).await;
    let is_lost = Faults::none().at("clone", 1, Fault::LostReply);
    world.sim().await.set_faults(is_lost).await;
    world.attempt(&restore, &restoration).await.unwrap_err();
    remember(&world);
    let attach = vsi::AttachDataDisks::new(world.hosts.clone());
    let attached = attachment_of(&world, &disk);
    assert_eq!(refusal(&world, &attach, &attached).await, "VSI0237");
    let fill = FillVolume::new(world.hosts.clone());
    let copy = fill_volume::Params {
        host: HOST.to_owned(),
        volume: world.key(&Uuid::from_u128(0xd15d).to_string()),
        source: disk.clone(),
        made: false,
        size: 1 << 20,
        shared: true,
    };
    assert_eq!(refusal(&world, &fill, &copy).await, "VSI0237");
    world.attempt(&restore, &restoration).await.unwrap();
    remember(&world);
    world.attempt(&attach, &attached).await.unwrap();
}

fn attachment_of(world: &World, disk: &VolumeKey) -> vsi::attach_data_disks::Params {
    vsi::attach_data_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: vec![vsi::attach_data_disks::Disk {
            name: "data".to_owned(),
            volume: disk.clone(),
            create: None,
            serial: None,
            format: None,
        }],
        named: Vec::new(),
    }
}

/// A newer copy of the journal restored the disk: what the guest wrote since is in the later volume.
#[tokio::test(start_paused = true)]
async fn a_data_disk_with_a_later_volume_than_the_journal_knows_is_given_to_no_guest() {
    let (world, disk) = with_data_disk().await;
    let later = names::data_disk(POOL, Uuid::from_u128(0xd15c), 1);
    make_by_hand(&world, &later).await;
    let attach = vsi::AttachDataDisks::new(world.hosts.clone());
    let attached = attachment_of(&world, &disk);
    assert_eq!(refusal(&world, &attach, &attached).await, "VSI0207");
}

#[tokio::test(start_paused = true)]
async fn an_undefined_guest_with_a_later_boot_disk_than_the_journal_knows_is_not_defined() {
    let world = running().await;
    world.power_off().await;
    let known = Objects {
        made: [first_made(&world)].into(),
        ..Objects::default()
    };
    let world = with_objects(world, known);
    let outputs = world.outputs.lock().unwrap().clone();
    world.next_run(None).await;
    *world.outputs.lock().unwrap() = outputs;
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(|state| {
        state.domains.remove(&uuid);
    })
    .await;
    make_by_hand(&world, &names::boot_disk(POOL, world.uuid, 1)).await;
    let define = vsi::DefineDomain::new(world.hosts.clone());
    let definition = vsi::define_domain::Params {
        named: vec![world.boot()],
        ..world.define_domain()
    };
    assert_eq!(refusal(&world, &define, &definition).await, "VSI0207");
    world
        .delete_by_hand(&names::boot_disk(POOL, world.uuid, 1))
        .await;
    world.attempt(&define, &definition).await.unwrap();
}

/// Which volume a disk of an earlier journal is, its guest's definition says.
#[tokio::test(start_paused = true)]
async fn an_adopted_data_disk_is_the_volume_that_its_guest_has() {
    let world = World::new().await;
    let uid = Uuid::from_u128(0xd15c);
    let [first, later] = [0, 1].map(|number| names::data_disk(POOL, uid, number));
    make_by_hand(&world, &first).await;
    let create = CreateVolume::new(world.hosts.clone());
    let params = create_volume::Params {
        host: HOST.to_owned(),
        volume: first.clone(),
        size: 1 << 20,
        format: VolumeFormat::Qcow2,
        recorded: true,
        made: true,
        adopted: true,
    };
    world.attempt(&create, &params).await.unwrap();
    make_by_hand(&world, &later).await;
    assert_eq!(refusal(&world, &create, &params).await, "VSI0207");
    world.provision().await.unwrap();
    let (sim, uuid) = (world.sim().await, world.uuid);
    let path = format!("/var/lib/libvirt/images/{}", later.name);
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        let mut data = domain.spec.disks[0].clone();
        data.path = path;
        domain.spec.disks.push(data);
    })
    .await;
    let found = world.attempt(&create, &params).await.unwrap();
    let facts = world.ledger.facts.lock().unwrap();
    let object = guards::object_name(&later);
    assert!(facts.contains(&ObjectFact::InUse { object }), "{found:?}");
}
