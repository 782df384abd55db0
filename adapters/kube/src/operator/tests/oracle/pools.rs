//! Games of a pool in a cluster: docs/how-to/pools.md.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use tokio::time::Instant;

use super::{
    EVERY, HOSTS, Observer, disturb, id, on_hosts,
    pool_model::{PoolDemand, PoolModel, SeenGuest},
    seeds, settle, started, template,
};
use crate::{
    operator::tests::rig::{Rig, Switched},
    sample::uid,
};

const POOLS: &str = "virtualserverpools";
const SERVERS: &str = "virtualservers";

struct PoolGame {
    rig: Rig,
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

async fn observe(hosts: Arc<Switched>, model: Arc<Mutex<PoolModel>>) {
    loop {
        let guests = on_hosts(&hosts, |uid, domain| {
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

impl PoolGame {
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
        self.rig.server.apply(POOLS, "web", uid(1), spec);
    }

    async fn play(&mut self) -> Result<(), String> {
        let demand = self.model.lock().unwrap().demand().clone();
        self.ask(demand);
        self.settle().await?;
        for _ in 0..self.random.random_range(5..10) {
            self.act().await;
            if self.random.random_bool(0.7) {
                self.settle().await?;
            } else {
                let wait = self.random.random_range(0..20_000);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            if let Some(wrong) = self.model.lock().unwrap().wrong.clone() {
                return Err(wrong);
            }
        }
        self.rig.server.heal();
        self.settle().await?;
        // The observer has seen the last guest serve.
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.model.lock().unwrap().verdict()
    }

    async fn act(&mut self) {
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
                if self.rig.server.get(SERVERS, &name).is_some() {
                    self.model.lock().unwrap().excuse(number);
                    self.rig.server.delete(SERVERS, &name);
                }
            }
            8 => {
                let host = id(HOSTS.choose(&mut self.random).unwrap());
                self.rig.drain(&host).await;
                let wait = self.random.random_range(0..40_000);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                self.rig.uncordon(&host).await;
            }
            _ => disturb(&mut self.rig, &mut self.random).await,
        }
    }

    async fn settle(&self) -> Result<(), String> {
        settle(&self.rig, POOLS, "web").await.map_err(|error| {
            let model = self.model.lock().unwrap();
            format!("{error}: {:?}, {:?}", model.demand(), model.wrong)
        })?;
        self.model.lock().unwrap().settled();
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn pools_of_a_cluster_keep_what_their_page_promises() {
    for seed in seeds() {
        let mut random = StdRng::seed_from_u64(seed);
        let model = Arc::new(Mutex::new(PoolModel::new(drawn(&mut random))));
        let rig = Rig::with_hosts(&HOSTS).await;
        let _observer = Observer(tokio::spawn(observe(rig.all_hosts(), model.clone())));
        let mut game = PoolGame { rig, random, model };
        let played = Box::pin(game.play()).await;
        game.rig.stop().await;
        if let Err(error) = played {
            panic!("{error}\n  VSIFLOW_ORACLE_SEED={seed}");
        }
    }
}
