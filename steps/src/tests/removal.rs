use super::*;
use crate::{
    guards::{self, DeletionCandidate},
    ports::{Removed, VolumeFormat, VolumeSpec},
    sim::{Fault, Faults},
};

async fn remove(world: &World, key: &VolumeKey, recorded: bool, owner: Option<Uuid>) -> String {
    let doomed = DeletionCandidate {
        key,
        recorded,
        owner,
    };
    let cx = world.cx("test", false);
    match guards::remove(&cx, &world.ports().await, doomed).await {
        Ok(Removed::Removed) => "removed".to_owned(),
        Ok(Removed::Absent) => "absent".to_owned(),
        Err(failure) => failure.code.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_was_recorded_is_removed() {
    let world = World::new().await;
    let key = world.key("some");
    assert_eq!(remove(&world, &key, true, None).await, "absent");
    super::images::foreign(&world, &key, b"x").await;
    assert_eq!(remove(&world, &key, false, None).await, "VSI0207");
    assert_eq!(remove(&world, &key, true, None).await, "removed");
}

#[tokio::test(start_paused = true)]
async fn what_a_domain_names_stays_unless_it_is_the_owners_and_off() {
    let world = World::new().await;
    world.define().await.unwrap();
    let (boot, own) = (world.boot(), Some(world.uuid));
    assert_eq!(remove(&world, &boot, true, None).await, "VSI0210");
    assert_eq!(
        remove(&world, &boot, true, Some(Uuid::from_u128(3))).await,
        "VSI0210"
    );
    world.ports().await.domains.start(world.uuid).await.unwrap();
    assert_eq!(remove(&world, &boot, true, own).await, "VSI0210");
    world
        .ports()
        .await
        .domains
        .destroy(world.uuid)
        .await
        .unwrap();
    let sim = world.sim().await;
    let uuid = world.uuid;
    let mark = sim
        .with(|s| s.domains.get_mut(&uuid).unwrap().mark.take())
        .await;
    assert_eq!(remove(&world, &boot, true, own).await, "VSI0210");
    sim.with(|s| s.domains.get_mut(&uuid).unwrap().mark = mark)
        .await;
    assert_eq!(remove(&world, &boot, true, own).await, "removed");
}

#[tokio::test(start_paused = true)]
async fn what_lies_under_another_volume_stays() {
    let world = World::new().await;
    let (base, over) = (world.key("base"), world.key("over"));
    super::images::foreign(&world, &base, b"x").await;
    let storage = world.ports().await.storage;
    let path = storage.volume(&base).await.unwrap().unwrap().path;
    let spec = VolumeSpec {
        key: over.clone(),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: Some((path, VolumeFormat::Raw)),
    };
    storage.create(&spec).await.unwrap();
    assert_eq!(remove(&world, &base, true, None).await, "VSI0210");
    assert_eq!(remove(&world, &over, true, None).await, "removed");
    assert_eq!(remove(&world, &base, true, None).await, "removed");
}

/// Simulates a snapshot of a volume by another program.
async fn snapshot(world: &World, key: &VolumeKey) -> VolumeKey {
    let storage = world.ports().await.storage;
    let path = storage.volume(key).await.unwrap().unwrap().path;
    let over = world.key("snapshot");
    let spec = VolumeSpec {
        key: over.clone(),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: Some((path, VolumeFormat::Qcow2)),
    };
    storage.create(&spec).await.unwrap();
    over
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_not_given_a_disk_that_a_snapshot_lies_over() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let attach = vsi::AttachDataDisks::new(world.hosts.clone());
    let mut params = world.attach_data_disks();
    params.disks.iter_mut().for_each(|disk| {
        disk.create.iter_mut().for_each(|made| made.recorded = true);
    });
    let over = snapshot(&world, &params.disks[0].volume).await;
    let refused = world.attempt(&attach, &params).await;
    assert_eq!(code(refused.map(|done| done.output)), "VSI0210");
    assert_eq!(remove(&world, &over, true, None).await, "removed");
    assert!(world.attempt(&attach, &params).await.is_ok());

    let find = vsi::FindParts::new(world.hosts.clone());
    let parts = vsi::find_parts::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        pool: POOL.to_owned(),
        overlay: false,
        seed: Default::default(),
    };
    assert!(world.attempt(&find, &parts).await.is_ok());
    snapshot(&world, &names::boot_disk(POOL, world.uuid)).await;
    let find_refused = world.attempt(&find, &parts).await;
    assert_eq!(code(find_refused.map(|done| done.output)), "VSI0210");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_refuses() {
    for call in ["volume", "domains", "pools", "volumes"] {
        let world = World::new().await;
        let key = world.key("some");
        super::images::foreign(&world, &key, b"x").await;
        world
            .sim()
            .await
            .set_faults(Faults::none().at(call, 1, Fault::Unreachable))
            .await;
        assert_eq!(remove(&world, &key, true, None).await, "VSI0101", "{call}");
        assert_eq!(world.sim().await.count("delete").await, 0);
    }
    let world = World::new().await;
    let key = world.key("some");
    super::images::foreign(&world, &key, b"x").await;
    world
        .sim()
        .await
        .with(|s| s.pools.get_mut(POOL).unwrap().active = false)
        .await;
    assert_eq!(remove(&world, &key, true, None).await, "VSI0202");
}
