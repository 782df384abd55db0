//! The administrator of the hosts in a sanctity game, who works behind vsiflow's back.

use std::collections::BTreeSet;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_steps::{
    names,
    ports::{DomainState, VolumeFormat},
    sim::{Content, SimHost, SimHostState, Volume},
};

use super::{oracle::DiskId, watch::TokenWatch};
use crate::{
    documents::POOL,
    sim::weather,
    world::{CrashWorld, HOSTS},
};

/// The folder of the administrator's layers.
const LAYERS: &str = "/backup";
/// The folder of the disks of their own machines.
const MACHINES: &str = "/machines";

/// Does something to a random host. Returns what it did, for people.
pub async fn act(world: &CrashWorld, watch: &TokenWatch, random: &mut StdRng) -> String {
    let host = host_with_domains(world, random).await;
    let sim = world.hosts.sim(host).await.unwrap();
    if random.random_bool(0.3)
        && let Some(done) = define_earlier(&sim, watch).await
    {
        return format!("{done} on {host}");
    }
    let Some(disk) = sim.with(|state| choose_disk(state, random)).await else {
        return format!("nothing on {host}");
    };
    let number = random.random();
    let done = match random.random_range(0..13) {
        0..=5 => about_disk(&sim, watch, &disk, number).await,
        6 => {
            remove_machines(&sim, watch).await;
            "its machines go".to_owned()
        }
        7 => {
            sim.start_by_hand(disk.uuid).await;
            format!("a start of {}", disk.uuid)
        }
        8..=10 => {
            let how = random.random_range(0..3);
            sim.with(|state| about_domain(state, disk.uuid, how)).await
        }
        11 => {
            sim.restart_with_guests().await;
            "a loss of power".to_owned()
        }
        _ => {
            let Some(ReplacedFile { name, lost }) = sim.with(|state| replace(state, random)).await
            else {
                return format!("nothing on {host}");
            };
            let mut oracle = watch.oracle();
            oracle.excuse(&lost);
            // The orders were given for the file that was there.
            disk_of(&name)
                .into_iter()
                .for_each(|replaced| oracle.close_orders(replaced, None));
            format!("{name} with {lost:?} is replaced by another file")
        }
    };
    format!("{done} on {host}")
}

/// A disk that some domain writes to.
struct WrittenDisk {
    uuid: Uuid,
    target: String,
    path: String,
}

async fn about_disk(sim: &SimHost, watch: &TokenWatch, disk: &WrittenDisk, number: u32) -> String {
    let WrittenDisk { uuid, target, path } = disk;
    let place = format!("{target} of {uuid} ({path})");
    let change = move |state: &mut SimHostState| match number % 6 {
        0 | 1 => {
            let layer = format!("{LAYERS}/{number}.qcow2");
            state.put_layer_over(*uuid, target, &layer);
            format!("{layer} over {place}")
        }
        2 if path.starts_with(LAYERS) => {
            state.merge_layer(*uuid, target);
            format!("a merge of {place}")
        }
        2 | 3 => {
            let copy = format!("/moved/{number}.qcow2");
            state.move_disk(*uuid, target, &copy);
            format!("{place} moves to {copy}")
        }
        4 => {
            let copy = format!("/copied/{number}.qcow2");
            state.begin_block_copy(*uuid, target, &copy);
            format!("a copy of {place} to {copy}")
        }
        _ => {
            let file = format!("{MACHINES}/{number}.qcow2");
            if let Some(below) = state.by_path(path).cloned() {
                let tokens = BTreeSet::from([watch.oracle().write_foreign(number)]);
                let layer = Volume {
                    backing: Some(path.clone()),
                    tokens,
                    synced: true,
                    busy_until: 0,
                    ..below
                };
                state.loose.insert(file.clone(), layer);
                let foreign = machine(number);
                let mut domain = weather::foreign(foreign, file.clone(), false);
                let disks = domain.spec.disks.iter_mut();
                disks.for_each(|its| (its.format, its.overlay) = (VolumeFormat::Qcow2, true));
                state.domains.insert(foreign, domain);
            }
            format!("{file} over {place}")
        }
    };
    sim.with(change).await
}

/// A disk of a guest with the layer that a snapshot put over it.
struct LayeredDisk {
    uuid: Uuid,
    target: String,
    /// The file below the layer.
    below: String,
    /// The tokens that are in the layer alone.
    tokens: BTreeSet<u64>,
}

/// Turns the guests off whose disks have layers of snapshots, and gives them the definitions that they had before,
/// as from a file of `virsh dumpxml`. Returns what was done.
pub async fn define_earlier(sim: &SimHost, watch: &TokenWatch) -> Option<String> {
    let layered = sim.with(define_without_layers).await;
    let first = layered.first()?;
    let done = format!("the earlier definition of {}", first.uuid);
    for disk in &layered {
        let id = watch.id_of(disk.uuid, &disk.target);
        watch.oracle().set_aside(id, &disk.tokens);
    }
    Some(done)
}

fn define_without_layers(state: &mut SimHostState) -> Vec<LayeredDisk> {
    let mut layered = Vec::new();
    for (uuid, domain) in &state.domains {
        for disk in &domain.spec.disks {
            let layer = state.by_path(&disk.path);
            let below = layer.and_then(|layer| layer.backing.as_ref());
            let of_snapshot = disk.path.ends_with(".layer") && domain.saved.is_none();
            if let Some(below) = below.filter(|_| of_snapshot) {
                let (over, under) = (state.tokens_at(&disk.path), state.tokens_at(below));
                let tokens = over.difference(&under).copied().collect();
                let target = disk.target.clone();
                layered.push(LayeredDisk {
                    uuid: *uuid,
                    target,
                    below: below.clone(),
                    tokens,
                });
            }
        }
    }
    for disk in &layered {
        let Some(domain) = state.domains.get_mut(&disk.uuid) else {
            continue;
        };
        domain.end(DomainState::ShutOff);
        let mut disks = domain.spec.disks.iter_mut();
        let named = disks.find(|named| named.target == disk.target);
        named
            .into_iter()
            .for_each(|named| named.path.clone_from(&disk.below));
        let marks = domain.mark.iter_mut().chain([&mut domain.spec.mark]);
        marks.for_each(|mark| mark.snapshot = None);
    }
    layered
}

/// The UUID of a machine of the administrator.
fn machine(number: u32) -> Uuid {
    Uuid::from_u128((0xffff << 112) + u128::from(number))
}

/// Removes the machines of the administrator, with what they wrote.
pub async fn remove_machines(sim: &SimHost, watch: &TokenWatch) {
    let remove = |state: &mut SimHostState| {
        let is_machine = |file: &str| file.starts_with(MACHINES);
        let machines = state.loose.iter().filter(|(file, _)| is_machine(file));
        let lost = machines.flat_map(|(_, volume)| volume.tokens.clone());
        let lost: BTreeSet<u64> = lost.collect();
        state.loose.retain(|file, _| !is_machine(file));
        weather::leave(state);
        lost
    };
    let lost = sim.with(remove).await;
    watch.oracle().excuse(&lost);
}

/// Turns a guest off, saves it, or changes its stored definition.
fn about_domain(state: &mut SimHostState, uuid: Uuid, how: u32) -> String {
    let Some(domain) = state.domains.get_mut(&uuid) else {
        return "nothing".to_owned();
    };
    match how {
        0 => {
            domain.end(DomainState::ShutOff);
            format!("{uuid} is turned off")
        }
        1 if domain.live.is_some() => {
            domain.save();
            format!("{uuid} is saved")
        }
        _ => {
            domain.spec.autostart = !domain.spec.autostart;
            domain.spec.machine.memory_mib += 512;
            format!("an edit of {uuid}")
        }
    }
}

/// A random host, which has a domain if any has one.
async fn host_with_domains(world: &CrashWorld, random: &mut StdRng) -> &'static str {
    let mut hosts = Vec::new();
    for host in HOSTS {
        let sim = world.hosts.sim(host).await.unwrap();
        if sim.with(|state| !state.domains.is_empty()).await {
            hosts.push(host);
        }
    }
    hosts.choose(random).copied().unwrap_or(HOSTS[0])
}

fn choose_disk(state: &SimHostState, random: &mut StdRng) -> Option<WrittenDisk> {
    let domains: Vec<_> = state.domains.values().collect();
    let domain = domains.choose(random)?;
    let spec = domain.running.as_ref().unwrap_or(&domain.spec);
    let disks: Vec<_> = spec.disks.iter().filter(|disk| !disk.readonly).collect();
    let disk = disks.choose(random)?;
    Some(WrittenDisk {
        uuid: spec.uuid,
        target: disk.target.clone(),
        path: disk.path.clone(),
    })
}

/// A file that the administrator put under the name of a volume.
struct ReplacedFile {
    name: String,
    /// The tokens that were in the one before.
    lost: BTreeSet<u64>,
}

/// The disk that a volume of this name is.
fn disk_of(name: &str) -> Option<DiskId> {
    let boot_disk = names::vsi_of_boot_disk(name).map(DiskId::Boot);
    boot_disk.or_else(|| name.parse().ok().map(DiskId::Data))
}

/// Replaces the file of a volume by another.
fn replace(state: &mut SimHostState, random: &mut StdRng) -> Option<ReplacedFile> {
    let change = state.changes + 1;
    state.changes = change;
    let pool = state.pools.get_mut(POOL).unwrap();
    let names: Vec<_> = pool.volumes.keys().cloned().collect();
    let written = names
        .iter()
        .filter(|name| !pool.volumes[*name].tokens.is_empty());
    let written: Vec<_> = written.collect();
    let name = (*written.choose(random)?).clone();
    let volume = pool.volumes.get_mut(&name).unwrap();
    (volume.content, volume.modified) = (Content::Inline(b"another".to_vec()), change);
    volume.born = change;
    let lost = std::mem::take(&mut volume.tokens);
    Some(ReplacedFile { name, lost })
}
