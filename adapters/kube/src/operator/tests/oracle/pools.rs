//! Games of a pool in a cluster: docs/how-to/pools.md.

use std::sync::{Arc, Mutex};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use tokio::time::Instant;

use super::{
    EVERY, GameCluster, Observer,
    controller_game::{self, ControllerGame},
    disturb, on_hosts, play_games,
    pool_model::{PoolDemand, PoolModel, SeenGuest},
    settle, started, template,
};
use crate::{
    operator::tests::rig::{Rig, Switched},
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
        let guests = on_hosts(&hosts, names, |uid, domain| {
            let number = domain.spec.title.strip_prefix("default/web-")?;
            Some(SeenGuest {
                uid,
                number: number.parse().ok()?,
                edition: domain.spec.machine.cpus,
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

impl<C: GameCluster> ControllerGame for PoolGame<C> {
    type Model = PoolModel;

    async fn begin(&mut self) -> Result<(), String> {
        let demand = self.model.lock().unwrap().demand().clone();
        self.ask(demand);
        Ok(())
    }

    async fn act(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand().clone();
        match self.random.random_range(0..11) {
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
                if let Some(previous) = previous {
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
                let name = format!("web-{number}");
                if self.cluster.server().get(SERVERS, &name).is_some() {
                    self.model.lock().unwrap().excuse(number);
                    self.cluster.server().delete(SERVERS, &name);
                }
            }
            8 => self.cluster.close_host(&mut self.random).await,
            _ => disturb(&mut self.cluster, &mut self.random).await,
        }
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), String> {
        settle(&self.cluster, POOLS, "web").await.map_err(|error| {
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
