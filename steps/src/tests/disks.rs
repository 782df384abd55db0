//! Data disks: made once, grown, and never deleted while in use.

use uuid::Uuid;
use vsiflow_engine::{model::Outcome, step::Step};

use super::{HOST, World};
use crate::{
    disk::{CreateVolume, DeleteVolume, GrowVolume, create_volume, delete_volume, grow_volume},
    ports::{DomainState, VolumeFormat, VolumeKey},
    vsi,
};

const GIB: u64 = 1 << 30;

fn create(volume: VolumeKey) -> create_volume::Params {
    create_volume::Params {
        host: HOST.to_owned(),
        volume,
        size: GIB,
        format: VolumeFormat::Qcow2,
        recorded: false,
        made: false,
        adopted: false,
    }
}

fn grow(volume: VolumeKey, size: u64) -> grow_volume::Params {
    let host = HOST.to_owned();
    grow_volume::Params { host, volume, size }
}

fn delete(volume: VolumeKey, recorded: bool) -> delete_volume::Params {
    delete_volume::Params {
        host: HOST.to_owned(),
        volume,
        recorded,
        filled: false,
    }
}

async fn refusal<S: Step>(world: &World, step: &S, params: &S::Params) -> String
where
    S::Output: std::fmt::Debug,
{
    let failure = world.attempt(step, params).await.map(|done| done.output);
    failure.unwrap_err().code.to_string()
}

/// A world with one disk that was made.
async fn made() -> (World, VolumeKey) {
    let world = World::new().await;
    let key = world.key("disk");
    let step = CreateVolume::new(world.hosts.clone());
    let done = world.attempt(&step, &create(key.clone())).await.unwrap();
    assert_eq!(done.outcome, Outcome::Created);
    (world, key)
}

/// A guest with the disk, foreign or of this journal, in that state.
async fn guest(world: &World, ours: bool, state: DomainState) -> Uuid {
    world.define().await.unwrap();
    let (uuid, sim) = (world.uuid, world.sim().await);
    sim.with(|all| {
        let domain = all.domains.get_mut(&uuid).unwrap();
        let mut disk = domain.spec.disks[0].clone();
        disk.path = "/var/lib/libvirt/images/disk".to_owned();
        domain.spec.disks.push(disk);
        domain.state = state;
        if !ours {
            domain.mark = None;
        }
    })
    .await;
    uuid
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_made_once_and_kept_as_it_is_from_then_on() {
    let (world, key) = made().await;
    let step = CreateVolume::new(world.hosts.clone());
    let again = world.attempt(&step, &create(key.clone())).await.unwrap();
    assert_eq!(again.outcome, Outcome::AlreadyPresent);
    world.delete_by_hand(&key).await;
    let known = create_volume::Params {
        made: true,
        ..create(key.clone())
    };
    assert_eq!(refusal(&world, &step, &known).await, "VSI0206");
    assert_eq!(world.sim().await.count("create").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_this_journal_did_not_make_is_never_taken_for_the_disk() {
    let (world, key) = made().await;
    let mut other = World::new().await;
    other.hosts = world.hosts.clone();
    let step = CreateVolume::new(other.hosts.clone());
    assert_eq!(
        refusal(&other, &step, &create(key.clone())).await,
        "VSI0207"
    );
    let recorded = create_volume::Params {
        recorded: true,
        ..create(key)
    };
    let done = other.attempt(&step, &recorded).await.unwrap();
    assert_eq!(done.outcome, Outcome::AlreadyPresent);
}

#[tokio::test(start_paused = true)]
async fn a_disk_grows_beside_its_guest_or_through_it_and_never_shrinks() {
    let (world, key) = made().await;
    let (step, sim) = (GrowVolume::new(world.hosts.clone()), world.sim().await);
    let grown = world.attempt(&step, &grow(key.clone(), 2 * GIB)).await;
    assert_eq!(grown.unwrap().output.capacity, 2 * GIB);
    let smaller = world.attempt(&step, &grow(key.clone(), GIB)).await;
    assert_eq!(smaller.unwrap().output.capacity, 2 * GIB);
    assert_eq!(sim.count("resize").await, 1);
    guest(&world, true, DomainState::Running).await;
    let grown_again = world.attempt(&step, &grow(key, 3 * GIB)).await;
    assert_eq!(grown_again.unwrap().output.capacity, 3 * GIB);
    assert_eq!(
        (sim.count("resize").await, sim.count("grow_disk").await),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_disk_does_not_grow_under_a_guest_of_somebody_else() {
    let (world, key) = made().await;
    let step = GrowVolume::new(world.hosts.clone());
    guest(&world, false, DomainState::Running).await;
    let params = grow(key, 2 * GIB);
    assert_eq!(refusal(&world, &step, &params).await, "VSI0210");
}

#[tokio::test(start_paused = true)]
async fn defect_08_a_disk_is_not_deleted_while_any_domain_names_it() {
    for ours in [true, false] {
        for state in [DomainState::Running, DomainState::ShutOff] {
            let (world, key) = made().await;
            let uuid = guest(&world, ours, state).await;
            let step = DeleteVolume::new(world.hosts.clone());
            let params = delete(key.clone(), true);
            assert_eq!(
                refusal(&world, &step, &params).await,
                "VSI0210",
                "{ours} {state:?}"
            );
            let sim = world.sim().await;
            sim.with(|all| drop(all.domains.remove(&uuid))).await;
            assert!(world.attempt(&step, &params).await.unwrap().output.removed);
            assert!(
                world
                    .ports()
                    .await
                    .storage
                    .volume(&key)
                    .await
                    .unwrap()
                    .is_none()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_whose_making_was_never_recorded_is_left_alone() {
    let (world, key) = made().await;
    let step = DeleteVolume::new(world.hosts.clone());
    let done = world.attempt(&step, &delete(key.clone(), false)).await;
    assert!(!done.unwrap().output.removed);
    assert!(
        world
            .ports()
            .await
            .storage
            .volume(&key)
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_reference_that_another_vsi_has_is_not_attached_even_while_that_one_is_off() {
    let (world, key) = made().await;
    guest(&world, true, DomainState::ShutOff).await;
    let mut other = World::new().await;
    (other.hosts, other.uuid) = (world.hosts.clone(), Uuid::from_u128(9));
    let attach = vsi::AttachDataDisks::new(other.hosts.clone());
    let mut params = other.attach_data_disks();
    (params.uuid, params.disks[0].create) = (other.uuid, None);
    params.disks[0].volume = key;
    assert_eq!(refusal(&other, &attach, &params).await, "VSI0210");
    // A foreign domain that is off writes nothing; QEMU's lock protects the disk later.
    let sim = world.sim().await;
    let uuid = world.uuid;
    sim.with(|all| all.domains.get_mut(&uuid).unwrap().mark = None)
        .await;
    assert!(other.attempt(&attach, &params).await.is_ok());
}
