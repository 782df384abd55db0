//! Games of a pool in a cluster: docs/how-to/pools.md.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use tokio::time::Instant;

use super::{
    EVERY, GameCluster, Observer,
    cluster::drawn_wait,
    controller_game::{self, BROKEN, ControllerGame},
    disturb, jump, on_hosts, play_games,
    pool_model::{PoolCounts, PoolDemand, PoolModel, SeenGuest},
    settle, started, template,
};
use crate::{
    operator::tests::rig::{Rig, Switched, by_command},
    sample::uid,
};

const POOLS: &str = "virtualserverpools";
const SERVERS: &str = "virtualservers";

struct PoolGame<C> {
    cluster: C,
    random: StdRng,
    model: Arc<Mutex<PoolModel>>,
}

fn drawn(random: &mut StdRng) -> PoolDemand {
    let max_unavailable = random.random_range(0..3);
    PoolDemand {
        replicas: random.random_range(1..6),
        max_unavailable,
        max_surge: random.random_range(u32::from(max_unavailable == 0)..3),
        partition: 0,
        edition: random.random_range(1..5),
    }
}

async fn observe(
    hosts: Arc<Switched>,
    names: &'static [&'static str],
    model: Arc<Mutex<PoolModel>>,
) {
    loop {
        let guests = on_hosts(&hosts, names, |host, uid, domain| {
            let number = domain.spec.title.strip_prefix("default/web-")?;
            Some(SeenGuest {
                uid,
                number: number.parse().ok()?,
                edition: domain.spec.machine.cpus,
                host,
                started: started(domain),
            })
        });
        let guests = guests.await;
        model.lock().unwrap().observe(Instant::now(), guests);
        tokio::time::sleep(EVERY).await;
    }
}

impl<C: GameCluster> PoolGame<C> {
    fn ask(&self, demand: PoolDemand) {
        let spec = json!({"spec": {
            "replicas": demand.replicas,
            "strategy": {
                "maxUnavailable": demand.max_unavailable,
                "maxSurge": demand.max_surge,
                "partition": demand.partition,
            },
            "template": template(demand.edition),
        }});
        self.model.lock().unwrap().ask(demand);
        self.cluster.server().apply(POOLS, "web", uid(1), spec);
    }
}

impl<C: GameCluster> PoolGame<C> {
    /// A user deletes the object of a member.
    fn delete(&self, number: u32) {
        let name = format!("web-{number}");
        if self.cluster.server().get(SERVERS, &name).is_some() {
            self.model.lock().unwrap().excuse(number);
            self.cluster.server().delete(SERVERS, &name);
        }
    }

    /// A user in the pod of the operator cordons a member for a while, in which it may be deleted, or its template
    /// changed.
    async fn cordon_member(&mut self, mut demand: PoolDemand) -> Result<(), String> {
        let number = self.random.random_range(0..demand.replicas);
        if self.cordon(number, true).await.is_err() {
            // The pool is not recorded yet.
            return Ok(());
        }
        self.model.lock().unwrap().cordon(number, true);
        if self.random.random_bool(0.7) {
            // What began before is over.
            tokio::time::sleep(Duration::from_secs(50)).await;
            if self.random.random_bool(0.5) {
                self.delete(number);
            } else {
                (demand.edition, demand.partition) = (demand.edition % 4 + 1, 0);
                self.ask(demand);
            }
        }
        tokio::time::sleep(drawn_wait(&mut self.random)).await;
        self.model.lock().unwrap().cordon(number, false);
        self.cordon(number, false).await
    }

    async fn cordon(&self, number: u32, is_cordoned: bool) -> Result<(), String> {
        let (fleet, name) = (self.cluster.fleet(), format!("web-{number}"));
        let pools = fleet.pools();
        let cordoned = pools.cordon_member("default", &name, is_cordoned, by_command());
        cordoned.await.map(drop).map_err(|error| error.to_string())
    }

    /// A template whose guests never become ready is applied, and taken back later.
    async fn break_template(&mut self, mut demand: PoolDemand) {
        let working = demand.edition;
        (demand.edition, demand.partition) = (BROKEN, 0);
        self.ask(demand.clone());
        let minutes = self.random.random_range(0..40);
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
        demand.edition = working;
        self.ask(demand);
    }

    /// A host is closed. It takes members again when all have left it, or while they do.
    async fn close_host(&mut self) -> Result<(), String> {
        let is_awaited = self.random.random_bool(0.5);
        if is_awaited {
            self.settle_undisturbed().await?;
        }
        let Some(host) = self.cluster.close_host(&mut self.random).await else {
            return Ok(());
        };
        self.model.lock().unwrap().drain(host);
        if is_awaited {
            if self.random.random_bool(0.5) {
                disturb(&mut self.cluster, &mut self.random).await;
            }
            self.settle_undisturbed().await?;
            self.model.lock().unwrap().moved_away();
        } else {
            tokio::time::sleep(drawn_wait(&mut self.random)).await;
        }
        self.model.lock().unwrap().uncordon();
        self.cluster.open_host(host).await;
        Ok(())
    }

    async fn settle_undisturbed(&mut self) -> Result<(), String> {
        self.cluster.server().heal();
        self.settle().await
    }

    /// Checks the counts of the pool's object; `false` if it has changed since it was settled: a report of another
    /// journal may come late.
    fn check_counts(&self) -> Result<bool, String> {
        let object = self.cluster.server().get(POOLS, "web").unwrap();
        if object["status"]["phase"] != "Available" {
            return Ok(false);
        }
        let count = |field: &str| object["status"][field].as_u64().unwrap() as usize;
        let counts = PoolCounts {
            replicas: count("replicas"),
            ready: count("readyReplicas"),
            updated: count("updatedReplicas"),
        };
        let model = self.model.lock().unwrap();
        let wrong = model.wrong_counts(counts);
        wrong.map_or(Ok(true), |why| Err(format!("{why}: {}", object["status"])))
    }
}

impl<C: GameCluster> ControllerGame for PoolGame<C> {
    type Model = PoolModel;

    async fn begin(&mut self) -> Result<(), String> {
        let demand = self.model.lock().unwrap().demand().clone();
        self.ask(demand);
        Ok(())
    }

    async fn act(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand().clone();
        match self.random.random_range(0..15) {
            0..=2 => {
                demand.edition = demand.edition % 4 + 1;
                demand.partition = *[0, 1, 2, demand.replicas].choose(&mut self.random).unwrap();
                self.ask(demand);
            }
            3 => {
                let other = drawn(&mut self.random);
                demand.replicas = other.replicas;
                (demand.max_unavailable, demand.max_surge) =
                    (other.max_unavailable, other.max_surge);
                self.ask(demand);
            }
            4 | 5 => {
                let previous = self.model.lock().unwrap().previous;
                if let Some(previous) = previous.filter(|edition| *edition != BROKEN) {
                    demand.edition = previous;
                    self.ask(demand);
                }
            }
            6 => {
                demand.partition = 0;
                self.ask(demand);
            }
            7 => {
                let number = self.random.random_range(0..demand.replicas);
                self.delete(number);
            }
            8 => return self.cordon_member(demand).await,
            9 | 10 => return self.close_host().await,
            11 => jump(&self.cluster, &mut self.random),
            12 => self.break_template(demand).await,
            _ => disturb(&mut self.cluster, &mut self.random).await,
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        loop {
            settle(&self.cluster, POOLS, "web").await.map_err(|error| {
                let model = self.model.lock().unwrap();
                format!("{error}: {:?}, {:?}", model.demand(), model.wrong)
            })?;
            if self.check_counts()? {
                break;
            }
        }
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

    fn model(&self) -> &Mutex<PoolModel> {
        &self.model
    }
}

/// Plays the game of this seed to its end.
pub(in crate::operator::tests) async fn play<C: GameCluster>(seed: u64) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let model = Arc::new(Mutex::new(PoolModel::new(drawn(&mut random))));
    let cluster = C::begin().await;
    let observing = observe(cluster.hosts(), C::HOSTS, model.clone());
    let _observer = Observer(tokio::spawn(observing));
    let mut game = PoolGame {
        cluster,
        random,
        model,
    };
    let played = Box::pin(controller_game::play(&mut game)).await;
    game.cluster.stop().await;
    played
}

#[tokio::test(start_paused = true)]
async fn pools_of_a_cluster_keep_what_their_page_promises() {
    play_games(play::<Rig>).await;
}
