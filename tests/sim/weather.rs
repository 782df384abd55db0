//! Random trouble on the hosts: faults, restarts, full pools, and domains of others.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_steps::{
    ports::{DiskSpec, DomainSpec, DomainState, MachineSpec, OwnerMark, VolumeFormat},
    sim::{Content, Domain, Fault, Faults, SimHostState, Volume},
};

use crate::{
    documents::POOL,
    ownership,
    world::{CrashWorld, HOSTS},
};

const GIB: u64 = 1 << 30;

/// Changes one of the hosts at random.
pub async fn change(world: &CrashWorld, random: &mut StdRng) {
    let host = *HOSTS.choose(random).unwrap();
    let sim = world.hosts.sim(host).await.unwrap();
    match random.random_range(0..12) {
        0..=3 => {
            let (rate, most) = (random.random_range(0.02..0.4), random.random_range(1..60));
            sim.set_faults(Faults::seeded(random.random(), rate, most))
                .await;
        }
        4 => sim.set_faults(rare(random)).await,
        5 => sim.set_faults(Faults::none()).await,
        6 => sim.with(SimHostState::restart).await,
        7 => sim.with(toggle_pool).await,
        8 => sim.with(toggle_network).await,
        9 => sim.with(fill_or_clear).await,
        10 => stranger(world, host, random).await,
        _ => sim.with(leave).await,
    }
}

/// A fault at a certain call of one kind.
fn rare(random: &mut StdRng) -> Faults {
    let nth = random.random_range(1..4);
    if random.random_bool(0.5) {
        let call = ["create", "clone", "send"].choose(random).unwrap();
        return Faults::none().at(call, nth, Fault::NoSpace);
    }
    // No data disk gets these calls: data disks must not vanish in a game.
    let call = ["sha256", "upload", "send", "finish", "clone"]
        .choose(random)
        .unwrap();
    Faults::none().at(call, nth, Fault::VanishVolume)
}

fn toggle_pool(state: &mut SimHostState) {
    let pool = state.pools.get_mut(POOL).unwrap();
    pool.active = !pool.active;
}

fn toggle_network(state: &mut SimHostState) {
    let network = state.networks.get_mut("second").unwrap();
    network.active = !network.active;
}

fn fill_or_clear(state: &mut SimHostState) {
    let pool = state.pools.get_mut(POOL).unwrap();
    let used = pool.capacity.saturating_sub(pool.available());
    pool.capacity = if pool.available() > GIB {
        used + 1_000
    } else {
        100 * GIB
    };
}

/// Defines a foreign domain that uses a volume of the pool, perhaps one of our VSI's.
async fn stranger(world: &CrashWorld, host: &str, random: &mut StdRng) {
    let sim = world.hosts.sim(host).await.unwrap();
    let uuid =
        Uuid::from_u128(0xffff_0000_0000_0000_0000_0000_0000_0000 + random.random::<u64>() as u128);
    let pick = random.random_range(0..usize::MAX);
    let active = random.random_bool(0.5);
    let came = sim.with(|state| {
        let pool = &state.pools[POOL];
        let names: Vec<_> = pool
            .volumes
            .keys()
            .filter(|name| !name.ends_with(".log"))
            .collect();
        let name = names.get(pick % names.len().max(1))?;
        let domain = foreign(uuid, format!("{}/{name}", pool.path), active);
        state.domains.insert(uuid, domain);
        Some(())
    });
    if came.await.is_some() {
        world.audit.foreign(host, uuid.to_string());
    }
}

/// A foreign domain with this disk.
pub fn foreign(uuid: Uuid, path: String, active: bool) -> Domain {
    let disk = DiskSpec {
        target: "vda".to_owned(),
        serial: String::new(),
        path,
        format: VolumeFormat::Raw,
        overlay: false,
        readonly: true,
        boot_order: None,
    };
    let machine = MachineSpec {
        arch: "s390x".to_owned(),
        domain_type: "qemu".to_owned(),
        machine: "s390-ccw-virtio-9.2".to_owned(),
        cpus: 1,
        memory_mib: 512,
        secure_execution: false,
        platform: None,
    };
    let mark = OwnerMark {
        journal: String::new(),
        uid: String::new(),
        generation: 0,
        sequence: 0,
        run: None,
        snapshot: None,
    };
    let spec = DomainSpec {
        uuid,
        name: uuid.to_string(),
        title: "somebody's".to_owned(),
        machine,
        disks: vec![disk],
        nics: Vec::new(),
        console_log: String::new(),
        autostart: false,
        mark,
    };
    let state = if active {
        DomainState::Running
    } else {
        DomainState::ShutOff
    };
    Domain {
        spec,
        mark: None,
        state,
        live: None,
        running: None,
        ends_at: None,
        moved: false,
        saved: None,
        merges: Default::default(),
        block_copies: Default::default(),
        io_error: false,
    }
}

/// Removes the foreign domains.
pub fn leave(state: &mut SimHostState) {
    state
        .domains
        .retain(|uuid, _| uuid.as_u128() >> 112 != 0xffff);
}

/// The foreign volumes that are there before the game begins, by host and name.
pub const FOREIGN: [(&str, &str); 3] = [
    ("sim:a", "somebodys-data.qcow2"),
    ("sim:b", "hpcr.qcow2"),
    ("sim:c", "boot-of-somebody.qcow2"),
];

pub async fn begin(world: &CrashWorld) {
    for (host, name) in FOREIGN {
        let sim = world.hosts.sim(host).await.unwrap();
        let insert = |state: &mut SimHostState| {
            let pool = state.pools.get_mut(POOL).unwrap();
            pool.volumes.insert(name.to_owned(), foreign_volume());
        };
        sim.with(insert).await;
        world.audit.foreign(host, format!("{POOL}/{name}"));
    }
}

fn foreign_volume() -> Volume {
    Volume {
        format: "raw".to_owned(),
        capacity: 5,
        content: Content::Inline(b"valuable".to_vec()),
        backing: None,
        modified: 0,
        born: 0,
        synced: true,
        unwritten: false,
        busy_until: 0,
        tokens: Default::default(),
    }
}

/// Ends all trouble: no more faults and foreign domains; all pools and networks are active.
pub async fn clear(world: &CrashWorld) {
    for host in HOSTS {
        let sim = world.hosts.sim(host).await.unwrap();
        sim.set_faults(Faults::none()).await;
        let calm = |state: &mut SimHostState| {
            leave(state);
            let pool = state.pools.get_mut(POOL).unwrap();
            (pool.active, pool.capacity) = (true, 100 * GIB);
            state
                .networks
                .values_mut()
                .for_each(|network| network.active = true);
        };
        sim.with(calm).await;
    }
}

/// Reports an error if an object of ours is left that is not expected, or if a foreign volume was changed or
/// deleted.
pub async fn leftovers(
    world: &CrashWorld,
    mut expected: impl FnMut(Uuid) -> bool,
) -> Result<(), String> {
    for host in HOSTS {
        let sim = world.hosts.sim(host).await.unwrap();
        let found = sim.with(|state| {
            for uuid in state
                .domains
                .keys()
                .filter(|uuid| uuid.as_u128() >> 112 != 0xffff)
            {
                if !expected(*uuid) {
                    return Err(format!("domain {uuid} is left on {host}"));
                }
            }
            for name in state.pools[POOL].volumes.keys() {
                let key = vsiflow_steps::ports::VolumeKey {
                    pool: POOL.to_owned(),
                    name: name.clone(),
                };
                if ownership::vsi_of(&key).is_some_and(|uuid| !expected(uuid)) {
                    return Err(format!("volume {name} is left on {host}"));
                }
            }
            Ok(())
        });
        found.await?;
    }
    for (host, name) in FOREIGN {
        let sim = world.hosts.sim(host).await.unwrap();
        let content = sim.with(|state| {
            state.pools[POOL]
                .volumes
                .get(name)
                .map(|v| v.content.clone())
        });
        if content.await != Some(Content::Inline(b"valuable".to_vec())) {
            return Err(format!(
                "{name} on {host} was somebody else's, and is not what it was"
            ));
        }
    }
    Ok(())
}
