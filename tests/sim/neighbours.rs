//! Neighbour games: a random hostile tenant beside an honest one.
//!
//! The hostile tenant has two of the three hosts. It draws some attacks: hosts that answer at the last moment, pools
//! that are placed on them again and again, drains, gates whose guests never answer, guests that print for costly
//! expressions, texts of the worst form, and readers that do not read. The honest tenant makes VSIs on the third
//! host.
//!
//! The rule: each of them is Ready within twice the time that it takes without the hostile tenant. The time is virtual,
//! so it has every wait of the product and nothing of this machine. What is computed meanwhile costs processor time of
//! this thread, which has a limit of its own: nothing that tenants make long is computed here.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;
use vsiflow_engine::secret::Secret;
use vsiflow_steps::{guest::GuestType, sim::SimHosts};
use vsiflow_workflows::{
    fleet::{Fleet, Verdict},
    record::vsi_entity,
    spec::Resolved,
};

use crate::{
    controllers::{placed_pool, silent_group},
    documents::{self, VsiDocument},
    gate::CrashGate,
    late::LateAnswers,
    matrix::in_parallel,
    world::{CrashWorld, in_virtual_time, user},
};

/// How many games the standard tests play.
const SAMPLE: u64 = 12;
/// The VSIs of the honest tenant in a game.
const HONEST: u128 = 4;
/// How long a game may wait for a VSI, in virtual time.
const FOREVER: Duration = Duration::from_secs(120);
/// What the thread of all tasks may compute while the honest tenant waits. This build is not optimised.
const MOST_COMPUTED: Duration = Duration::from_secs(4);
const COMMAND: &str = "cargo test -p vsiflow-tests --test crash neighbours -- --nocapture";

/// What a hostile tenant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Hosts answer each call late.
    LateHosts,
    /// A pool whose members are placed on hosts that answer late, and deleted again.
    PlacedPool,
    /// A drain of a host with members of that pool.
    Drain,
    /// A gate whose command never ends.
    SilentGate,
    /// Guests that print for costly expressions.
    Printing,
    /// A text that is made of beginnings of references, of the greatest size.
    WorstText,
    /// Readers of events that do not read.
    UnreadNotices,
}

const ATTACKS: [Attack; 7] = [
    Attack::LateHosts,
    Attack::PlacedPool,
    Attack::Drain,
    Attack::SilentGate,
    Attack::Printing,
    Attack::WorstText,
    Attack::UnreadNotices,
];

/// What a game came to.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    attacks: Vec<Attack>,
    alone: Duration,
    beside: Duration,
}

struct NeighbourGame {
    fleet: Fleet,
    hosts: Arc<SimHosts>,
    late: Arc<LateAnswers>,
    random: StdRng,
    /// What the hostile tenant does all the time.
    hostile: JoinSet<()>,
    made: u128,
}

impl NeighbourGame {
    /// Plays a game. With `is_sabotaged`, one host is asked after the other.
    async fn play(seed: u64, is_sabotaged: bool) -> Result<Report, String> {
        let mut world = CrashWorld::new(None).await;
        let late = Arc::<LateAnswers>::default();
        world.late = Some(late.clone());
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        fleet.drive_all().await.unwrap();
        let mut game = Self {
            fleet,
            hosts: world.hosts.clone(),
            late,
            random: StdRng::seed_from_u64(seed),
            hostile: JoinSet::new(),
            made: 0,
        };
        if is_sabotaged {
            game.late.ask_one_at_a_time();
        }
        let alone = game.honest_time().await?;
        let attacks = game.attack().await;
        let computed = thread_time();
        let beside = game.honest_time().await;
        let beside = beside.map_err(|error| format!("{attacks:?}: {error}"))?;
        let computed = thread_time().saturating_sub(computed);
        game.hostile.shutdown().await;
        game.fleet.close().await;
        if beside > alone * 2 {
            return Err(format!(
                "{attacks:?}: Ready after {beside:?} instead of {alone:?}"
            ));
        }
        if computed > MOST_COMPUTED {
            return Err(format!(
                "{attacks:?}: {computed:?} were computed on the runtime's thread"
            ));
        }
        Ok(Report {
            attacks,
            alone,
            beside,
        })
    }

    /// The longest time that a VSI of the honest tenant takes until it is Ready.
    async fn honest_time(&mut self) -> Result<Duration, String> {
        let mut longest = Duration::ZERO;
        for _ in 0..HONEST {
            self.made += 1;
            let name: &'static str = String::leak(format!("honest-{}", self.made));
            let vsi = VsiDocument::new(name, 100 + self.made, "sim:a").server(GuestType::CloudInit);
            let (entity, begun) = (vsi_entity(vsi.uid).unwrap(), tokio::time::Instant::now());
            let apply = self.fleet.apply(documents::resolved(&[vsi]), user());
            apply.await.map_err(|error| error.to_string())?;
            let decided = tokio::time::timeout(FOREVER, self.fleet.decided(&entity)).await;
            match decided.map_err(|_| format!("{name} is never Ready"))? {
                Ok(Verdict::Reached) => longest = longest.max(begun.elapsed()),
                other => return Err(format!("{name}: {other:?}")),
            }
        }
        Ok(longest)
    }

    /// Begins some attacks, and lets a while pass.
    async fn attack(&mut self) -> Vec<Attack> {
        let count = self.random.random_range(2..=ATTACKS.len());
        let drawn: Vec<_> = ATTACKS
            .choose_multiple(&mut self.random, count)
            .copied()
            .collect();
        // What needs its hosts to be set up comes before they answer late.
        let attacks: Vec<_> = ATTACKS
            .into_iter()
            .filter(|one| drawn.contains(one))
            .collect();
        let needs_pool = [Attack::PlacedPool, Attack::Drain];
        if attacks.iter().any(|attack| needs_pool.contains(attack)) {
            self.hostile_applies(placed_pool()).await;
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        for attack in &attacks {
            self.begin(*attack).await;
        }
        let seconds = self.random.random_range(1..90);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        attacks
    }

    /// Has the hostile tenant apply documents. A refusal is the product's own affair.
    async fn hostile_applies(&self, documents: Resolved) {
        let _ = self.fleet.apply(documents, user()).await;
    }

    async fn begin(&mut self, attack: Attack) {
        match attack {
            Attack::LateHosts => self.answer_late(),
            Attack::PlacedPool => self.replace_members(),
            Attack::Drain => self.drain(),
            Attack::SilentGate => {
                self.hostile_applies(in_hostile_hosts(silent_group())).await;
            }
            Attack::Printing => self.print().await,
            Attack::WorstText => self.write_worst_text(),
            Attack::UnreadNotices => {
                let unread: Vec<_> = (0..500).map(|_| self.fleet.notices()).collect();
                self.hostile.spawn(async move {
                    std::future::pending::<()>().await;
                    drop(unread);
                });
            }
        }
    }

    fn answer_late(&mut self) {
        for host in ["sim:b", "sim:c"] {
            // Below and above the limits of calls.
            let millis = self.random.random_range(100..60_000);
            self.late.set(host, Duration::from_millis(millis));
        }
    }

    fn replace_members(&mut self) {
        let (fleet, pause) = (self.fleet.clone(), self.random.random_range(1..20));
        self.hostile.spawn(async move {
            loop {
                for name in ["late-0", "late-1"] {
                    let _ = fleet.vsis().delete("default", name, false, user()).await;
                }
                tokio::time::sleep(Duration::from_secs(pause)).await;
            }
        });
    }

    fn drain(&mut self) {
        let fleet = self.fleet.clone();
        self.hostile.spawn(async move {
            loop {
                for host in ["sim:b", "sim:c"] {
                    let _ = Box::pin(fleet.hosts().drain_moving(host, None, user())).await;
                    let _ = fleet.hosts().uncordon(host, true, user()).await;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }

    /// Guests whose consoles are read with expressions that need a large automaton.
    async fn print(&mut self) {
        let number = self.random.random_range(100..400);
        let mut vsi = VsiDocument::new("printing", 90, "sim:b").server(GuestType::CloudInit);
        vsi.edition = number;
        let mut resolved = documents::resolved(&[vsi]);
        let pattern = format!("[01]*1[01]{{{number}}}z");
        let ready = serde_json::json!({"all": [{"console": pattern}]});
        resolved.vsis[0].desired.ready = serde_json::from_value(ready).unwrap();
        self.hostile_applies(resolved).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let lines: Vec<_> = (0..50).map(|_| random_bits(&mut self.random)).collect();
        let host = self.hosts.sim("sim:b").await.unwrap();
        host.with(|state| {
            for domain in state.domains.values_mut() {
                let mut stored = serde_json::to_value(&*domain).unwrap();
                let printed = stored.pointer_mut("/live/lines");
                let Some(printed) = printed.and_then(|printed| printed.as_array_mut()) else {
                    continue;
                };
                let last = printed.last().and_then(|line| line[0].as_u64());
                let at = last.unwrap_or_default() + 1;
                printed.extend(lines.iter().map(|line| serde_json::json!([at, line])));
                *domain = serde_json::from_value(stored).unwrap();
            }
        })
        .await;
    }

    fn write_worst_text(&mut self) {
        let mut group = in_hostile_hosts(silent_group());
        let beginnings = "$(".repeat(500_000);
        let wave = &mut group.groups[0].waves[0];
        wave.items[0].pool.template.contract =
            Secret::new(format!("#cloud-config\n# {beginnings}\n"));
        group.groups[0].name = "worst".to_owned();
        group.groups[0].uid = Some(documents::uuid(91));
        let fleet = self.fleet.clone();
        self.hostile.spawn(async move {
            loop {
                let _ = fleet.apply(group.clone(), user()).await;
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
    }
}

fn random_bits(random: &mut StdRng) -> String {
    let bits = (0..400).map(|_| if random.random() { '1' } else { '0' });
    bits.collect()
}

/// A group whose members are on a host of the hostile tenant.
fn in_hostile_hosts(mut resolved: Resolved) -> Resolved {
    resolved.hosts = [("sim:b".to_owned(), documents::host("sim:b"))].into();
    for group in &mut resolved.groups {
        for item in group.waves.iter_mut().flat_map(|wave| &mut wave.items) {
            item.pool.template.desired.host = "sim:b".to_owned();
        }
    }
    resolved
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}

fn play(seed: u64, is_sabotaged: bool) -> Result<Report, String> {
    in_virtual_time(NeighbourGame::play(seed, is_sabotaged))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays a sample of games; or games for `VSIFLOW_NEIGHBOURS_SECONDS`, with seeds from `VSIFLOW_SIM_FROM` on; or only
/// the game with the seed `VSIFLOW_NEIGHBOURS_SEED`.
#[test]
fn an_honest_tenant_is_served_beside_a_hostile_one() {
    let only = number("VSIFLOW_NEIGHBOURS_SEED");
    let first = only.or(number("VSIFLOW_SIM_FROM")).unwrap_or(1);
    let seconds = number("VSIFLOW_NEIGHBOURS_SECONDS").filter(|_| only.is_none());
    let (batch, since) = (if only.is_some() { 1 } else { SAMPLE }, Instant::now());
    let mut next = first;
    loop {
        let seeds: Vec<_> = (next..next + batch).collect();
        next += batch;
        let wrong = in_parallel(&seeds, |seed| match play(*seed, false) {
            Ok(report) => {
                println!("seed {seed}: {report:?}");
                Ok(())
            }
            Err(error) => Err(format!(
                "seed {seed}: {error}\n  VSIFLOW_NEIGHBOURS_SEED={seed} {COMMAND}"
            )),
        });
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        if seconds.is_none_or(|seconds| since.elapsed().as_secs() >= seconds) {
            return;
        }
    }
}

#[test]
fn hosts_that_are_asked_one_after_another_are_found() {
    // A game with hosts that answer late.
    let found = play(3, true).expect_err("the game does not find it");
    assert!(found.contains("LateHosts"), "{found}");
}
