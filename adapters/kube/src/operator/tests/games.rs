//! Random tests of a pool and a group in a cluster, on three hosts that fail, with an API server that
//! fails and an operator that dies. When everything works again, hosts and objects match the last
//! desired state.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use vsiflow_steps::{
    ports::DomainState,
    sim::{Faults, SimHostState},
};

use super::{fault, rig::Rig};
use crate::sample::uid;

const POOLS: &str = "virtualserverpools";
const GROUPS: &str = "virtualservergroups";
const SERVERS: &str = "virtualservers";
const HOSTS: [&str; 3] = ["lpar1", "lpar2", "lpar3"];
/// How often the final state is checked before the test fails.
const ROUNDS: usize = 40;
const CALM: Duration = Duration::from_secs(120);

fn id(host: &str) -> String {
    format!("root@{host}.example.com:22")
}

/// The last desired state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Desired {
    replicas: u32,
    cpus: u32,
}

struct Game {
    rig: Rig,
    random: StdRng,
    pool: Option<Desired>,
    group: Option<Desired>,
    /// The last UID that a resource was given.
    number: u8,
}

impl Game {
    async fn new(seed: u64) -> Self {
        Self {
            rig: Rig::with_hosts(&HOSTS).await,
            random: StdRng::seed_from_u64(seed),
            pool: None,
            group: None,
            number: 0,
        }
    }

    async fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.random.random_range(10..30) {
            match self.random.random_range(0..16) {
                0..=4 => {
                    let most = *[300, 3_000, 40_000].choose(&mut self.random).unwrap();
                    let wait = self.random.random_range(0..most);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                5..=10 => self.act(),
                11 | 12 => self.weather().await,
                13 => self.server_breaks(),
                _ => self.rig.restart().await,
            }
        }
        self.clear().await;
        let (pool, group) = (self.pool, self.group);
        self.until(pool, group).await?;
        for (resource, name) in [(GROUPS, "grp"), (POOLS, "web")] {
            if self.rig.server.get(resource, name).is_some() {
                self.rig.server.delete(resource, name);
            }
        }
        self.until(None, None).await?;
        self.nothing_is_left().await
    }

    /// A random action of a user.
    fn act(&mut self) {
        let replicas = self.random.random_range(0..5);
        let cpus = self.random.random_range(1..4);
        match self.random.random_range(0..10) {
            0..=3 => self.ask(POOLS, "web", Desired { replicas, cpus }),
            4 | 5 => {
                let replicas = replicas.max(1);
                self.ask(GROUPS, "grp", Desired { replicas, cpus });
            }
            6 => self.delete(POOLS, "web"),
            7 => self.delete(GROUPS, "grp"),
            8 => {
                if let Some(name) = self.some_member() {
                    self.rig.server.delete(SERVERS, &name);
                }
            }
            _ => {
                // The template takes precedence.
                if let Some(name) = self.some_member() {
                    let edit = json!({"spec": {"machine": {"cpus": 7, "memory": "512Mi"}}});
                    self.rig.server.apply(SERVERS, &name, uid(255), edit);
                }
            }
        }
    }

    fn some_member(&mut self) -> Option<String> {
        let names = self.members();
        names.choose(&mut self.random).cloned()
    }

    fn members(&self) -> Vec<String> {
        let all = self.rig.server.all(SERVERS).into_iter();
        let names = all.map(|one| one["metadata"]["name"].as_str().unwrap().to_owned());
        names.collect()
    }

    fn is_deleting(&self, resource: &str, name: &str) -> Option<bool> {
        let object = self.rig.server.get(resource, name)?;
        Some(object["metadata"]["deletionTimestamp"].is_string())
    }

    fn ask(&mut self, resource: &str, name: &str, desired: Desired) {
        match self.is_deleting(resource, name) {
            // As with kubectl: a change to an object that is being deleted is lost with it.
            Some(true) => return,
            Some(false) => {}
            None => self.number += 1,
        }
        let (spec, place) = match resource {
            POOLS => (self.pool_spec(desired), &mut self.pool),
            _ => (self.group_spec(desired), &mut self.group),
        };
        *place = Some(desired);
        let (server, number) = (&self.rig.server, self.number);
        server.apply(resource, name, uid(number), json!({"spec": spec}));
    }

    fn delete(&mut self, resource: &str, name: &str) {
        if self.is_deleting(resource, name) != Some(false) {
            return;
        }
        self.rig.server.delete(resource, name);
        match resource {
            POOLS => self.pool = None,
            _ => self.group = None,
        }
    }

    fn template(&self, cpus: u32) -> Value {
        json!({"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "machine": {"cpus": cpus, "memory": "512Mi"},
            "targetSelector": {"matchLabels": {"fleet": "blue"}},
            "placement": {"spread": {"over": "host"}},
        }})
    }

    fn pool_spec(&self, desired: Desired) -> Value {
        json!({
            "replicas": desired.replicas,
            "strategy": {"maxUnavailable": 2},
            "template": self.template(desired.cpus),
        })
    }

    /// The member of the first wave is deleted once the second wave is up.
    fn group_spec(&self, desired: Desired) -> Value {
        let template = self.template(desired.cpus);
        json!({"waves": [
            {"name": "first", "members": [
                {"name": "a", "removeAfter": "second", "template": template},
            ]},
            {"name": "second", "pools": [
                {"name": "b", "replicas": desired.replicas, "template": template},
            ]},
        ]})
    }

    async fn weather(&mut self) {
        let host = id(HOSTS.choose(&mut self.random).unwrap());
        let sim = self.rig.sim(&host).await;
        match self.random.random_range(0..7) {
            0..=2 => {
                let (rate, most) = (
                    self.random.random_range(0.02..0.4),
                    self.random.random_range(1..60),
                );
                let seed = self.random.random();
                sim.set_faults(Faults::seeded(seed, rate, most)).await;
            }
            3 => sim.set_faults(Faults::none()).await,
            4 => sim.with(SimHostState::restart).await,
            5 => self.rig.host_silent(&host, true),
            _ => self.rig.host_silent(&host, false),
        }
    }

    fn server_breaks(&mut self) {
        let times = self.random.random_range(1..8);
        let what: &'static [&'static str] = [
            &["PATCH"][..],
            &["POST"][..],
            &["DELETE"][..],
            &["GET", "watch=true"][..],
            &["virtualservers"][..],
        ]
        .choose(&mut self.random)
        .unwrap();
        let code = *[409, 429, 500, 503].choose(&mut self.random).unwrap();
        match self.random.random_range(0..3) {
            0 => self.rig.server.cut(),
            1 => self.rig.server.heal(),
            _ => self.rig.server.fail(fault(what, code, times)),
        }
    }

    /// Hosts and server work again.
    async fn clear(&mut self) {
        for host in HOSTS {
            self.rig.host_silent(&id(host), false);
            self.rig
                .sim(&id(host))
                .await
                .set_faults(Faults::none())
                .await;
        }
        self.rig.server.heal();
    }

    async fn until(&self, pool: Option<Desired>, group: Option<Desired>) -> Result<(), String> {
        let mut found = String::new();
        for _ in 0..ROUNDS {
            tokio::time::sleep(CALM).await;
            found = match self.differs(pool, group).await {
                None => return Ok(()),
                Some(why) => why,
            };
            self.rig.retry_all().await;
        }
        Err(format!("{pool:?} and {group:?} are asked for, but {found}"))
    }

    /// The differences of hosts and objects from the desired state.
    async fn differs(&self, pool: Option<Desired>, group: Option<Desired>) -> Option<String> {
        let mut expected = BTreeMap::new();
        for (desired, name) in [(pool, "web"), (group, "grp-b")] {
            let Some(Desired { replicas, cpus }) = desired else {
                continue;
            };
            expected.extend((0..replicas).map(|number| (format!("{name}-{number}"), cpus)));
        }
        let guests = self.guests().await;
        let names: Vec<_> = expected.keys().cloned().collect();
        let members = self.members();
        let phase = |resource: &str, name: &str| {
            let object = self.rig.server.get(resource, name);
            object.map(|object| object["status"]["phase"].clone())
        };
        let phases = [phase(POOLS, "web"), phase(GROUPS, "grp")];
        let after = [pool, group].map(|desired| desired.map(|_| json!("Available")));
        let once = guests.iter().map(|(name, cpus)| (name.clone(), *cpus));
        let same =
            once.clone().collect::<BTreeMap<_, _>>() == expected && once.count() == expected.len();
        let is_so = same && members == names && phases == after;
        (!is_so).then(|| {
            let objects = [(POOLS, "web"), (GROUPS, "grp")];
            let status = objects.map(|(of, name)| self.rig.server.get(of, name));
            let status = status.map(|one| one.unwrap_or_default()["status"].to_string());
            format!("guests: {guests:?}, members: {members:?}, {status:?}")
        })
    }

    /// Our guests on all hosts and their processors; none for a guest that does not run.
    async fn guests(&self) -> Vec<(String, u32)> {
        let mut all = Vec::new();
        for host in HOSTS {
            let sim = self.rig.sim(&id(host)).await;
            let found = sim.with(|state| {
                let ours = state.domains.values().filter(|one| one.mark.is_some());
                let ours = ours.map(|domain| {
                    let runs = domain.state == DomainState::Running;
                    let cpus = if runs { domain.spec.machine.cpus } else { 0 };
                    let name = domain.spec.title.trim_start_matches("default/");
                    (name.to_owned(), cpus)
                });
                ours.collect::<Vec<_>>()
            });
            all.extend(found.await);
        }
        all.sort();
        all
    }

    async fn nothing_is_left(&self) -> Result<(), String> {
        for host in HOSTS {
            let sim = self.rig.sim(&id(host)).await;
            let volumes = sim.with(|state| {
                let names = state.pools.values().flat_map(|pool| pool.volumes.keys());
                let ours =
                    names.filter(|name| name.starts_with("boot-") || name.starts_with("cidata-"));
                ours.cloned().collect::<Vec<_>>()
            });
            let volumes = volumes.await;
            if !volumes.is_empty() {
                return Err(format!("{volumes:?} are left on {host}"));
            }
        }
        Ok(())
    }
}

/// Runs the number of games in `VSIFLOW_KUBE_GAMES`, from seed `VSIFLOW_SIM_FROM`, or the one game of
/// `VSIFLOW_SIM_SEED`.
#[tokio::test(start_paused = true)]
async fn pools_and_groups_of_a_cluster_come_to_what_was_asked_for_whatever_breaks() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds: Vec<u64> = match number("VSIFLOW_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let from = number("VSIFLOW_SIM_FROM").unwrap_or(1);
            (from..from + number("VSIFLOW_KUBE_GAMES").unwrap_or(8)).collect()
        }
    };
    for seed in seeds {
        let mut game = Game::new(seed).await;
        let played = Box::pin(game.play()).await;
        game.rig.stop().await;
        if let Err(error) = played {
            panic!("seed {seed}: {error}\n  VSIFLOW_SIM_SEED={seed}");
        }
    }
}
