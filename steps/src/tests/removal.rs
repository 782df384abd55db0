use super::*;
use crate::{
    guards::{self, DeletionCandidate},
    host_text,
    ports::{DeletionGround, Removed, VolumeFormat, VolumeSpec},
    sim::{Fault, Faults, Pool},
};

async fn remove(world: &World, key: &VolumeKey, recorded: bool, owner: Option<Uuid>) -> String {
    let doomed = DeletionCandidate {
        key,
        recorded,
        owner,
    };
    let cx = world.cx("test", false);
    match guards::remove(&cx, &world.ports().await, doomed, DeletionGround::Scratch).await {
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
    world.start_by_hand().await;
    assert_eq!(remove(&world, &boot, true, own).await, "VSI0210");
    world.power_off().await;
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
pub(super) async fn snapshot(world: &World, key: &VolumeKey) -> VolumeKey {
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
        boot: Vec::new(),
        overlay: false,
        boot_is_replaced: false,
        seed: Default::default(),
    };
    assert!(world.attempt(&find, &parts).await.is_ok());
    snapshot(&world, &names::boot_disk(POOL, world.uuid, 0)).await;
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

/// A volume of this name that is a layer over another one, as another program leaves it.
async fn odd_layer(world: &World, name: &[u8], over: &VolumeKey) {
    let storage = world.ports().await.storage;
    let path = storage.volume(over).await.unwrap().unwrap().path;
    let spec = VolumeSpec {
        key: world.key(&host_text::read(name)),
        format: VolumeFormat::Qcow2,
        capacity: 1 << 20,
        backing: Some((path, VolumeFormat::Raw)),
    };
    storage.create(&spec).await.unwrap();
}

/// What the guard says about the removal of a volume.
async fn refusal(world: &World, key: &VolumeKey) -> Failure {
    let doomed = DeletionCandidate {
        key,
        recorded: true,
        owner: None,
    };
    let cx = world.cx("test", false);
    let removed = guards::remove(&cx, &world.ports().await, doomed, DeletionGround::Scratch).await;
    removed.expect_err("a layer is over it")
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn a_layer_of_any_name_keeps_what_is_below_it_and_is_named(
        random in proptest::collection::vec(1..=255_u8, 1..30),
        pick in 0..5_usize,
        active: bool,
    ) {
        let named: [&[u8]; 4] = [b"caf\xe9.qcow2", b"two\nlines\r", b"\x1b[2J", b" "];
        let mut name = named.get(pick).map_or(random, |name| name.to_vec());
        name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
        // No file can have these names.
        proptest::prop_assume!(name != b"." && name != b"..");
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let failure = runtime.block_on(async {
            let world = World::new().await;
            let base = world.key("base.img");
            super::images::foreign(&world, &base, b"x").await;
            odd_layer(&world, &name, &base).await;
            if !active {
                move_to_inactive(&world, &name).await;
            }
            refusal(&world, &base).await
        });
        proptest::prop_assert_eq!(failure.code.as_str(), "VSI0210");
        let shown = host_text::shown(&host_text::read(&name)).into_owned();
        proptest::prop_assert!(failure.message.as_str().contains(&shown), "{failure:?}");
    }
}

/// Moves the volume of this name into a pool that is inactive.
async fn move_to_inactive(world: &World, name: &[u8]) {
    let name = host_text::read(name).into_owned();
    let sim = world.sim().await;
    sim.with(|state| {
        let pool = state.pools.get_mut(POOL).unwrap();
        let volume = pool.volumes.remove(&name).unwrap();
        let off = Pool {
            active: false,
            path: "/off".to_owned(),
            capacity: pool.capacity,
            volumes: [(name, volume)].into(),
        };
        state.pools.insert("off".to_owned(), off);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_read_protects_every_other_one() {
    let world = World::new().await;
    let (some, odd) = (world.key("some"), world.key("line\nbreak"));
    super::images::foreign(&world, &some, b"x").await;
    super::images::foreign(&world, &odd, b"y").await;
    let failure = refusal(&world, &some).await;
    assert_eq!(failure.code.as_str(), "VSI0210");
    assert!(
        failure.message.as_str().contains("line\\nbreak"),
        "{failure:?}"
    );
    let (cx, ports) = (world.cx("test", false), world.ports().await);
    let below = ports.storage.volume(&some).await.unwrap().unwrap();
    for refused in [
        guards::nothing_over(&cx, &ports, &[&below]).await,
        guards::foresee(&cx, &ports, std::slice::from_ref(&some), world.uuid).await,
        guards::active_volumes(&ports).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().message, failure.message);
    }
    let sim = world.sim().await;
    sim.with(|state| state.pools.get_mut(POOL).unwrap().volumes.remove(&odd.name))
        .await;
    assert_eq!(remove(&world, &some, true, None).await, "removed");
}
