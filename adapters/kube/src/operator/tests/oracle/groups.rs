//! Games of a group in a cluster: docs/how-to/groups.md and quotas.md.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    EVERY, GameCluster, Observer,
    cluster::drawn_wait,
    controller_game::{self, ControllerGame, SETTLES},
    disturb,
    group_acts::GroupActs,
    group_model::{GroupDemand, GroupModel, ItemDemand, REMOVED, SeenMember, WAVES},
    jump, on_hosts, play_games, settle, started, template,
};
use crate::{
    fake::FakeServer,
    operator::tests::rig::{Rig, Switched, by_command, condition_of},
    sample::uid,
};

const GROUPS: &str = "virtualservergroups";
const QUOTAS: &str = "virtualserverquotas";

struct GroupGame<C> {
    cluster: C,
    random: StdRng,
    model: Arc<Mutex<GroupModel>>,
}

fn spec(demand: &GroupDemand) -> Value {
    let pool = |item: &&'static str| {
        let asked = demand.items[item];
        let mut pool = json!({
            "name": item, "replicas": asked.replicas, "template": template(asked.edition),
        });
        if *item == REMOVED {
            pool["removeAfter"] = "second".into();
        }
        pool
    };
    let waves = ["first", "second", "third"].into_iter().zip(WAVES);
    let waves = waves.map(
        |(name, items)| json!({"name": name, "pools": items.iter().map(pool).collect::<Vec<_>>()}),
    );
    json!({"spec": {"waves": waves.collect::<Vec<_>>()}})
}

async fn observe(
    hosts: Arc<Switched>,
    names: &'static [&'static str],
    model: Arc<Mutex<GroupModel>>,
) {
    loop {
        let members = on_hosts(&hosts, names, |_, uid, domain| {
            let (title, cpus) = (&domain.spec.title, domain.spec.machine.cpus);
            Some((uid, SeenMember::titled(title, cpus, started(domain))?))
        });
        let members = members.await.into_iter().collect();
        model.lock().unwrap().observe(Instant::now(), members);
        tokio::time::sleep(EVERY).await;
    }
}

fn is(server: &FakeServer, (resource, name): (&str, &str), condition: &str, status: &str) -> bool {
    condition_of(server.get(resource, name), condition)["status"] == status
}

/// Waits for a condition; an error if it does not come.
async fn until(what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > SETTLES {
            return Err(format!("a quota has another effect than promised: {what}"));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

impl<C: GameCluster> GroupGame<C> {
    fn ask(&self, demand: GroupDemand) {
        let spec = spec(&demand);
        self.model.lock().unwrap().ask(demand);
        self.cluster.server().apply(GROUPS, "grp", uid(1), spec);
    }

    /// With a quota that is used up, the group stays as it is, and a larger one is refused.
    async fn fill_quota(&mut self) -> Result<(), String> {
        self.cluster.server().heal();
        self.settle().await?;
        let demand = self.model.lock().unwrap().demand();
        let counted = demand.items.iter().filter(|(item, _)| **item != REMOVED);
        let used: u32 = counted.map(|(_, asked)| asked.replicas).sum();
        let quota = json!({"spec": {"hard": {"vsis": used}}});
        let server = self.cluster.server();
        server.apply(QUOTAS, "team", uid(2), quota);
        until("Ready", || is(server, (QUOTAS, "team"), "Ready", "True")).await?;
        let mut more = demand.clone();
        more.items.get_mut("e").unwrap().replicas += 1;
        server.apply(GROUPS, "grp", uid(1), spec(&more));
        until("growth is refused", || {
            let accepted = condition_of(server.get(GROUPS, "grp"), "Accepted");
            accepted["status"] == "False" && accepted["reason"] == "VSI0738"
        })
        .await?;
        server.apply(GROUPS, "grp", uid(1), spec(&demand));
        until("the group is accepted again", || {
            is(server, (GROUPS, "grp"), "Accepted", "True")
        })
        .await?;
        server.delete(QUOTAS, "team");
        until("the quota is gone", || server.get(QUOTAS, "team").is_none()).await?;
        self.settle().await
    }

    /// A host is closed. It takes members again when all have left it, or while they do.
    async fn close_host(&mut self) -> Result<(), String> {
        self.model.lock().unwrap().drain(true);
        let closed = self.cluster.close_host(&mut self.random).await;
        tokio::time::sleep(drawn_wait(&mut self.random)).await;
        if self.random.random_bool(0.5) {
            self.settle_undisturbed().await?;
        }
        if let Some(host) = closed {
            self.cluster.open_host(host).await;
        }
        // What left the host is made again.
        self.settle_undisturbed().await?;
        self.model.lock().unwrap().drain(false);
        Ok(())
    }
}

impl<C: GameCluster> ControllerGame for GroupGame<C> {
    type Model = GroupModel;

    async fn begin(&mut self) -> Result<(), String> {
        let mut demand = GroupDemand::default();
        for item in WAVES.into_iter().flatten() {
            let (replicas, edition) = (self.random.random_range(1..3), 2);
            demand.items.insert(item, ItemDemand { replicas, edition });
        }
        self.ask(demand);
        Ok(())
    }

    async fn act(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand();
        let items: Vec<_> = WAVES.into_iter().flatten().copied().collect();
        let item = *items.choose(&mut self.random).unwrap();
        let asked = demand.items.get_mut(item).unwrap();
        match self.random.random_range(0..13) {
            0..=2 => asked.edition = self.random.random_range(1..5),
            3 | 4 => asked.replicas = self.random.random_range(0..3),
            5 | 6 if C::COUNTS_GROUPS => return self.fill_quota().await,
            7 => return self.break_template(demand, item).await,
            8 => return self.close_host().await,
            9 => return self.cordon_member(item).await,
            10 => {
                jump(&self.cluster, &mut self.random);
                return Ok(());
            }
            _ => {
                disturb(&mut self.cluster, &mut self.random).await;
                return Ok(());
            }
        }
        self.ask(demand);
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        settle(&self.cluster, GROUPS, "grp")
            .await
            .map_err(|error| {
                let model = self.model.lock().unwrap();
                format!("{error}: {:?}, {:?}", model.demand(), model.wrong)
            })?;
        self.model.lock().unwrap().settled();
        Ok(())
    }

    async fn calm(&mut self) -> Result<(), String> {
        self.cluster.server().heal();
        Ok(())
    }

    fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    fn model(&self) -> &Mutex<GroupModel> {
        &self.model
    }
}

impl<C: GameCluster> GroupActs for GroupGame<C> {
    async fn apply(&mut self, demand: GroupDemand) -> Result<(), String> {
        self.ask(demand);
        Ok(())
    }

    /// By a user in the pod of the operator.
    async fn cordon(&self, item: &str, number: u32, is_cordoned: bool) -> Result<(), String> {
        let (fleet, name) = (self.cluster.fleet(), format!("grp-{item}-{number}"));
        let pools = fleet.pools();
        let cordoned = pools.cordon_member("default", &name, is_cordoned, by_command());
        cordoned.await.map(drop).map_err(|error| error.to_string())
    }

    async fn settle_undisturbed(&mut self) -> Result<(), String> {
        self.cluster.server().heal();
        self.settle().await
    }
}

/// Plays the game of this seed to its end.
pub(in crate::operator::tests) async fn play<C: GameCluster>(seed: u64) -> Result<(), String> {
    let random = StdRng::seed_from_u64(seed);
    let model = Arc::<Mutex<GroupModel>>::default();
    let cluster = C::begin().await;
    let observing = observe(cluster.hosts(), C::HOSTS, model.clone());
    let _observer = Observer(tokio::spawn(observing));
    let mut game = GroupGame {
        cluster,
        random,
        model,
    };
    let played = Box::pin(controller_game::play(&mut game)).await;
    game.cluster.stop().await;
    played
}

#[tokio::test(start_paused = true)]
async fn groups_and_quotas_of_a_cluster_keep_what_their_pages_promise() {
    play_games(play::<Rig>).await;
}
