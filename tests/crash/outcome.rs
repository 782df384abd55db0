//! The outcome of a story, for comparison: what is on the hosts, what guests logged, and what vsiflow shows.

use std::collections::BTreeMap;

use uuid::Uuid;
use vsiflow_engine::model::RunResult;
use vsiflow_steps::{
    ports::{Hosts as _, VolumeKey},
    sim::{Content, SimHostState},
};

use super::world::{CrashWorld, HOSTS};

/// A line for each object.
pub type Outcome = BTreeMap<String, String>;

/// Waits until every guest has logged all it will, and collects the outcome.
pub async fn of(world: &CrashWorld) -> Outcome {
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let mut outcome = Outcome::new();
    for host in HOSTS {
        let sim = world.hosts.sim(host).await.unwrap();
        sim.with(|state| on_host(host, state, &mut outcome)).await;
        contents(world, host, &mut outcome).await;
    }
    in_journal(world, &mut outcome);
    outcome
}

fn on_host(host: &str, state: &SimHostState, outcome: &mut Outcome) {
    for (pool, name, volume) in volumes(state) {
        if let (Content::Inline(log), true) = (&volume.content, name.ends_with(".log")) {
            outcome.insert(format!("{host} console {name}"), boots(log));
            continue;
        }
        if is_memory(name) {
            // A guest's memory and its size depend on how long it ran.
            outcome.insert(format!("{host} memory {pool}/{name}"), String::new());
            continue;
        }
        // A raw volume is as large as its file. The stored capacity is only refreshed now and then.
        let capacity = if volume.format == "raw" {
            volume.physical()
        } else {
            volume.capacity
        };
        let (format, backing) = (&volume.format, &volume.backing);
        let words = format!("{format} {capacity} {backing:?}");
        outcome.insert(format!("{host} volume {pool}/{name}"), words);
    }
    for (uuid, domain) in &state.domains {
        let mut spec = domain.spec.clone();
        // The run and the number of earlier events depend on the crashes.
        (spec.mark.sequence, spec.mark.run) = (0, None);
        let words = format!("{:?} {spec:?}", domain.state);
        outcome.insert(format!("{host} domain {uuid}"), words);
    }
}

/// Whether a volume is the memory of a guest in a snapshot.
fn is_memory(name: &str) -> bool {
    name.ends_with(".memory")
}

const BOOT: &str = "# HPL11 build";
/// The line that a guest with cloud-init logs at each boot, long before its VSI is ready. Another guest may
/// be ended before it logs anything.
const SERVER_BOOT: &str = "running 'init'";

/// How often the guest booted, and what it logged at the last boot. The logs of earlier boots are left out,
/// because how much they have depends on the downtime.
fn boots(log: &[u8]) -> String {
    let log = String::from_utf8_lossy(log);
    let server = log.matches(SERVER_BOOT).count();
    let last = log.rfind(BOOT).map(|at| &log[at..]);
    format!(
        "{} boots, {}",
        log.matches(BOOT).count() + server,
        last.unwrap_or_default()
    )
}

fn volumes(
    state: &SimHostState,
) -> impl Iterator<Item = (&String, &String, &vsiflow_steps::sim::Volume)> {
    let pools = state.pools.iter();
    pools.flat_map(|(pool, held)| held.volumes.iter().map(move |(name, v)| (pool, name, v)))
}

async fn contents(world: &CrashWorld, host: &str, outcome: &mut Outcome) {
    let sim = world.hosts.sim(host).await.unwrap();
    let keys = sim.with(|state| {
        volumes(state)
            .map(|(pool, name, _)| key(pool, name))
            .collect()
    });
    let keys: Vec<VolumeKey> = keys.await;
    let ports = world.hosts.host(host).await.unwrap();
    // A claim has the time of the image's last change, which depends on the crashes.
    let alike = |key: &&VolumeKey| {
        !key.name.ends_with(".log") && !key.name.ends_with(".vsiflow") && !is_memory(&key.name)
    };
    for key in keys.iter().filter(alike) {
        let hash = ports.storage.sha256(key).await.unwrap();
        outcome.insert(format!("{host} content {key}"), hash.to_string());
    }
}

fn key(pool: &str, name: &str) -> VolumeKey {
    VolumeKey {
        pool: pool.to_owned(),
        name: name.to_owned(),
    }
}

/// How a VSI ended: its state, with the error code if it failed.
pub fn end(world: &CrashWorld, uuid: Uuid) -> String {
    let ledger = world.audit.ledger();
    let entity = ledger.vsi(uuid).cloned().unwrap_or_default();
    let state = entity
        .state
        .map(|(name, _)| name.to_string())
        .unwrap_or_default();
    match entity.last.map(|last| last.result) {
        Some(RunResult::Failed(failure)) => format!("{state} {}", failure.code),
        _ => state,
    }
}

fn in_journal(world: &CrashWorld, outcome: &mut Outcome) {
    let ledger = world.audit.ledger();
    for (id, entity) in &ledger.entities {
        let last = entity.last.as_ref().map(|last| word(&last.result));
        let state = entity.state.as_ref().map(|(name, _)| name.as_str());
        let mut words = format!("{state:?} {last:?}");
        // A command that is given again requests the image again, which makes another generation.
        if id.kind().as_str() != "image" {
            words.push_str(&format!(" generation {}", entity.reached));
        }
        outcome.insert(id.to_string(), words);
    }
}

fn word(result: &RunResult) -> String {
    match result {
        RunResult::Failed(failure) => failure.code.to_string(),
        other => format!("{other:?}"),
    }
}

/// Reports the first difference of two outcomes.
pub fn difference(expected: &Outcome, found: &Outcome) -> Result<(), String> {
    let all = expected.keys().chain(found.keys());
    for key in all {
        let (expected, found) = (expected.get(key), found.get(key));
        if expected != found {
            return Err(format!(
                "in the end {key} is\n    {}\n  instead of\n    {}",
                found.map_or("not there", String::as_str),
                expected.map_or("not there", String::as_str)
            ));
        }
    }
    Ok(())
}
