use super::*;
use crate::{
    ports::{
        ConsolePosition, DomainState, NetworkPort as _, VolumeFormat, VolumeSpec, conformance,
    },
    sim::Content,
};

#[tokio::test(start_paused = true)]
async fn the_simulated_host_keeps_the_contract_of_the_ports() {
    let world = World::new().await;
    let place = conformance::CheckPlace {
        ports: world.ports().await,
        pool: POOL.to_owned(),
        network: "default".to_owned(),
        arch: "s390x".to_owned(),
        start_domains: true,
        bootable: None,
    };
    conformance::all(&place).await.unwrap();
    let left = world
        .sim()
        .await
        .with(|s| s.pools[POOL].volumes.len() + s.domains.len())
        .await;
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_host_in_a_folder_outlives_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    world.hosts = Arc::new(SimHosts::in_folder(folder.path()));
    world.define().await.unwrap();
    world.start_by_hand().await;
    let hash = world
        .ports()
        .await
        .storage
        .sha256(&world.boot())
        .await
        .unwrap();
    world.hosts = Arc::new(SimHosts::in_folder(folder.path()));
    let ports = world.ports().await;
    assert_eq!(ports.storage.sha256(&world.boot()).await.unwrap(), hash);
    let domain = ports.domains.domain(world.uuid).await.unwrap().unwrap();
    assert_eq!(domain.state, DomainState::Running);
    let place = conformance::CheckPlace {
        ports,
        pool: POOL.to_owned(),
        network: "default".to_owned(),
        arch: "s390x".to_owned(),
        start_domains: true,
        bootable: None,
    };
    conformance::all(&place).await.unwrap();
}

#[tokio::test]
async fn an_upload_whose_process_was_killed_left_what_the_file_took() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    world.hosts = Arc::new(SimHosts::in_folder(folder.path()));
    let (key, storage) = (world.boot(), world.ports().await.storage);
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    };
    storage.create(&spec).await.unwrap();
    let mut sink = storage.upload(&key, 0, None).await.unwrap();
    for _ in 0..3 {
        sink.send(vec![7; 100_000].into()).await.unwrap();
    }
    world.hosts = Arc::new(SimHosts::in_folder(folder.path()));
    let stored = world.ports().await.storage;
    let volume = stored.volume(&key).await.unwrap().unwrap();
    assert_eq!(volume.physical, 300_000);
    let bytes = stored.read(&key, 299_999, 10).await.unwrap();
    assert_eq!(bytes.as_ref(), [7]);
}

#[tokio::test(start_paused = true)]
async fn a_rotated_log_is_read_to_its_end_and_then_the_new_one() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let log = world.console();
    let sim = world.sim().await;
    sim.with(|state| {
        let volumes = &mut state.pools.get_mut(POOL).unwrap().volumes;
        let mut old = volumes[&log.name].clone();
        old.content = Content::Inline(vec![b'o'; 5000]);
        volumes.insert(format!("{}.0", log.name), old);
        volumes.get_mut(&log.name).unwrap().content = Content::Inline(b"new".to_vec());
    })
    .await;
    let console = world.ports().await.console;
    let first = console
        .read(&log, ConsolePosition { offset: 4000 }, 10_000)
        .await
        .unwrap();
    assert_eq!(first.bytes.len(), 1000);
    let second = console.read(&log, first.next, 10_000).await.unwrap();
    assert_eq!(
        (second.bytes.as_ref(), second.next.offset),
        (b"new".as_slice(), 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_panicking_guest_ends_as_crashed() {
    let world = World::with_contract("workload: w\nenv: lab-panic\n").await;
    world.provision().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let domain = world
        .ports()
        .await
        .domains
        .domain(world.uuid)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(domain.state, DomainState::Crashed);
}

#[tokio::test(start_paused = true)]
async fn a_guest_keeps_its_address_whoever_comes_before_it_and_no_other_gets_it() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let sim = world.sim().await;
    let (networks, domains) = (sim.clone(), world.ports().await.domains);
    let leases = || async { networks.leases("default").await.unwrap() };
    let [first] = leases().await.try_into().unwrap();
    let other = Uuid::nil();
    sim.with(|state| {
        let mut domain = state.domains[&world.uuid].clone();
        domain.spec.uuid = other;
        domain.spec.disks.clear();
        domain.running = Some(domain.spec.clone());
        domain.spec.nics[0].mac = "52:54:00:00:00:01".to_owned();
        state.domains.insert(other, domain);
    })
    .await;
    domains.destroy(world.uuid).await.unwrap();
    let [second] = leases().await.try_into().unwrap();
    world.start_by_hand().await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let mut ips: Vec<_> = leases().await.into_iter().map(|lease| lease.ip).collect();
    ips.sort();
    assert_eq!(ips, [first.ip, second.ip]);
}

#[tokio::test(start_paused = true)]
async fn many_guests_have_an_address_each() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let sim = world.sim().await;
    sim.with(|state| {
        for number in 0..600_u32 {
            let mut domain = state.domains[&world.uuid].clone();
            domain.spec.nics[0].mac =
                format!("52:54:00:00:{:02x}:{:02x}", number >> 8, number & 255);
            let uuid = Uuid::from_u128(number.into());
            state.domains.insert(uuid, domain);
        }
    })
    .await;
    let leases = sim.leases("default").await.unwrap();
    let ips: std::collections::BTreeSet<_> = leases.into_iter().map(|lease| lease.ip).collect();
    assert_eq!(ips.len(), 601);
}
