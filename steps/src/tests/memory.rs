//! Snapshots with a guest's memory: when it counts as whole, and when it is restored.

use super::*;
use crate::{
    ports::{DomainState, PortResult},
    sim::{Content, Fault, Faults, SimHostState, Volume},
    snapshot::{
        CheckMemory, CopyDisks, DiskCopy, MergeLayers, RestoreDisks, SavedMemory, check_memory,
        copy_disks, merge_layers, restore_disks,
    },
};

const SNAPSHOT: Uuid = Uuid::from_u128(0x41);

fn disks(world: &World) -> Vec<DiskCopy> {
    let all = [world.boot(), world.key("data-1")].into_iter().enumerate();
    all.map(|(index, volume)| DiskCopy {
        disk: volume.name.clone(),
        volume,
        copy: names::snapshot_copy(POOL, SNAPSHOT, index),
        layer: Some(names::snapshot_layer(POOL, SNAPSHOT, index)),
    })
    .collect()
}

fn taking(world: &World) -> copy_disks::Params {
    copy_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: disks(world),
        quiesce: false,
        off_because: None,
        memory: Some(names::snapshot_memory(POOL, SNAPSHOT)),
    }
}

async fn take(world: &World) -> Result<Done<copy_disks::Output>, Failure> {
    let step = CopyDisks::new(world.hosts.clone());
    world.drive(&step, &taking(world)).await
}

async fn merge(world: &World) -> Result<Done<merge_layers::Output>, Failure> {
    let step = MergeLayers::new(world.hosts.clone());
    let params = merge_layers::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        disks: disks(world),
    };
    world.attempt(&step, &params).await
}

/// A running guest and its snapshot.
async fn remembered() -> (World, SavedMemory) {
    let world = World::new().await;
    world.provision().await.unwrap();
    writes(&world, "before").await;
    let taken = take(&world).await.unwrap().output;
    merge(&world).await.unwrap();
    (world, taken.memory.unwrap())
}

/// Simulates a write of the guest into the files that its definition names.
async fn writes(world: &World, text: &str) {
    let (sim, uuid) = (world.sim().await, world.uuid);
    let write = |state: &mut SimHostState| {
        let path = state.domains[&uuid].spec.disks[0].path.clone();
        let name = path.rsplit_once('/').unwrap().1.to_owned();
        let content = Content::Inline(text.as_bytes().to_vec());
        changed(state, &name, |volume| volume.content = content);
    };
    sim.with(write).await;
}

fn changed(state: &mut SimHostState, name: &str, change: impl FnOnce(&mut Volume)) {
    state.changes += 1;
    let modified = state.changes;
    let volumes = &mut state.pools.get_mut(POOL).unwrap().volumes;
    let volume = volumes.get_mut(name).unwrap();
    change(volume);
    volume.modified = modified;
}

async fn file(world: &World, change: impl FnOnce(&mut Vec<u8>)) {
    let name = names::snapshot_memory(POOL, SNAPSHOT).name;
    let sim = world.sim().await;
    sim.with(|state| {
        changed(state, &name, |volume| {
            let Content::Inline(bytes) = &mut volume.content else {
                panic!("memory is stored beside the state");
            };
            change(bytes);
            volume.capacity = bytes.len() as u64;
        });
    })
    .await;
}

async fn check(world: &World, memory: &SavedMemory) -> Result<check_memory::Output, Failure> {
    let step = CheckMemory::new(world.hosts.clone());
    let params = check_memory::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        memory: memory.clone(),
        disks: disks(world).into_iter().map(|disk| disk.volume).collect(),
    };
    world.attempt(&step, &params).await.map(|done| done.output)
}

fn to_restore(of: DiskCopy) -> restore_disks::DiskToRestore {
    restore_disks::DiskToRestore {
        of,
        size: None,
        recorded: true,
        expected: None,
    }
}

/// The guest is stopped, and its disks are restored from the snapshot.
async fn put_back(world: &World, memory: &SavedMemory) {
    check(world, memory).await.unwrap();
    world.power_off().await;
    let step = RestoreDisks::new(world.hosts.clone());
    let params = restore_disks::Params {
        host: HOST.to_owned(),
        uuid: world.uuid,
        snapshot: "first".to_owned(),
        disks: disks(world).into_iter().map(to_restore).collect(),
        named: Vec::new(),
        for_memory: true,
    };
    world.drive(&step, &params).await.unwrap();
}

/// Starts the guest from its memory. Needs a new run: the one that created the VSI has started it
/// already.
async fn start(world: &World, memory: &SavedMemory) -> Result<vsi::start_domain::Output, Failure> {
    let step = vsi::StartDomain::new(world.hosts.clone());
    let params = vsi::start_domain::Params {
        memory: Some(memory.clone()),
        ..world.start_domain()
    };
    world.attempt(&step, &params).await.map(|done| done.output)
}

async fn domains(world: &World) -> Arc<dyn crate::ports::DomainPort> {
    world.ports().await.domains
}

async fn content(world: &World) -> String {
    let storage = world.ports().await.storage;
    let bytes = storage.read(&world.boot(), 0, 64).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn leftovers(world: &World) -> Vec<String> {
    let volumes = world.ports().await.storage.volumes(POOL).await.unwrap();
    let names = volumes.into_iter().map(|volume| volume.key.name);
    names.filter(|name| name.starts_with("snapshot-")).collect()
}

/// When the running guest was booted; `None` if none runs.
async fn booted(world: &World) -> Option<u64> {
    let (sim, uuid) = (world.sim().await, world.uuid);
    sim.with(|state| state.domains[&uuid].live.as_ref().map(|live| live.started))
        .await
}

async fn state(world: &World) -> PortResult<DomainState> {
    let domain = domains(world).await.domain(world.uuid).await?;
    Ok(domain.unwrap().state)
}

#[tokio::test(start_paused = true)]
async fn a_guest_goes_on_where_it_was_when_its_memory_was_saved() {
    let (world, memory) = remembered().await;
    assert_eq!(state(&world).await.unwrap(), DomainState::Running);
    assert_eq!(leftovers(&world).await.len(), 3, "copies and the memory");
    let first = booted(&world).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    writes(&world, "after").await;
    world.next_run(None).await;
    put_back(&world, &memory).await;
    let started = start(&world, &memory).await.unwrap();
    assert!(started.taken_up);
    assert_eq!(
        (content(&world).await, booted(&world).await),
        ("before".to_owned(), Some(first))
    );
    let again = start(&world, &memory).await.unwrap();
    assert!(again.taken_up, "it runs since");
    assert_eq!(world.sim().await.count("start_saved").await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_a_guest_that_does_not_run_is_refused_and_nothing_is_left() {
    let world = World::new().await;
    world.provision().await.unwrap();
    domains(&world).await.suspend(world.uuid).await.unwrap();
    assert_eq!(code(take(&world).await), "VSI0222");
    world.power_off().await;
    assert_eq!(code(take(&world).await), "VSI0222");
    assert!(leftovers(&world).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn memory_is_not_saved_without_every_disk_that_the_guest_writes_to() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let mut params = taking(&world);
    params.disks.truncate(1);
    let step = CopyDisks::new(world.hosts.clone());
    let refused = world.attempt(&step, &params).await;
    assert_eq!(code(refused), "VSI0222");
    assert!(leftovers(&world).await.is_empty());
    assert_eq!(state(&world).await.unwrap(), DomainState::Running);
}

#[tokio::test(start_paused = true)]
async fn memory_that_the_pool_has_no_room_for_is_not_begun() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let sim = world.sim().await;
    sim.with(|state| {
        let pool = state.pools.get_mut(POOL).unwrap();
        // Room for its memory and the disk, but not for the overhead of the memory's file.
        pool.capacity = pool.capacity - pool.available() + (4096 << 20) + (1 << 20);
    })
    .await;
    assert_eq!(code(take(&world).await), "VSI0203");
    assert_eq!(sim.count("save_with_layers").await, 0);
    assert!(leftovers(&world).await.is_empty());
}

/// The reply is lost: it is unknown which moment the disks show.
#[tokio::test(start_paused = true)]
async fn memory_that_nobody_vouches_for_is_saved_anew() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("save_with_layers", 1, Fault::LostReply))
        .await;
    let memory = take(&world).await.unwrap().output.memory.unwrap();
    assert_eq!(sim.count("save_with_layers").await, 2);
    merge(&world).await.unwrap();
    check(&world, &memory).await.unwrap();
}

/// The host reports that a call is in progress whose caller has ended: its layers appear at its end.
#[tokio::test(start_paused = true)]
async fn nothing_is_merged_while_the_host_still_saves_the_memory() {
    let world = World::new().await;
    world.provision().await.unwrap();
    let (sim, uuid) = (world.sim().await, world.uuid);
    let be =
        |to: DomainState| sim.with(move |state| state.domains.get_mut(&uuid).unwrap().state = to);
    be(DomainState::Held).await;
    assert_eq!(code(merge(&world).await), "VSI0104");
    be(DomainState::Running).await;
    merge(&world).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn memory_that_lost_its_tail_or_a_bit_stops_the_restoration_before_it_begins() {
    let (world, memory) = remembered().await;
    file(&world, |bytes| bytes.truncate(bytes.len() - 1000)).await;
    assert_eq!(code(check(&world, &memory).await), "VSI0231");
    file(&world, |bytes| bytes.extend([b'.'; 1000])).await;
    check(&world, &memory).await.unwrap();
    file(&world, |bytes| *bytes.last_mut().unwrap() = b'!').await;
    assert_eq!(code(check(&world, &memory).await), "VSI0231");
    world.delete_by_hand(&memory.volume).await;
    assert_eq!(code(check(&world, &memory).await), "VSI0231");
    assert_eq!(state(&world).await.unwrap(), DomainState::Running);
}

#[tokio::test(start_paused = true)]
async fn memory_of_another_machine_stops_the_restoration_before_it_begins() {
    let (world, memory) = remembered().await;
    let (sim, uuid) = (world.sim().await, world.uuid);
    let cpus = |cpus: u32| {
        sim.with(move |state| state.domains.get_mut(&uuid).unwrap().spec.machine.cpus = cpus)
    };
    cpus(7).await;
    let failure = check(&world, &memory).await.unwrap_err();
    assert_eq!(failure.code.as_str(), "VSI0230");
    assert!(failure.to_string().contains("virtual CPUs"), "{failure}");
    cpus(2).await;
    check(&world, &memory).await.unwrap();
    let step = CheckMemory::new(world.hosts.clone());
    let other = check_memory::Params {
        host: HOST.to_owned(),
        uuid,
        memory,
        disks: Vec::new(),
    };
    let unfit = world.attempt(&step, &other).await;
    assert_eq!(
        code(unfit),
        "VSI0230",
        "it writes to a disk that is not put back"
    );
}

/// The guest ran and is off: its memory does not match the disks that it wrote to.
#[tokio::test(start_paused = true)]
async fn memory_is_not_taken_up_again_once_its_guest_ran() {
    let (world, memory) = remembered().await;
    let first = booted(&world).await;
    world.next_run(None).await;
    put_back(&world, &memory).await;
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("start_saved", 1, Fault::LostReply))
        .await;
    assert_eq!(code(start(&world, &memory).await), "VSI0103");
    world.power_off().await;
    let started = start(&world, &memory).await.unwrap();
    assert!(!started.taken_up);
    assert!(started.booted_because.unwrap().contains("written to"));
    assert!(booted(&world).await > first);
    assert_eq!(sim.count("start_saved").await, 1);
}

/// The call never reached the host, which restarted: the disks are still as they were restored.
#[tokio::test(start_paused = true)]
async fn memory_is_taken_up_once_more_where_its_guest_never_ran() {
    let (world, memory) = remembered().await;
    let first = booted(&world).await;
    world.next_run(None).await;
    put_back(&world, &memory).await;
    let sim = world.sim().await;
    sim.set_faults(Faults::none().at("start_saved", 1, Fault::HostRestart))
        .await;
    start(&world, &memory).await.unwrap_err();
    assert!(start(&world, &memory).await.unwrap().taken_up);
    assert_eq!(booted(&world).await, first);
}

#[tokio::test(start_paused = true)]
async fn disks_or_memory_that_changed_before_the_start_are_noticed() {
    let (world, memory) = remembered().await;
    world.next_run(None).await;
    put_back(&world, &memory).await;
    file(&world, |bytes| *bytes.last_mut().unwrap() = b'!').await;
    assert_eq!(code(start(&world, &memory).await), "VSI0231");
    assert_eq!(state(&world).await.unwrap(), DomainState::ShutOff);
    writes(&world, "by somebody else").await;
    assert!(!start(&world, &memory).await.unwrap().taken_up);
}

/// libvirt itself does this when its host starts.
#[tokio::test(start_paused = true)]
async fn a_guest_that_something_else_started_is_said_to_have_booted() {
    let (world, memory) = remembered().await;
    world.next_run(None).await;
    put_back(&world, &memory).await;
    world.start_by_hand().await;
    let started = start(&world, &memory).await.unwrap();
    assert!(!started.taken_up);
    assert!(started.booted_because.unwrap().contains("something else"));
}
