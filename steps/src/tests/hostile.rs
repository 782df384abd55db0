//! Guests, documents and paths that try to access foreign files.

use uuid::Uuid;

use super::{World, code, images::foreign};
use crate::{
    guards::{self, DeletionCandidate},
    image::sidecar,
    ports::{DomainState, VolumeFormat, VolumeKey},
    sim::{Content, Fault, Faults, SimHostState, source::qcow2_header},
    vsi::{self, attach_data_disks::Disk},
};

/// A qcow2 header that names a foreign file.
pub(super) fn reaching(path: &str) -> Vec<u8> {
    let mut header = qcow2_header(1 << 30);
    let at = u64::try_from(header.len()).unwrap().to_be_bytes();
    let length = u32::try_from(path.len()).unwrap().to_be_bytes();
    header[8..16].copy_from_slice(&at);
    header[16..20].copy_from_slice(&length);
    header.extend_from_slice(path.as_bytes());
    header
}

/// A reference to a volume.
async fn reference(world: &World, volume: VolumeKey) -> Disk {
    let params = world.attach_data_disks();
    Disk {
        create: None,
        volume,
        ..params.disks[0].clone()
    }
}

async fn attach(world: &World, disk: Disk) -> Result<VolumeFormat, String> {
    let step = vsi::AttachDataDisks::new(world.hosts.clone());
    let params = vsi::attach_data_disks::Params {
        disks: vec![disk],
        ..world.attach_data_disks()
    };
    let done = world.attempt(&step, &params).await;
    let format =
        |of: &vsiflow_engine::step::Done<vsi::attach_data_disks::Output>| of.output.disks[0].format;
    done.as_ref()
        .map(format)
        .map_err(|failure| failure.code.to_string())
}

/// Simulates that the guest writes this to its disk, and that libvirt detects its format.
async fn writes(world: &World, key: &VolumeKey, bytes: Vec<u8>) {
    let sim = world.sim().await;
    sim.with(|state| {
        let pool = state.pools.get_mut(&key.pool).unwrap();
        let volume = pool.volumes.get_mut(&key.name).unwrap();
        "qcow2".clone_into(&mut volume.format);
        volume.content = Content::Inline(bytes);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_raw_disk_stays_raw_whatever_its_guest_writes_into_it() {
    let world = World::new().await;
    let key = world.key("theirs");
    foreign(&world, &key, &[0; 1024]).await;
    let disk = reference(&world, key.clone()).await;
    assert_eq!(attach(&world, disk.clone()).await, Ok(VolumeFormat::Raw));
    let pinned = Disk {
        format: Some(VolumeFormat::Raw),
        ..disk.clone()
    };
    writes(&world, &key, reaching("/etc/shadow")).await;
    for attached in [&disk, &pinned] {
        assert_eq!(
            attach(&world, attached.clone()).await,
            Err("VSI0218".into())
        );
    }
    // Even without a foreign file it does not have its recorded format.
    writes(&world, &key, qcow2_header(1 << 30)).await;
    assert_eq!(attach(&world, pinned.clone()).await, Err("VSI0218".into()));
    // The format that libvirt detected in bytes that were since overwritten does not count.
    writes(&world, &key, vec![0; 1024]).await;
    assert_eq!(attach(&world, pinned).await, Ok(VolumeFormat::Raw));
}

#[tokio::test(start_paused = true)]
async fn the_definition_that_stands_says_what_a_disk_was() {
    let world = World::new().await;
    let key = world.key("theirs");
    foreign(&world, &key, &[0; 1024]).await;
    let disk = reference(&world, key.clone()).await;
    world.define().await.unwrap();
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        let mut own = domain.spec.disks[0].clone();
        own.path = "/var/lib/libvirt/images/theirs".to_owned();
        own.target = "vdc".to_owned();
        own.format = VolumeFormat::Raw;
        domain.spec.disks.push(own);
    })
    .await;
    writes(&world, &key, qcow2_header(1 << 30)).await;
    assert_eq!(attach(&world, disk).await, Err("VSI0218".into()));
}

#[tokio::test(start_paused = true)]
async fn no_document_takes_a_volume_of_vsiflows_own_for_its_data_disk() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let image = world.key("hpcr.qcow2");
    let others = [
        world.boot(),
        world.cidata(),
        world.console(),
        sidecar::key(&image),
        image,
    ];
    let mut other = World::new().await;
    (other.hosts, other.uuid) = (world.hosts.clone(), Uuid::from_u128(9));
    for key in others {
        let disk = reference(&other, key.clone()).await;
        let refused = attach(&other, disk).await.unwrap_err();
        assert!(
            ["VSI0219", "VSI0210"].contains(&refused.as_str()),
            "{key}: {refused}"
        );
    }
    let other_image = reference(&other, world.key("hpcr.qcow2")).await;
    assert_eq!(attach(&other, other_image).await, Err("VSI0219".into()));
}

#[tokio::test(start_paused = true)]
async fn what_stands_beside_an_image_is_believed_only_as_far_as_it_was_recorded() {
    let world = World::new().await;
    let params = world.image_params();
    let image = world.ensure_image(&params).await.unwrap();
    // An attacker with write access replaces the image, and the mark to match.
    let (sim, key) = (world.sim().await, image.key.clone());
    let forged = crate::sim::SimSource::with_size(image.size).image("http://evil.test/x.qcow2");
    sim.with(|state| {
        let pool = state.pools.get_mut(&key.pool).unwrap();
        let volume = pool.volumes.get_mut(&key.name).unwrap();
        volume.content = Content::Inline(forged.clone());
    })
    .await;
    let mark = sidecar::Mark {
        sha256: super::images::hash(&world, &key).await,
        ..sidecar::Mark::of(&image)
    };
    let claim = sidecar::read(&world.ports().await, world.journal, &key).await;
    let claim = claim.unwrap().unwrap().claim.unwrap();
    sidecar::write(&world.ports().await, &key, &claim, Some(&mark))
        .await
        .unwrap();
    world.next_run(None).await;
    let again = world.ensure_image(&params).await;
    let again = again.map(|ensured| ensured.sha256);
    assert_ne!(
        again.ok(),
        Some(mark.sha256),
        "the forged image is not taken"
    );
}

#[tokio::test(start_paused = true)]
async fn an_image_never_takes_a_name_that_vsiflow_keeps_for_itself() {
    let world = World::new().await;
    let mut params = world.image_params();
    params.volume = sidecar::key(&world.key("victim.qcow2"));
    let image = world.ensure_image(&params).await.unwrap();
    assert!(!crate::names::is_reserved(&image.key.name), "{}", image.key);
}

async fn removable(world: &World, key: &VolumeKey) -> Result<bool, String> {
    let doomed = DeletionCandidate {
        key,
        recorded: true,
        owner: None,
    };
    let (cx, ports) = (world.cx("test", false), world.ports().await);
    let found = guards::removable(&cx, &ports, doomed).await;
    let found = found.map(|volume| volume.is_some());
    found.map_err(|failure| failure.code.to_string())
}

/// A world with a volume, and a foreign guest whose disk is at that path.
async fn used_by(path: &str) -> (World, VolumeKey) {
    let world = World::new().await;
    let key = world.key("used");
    foreign(&world, &key, b"x").await;
    world.define().await.unwrap();
    let (sim, uuid, path) = (world.sim().await, world.uuid, path.to_owned());
    sim.with(|state| {
        let domain = state.domains.get_mut(&uuid).unwrap();
        (domain.mark, domain.state) = (None, DomainState::ShutOff);
        domain.spec.disks[0].path = path;
    })
    .await;
    (world, key)
}

#[tokio::test(start_paused = true)]
async fn a_user_is_found_by_whatever_path_it_names_the_volume() {
    let (world, key) = used_by("/mnt/second/used").await;
    assert_eq!(
        removable(&world, &key).await,
        Ok(true),
        "the path does not exist"
    );
    let sim = world.sim().await;
    let to = "/var/lib/libvirt/images".to_owned();
    sim.with(|state| state.links.insert("/mnt/second".to_owned(), to))
        .await;
    assert_eq!(removable(&world, &key).await, Err("VSI0210".into()));

    let (unnormalised_world, unnormalised_key) = used_by("/var/lib//libvirt/./images/used").await;
    unnormalised_world
        .sim()
        .await
        .with(|state| state.shell = false)
        .await;
    assert_eq!(
        removable(&unnormalised_world, &unnormalised_key).await,
        Err("VSI0210".into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_path_that_cannot_be_resolved_keeps_the_volume() {
    let (world, key) = used_by("/closed/used").await;
    let sim = world.sim().await;
    sim.with(|state| state.outside.insert("/closed/used".to_owned(), None))
        .await;
    assert_eq!(removable(&world, &key).await, Err("VSI0210".into()));
}

#[tokio::test(start_paused = true)]
async fn a_layer_outside_of_all_pools_keeps_what_lies_below_it() {
    let (world, key) = used_by("/srv/over.qcow2").await;
    let sim = world.sim().await;
    let over = |below: &str| Some(reaching(below));
    for (header, guarded) in [
        (over("/var/lib/libvirt/images/used"), true),
        (over("/srv/middle"), true),
        (Some(b"plain".to_vec()), false),
    ] {
        sim.with(|state| {
            let middle = over("/var/lib/libvirt/images/used");
            state.outside.insert("/srv/middle".to_owned(), middle);
            state.outside.insert("/srv/over.qcow2".to_owned(), header);
        })
        .await;
        let found = removable(&world, &key).await;
        assert_eq!(found.is_err(), guarded, "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_names_the_one_below_it_by_a_link_or_relatively_keeps_it() {
    for backing in ["used", "/mnt/second/used"] {
        let world = World::new().await;
        let (key, over) = (world.key("used"), world.key("over"));
        foreign(&world, &key, b"x").await;
        foreign(&world, &over, b"y").await;
        let sim = world.sim().await;
        sim.with(|state| {
            let to = "/var/lib/libvirt/images".to_owned();
            state.links.insert("/mnt/second".to_owned(), to);
            let pool = state.pools.get_mut(&over.pool).unwrap();
            let volume = pool.volumes.get_mut(&over.name).unwrap();
            volume.backing = Some(backing.to_owned());
        })
        .await;
        assert_eq!(
            removable(&world, &key).await,
            Err("VSI0210".into()),
            "{backing}"
        );
    }
}

/// A second pool, `off`, with one volume over `backing`.
fn other_pool(active: bool, backing: Option<String>) -> impl FnOnce(&mut SimHostState) {
    move |state| {
        let mut pool = state.pools[&super::POOL.to_owned()].clone();
        let mut volume = pool.volumes.pop_first().unwrap().1;
        volume.backing = backing;
        pool.volumes = [("layer".to_owned(), volume)].into();
        (pool.active, pool.path) = (active, "/srv/off".to_owned());
        state.pools.insert("off".to_owned(), pool);
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_in_an_inactive_pool_keeps_what_lies_below_it() {
    let world = World::new().await;
    let key = world.key("used");
    foreign(&world, &key, b"x").await;
    let sim = world.sim().await;
    let below = format!("/var/lib/libvirt/images/{}", key.name);
    for (backing, guarded) in [
        (Some(below.clone()), true),
        (Some(format!("json:{{\"filename\":\"{below}\"}}")), true),
        (Some("/srv/another".to_owned()), false),
        (None, false),
    ] {
        sim.with(other_pool(false, backing.clone())).await;
        let found = removable(&world, &key).await;
        let expected = if guarded {
            Err("VSI0210".into())
        } else {
            Ok(true)
        };
        assert_eq!(found, expected, "{backing:?}");
    }
    // Then the pool's folder cannot be read.
    sim.with(|state| state.shell = false).await;
    assert_eq!(removable(&world, &key).await, Err("VSI0210".into()));
}

/// Pools are listed first, and then their volumes are listed one pool at a time.
#[tokio::test(start_paused = true)]
async fn a_pool_that_starts_or_stops_while_it_is_asked_hides_no_layer_and_holds_nothing_up() {
    for active in [true, false] {
        for over in [true, false] {
            let world = World::new().await;
            let key = world.key("used");
            foreign(&world, &key, b"x").await;
            let below = format!("/var/lib/libvirt/images/{}", key.name);
            let sim = world.sim().await;
            sim.with(other_pool(active, over.then_some(below))).await;
            sim.set_faults(Faults::none().at("volumes", 1, Fault::OtherPoolsToggle))
                .await;
            let expected = if over {
                Err("VSI0210".into())
            } else {
                Ok(true)
            };
            assert_eq!(removable(&world, &key).await, expected, "{active} {over}");
            let toggled = sim.with(|state| state.pools["off"].active).await;
            assert_eq!(toggled, !active);
        }
    }
}

/// libvirt reports a volume's backing file, but not the backing file of that one.
#[tokio::test(start_paused = true)]
async fn a_file_between_two_volumes_does_not_hide_the_upper_one() {
    let world = World::new().await;
    let (key, over) = (world.key("used"), world.key("over"));
    foreign(&world, &key, b"x").await;
    foreign(&world, &over, b"y").await;
    let sim = world.sim().await;
    sim.with(|state| {
        let pool = state.pools.get_mut(&over.pool).unwrap();
        let volume = pool.volumes.get_mut(&over.name).unwrap();
        volume.backing = Some("/srv/middle".to_owned());
        let middle = reaching("/var/lib/libvirt/images/used");
        state.outside.insert("/srv/middle".to_owned(), Some(middle));
    })
    .await;
    assert_eq!(removable(&world, &key).await, Err("VSI0210".into()));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_another_machine_than_the_one_that_is_meant() {
    let world = World::new().await;
    let (ports, sim) = (world.ports().await, world.sim().await);
    sim.with(|state| state.machine = Some("machine-id 1".to_owned()))
        .await;
    let machine = ports.host.machine().await.unwrap();
    ports.host.pin(machine.as_deref());
    assert!(ports.storage.pools().await.is_ok());
    sim.with(|state| state.machine = Some("machine-id 2".to_owned()))
        .await;
    assert_eq!(
        removable(&world, &world.key("some")).await,
        Err("VSI0220".into())
    );
    assert_eq!(
        code(ports.domains.domains().await.map_err(Into::into)),
        "VSI0220"
    );
    ports.host.pin(None);
    assert!(ports.storage.pools().await.is_ok());
}
