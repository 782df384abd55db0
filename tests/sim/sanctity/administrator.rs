//! The administrator of the hosts in a sanctity game, who works behind vsiflow's back.

use std::collections::BTreeSet;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_steps::sim::{Content, SimHostState, Volume};

use crate::{
    documents::POOL,
    world::{CrashWorld, HOSTS},
};

/// The folder of the administrator's layers.
const LAYERS: &str = "/backup";

/// Does something to a random host. Returns what it did, and the tokens that it destroyed.
pub async fn act(world: &CrashWorld, random: &mut StdRng) -> (String, BTreeSet<u64>) {
    let host = host_with_domains(world, random).await;
    let sim = world.hosts.sim(host).await.unwrap();
    let disk = sim.with(|state| choose_disk(state, random)).await;
    let number: u32 = random.random();
    let nothing = BTreeSet::new();
    let Some((uuid, target, path)) = disk else {
        return (format!("nothing on {host}"), nothing);
    };
    let place = format!("{target} of {uuid} ({path}) on {host}");
    match random.random_range(0..13) {
        0 | 1 => {
            let layer = format!("{LAYERS}/{number}.qcow2");
            sim.with(|state| state.put_layer_over(uuid, &target, &layer))
                .await;
            (format!("a layer over {place}"), nothing)
        }
        2 if path.starts_with(LAYERS) => {
            sim.with(|state| state.merge_layer(uuid, &target)).await;
            (format!("a merge of {place}"), nothing)
        }
        3 => {
            let copy = format!("/moved/{number}.qcow2");
            sim.with(|state| state.move_disk(uuid, &target, &copy))
                .await;
            (format!("{place} moves to {copy}"), nothing)
        }
        4 => {
            let copy = format!("/copied/{number}.qcow2");
            sim.with(|state| state.begin_block_copy(uuid, &target, &copy))
                .await;
            (format!("a copy of {place} to {copy}"), nothing)
        }
        5 => {
            let file = format!("/machines/{number}.qcow2");
            sim.with(|state| foreign_layer(state, &path, &file)).await;
            (format!("{file} over {place}"), nothing)
        }
        6 => {
            sim.with(|state| state.loose.retain(|file, _| !file.starts_with("/machines")))
                .await;
            (format!("the machines on {host} go"), nothing)
        }
        7 => {
            sim.start_by_hand(uuid).await;
            (format!("a start of {uuid} on {host}"), nothing)
        }
        8 => {
            sim.with(|state| turn_off(state, uuid)).await;
            (format!("{uuid} on {host} is turned off"), nothing)
        }
        9 => {
            sim.with(|state| save(state, uuid)).await;
            (format!("{uuid} on {host} is saved"), nothing)
        }
        10 => {
            sim.with(|state| edit(state, uuid)).await;
            (format!("an edit of {uuid} on {host}"), nothing)
        }
        11 => {
            sim.restart_with_guests().await;
            (format!("{host} loses power"), nothing)
        }
        _ => {
            let lost = sim.with(|state| replace(state, random)).await;
            (format!("a file on {host} is replaced"), lost)
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

/// A disk that some domain writes to: domain, target and path.
fn choose_disk(state: &SimHostState, random: &mut StdRng) -> Option<(Uuid, String, String)> {
    let domains: Vec<_> = state.domains.values().collect();
    let domain = domains.choose(random)?;
    let spec = domain.running.as_ref().unwrap_or(&domain.spec);
    let disks: Vec<_> = spec.disks.iter().filter(|disk| !disk.readonly).collect();
    let disk = disks.choose(random)?;
    Some((spec.uuid, disk.target.clone(), disk.path.clone()))
}

/// A disk of a machine that vsiflow does not know, over a file of the host.
fn foreign_layer(state: &mut SimHostState, below: &str, path: &str) {
    let Some(file) = state.by_path(below).cloned() else {
        return;
    };
    let layer = Volume {
        backing: Some(below.to_owned()),
        tokens: BTreeSet::new(),
        ..file
    };
    state.loose.insert(path.to_owned(), layer);
}

fn turn_off(state: &mut SimHostState, uuid: Uuid) {
    if let Some(domain) = state.domains.get_mut(&uuid) {
        domain.end(vsiflow_steps::ports::DomainState::ShutOff);
    }
}

fn save(state: &mut SimHostState, uuid: Uuid) {
    if let Some(domain) = state
        .domains
        .get_mut(&uuid)
        .filter(|domain| domain.live.is_some())
    {
        domain.save();
    }
}

/// Changes the stored definition, as `virsh edit` does.
fn edit(state: &mut SimHostState, uuid: Uuid) {
    if let Some(domain) = state.domains.get_mut(&uuid) {
        domain.spec.autostart = !domain.spec.autostart;
        domain.spec.machine.memory_mib += 512;
    }
}

/// Replaces the file of a volume by another. Returns the tokens that were in it.
fn replace(state: &mut SimHostState, random: &mut StdRng) -> BTreeSet<u64> {
    let change = state.changes + 1;
    state.changes = change;
    let pool = state.pools.get_mut(POOL).unwrap();
    let names: Vec<_> = pool.volumes.keys().cloned().collect();
    let written = names
        .iter()
        .filter(|name| !pool.volumes[*name].tokens.is_empty());
    let written: Vec<_> = written.collect();
    let Some(name) = written.choose(random) else {
        return BTreeSet::new();
    };
    let volume = pool.volumes.get_mut(*name).unwrap();
    (volume.content, volume.modified) = (Content::Inline(b"another".to_vec()), change);
    std::mem::take(&mut volume.tokens)
}
