//! Guests whose disks are other files than the volumes that the journal names.

use super::*;
use crate::{
    guards::{self, DeletionCandidate},
    ports::{DomainState, Leftovers, Removed, conformance::unguarded},
    sim::{Content, Pool, SimHostState, Volume},
    snapshot::{CopyDisks, DiskCopy, copy_disks},
    vsi::delete_volumes::VolumeToDelete,
};

const LAYER: &str = "/backup/over.qcow2";

/// Every volume that the journal names for the VSI.
fn named(world: &World) -> Vec<VolumeKey> {
    vec![world.boot(), world.key("data-1")]
}

/// What each act says to the guest's disks, with the codes of those that refuse.
async fn acts(world: &World) -> [String; 3] {
    let attach = vsi::AttachDataDisks::new(world.hosts.clone());
    let mut disks = vsi::attach_data_disks::Params {
        named: named(world),
        ..world.attach_data_disks()
    };
    for disk in &mut disks.disks {
        disk.create.iter_mut().for_each(|made| made.recorded = true);
    }
    let define = vsi::DefineDomain::new(world.hosts.clone());
    let definition = vsi::define_domain::Params {
        named: named(world),
        while_running: true,
        ..world.define_domain()
    };
    let start = vsi::StartDomain::new(world.hosts.clone());
    let boot = vsi::start_domain::Params {
        named: named(world),
        ..world.start_domain()
    };
    world.intend("attach_data_disks");
    [
        said(
            attach
                .observe(&world.cx("attach_data_disks", true), &disks)
                .await,
        ),
        said(
            define
                .run(&world.cx("define_domain", true), &definition)
                .await,
        ),
        said(start.run(&world.cx("start_domain", true), &boot).await),
    ]
}

fn said<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| failure.code.to_string(), |_| "fine".to_owned())
}

async fn change(world: &World, change: impl FnOnce(&mut SimHostState, Uuid)) {
    let uuid = world.uuid;
    world.sim().await.with(|state| change(state, uuid)).await;
}

async fn running() -> World {
    let world = World::new().await;
    world.provision().await.unwrap();
    world
}

const REFUSED: [&str; 3] = ["VSI0210", "VSI0210", "VSI0210"];

#[tokio::test(start_paused = true)]
async fn a_guest_with_a_layer_outside_of_all_pools_is_neither_defined_nor_started() {
    for target in ["vda", "vdc"] {
        let world = running().await;
        change(&world, |state, uuid| {
            state.put_layer_over(uuid, target, LAYER);
        })
        .await;
        let [attached, defined, _] = acts(&world).await;
        assert_eq!([&attached, &defined], ["VSI0210", "VSI0210"], "{target}");
        world.power_off().await;
        assert_eq!(acts(&world).await, REFUSED, "{target}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_whose_disk_was_moved_is_neither_defined_nor_started() {
    let world = running().await;
    world.power_off().await;
    change(&world, |state, uuid| {
        state.move_disk(uuid, "vda", "/srv/moved.qcow2");
    })
    .await;
    assert_eq!(acts(&world).await, REFUSED);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_has_its_own_disks_or_fewer_or_lost_ones_is_defined() {
    let world = running().await;
    world.power_off().await;
    assert_eq!(acts(&world).await, ["fine", "fine", "fine"]);
    world.power_off().await;
    // A detached disk, and a link to the same file.
    change(&world, |state, uuid| {
        let spec = &mut state.domains.get_mut(&uuid).unwrap().spec;
        spec.disks.retain(|disk| disk.target != "vdc");
        spec.disks[0].path = format!("/mnt/link/boot-{uuid}.qcow2");
        let to = "/var/lib/libvirt/images".to_owned();
        state.links.insert("/mnt/link".to_owned(), to);
    })
    .await;
    assert_eq!(acts(&world).await[..2], ["fine", "fine"]);
    // A boot disk that was deleted has no data.
    let boot = world.boot();
    world.delete_by_hand(&boot).await;
    let define = vsi::DefineDomain::new(world.hosts.clone());
    let definition = vsi::define_domain::Params {
        named: named(&world),
        while_running: true,
        ..world.define_domain()
    };
    let defined = define
        .run(&world.cx("define_domain", true), &definition)
        .await;
    assert_eq!(said(defined), "fine");
}

/// Copies the disks of a guest that is off.
async fn copy(world: &World) -> Result<copy_disks::Output, Failure> {
    let snapshot = Uuid::from_u128(0x77);
    let disks = named(world).into_iter().enumerate();
    let disks = disks.map(|(index, volume)| DiskCopy {
        disk: volume.name.clone(),
        volume,
        copy: names::snapshot_copy(POOL, snapshot, index),
        layer: Some(names::snapshot_layer(POOL, snapshot, index)),
    });
    let params = copy_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: disks.collect(),
        quiesce: false,
        off_because: None,
        memory: None,
    };
    let step = CopyDisks::new(world.hosts.clone());
    world.attempt(&step, &params).await.map(|done| done.output)
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_not_taken_of_volumes_that_the_guest_does_not_write_to() {
    for moves in [false, true] {
        let world = running().await;
        world.power_off().await;
        change(&world, |state, uuid| {
            if moves {
                state.move_disk(uuid, "vda", LAYER);
            } else {
                state.put_layer_over(uuid, "vda", LAYER);
            }
        })
        .await;
        assert_eq!(code(copy(&world).await), "VSI0210");
        let volumes = world.ports().await.storage.volumes(POOL).await.unwrap();
        let mut names = volumes.iter().map(|volume| volume.key.name.as_str());
        assert!(!names.any(|name| name.starts_with("snapshot-")));
        change(&world, |state, uuid| {
            let path = format!("/var/lib/libvirt/images/boot-{uuid}.qcow2");
            state.domains.get_mut(&uuid).unwrap().spec.disks[0].path = path;
        })
        .await;
        copy(&world).await.unwrap();
    }
}

async fn remove(world: &World, key: &VolumeKey, owner: Option<Uuid>) -> String {
    let doomed = DeletionCandidate {
        key,
        recorded: true,
        owner,
    };
    let cx = world.cx("test", false);
    match guards::removable(&cx, &world.ports().await, doomed).await {
        Ok(_) => "fine".to_owned(),
        Err(failure) => failure.code.to_string(),
    }
}

/// What a dry run says about the deletion of the boot disk with its VSI.
async fn foresee(world: &World) -> Result<(), String> {
    let (cx, ports) = (world.cx("test", false), world.ports().await);
    let foreseen = guards::foresee(&cx, &ports, &[world.boot()], world.uuid).await;
    foreseen.map_err(|failure| failure.code.to_string())
}

#[tokio::test(start_paused = true)]
async fn the_disk_below_the_owners_own_layer_stays() {
    let world = running().await;
    assert_eq!(foresee(&world).await, Ok(()));
    world.power_off().await;
    let (boot, own) = (world.boot(), Some(world.uuid));
    assert_eq!(remove(&world, &boot, own).await, "fine");
    change(&world, |state, uuid| {
        state.put_layer_over(uuid, "vda", LAYER);
    })
    .await;
    assert_eq!(remove(&world, &boot, own).await, "VSI0210");
    assert_eq!(foresee(&world).await, Err("VSI0210".to_owned()));
}

/// The account may read neither the layer's file nor the file below it.
#[tokio::test(start_paused = true)]
async fn a_layer_that_only_its_host_can_read_keeps_what_may_lie_below_it() {
    let world = running().await;
    super::images::foreign(&world, &world.key("other"), b"x").await;
    change(&world, |state, uuid| {
        state.put_layer_over(uuid, "vda", LAYER);
        state.closed.insert(LAYER.to_owned());
    })
    .await;
    let (boot, other) = (world.boot(), world.key("other"));
    // The definition of a running guest shows the chain.
    assert_eq!(remove(&world, &boot, None).await, "VSI0210");
    assert_eq!(remove(&world, &other, None).await, "fine");
    world.power_off().await;
    assert_eq!(remove(&world, &boot, Some(world.uuid)).await, "VSI0210");
    assert_eq!(
        remove(&world, &other, None).await,
        "VSI0210",
        "unknown is not absent"
    );
    // Files that are not disks tell nothing.
    change(&world, |state, uuid| {
        let spec = &mut state.domains.get_mut(&uuid).unwrap().spec;
        spec.disks.retain(|disk| disk.target != "vda");
        spec.console_log = LAYER.to_owned();
    })
    .await;
    assert_eq!(remove(&world, &other, None).await, "fine");
}

#[tokio::test(start_paused = true)]
async fn a_layer_on_a_block_device_or_in_run_keeps_what_lies_below_it() {
    for path in ["/dev/loop7", "/run/backup/over.qcow2"] {
        let world = running().await;
        change(&world, |state, uuid| {
            state.put_layer_over(uuid, "vda", path);
        })
        .await;
        world.power_off().await;
        let boot = world.boot();
        assert_eq!(
            remove(&world, &boot, Some(world.uuid)).await,
            "VSI0210",
            "{path}"
        );
    }
}

/// libvirt does not report the backing files of logical volumes.
#[tokio::test(start_paused = true)]
async fn a_layer_on_a_logical_volume_keeps_what_lies_below_it() {
    let world = World::new().await;
    let key = world.key("base");
    super::images::foreign(&world, &key, b"x").await;
    assert_eq!(remove(&world, &key, None).await, "fine");
    for closed in [false, true] {
        change(&world, |state, _| {
            let volume = state.pools[POOL].volumes["base"].clone();
            let below = "/var/lib/libvirt/images/base";
            let over = Volume {
                backing: Some(below.to_owned()),
                content: Content::Inline(super::hostile::reaching(below)),
                ..volume
            };
            let pool = Pool {
                path: "/dev/vg".to_owned(),
                volumes: [("over".to_owned(), over)].into(),
                ..state.pools[POOL].clone()
            };
            state.pools.insert("vg".to_owned(), pool);
            if closed {
                state.outside.insert("/dev/vg/over".to_owned(), None);
            }
        })
        .await;
        // An account that may not read devices reads them through libvirt.
        assert_eq!(remove(&world, &key, None).await, "VSI0210", "{closed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_left_a_data_disk_behind_is_not_undefined() {
    let world = running().await;
    world.power_off().await;
    let undefine = vsi::UndefineDomain::new(world.hosts.clone());
    let params = vsi::undefine_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        discard: true,
        volumes: vec![VolumeToDelete {
            volume: world.boot(),
            recorded: false,
        }],
        stay: vec![world.key("data-1")],
    };
    change(&world, |state, uuid| {
        state.put_layer_over(uuid, "vdc", LAYER);
    })
    .await;
    let refused = world.attempt(&undefine, &params).await.unwrap_err();
    assert_eq!(refused.code.as_str(), "VSI0210");
    assert!(refused.message.as_str().contains(LAYER), "{refused}");
    // A disk that was detached is no longer of the guest.
    change(&world, |state, uuid| {
        let spec = &mut state.domains.get_mut(&uuid).unwrap().spec;
        spec.disks.retain(|disk| disk.target == "vda");
    })
    .await;
    assert!(
        world
            .attempt(&undefine, &params)
            .await
            .unwrap()
            .output
            .removed
    );
}

#[tokio::test(start_paused = true)]
async fn saved_memory_is_deleted_only_with_its_vsi() {
    let world = running().await;
    change(&world, |state, uuid| {
        state.domains.get_mut(&uuid).unwrap().save()
    })
    .await;
    let undefine = vsi::UndefineDomain::new(world.hosts.clone());
    let params = |discard| vsi::undefine_domain::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        discard,
        volumes: Vec::new(),
        stay: Vec::new(),
    };
    let refused = world.attempt(&undefine, &params(false)).await;
    assert_eq!(code(refused), "VSI0216");
    let domains = world.ports().await.domains;
    let kept = domains
        .undefine(&unguarded::undefinition(world.uuid, Leftovers::Keep))
        .await;
    assert!(kept.is_err());
    let saved = domains.domain(world.uuid).await.unwrap().unwrap();
    assert!(saved.saved && saved.state == DomainState::ShutOff);
    let gone = world.attempt(&undefine, &params(true)).await.unwrap();
    assert!(gone.output.removed);
    let again = domains
        .undefine(&unguarded::undefinition(world.uuid, Leftovers::Delete))
        .await;
    assert_eq!(again.unwrap(), Removed::Absent);
}
