//! Games of a pool.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::Instant;
use vsiflow_steps::{guest::GuestType, ports::DomainState, sim::SimHosts};
use vsiflow_workflows::{
    fleet::{Fleet, Verdict},
    spec::Resolved,
};

use super::{
    controller_game::{self, BROKEN, ControllerGame, SETTLES},
    next_process,
    pool_model::{PoolCounts, PoolDemand, PoolModel, SeenGuest},
    start,
};
use crate::{
    documents::{Guest, PoolDocument, VsiDocument},
    gate::{CrashGate, CrashMoment},
    ownership,
    world::{CrashWorld, HOSTS, in_virtual_time, user},
};

/// How often the observer looks.
const EVERY: Duration = Duration::from_millis(100);
const YEARS_MS: i64 = 2 * 365 * 24 * 3_600_000;

/// A game that is being played.
struct PoolGame {
    world: CrashWorld,
    random: StdRng,
    model: Arc<Mutex<PoolModel>>,
    gate: Arc<CrashGate>,
    fleet: Fleet,
    /// Whether the clock is ahead.
    is_ahead: bool,
    /// Whether members may be made from the edition whose guests never become ready.
    may_be_broken: bool,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let mut game = PoolGame::new(seed).await?;
        let observer = tokio::spawn(observe(game.world.hosts.clone(), game.model.clone()));
        let played = controller_game::play(&mut game).await;
        observer.abort();
        game.gate.die();
        played
    })
}

fn document(demand: &PoolDemand) -> Resolved {
    let mut member = VsiDocument::new("web", 1, "").server(GuestType::CloudInit);
    (member.cpus, member.edition) = (demand.edition, demand.edition);
    member.boot = "ephemeral";
    if demand.edition == BROKEN {
        member.guest = Guest::Hangs;
    }
    let pool = PoolDocument {
        replicas: Some(demand.replicas),
        member,
        disk: false,
        evictable: false,
    };
    let mut resolved = pool.resolved();
    let strategy = &mut resolved.pools.first_mut().unwrap().desired.strategy;
    strategy.max_unavailable = demand.max_unavailable;
    strategy.max_surge = demand.max_surge;
    strategy.partition = demand.partition;
    resolved
}

fn drawn(random: &mut StdRng) -> PoolDemand {
    let max_unavailable = random.random_range(0..3);
    PoolDemand {
        replicas: random.random_range(1..8),
        max_unavailable,
        max_surge: random.random_range(u32::from(max_unavailable == 0)..4),
        partition: 0,
        edition: random.random_range(1..5),
    }
}

impl PoolGame {
    async fn new(seed: u64) -> Result<Self, String> {
        let mut random = StdRng::seed_from_u64(seed);
        let (world, gate) = (CrashWorld::new(None).await, CrashGate::safe());
        let fleet = start(&world, &gate).await?;
        let demand = drawn(&mut random);
        let model = Arc::new(Mutex::new(PoolModel::new(demand)));
        Ok(Self {
            world,
            random,
            model,
            gate,
            fleet,
            is_ahead: false,
            may_be_broken: false,
        })
    }

    /// Returns to the previous template, by a document or by `rollback`.
    async fn revert(&mut self, mut demand: PoolDemand) -> Result<(), String> {
        let Some(previous) = self.model.lock().unwrap().previous else {
            return Ok(());
        };
        demand.edition = previous;
        if self.random.random_bool(0.5) {
            return self.ask(demand).await;
        }
        self.model.lock().unwrap().ask(demand);
        let rollback = self.fleet.pools().rollback("default", "web", user());
        rollback.await.map(drop).map_err(|error| error.to_string())
    }

    async fn ask(&mut self, mut demand: PoolDemand) -> Result<(), String> {
        if self.random.random_bool(0.1) && demand.partition == 0 {
            demand.edition = BROKEN;
            self.may_be_broken = true;
        }
        self.model.lock().unwrap().ask(demand.clone());
        self.apply(&demand).await
    }

    async fn apply(&mut self, demand: &PoolDemand) -> Result<(), String> {
        let applied = self.fleet.apply(document(demand), user()).await;
        applied.map(drop).map_err(|error| error.to_string())
    }

    /// A user deletes a member, and the pool makes it again.
    async fn delete(&self, number: u32) {
        self.model.lock().unwrap().excuse(number);
        let name = format!("web-{number}");
        let deleted = self.fleet.vsis().delete("default", &name, false, user());
        // It may not exist now.
        let _ = deleted.await;
    }

    /// A member is cordoned for a while, in which it may be deleted, or its template changed.
    async fn cordon_member(&mut self) -> Result<(), String> {
        let is_settled = self.random.random_bool(0.5);
        if is_settled {
            self.settle().await?;
        }
        let mut demand = self.model.lock().unwrap().demand().clone();
        let number = self.random.random_range(0..demand.replicas);
        self.cordon(number, true).await?;
        self.model.lock().unwrap().cordon(number, true);
        if is_settled {
            Box::pin(self.roll_out_twice(demand, number)).await?;
        } else if self.random.random_bool(0.7) {
            // What began before is over.
            tokio::time::sleep(Duration::from_secs(50)).await;
            if self.random.random_bool(0.5) {
                self.delete(number).await;
            } else {
                demand.edition = demand.edition % 4 + 1;
                demand.partition = *[0, 1, demand.replicas].choose(&mut self.random).unwrap();
                self.model.lock().unwrap().ask(demand.clone());
                self.apply(&demand).await?;
            }
        }
        let wait = self.random.random_range(0..60_000);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        self.model.lock().unwrap().cordon(number, false);
        self.cordon(number, false).await
    }

    /// Two templates come one after the other while a member is cordoned, the second one for members from a partition
    /// on alone. A member below it is deleted, and made again from the first one.
    async fn roll_out_twice(
        &mut self,
        mut demand: PoolDemand,
        cordoned: u32,
    ) -> Result<(), String> {
        (demand.edition, demand.partition) = (demand.edition % 4 + 1, 0);
        self.model.lock().unwrap().ask(demand.clone());
        self.apply(&demand).await?;
        self.settle().await?;
        (demand.edition, demand.partition) = (demand.edition % 4 + 1, demand.replicas);
        self.model.lock().unwrap().ask(demand.clone());
        self.apply(&demand).await?;
        let others = (0..demand.replicas).filter(|number| *number != cordoned);
        let others: Vec<_> = others.collect();
        if let Some(number) = others.choose(&mut self.random) {
            self.delete(*number).await;
        }
        self.settle().await
    }

    async fn cordon(&self, number: u32, is_cordoned: bool) -> Result<(), String> {
        let (pools, name) = (self.fleet.pools(), format!("web-{number}"));
        let cordoned = pools.cordon_member("default", &name, is_cordoned, user());
        cordoned.await.map(drop).map_err(|error| error.to_string())
    }

    /// Moves the members away from a host, and lets it take members again when that is done, or while it is done.
    async fn drain(&mut self) -> Result<(), String> {
        let host = *HOSTS.choose(&mut self.random).unwrap();
        let is_awaited = self.random.random_bool(0.5);
        if is_awaited {
            self.settle().await?;
        }
        self.model.lock().unwrap().drain(host);
        let drained = Box::pin(self.fleet.hosts().drain_moving(host, None, user())).await;
        drained.map_err(|error| error.to_string())?;
        if is_awaited {
            self.finish_drain().await?;
        } else {
            let wait = self.random.random_range(0..40_000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        self.model.lock().unwrap().uncordon();
        let uncordoned = self.fleet.hosts().uncordon(host, true, user()).await;
        uncordoned.map(drop).map_err(|error| error.to_string())
    }

    /// A drain comes to its end, also if the process dies meanwhile. The pool may then grow on the other hosts.
    async fn finish_drain(&mut self) -> Result<(), String> {
        if self.random.random_bool(0.5) {
            self.kill().await?;
        }
        self.settle().await?;
        self.model.lock().unwrap().moved_away();
        if self.random.random_bool(0.5) {
            let mut demand = self.model.lock().unwrap().demand().clone();
            demand.replicas += 2;
            self.ask(demand).await?;
            Box::pin(self.settle()).await?;
        }
        Ok(())
    }

    /// The clock jumps years ahead, or back.
    fn jump(&mut self) -> Result<(), String> {
        let sign = if self.is_ahead { -1 } else { 1 };
        self.is_ahead = !self.is_ahead;
        self.world.clock.jump(sign * YEARS_MS);
        Ok(())
    }

    /// The process dies, and another one starts.
    async fn kill(&mut self) -> Result<(), String> {
        let moments = [
            CrashMoment::Before,
            CrashMoment::Written,
            CrashMoment::After,
        ];
        let moment = *moments.choose(&mut self.random).unwrap();
        let calls = self.random.random_range(0..60);
        self.gate.die_in(calls, moment);
        (self.fleet, self.gate) = next_process(&self.world, &self.gate).await?;
        Ok(())
    }

    async fn check_counts(&self) -> Result<(), String> {
        let pool = self.fleet.pools().get("default", "web").await;
        let status = pool.map_err(|error| error.to_string())?.status;
        let counts = PoolCounts {
            replicas: status.replicas as usize,
            ready: status.ready_replicas as usize,
            updated: status.updated_replicas as usize,
        };
        let model = self.model.lock().unwrap();
        model.wrong_counts(counts).map_or(Ok(()), Err)
    }

    fn unsettled(&self, what: &str) -> String {
        let model = self.model.lock().unwrap();
        format!("the pool {what}: {:?}, {:?}", model.demand(), model.wrong)
    }
}

impl ControllerGame for PoolGame {
    type Model = PoolModel;

    async fn begin(&mut self) -> Result<(), String> {
        let demand = self.model.lock().unwrap().demand().clone();
        self.apply(&demand).await
    }

    async fn act(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand().clone();
        match self.random.random_range(0..13) {
            0..=2 => {
                let others = (1..5).filter(|edition| *edition != demand.edition);
                let others: Vec<_> = others.collect();
                demand.edition = *others.choose(&mut self.random).unwrap();
                demand.partition = *[0, 1, 2, demand.replicas].choose(&mut self.random).unwrap();
                self.ask(demand).await
            }
            3 => {
                let other = drawn(&mut self.random);
                demand.replicas = other.replicas;
                (demand.max_unavailable, demand.max_surge) =
                    (other.max_unavailable, other.max_surge);
                if self.random.random_bool(0.5) {
                    demand.edition = other.edition;
                }
                self.ask(demand).await
            }
            4 | 5 => self.revert(demand).await,
            6 => {
                demand.partition = 0;
                self.ask(demand).await
            }
            7 | 8 => {
                let number = self.random.random_range(0..demand.replicas);
                self.delete(number).await;
                Ok(())
            }
            9 => self.cordon_member().await,
            10 => self.drain().await,
            11 => self.jump(),
            _ => self.kill().await,
        }
    }

    /// Waits until the pool is decided. A template whose guests do not become ready is taken back.
    async fn settle(&mut self) -> Result<(), String> {
        let pool = ownership::pool();
        let decided = tokio::time::timeout(SETTLES, self.fleet.decided(&pool)).await;
        let decided = decided.map_err(|_| self.unsettled("is never decided"))?;
        let decided = decided.map_err(|error| error.to_string())?;
        let mut demand = self.model.lock().unwrap().demand().clone();
        match decided {
            Verdict::Reached => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                self.may_be_broken = false;
                self.check_counts().await?;
                self.model.lock().unwrap().settled();
                Ok(())
            }
            _ if demand.edition == BROKEN || self.may_be_broken && demand.partition > 0 => {
                self.may_be_broken = true;
                if demand.edition == BROKEN {
                    demand.edition = 1;
                }
                // Members below the partition would keep what does not work.
                demand.partition = 0;
                self.model.lock().unwrap().ask(demand.clone());
                self.apply(&demand).await?;
                Box::pin(self.settle()).await
            }
            other => Err(self.unsettled(&format!("is {other:?}"))),
        }
    }

    /// Asks for a template that works, so that everything has to become as it says.
    async fn calm(&mut self) -> Result<(), String> {
        let mut demand = self.model.lock().unwrap().demand().clone();
        if demand.edition == BROKEN {
            demand.edition = 2;
        }
        self.model.lock().unwrap().ask(demand.clone());
        self.apply(&demand).await
    }

    fn random(&mut self) -> &mut StdRng {
        &mut self.random
    }

    fn model(&self) -> &Mutex<PoolModel> {
        &self.model
    }
}

async fn observe(hosts: Arc<SimHosts>, model: Arc<Mutex<PoolModel>>) {
    loop {
        let guests = guests(&hosts).await;
        model.lock().unwrap().observe(Instant::now(), guests);
        tokio::time::sleep(EVERY).await;
    }
}

/// The members of the pool on all hosts.
async fn guests(hosts: &SimHosts) -> Vec<SeenGuest> {
    let mut all = Vec::new();
    for host in HOSTS {
        let sim = hosts.sim(host).await.unwrap();
        let seen = sim.with(|state| {
            let domains = state.domains.iter().filter_map(|(uid, domain)| {
                let number = domain
                    .spec
                    .title
                    .strip_prefix("default/web-")?
                    .parse()
                    .ok()?;
                let runs = domain.state == DomainState::Running;
                Some(SeenGuest {
                    uid: *uid,
                    number,
                    edition: domain.spec.machine.cpus,
                    host,
                    started: domain
                        .live
                        .as_ref()
                        .filter(|_| runs)
                        .map(|live| live.started),
                })
            });
            domains.collect::<Vec<_>>()
        });
        all.extend(seen.await);
    }
    all
}
