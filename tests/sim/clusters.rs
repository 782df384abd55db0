//! Games of a VSI pool and a group on three faulty hosts: both are made, scaled, rolled and deleted, and the
//! process dies in between. Once the faults end, the hosts must have what was last asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_engine::model::EntityId;
use vsiflow_steps::{guest::GuestType, ports::DomainState};
use vsiflow_workflows::fleet::{Fleet, FleetError, Verdict};

use super::{game_log, weather};
use crate::{
    check,
    documents::{Group, PoolDocument, VsiDocument},
    gate::{CrashGate, CrashMoment},
    world::{CrashWorld, HOSTS, in_virtual_time, user},
};

const CALM: Duration = Duration::from_secs(20 * 60);
/// How often a desired state that is not reached is applied again at the end.
const ROUNDS: usize = 12;
/// The codes of refusals that depend on the moment or on a host: the user asks again later.
const REFUSALS: [&str; 9] = [
    "VSI0701", "VSI0702", "VSI0703", "VSI0707", "VSI0720", "VSI0721", "VSI0736", "VSI0737",
    "VSI0740",
];

/// The members that were last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DesiredMembers {
    Nothing,
    There { replicas: u32, cpus: u32 },
}

/// What a user does.
#[derive(Clone, Copy, Debug)]
enum UserAct {
    Pool { replicas: u32, cpus: u32 },
    ScalePool(u32),
    DeletePool,
    DeleteMember(u32),
    Group { cpus: u32 },
    ScaleGroup(u32),
    DeleteGroup,
    Look,
}

struct ClusterGame {
    world: CrashWorld,
    random: StdRng,
    pool: DesiredMembers,
    group: DesiredMembers,
    /// Whether vsiflow chooses the hosts of the members.
    placed: bool,
    beats: u32,
    pending: Option<UserAct>,
}

fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let mut game = ClusterGame::new(seed).await;
        let played = Box::pin(game.play()).await;
        if played.is_err() && std::env::var("VSIFLOW_SIM_SEED").is_ok() {
            game_log::print_game(&game.world).await;
        }
        played
    })
}

impl ClusterGame {
    async fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let world = CrashWorld::new(None).await;
        weather::begin(&world).await;
        Self {
            world,
            pool: DesiredMembers::Nothing,
            group: DesiredMembers::Nothing,
            placed: random.random_bool(0.5),
            beats: random.random_range(15..45),
            random,
            pending: None,
        }
    }

    async fn play(&mut self) -> Result<(), String> {
        loop {
            let gate = CrashGate::safe();
            if let Some(ended) = gate.outlived(self.live(&gate)).await {
                ended?;
                break;
            }
            check::acknowledged_is_there(&self.world).await?;
        }
        self.settle().await
    }

    async fn start(&self, gate: &Arc<CrashGate>) -> Result<Fleet, String> {
        let words = |error: FleetError| format!("no start: {error}");
        let fleet = self.world.start(gate).await.map_err(words)?;
        fleet.drive_all().await.map_err(words)?;
        Ok(fleet)
    }

    async fn live(&mut self, gate: &Arc<CrashGate>) -> Result<(), String> {
        let fleet = self.start(gate).await?;
        loop {
            if let Some(act) = self.pending {
                self.perform(&fleet, act).await?;
                self.pending = None;
            }
            self.world.audit.verdict()?;
            if self.beats == 0 {
                return Ok(());
            }
            self.beats -= 1;
            self.beat(gate).await;
        }
    }

    async fn beat(&mut self, gate: &CrashGate) {
        let random = &mut self.random;
        match random.random_range(0..16) {
            0..=5 => {
                let most = *[300, 3_000, 40_000].choose(random).unwrap();
                let wait = random.random_range(0..most);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            6..=11 => self.pending = Some(act(random)),
            12 | 13 => weather::change(&self.world, random).await,
            _ => {
                let moments = [
                    CrashMoment::Before,
                    CrashMoment::Written,
                    CrashMoment::After,
                ];
                gate.die_in(
                    random.random_range(0..120),
                    *moments.choose(random).unwrap(),
                );
            }
        }
    }

    fn member(&self, cpus: u32) -> VsiDocument {
        let host = if self.placed { "" } else { "sim:a" };
        let mut member = VsiDocument::new("web", 1, host).server(GuestType::CloudInit);
        member.cpus = cpus;
        member
    }

    fn pool(&self, replicas: u32, cpus: u32) -> vsiflow_workflows::spec::Resolved {
        let pool = PoolDocument {
            replicas: Some(replicas),
            member: self.member(cpus),
            disk: false,
            evictable: false,
        };
        let mut resolved = pool.resolved();
        // Without a UID, because a pool that is made again after its deletion is another one.
        resolved.pools[0].desired.uid = None;
        resolved
    }

    fn group(&self, replicas: u32, cpus: u32) -> vsiflow_workflows::spec::Resolved {
        let member = self.member(cpus);
        let mut resolved = Group { member }.resolved();
        resolved.groups[0].uid = None;
        resolved.groups[0].waves[1].items[0].pool.desired.replicas = Some(replicas);
        resolved
    }

    async fn perform(&mut self, fleet: &Fleet, act: UserAct) -> Result<(), String> {
        let done = self.ask(fleet, act).await;
        match done {
            Ok(()) => self.take_in(act),
            Err(error) if REFUSALS.contains(&error.failure.code.as_str()) => {}
            Err(error) => return Err(format!("{act:?}: {error}")),
        }
        Ok(())
    }

    async fn ask(&self, fleet: &Fleet, act: UserAct) -> Result<(), FleetError> {
        match act {
            UserAct::Pool { replicas, cpus } => {
                let applied = fleet.apply(self.pool(replicas, cpus), user());
                Box::pin(applied).await.map(drop)
            }
            UserAct::ScalePool(replicas) => {
                let scaled = fleet
                    .pools()
                    .scale("default", "web", replicas.into(), user());
                scaled.await.map(drop)
            }
            UserAct::DeletePool => {
                let deleted = fleet.pools().delete("default", "web", false, user());
                deleted.await.map(drop)
            }
            UserAct::DeleteMember(number) => {
                let name = format!("web-{number}");
                let deleted = fleet.vsis().delete("default", &name, false, user());
                deleted.await.map(drop)
            }
            UserAct::Group { cpus } => {
                let applied = fleet.apply(self.group(2, cpus), user());
                Box::pin(applied).await.map(drop)
            }
            UserAct::ScaleGroup(replicas) => {
                let scaled = fleet
                    .groups()
                    .scale("default", "grp", "b", replicas.into(), user());
                scaled.await.map(drop)
            }
            UserAct::DeleteGroup => {
                let deleted = fleet.groups().delete("default", "grp", false, user());
                deleted.await.map(drop)
            }
            UserAct::Look => fleet.hosts().scan(true).await.map(drop),
        }
    }

    fn take_in(&mut self, act: UserAct) {
        match act {
            UserAct::Pool { replicas, cpus } => {
                self.pool = DesiredMembers::There { replicas, cpus }
            }
            UserAct::Group { cpus } => self.group = DesiredMembers::There { replicas: 2, cpus },
            UserAct::DeletePool => self.pool = DesiredMembers::Nothing,
            UserAct::DeleteGroup => self.group = DesiredMembers::Nothing,
            UserAct::ScalePool(number) => {
                if let DesiredMembers::There { replicas, .. } = &mut self.pool {
                    *replicas = number;
                }
            }
            UserAct::ScaleGroup(number) => {
                if let DesiredMembers::There { replicas, .. } = &mut self.group {
                    *replicas = number;
                }
            }
            UserAct::DeleteMember(_) | UserAct::Look => {}
        }
    }

    /// Ends the faults and waits for the desired state; then deletes the pool and the group.
    async fn settle(&mut self) -> Result<(), String> {
        weather::clear(&self.world).await;
        let gate = CrashGate::safe();
        let fleet = self.start(&gate).await?;
        self.until_as_asked(&fleet, self.pool, self.group).await?;
        for act in [UserAct::DeleteGroup, UserAct::DeletePool] {
            self.perform(&fleet, act).await?;
        }
        self.until_as_asked(&fleet, DesiredMembers::Nothing, DesiredMembers::Nothing)
            .await?;
        gate.die();
        self.world.audit.verdict()?;
        weather::leftovers(&self.world, |_| false).await
    }

    async fn until_as_asked(
        &self,
        fleet: &Fleet,
        pool: DesiredMembers,
        group: DesiredMembers,
    ) -> Result<(), String> {
        let words = |error: FleetError| format!("while it settles: {error}");
        let mut found = String::new();
        for _ in 0..ROUNDS {
            tokio::time::sleep(CALM).await;
            fleet.hosts().scan(true).await.map_err(words)?;
            found = match self.differs(fleet, pool, group).await {
                None => return Ok(()),
                Some(why) => why,
            };
            for vsi in fleet.unsettled(None).await.map_err(words)? {
                fleet.retry(vsi, user()).await.map_err(words)?;
            }
            for (desired, act) in [(pool, UserAct::DeletePool), (group, UserAct::DeleteGroup)] {
                let act = match (desired, act) {
                    (DesiredMembers::Nothing, act) => act,
                    (DesiredMembers::There { replicas, cpus }, UserAct::DeletePool) => {
                        UserAct::Pool { replicas, cpus }
                    }
                    (DesiredMembers::There { cpus, .. }, _) => UserAct::Group { cpus },
                };
                match self.ask(fleet, act).await {
                    Ok(()) => {}
                    Err(error) if REFUSALS.contains(&error.failure.code.as_str()) => {}
                    Err(error) => return Err(words(error)),
                }
            }
            if let DesiredMembers::There { replicas, .. } = group {
                let _ = self.ask(fleet, UserAct::ScaleGroup(replicas)).await;
            }
        }
        Err(format!("{pool:?} and {group:?} are asked for, but {found}"))
    }

    /// How the hosts differ from the desired state, if they do.
    async fn differs(
        &self,
        fleet: &Fleet,
        pool: DesiredMembers,
        group: DesiredMembers,
    ) -> Option<String> {
        let mut expected = BTreeMap::new();
        if let DesiredMembers::There { replicas, cpus } = pool {
            expected.extend((0..replicas).map(|number| (format!("default/web-{number}"), cpus)));
        }
        if let DesiredMembers::There { replicas, cpus } = group {
            expected.extend((0..replicas).map(|number| (format!("default/grp-b-{number}"), cpus)));
        }
        let found = self.on_hosts().await;
        let mut phases = Vec::new();
        for (desired, entity) in [
            (pool, self.pool_of(fleet).await),
            (group, self.group_of(fleet).await),
        ] {
            let verdict = entity.as_ref().and_then(|entity| fleet.verdict(entity));
            let is_there = matches!(desired, DesiredMembers::There { .. });
            if is_there != entity.is_some() || is_there && verdict != Some(Verdict::Reached) {
                phases.push(format!("{entity:?}: {verdict:?}"));
            }
        }
        let same = found == expected && phases.is_empty();
        (!same).then(|| format!("there is {found:?}, {phases:?}"))
    }

    async fn pool_of(&self, fleet: &Fleet) -> Option<EntityId> {
        fleet.pools().find("default", "web").await.ok()
    }

    async fn group_of(&self, fleet: &Fleet) -> Option<EntityId> {
        fleet.groups().find("default", "grp").await.ok()
    }

    /// Our domains on all hosts by title, with the number of processors; 0 if the guest does not run.
    async fn on_hosts(&self) -> BTreeMap<String, u32> {
        let mut all = BTreeMap::new();
        for host in HOSTS {
            let sim = self.world.hosts.sim(host).await.unwrap();
            let found = sim.with(|state| {
                let ours = state
                    .domains
                    .values()
                    .filter(|domain| domain.mark.is_some());
                let ours = ours.map(|domain| {
                    let runs = domain.state == DomainState::Running;
                    let cpus = if runs { domain.spec.machine.cpus } else { 0 };
                    (domain.spec.title.clone(), cpus)
                });
                ours.collect::<Vec<_>>()
            });
            all.extend(found.await);
        }
        all
    }
}

fn act(random: &mut StdRng) -> UserAct {
    let cpus = random.random_range(1..4);
    match random.random_range(0..12) {
        0..=3 => UserAct::Pool {
            replicas: random.random_range(0..5),
            cpus,
        },
        4 => UserAct::ScalePool(random.random_range(0..5)),
        5 => UserAct::DeletePool,
        6 => UserAct::DeleteMember(random.random_range(0..4)),
        7 | 8 => UserAct::Group { cpus },
        9 => UserAct::ScaleGroup(random.random_range(1..4)),
        10 => UserAct::DeleteGroup,
        _ => UserAct::Look,
    }
}

/// Plays `VSIFLOW_SIM_CLUSTERS` games (24 by default), with seeds from `VSIFLOW_SIM_FROM` on, or only the
/// game with the seed `VSIFLOW_SIM_SEED`.
#[test]
fn pools_and_groups_come_to_what_was_asked_for_whatever_hosts_do() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds: Vec<u64> = match number("VSIFLOW_SIM_SEED") {
        Some(seed) => vec![seed],
        None => {
            let from = number("VSIFLOW_SIM_FROM").unwrap_or(1);
            (from..from + number("VSIFLOW_SIM_CLUSTERS").unwrap_or(24)).collect()
        }
    };
    let wrong = crate::matrix::in_parallel(&seeds, |seed| {
        play(*seed).map_err(|error| format!("seed {seed}: {error}\n  VSIFLOW_SIM_SEED={seed}"))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
