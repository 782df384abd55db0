//! Games of snapshot schedules: docs/how-to/snapshots.md.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_engine::clock::Clock as _;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{Fleet, SeenSchedules, SnapshotRequest},
    phase::Phase,
};

use super::{
    next_process,
    schedule_model::{ScheduleModel, SeenSnapshot},
    start,
};
use crate::{
    documents::{self, VsiDocument, uuid},
    gate::{CrashGate, CrashMoment},
    ownership, story,
    world::{CrashWorld, in_virtual_time, user},
};

const HOUR_MS: i64 = 3_600_000;
const YEAR_HOURS: i64 = 365 * 24;
const NAMES: [&str; 6] = ["sa", "sb", "sc", "sd", "se", "sf"];
const HOSTS: [&str; 2] = ["sim:a", "sim:b"];
/// How often schedules are looked at.
const EVERY: Duration = Duration::from_secs(3);

/// A game that is being played.
struct ScheduleGame {
    world: CrashWorld,
    random: StdRng,
    gate: Arc<CrashGate>,
    fleet: Fleet,
    seen: SeenSchedules,
    model: ScheduleModel,
    /// The documents that exist.
    vsis: Vec<VsiDocument>,
    /// How far ahead of the real time the clock is, in hours.
    ahead: i64,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let (world, gate) = (CrashWorld::new(None).await, CrashGate::safe());
        let fleet = start(&world, &gate).await?;
        let mut game = ScheduleGame {
            world,
            random: StdRng::seed_from_u64(seed),
            gate,
            fleet,
            seen: SeenSchedules::default(),
            model: ScheduleModel::default(),
            vsis: Vec::new(),
            ahead: 0,
        };
        let played = game.play().await;
        game.gate.die();
        played
    })
}

impl ScheduleGame {
    async fn play(&mut self) -> Result<(), String> {
        let vsis = self.random.random_range(2..=NAMES.len());
        for (number, name) in (1..).zip(NAMES).take(vsis) {
            let host = HOSTS.choose(&mut self.random).unwrap();
            let vsi = VsiDocument::new(name, number, host).server(GuestType::CloudInit);
            self.vsis.push(vsi);
            self.ask(self.vsis.len() - 1, 2).await?;
        }
        self.look().await?;
        for _ in 0..self.random.random_range(5..12) {
            self.act().await?;
            for _ in 0..self.random.random_range(1..20) {
                self.look().await?;
                tokio::time::sleep(EVERY).await;
            }
            if self.random.random_bool(0.2) {
                self.settle().await?;
            }
        }
        self.settle().await
    }

    async fn act(&mut self) -> Result<(), String> {
        let vsi = self.random.random_range(0..self.vsis.len());
        match self.random.random_range(0..12) {
            0..=3 => {
                let hours = self.random.random_range(1..4);
                self.jump(hours);
            }
            4 => self.be_ahead().await?,
            5 => {
                // The clock is right again, or a little behind.
                let back = if self.ahead > 0 { -self.ahead } else { -2 };
                self.jump(back);
            }
            6 => self.seen = SeenSchedules::default(),
            7 => self.kill().await?,
            8 => {
                let keep = self.random.random_range(1..4);
                self.ask(vsi, keep).await?;
            }
            9 => self.end(vsi).await?,
            10 => self.take(vsi).await?,
            _ if self.vsis.len() > 2 => {
                if self.random.random_bool(0.5) {
                    // A snapshot of it is recorded, and not yet begun.
                    self.jump(1);
                    self.look().await?;
                }
                let name = self.vsis.remove(vsi).name;
                self.model.end(name);
                let deleted = story::delete(&self.fleet, name, false).await;
                deleted.map_err(|error| error.to_string())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The clock is years ahead for a while, in which snapshots are taken.
    async fn be_ahead(&mut self) -> Result<(), String> {
        self.jump(YEAR_HOURS * 2);
        for _ in 0..self.random.random_range(0..10) {
            self.look().await?;
            tokio::time::sleep(EVERY).await;
        }
        if self.random.random_bool(0.7) {
            self.jump(-self.ahead);
        }
        Ok(())
    }

    /// A document asks for snapshots of a VSI.
    async fn ask(&mut self, vsi: usize, keep: u32) -> Result<(), String> {
        let document = self.vsis[vsi].clone().snapshots("@hourly", keep);
        self.apply(vsi, document).await?;
        let keep = usize::try_from(keep).unwrap();
        self.model.ask(self.vsis[vsi].name, keep);
        Ok(())
    }

    /// A document without a policy.
    async fn end(&mut self, vsi: usize) -> Result<(), String> {
        self.model.end(self.vsis[vsi].name);
        let document = self.vsis[vsi].clone();
        self.apply(vsi, document).await
    }

    async fn apply(&mut self, vsi: usize, document: VsiDocument) -> Result<(), String> {
        let resolved = documents::resolved(&[document]);
        let applied = self.fleet.apply(resolved, user()).await;
        applied.map_err(|error| error.to_string())?;
        let number = NAMES.iter().position(|name| *name == self.vsis[vsi].name);
        let number = u128::try_from(number.unwrap() + 1).unwrap();
        let decided = self.fleet.decided(&ownership::entity(uuid(number))).await;
        decided.map(drop).map_err(|error| error.to_string())
    }

    /// A user takes a snapshot.
    async fn take(&mut self, vsi: usize) -> Result<(), String> {
        let name = self.vsis[vsi].name;
        let snapshots = self.fleet.snapshots();
        let taken = snapshots.take("default", name, SnapshotRequest::default(), user());
        // Another one may be in progress.
        let _ = taken.await;
        Ok(())
    }

    /// Sets the clock.
    fn jump(&mut self, hours: i64) {
        self.world.clock.jump(hours * HOUR_MS);
        if hours < 0 {
            self.model.set_back(self.now_ms());
        }
        if hours.abs() >= YEAR_HOURS {
            self.ahead += hours;
        }
    }

    fn now_ms(&self) -> u64 {
        self.world.clock.now().0
    }

    /// The process dies during its work, and another one starts.
    async fn kill(&mut self) -> Result<(), String> {
        let calls = self.random.random_range(0..40);
        self.gate.die_in(calls, CrashMoment::After);
        for _ in 0..5 {
            // It fails once the process is dead.
            let _ = self.fleet.snapshots().apply_schedules(&mut self.seen).await;
            tokio::time::sleep(EVERY).await;
        }
        self.seen = SeenSchedules::default();
        (self.fleet, self.gate) = next_process(&self.world, &self.gate).await?;
        Ok(())
    }

    /// Works on schedules as a daemon does, and holds the snapshots against what the page promises.
    async fn look(&mut self) -> Result<(), String> {
        let applied = self.fleet.snapshots().apply_schedules(&mut self.seen).await;
        applied.map_err(|error| error.to_string())?;
        let snapshots = self.fleet.snapshots().list(true).await;
        let snapshots = snapshots.map_err(|error| error.to_string())?;
        self.model
            .observe(snapshots.iter().map(SeenSnapshot::of).collect())
    }

    /// Everything is taken that is due, and what is superfluous is deleted.
    async fn settle(&mut self) -> Result<(), String> {
        let mut wrong = String::new();
        for _ in 0..300 {
            self.look().await?;
            wrong = match self.unsettled().await? {
                None => {
                    self.model.settled(self.now_ms());
                    return Ok(());
                }
                Some(unsettled) => unsettled,
            };
            tokio::time::sleep(EVERY).await;
        }
        Err(wrong)
    }

    /// What is not yet as the page promises.
    async fn unsettled(&self) -> Result<Option<String>, String> {
        for name in self.model.scheduled() {
            let vsi = self.fleet.vsis().get("default", &name).await;
            let vsi = vsi.map_err(|error| error.to_string())?;
            if vsi.status.phase != Phase::Running {
                return Ok(Some(format!("{name} is {}", vsi.status.phase)));
            }
            let mut conditions = vsi.status.conditions.iter();
            let current = conditions.find(|one| one.name == "SnapshotsCurrent");
            if current.is_none_or(|current| current.status != "True") {
                return Ok(Some(format!("{name}: {current:?}")));
            }
        }
        Ok(self.model.unsettled(self.now_ms()))
    }
}
