//! Games of a group with a quota: docs/how-to/groups.md and quotas.md.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::secret::Secret;
use vsiflow_steps::{guest::GuestType, ports::DomainState, sim::SimHosts};
use vsiflow_workflows::{
    fleet::{Change, Fleet, Verdict},
    spec::{
        Resolved,
        group::{Gate, OutputPlace, OutputSource, Quorum, ResolvedItem, ResolvedWave},
    },
};

use super::{
    controller_game::{self, ControllerGame, SETTLES, drawn_jump_ms, user_data},
    group_acts::GroupActs,
    group_model::{GroupDemand, GroupModel, ItemDemand, REMOVED, SeenMember, WAVES},
    next_process, start,
};
use crate::{
    documents::{Group, PoolDocument, VsiDocument, quota},
    gate::{CrashGate, CrashMoment},
    ownership,
    world::{CrashWorld, HOSTS, in_virtual_time, user},
};

const EVERY: Duration = Duration::from_millis(100);

fn document(demand: &GroupDemand) -> Resolved {
    let mut resolved = Group { member: member(2) }.resolved();
    let group = resolved.groups.first_mut().unwrap();
    group.outputs = demand.outputs.iter().map(|item| output(item)).collect();
    let names = ["first", "second", "third"];
    let waves = names.iter().zip(WAVES);
    group.waves = waves
        .map(|(name, items)| ResolvedWave {
            name: (*name).to_owned(),
            gate: Gate {
                members: if demand.any && *name == "first" {
                    Quorum::Any
                } else {
                    Quorum::All
                },
                ..Gate::default()
            },
            items: items
                .iter()
                .map(|item| resolved_item(demand, item))
                .collect(),
        })
        .collect();
    resolved
}

fn resolved_item(demand: &GroupDemand, name: &str) -> ResolvedItem {
    let asked = demand.items[name];
    let pool = PoolDocument {
        replicas: Some(asked.replicas),
        member: member(asked.edition),
        disk: false,
        evictable: true,
    };
    let mut pool = pool.resolved().pools.pop().unwrap();
    (pool.desired.name, pool.desired.uid) = (format!("grp-{name}"), None);
    pool.template.contract = Secret::new(user_data(asked.edition));
    ResolvedItem {
        name: name.to_owned(),
        single: false,
        remove_after: (name == REMOVED).then(|| "second".to_owned()),
        pool,
    }
}

fn member(cpus: u32) -> VsiDocument {
    let mut member = VsiDocument::new("grp", 1, "").server(GuestType::CloudInit);
    member.cpus = cpus;
    member
}

fn output(item: &str) -> OutputSource {
    OutputSource {
        name: format!("of-{item}"),
        item: item.to_owned(),
        number: 0,
        from: OutputPlace::Console("Linux version ([0-9.]+)".to_owned()),
        secret: false,
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
        let again = self.fleet.apply(document(demand), user()).await;
        let again = again.map_err(|error| format!("the same document is refused: {error}"))?;
        if again.iter().any(|one| one.change != Change::Unchanged) {
            return Err("the same document is a change".to_owned());
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
        let drained = Box::pin(self.fleet.hosts().drain_moving(host, user())).await;
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

    async fn outputs_are_read(&self) -> Result<(), String> {
        let demand = self.model.lock().unwrap().demand();
        let group = self.fleet.groups().get("default", "grp").await;
        let outputs = group.map_err(|error| error.to_string())?.status.outputs;
        for output in outputs.iter().filter(|output| !output.found) {
            let item = output.name.trim_start_matches("of-");
            if demand.items[item].replicas > 0 {
                return Err(format!("output {} was not read", output.name));
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
        self.ask(demand).await
    }

    async fn act(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand();
        let items: Vec<_> = WAVES.into_iter().flatten().copied().collect();
        let item = *items.choose(&mut self.random).unwrap();
        let asked = demand.items.get_mut(item).unwrap();
        match self.random.random_range(0..14) {
            0..=2 => asked.edition = self.random.random_range(1..5),
            3 | 4 => asked.replicas = self.random.random_range(0..3),
            5 => {
                if item != REMOVED && asked.replicas > 0 {
                    demand.outputs.insert(item);
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
        Ok(())
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
