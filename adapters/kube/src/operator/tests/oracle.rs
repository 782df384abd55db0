//! Games of the reference model (`tests/sim/oracle`) in a cluster: its documents are objects of an API server that
//! fails at times, and its processes are operators.

mod cluster;
pub(super) mod groups;
pub(super) mod pools;
mod schedules;

#[path = "../../../../../tests/sim/oracle/controller_game.rs"]
mod controller_game;
#[path = "../../../../../tests/sim/oracle/group_acts.rs"]
mod group_acts;
#[path = "../../../../../tests/sim/oracle/group_model.rs"]
mod group_model;
#[path = "../../../../../tests/sim/oracle/pool_model.rs"]
mod pool_model;
#[path = "../../../../../tests/sim/oracle/schedule_game.rs"]
mod schedule_game;
#[path = "../../../../../tests/sim/oracle/schedule_model.rs"]
mod schedule_model;

use std::time::Duration;

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_steps::{
    ports::DomainState,
    sim::{Domain, SimHostState},
};

pub(super) use self::cluster::{GameCluster, drawn_wait};
use self::controller_game::{SETTLES, drawn_jump_ms, user_data};
use super::{
    fault,
    rig::{Switched, condition_of},
};

/// How many games of each kind one test plays; `VSIFLOW_ORACLE_GAMES` for more.
const GAMES: u64 = 3;
/// How often the observer looks.
const EVERY: Duration = Duration::from_millis(100);

fn id(host: &str) -> String {
    format!("root@{host}.example.com:22")
}

/// The seeds of the games: from `VSIFLOW_ORACLE_FROM` (1) on, or only `VSIFLOW_ORACLE_SEED`.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("VSIFLOW_ORACLE_SEED") {
        return vec![seed];
    }
    let from = number("VSIFLOW_ORACLE_FROM").unwrap_or(1);
    (from..from + number("VSIFLOW_ORACLE_GAMES").unwrap_or(GAMES)).collect()
}

/// The template of a member of this edition. Its guest boots in 1.4 s, unless the edition is the broken one.
fn template(edition: u32) -> Value {
    json!({"spec": {
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "cloudInit", "userData": user_data(edition)},
        "machine": {"cpus": edition, "memory": "512Mi"},
        "bootDisk": {"mode": "ephemeral"},
        "targetSelector": {"matchLabels": {"fleet": "blue"}},
        "placement": {"spread": {"over": "host"}},
    }})
}

/// When the guest of a domain was started; `None` if it is off.
fn started(domain: &Domain) -> Option<u64> {
    let runs = domain.state == DomainState::Running;
    let live = domain.live.as_ref().filter(|_| runs);
    live.map(|live| live.started)
}

/// What all hosts show.
async fn on_hosts<T>(
    hosts: &Switched,
    names: &'static [&'static str],
    seen: impl Fn(&'static str, Uuid, &Domain) -> Option<T> + Clone + Send + 'static,
) -> Vec<T>
where
    T: Send + 'static,
{
    let mut all = Vec::new();
    for host in names {
        let sim = hosts.hosts.sim(&id(host)).await.unwrap();
        let seen = seen.clone();
        let shown = sim.with(move |state: &mut SimHostState| {
            let domains = state.domains.iter();
            let shown = domains.filter_map(|(uid, domain)| seen(host, *uid, domain));
            shown.collect::<Vec<_>>()
        });
        all.extend(shown.await);
    }
    all
}

/// The clock jumps years ahead, or back.
fn jump(cluster: &impl GameCluster, random: &mut StdRng) {
    cluster.clock().jump(drawn_jump_ms(random));
}

/// A process dies, or the API server fails for some requests.
async fn disturb(cluster: &mut impl GameCluster, random: &mut StdRng) {
    let requests: &[&'static [&'static str]] = &[&["PATCH"], &["POST"], &["DELETE"], &["GET"]];
    match random.random_range(0..4) {
        0 => cluster.server().cut(),
        1 => {
            let of = *requests.choose(random).unwrap();
            let code = *[409, 429, 500, 503].choose(random).unwrap();
            let times = random.random_range(1..4);
            cluster.server().fail(fault(of, code, times));
        }
        _ => cluster.kill(random).await,
    }
}

/// Waits until the object is as its document says, and work has ended.
async fn settle(cluster: &impl GameCluster, resource: &str, name: &str) -> Result<(), String> {
    let begun = Instant::now();
    let mut calm = 0;
    while calm < 5 {
        let object = cluster.server().get(resource, name).unwrap_or_default();
        let is_seen = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let is_settled = is_seen
            && object["status"]["phase"] == "Available"
            && condition_of(Some(object.clone()), "Reconciling")["status"] != "True"
            && cluster.is_idle();
        calm = if is_settled { calm + 1 } else { 0 };
        if begun.elapsed() > SETTLES {
            return Err(format!("it is never as asked: {}", object["status"]));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Plays the games of these seeds.
pub(super) async fn play_games(play: impl AsyncFn(u64) -> Result<(), String>) {
    for seed in seeds() {
        if let Err(error) = Box::pin(play(seed)).await {
            panic!("{error}\n  VSIFLOW_ORACLE_SEED={seed}");
        }
    }
}

/// A task that ends with the game.
struct Observer(tokio::task::JoinHandle<()>);

impl Drop for Observer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
