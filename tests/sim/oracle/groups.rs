//! Games of a group with a quota: docs/how-to/groups.md and quotas.md.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_steps::{
    ports::{DomainState, StoragePort as _, VolumeKey},
    sim::{SimHostState, SimHosts},
};
use vsiflow_workflows::fleet::{Change, Fleet, Verdict};

use super::{
    controller_game::{self, ControllerGame, SETTLES, drawn_jump_ms},
    group_acts::GroupActs,
    group_documents::{FILLED, GIVES, VALUE, document, without_host_of_removed},
    group_model::{GroupDemand, GroupModel, ItemDemand, REMOVED, SeenMember, WAVES},
    next_process, start,
};
use crate::{
    documents::{POOL, quota},
    gate::{CrashGate, CrashMoment},
    ownership,
    world::{CrashWorld, HOSTS, in_virtual_time, user},
};

const EVERY: Duration = Duration::from_millis(100);
/// Patterns that match what every guest prints.
const VERSION: &str = "Linux version ([0-9.]+)";
const LOGIN: &str = "(login):";
/// A pattern that no guest's console matches.
const NEVER: &str = "(never printed)";

fn unread_output(item: &str) -> String {
    format!("output of-{item} was not read")
}

/// A pattern that matches another text than this one.
fn other_pattern(pattern: Option<&str>) -> &'static str {
    if pattern == Some(VERSION) {
        LOGIN
    } else {
        VERSION
    }
}

/// A game that is being played.
struct GroupGame {
    world: CrashWorld,
    /// Whether one member opens the first gate.
    any: bool,
    random: StdRng,
    model: Arc<Mutex<GroupModel>>,
    gate: Arc<CrashGate>,
    fleet: Fleet,
    /// The value of an output that the first member of [`FILLED`] was made with.
    value: Option<String>,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let (world, gate) = (CrashWorld::new(None).await, CrashGate::safe());
        let fleet = start(&world, &gate).await?;
        let model = Arc::<Mutex<GroupModel>>::default();
        let observer = tokio::spawn(observe(world.hosts.clone(), model.clone()));
        let random = StdRng::seed_from_u64(seed);
        let mut game = GroupGame {
            world,
            any: seed.is_multiple_of(3),
            random,
            model,
            gate,
            fleet,
            value: None,
        };
        let played = controller_game::play(&mut game).await;
        observer.abort();
        game.gate.die();
        played
    })
}

impl GroupGame {
    async fn ask(&mut self, demand: GroupDemand) -> Result<(), String> {
        let document = document(&demand);
        self.model.lock().unwrap().ask(demand);
        let applied = self.fleet.apply(document, user()).await;
        applied.map(drop).map_err(|error| error.to_string())
    }

    /// With a quota that is used up, the same document is accepted and a larger one refused.
    async fn fill_quota(&mut self) -> Result<(), String> {
        self.settle().await?;
        let demand = self.model.lock().unwrap().demand();
        let counted = demand.items.iter().filter(|(item, _)| **item != REMOVED);
        let used = counted.map(|(_, asked)| asked.replicas).sum();
        let applied = self.fleet.apply(quota(used), user()).await;
        applied.map_err(|error| error.to_string())?;
        self.same_is_no_change(&demand).await?;
        self.growth_is_refused(&demand, "VSI0738").await?;
        let deleted = self.fleet.quotas().delete("default", "team", user()).await;
        deleted.map_err(|error| error.to_string())
    }

    /// While no host takes a VSI, the same document is accepted, and a larger one refused.
    async fn close_hosts(&mut self) -> Result<(), String> {
        self.settle().await?;
        let demand = self.model.lock().unwrap().demand();
        for host in HOSTS {
            let cordoned = self.fleet.hosts().cordon(host, user()).await;
            cordoned.map_err(|error| error.to_string())?;
        }
        self.same_is_no_change(&demand).await?;
        self.growth_is_refused(&demand, "VSI0737").await?;
        for host in HOSTS {
            let uncordoned = self.fleet.hosts().uncordon(host, false, user()).await;
            uncordoned.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn same_is_no_change(&self, demand: &GroupDemand) -> Result<(), String> {
        for same in [document(demand), without_host_of_removed(demand)] {
            let again = self.fleet.apply(same, user()).await;
            let again = again.map_err(|error| format!("the same document is refused: {error}"))?;
            if again.iter().any(|one| one.change != Change::Unchanged) {
                return Err("the same document is a change".to_owned());
            }
        }
        Ok(())
    }

    async fn growth_is_refused(&self, demand: &GroupDemand, code: &str) -> Result<(), String> {
        let mut more = demand.clone();
        more.items.get_mut("e").unwrap().replicas += 1;
        let refused = self.fleet.apply(document(&more), user()).await.err();
        let refusal = refused.map(|error| error.failure.code.to_string());
        if refusal.as_deref() != Some(code) {
            return Err(format!("growth is {refusal:?}, and not {code}"));
        }
        Ok(())
    }

    /// Members move away from a host, which takes members again when all have left it, or while they do.
    async fn drain(&mut self) -> Result<(), String> {
        let host = *HOSTS.choose(&mut self.random).unwrap();
        self.model.lock().unwrap().drain(true);
        let drained = Box::pin(self.fleet.hosts().drain_moving(host, None, user())).await;
        drained.map_err(|error| error.to_string())?;
        let wait = self.random.random_range(0..40_000);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        if self.random.random_bool(0.5) {
            Box::pin(self.settle()).await?;
        }
        let uncordoned = self.fleet.hosts().uncordon(host, true, user()).await;
        uncordoned.map_err(|error| error.to_string())?;
        // What left the host is made again.
        Box::pin(self.settle()).await?;
        self.model.lock().unwrap().drain(false);
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), String> {
        let calls = self.random.random_range(0..60);
        self.gate.die_in(calls, CrashMoment::After);
        (self.fleet, self.gate) = next_process(&self.world, &self.gate).await?;
        Ok(())
    }

    /// An output whose pattern never matches keeps no other one from being read, and is read once it matches.
    async fn break_output(&mut self) -> Result<(), String> {
        self.settle().await?;
        let mut demand = self.model.lock().unwrap().demand();
        if ["d", "e"]
            .iter()
            .any(|item| demand.items[item].replicas == 0)
        {
            return Ok(());
        }
        let before = demand.outputs.insert("d", NEVER);
        let other = other_pattern(demand.outputs.get("e").copied());
        demand.outputs.insert("e", other);
        self.ask(demand.clone()).await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let read = self.outputs_are_read().await;
        let unread = read.err().unwrap_or_default();
        if unread != unread_output("d") {
            return Err(format!("beside an output that cannot be read: {unread:?}"));
        }
        demand.outputs.insert("d", other_pattern(before));
        self.ask(demand).await
    }

    /// The members of [`FILLED`] have the value that the first one was made with, wherever the document takes it from later.
    async fn check_values(&mut self) -> Result<(), String> {
        for host in HOSTS {
            let sim = self.world.hosts.sim(host).await.unwrap();
            for seed in sim.with(|state| seeds(state)).await {
                let bytes = sim.read(&seed, 0, 1 << 20).await;
                let bytes = bytes.map_err(|error| error.to_string())?;
                let text = String::from_utf8_lossy(&bytes);
                let value = text
                    .split(VALUE)
                    .nth(1)
                    .and_then(|rest| rest.lines().next());
                let value = value.ok_or_else(|| format!("{seed} has no value"))?;
                let first = self.value.get_or_insert_with(|| value.to_owned());
                if first != value {
                    return Err(format!("{seed} has {value:?} where others have {first:?}"));
                }
            }
        }
        Ok(())
    }

    async fn outputs_are_read(&self) -> Result<(), String> {
        let demand = self.model.lock().unwrap().demand();
        let group = self.fleet.groups().get("default", "grp").await;
        let outputs = group.map_err(|error| error.to_string())?.status.outputs;
        for output in outputs.iter().filter(|output| !output.found) {
            let item = output.name.trim_start_matches("of-");
            if demand.items[item].replicas > 0 {
                return Err(unread_output(item));
            }
        }
        Ok(())
    }
}

impl ControllerGame for GroupGame {
    type Model = GroupModel;

    async fn begin(&mut self) -> Result<(), String> {
        let mut demand = GroupDemand {
            any: self.any,
            ..GroupDemand::default()
        };
        for item in WAVES.into_iter().flatten() {
            let (replicas, edition) = (self.random.random_range(1..3), 2);
            demand.items.insert(item, ItemDemand { replicas, edition });
        }
        demand.outputs.insert(GIVES, VERSION);
        self.ask(demand).await
    }

    async fn act(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand();
        let items: Vec<_> = WAVES.into_iter().flatten().copied().collect();
        let item = *items.choose(&mut self.random).unwrap();
        let asked = demand.items.get_mut(item).unwrap();
        match self.random.random_range(0..16) {
            0..=2 => asked.edition = self.random.random_range(1..5),
            3 | 4 => asked.replicas = self.random.random_range(0..3),
            5 => {
                if item != REMOVED && asked.replicas > 0 {
                    let other = other_pattern(demand.outputs.get(item).copied());
                    demand.outputs.insert(item, other);
                }
            }
            6 => return self.kill().await,
            7 => {
                self.world.clock.jump(drawn_jump_ms(&mut self.random));
                return Ok(());
            }
            8 => return self.close_hosts().await,
            9 => return self.break_template(demand, item).await,
            10 => return self.drain().await,
            11 => return self.cordon_member(item).await,
            12 => return self.break_output().await,
            13 => {
                let other = other_pattern(demand.outputs.get(GIVES).copied());
                demand.outputs.insert(GIVES, other);
                demand.items.get_mut(FILLED).unwrap().replicas = self.random.random_range(1..4);
            }
            _ => return self.fill_quota().await,
        }
        self.ask(demand).await
    }

    async fn settle(&mut self) -> Result<(), String> {
        let group = ownership::group();
        let decided = tokio::time::timeout(SETTLES, self.fleet.decided(&group)).await;
        let state = async || {
            let shown = self.fleet.groups().get("default", "grp").await;
            shown.map_or_else(|error| error.to_string(), |object| object.status.message)
        };
        match decided {
            Ok(Ok(Verdict::Reached)) => {}
            Ok(other) => return Err(format!("the group is {other:?}: {}", state().await)),
            Err(_) => return Err(format!("the group is never decided: {}", state().await)),
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.model.lock().unwrap().settled();
        self.check_values().await
    }

    async fn calm(&mut self) -> Result<(), String> {
        self.settle().await?;
        self.outputs_are_read().await
    }

    fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    fn model(&self) -> &Mutex<GroupModel> {
        &self.model
    }
}

async fn observe(hosts: Arc<SimHosts>, model: Arc<Mutex<GroupModel>>) {
    loop {
        let members = members(&hosts).await;
        model.lock().unwrap().observe(Instant::now(), members);
        tokio::time::sleep(EVERY).await;
    }
}

/// The seeds of the members of [`FILLED`] on a host.
fn seeds(state: &SimHostState) -> Vec<VolumeKey> {
    let own = format!("default/grp-{FILLED}-");
    let domains = state.domains.iter();
    let own = domains.filter(|(_, domain)| domain.spec.title.starts_with(&own));
    let names: Vec<_> = own.map(|(uid, _)| format!("cidata-{uid}")).collect();
    let pool = state.pools.get(POOL);
    let volumes = pool.iter().flat_map(|pool| pool.volumes.keys());
    let seeds = volumes.filter(|volume| names.iter().any(|name| volume.starts_with(name)));
    let key = |name: &String| VolumeKey {
        pool: POOL.to_owned(),
        name: name.clone(),
    };
    seeds.map(key).collect()
}

/// The members of the group on all hosts.
async fn members(hosts: &SimHosts) -> BTreeMap<Uuid, SeenMember> {
    let mut seen = BTreeMap::new();
    for host in HOSTS {
        let sim = hosts.sim(host).await.unwrap();
        let members = sim.with(|state| {
            let members = state.domains.iter().filter_map(|(uid, domain)| {
                let runs = domain.state == DomainState::Running;
                let live = domain.live.as_ref().filter(|_| runs);
                let (title, cpus) = (&domain.spec.title, domain.spec.machine.cpus);
                let member = SeenMember::titled(title, cpus, live.map(|live| live.started))?;
                Some((*uid, member))
            });
            members.collect::<Vec<_>>()
        });
        seen.extend(members.await);
    }
    seen
}

impl GroupActs for GroupGame {
    async fn apply(&mut self, demand: GroupDemand) -> Result<(), String> {
        self.ask(demand).await
    }

    async fn cordon(&self, item: &str, number: u32, is_cordoned: bool) -> Result<(), String> {
        let (pools, name) = (self.fleet.pools(), format!("grp-{item}-{number}"));
        let cordoned = pools.cordon_member("default", &name, is_cordoned, user());
        cordoned.await.map(drop).map_err(|error| error.to_string())
    }

    async fn settle_undisturbed(&mut self) -> Result<(), String> {
        self.settle().await
    }
}
