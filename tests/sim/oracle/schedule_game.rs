//! The game of snapshot schedules: docs/how-to/snapshots.md. It is played from documents and in a cluster.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::schedule_model::{ScheduleModel, SeenSnapshot};

const HOUR_MS: i64 = 3_600_000;
const YEAR_HOURS: i64 = 365 * 24;
const NAMES: [&str; 6] = ["sa", "sb", "sc", "sd", "se", "sf"];
/// How often schedules are looked at.
const EVERY: Duration = Duration::from_secs(4);
/// How often the game looks until everything has to be as promised.
const SETTLES: usize = 450;

/// A VSI of the game, whose number no other one has.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScheduledVsi {
    pub(super) name: &'static str,
    pub(super) number: u8,
    pub(super) host: &'static str,
}

/// Where the game is played.
pub(super) trait ScheduleWorld {
    const HOSTS: &'static [&'static str];

    /// The wall clock, in milliseconds.
    fn now_ms(&self) -> u64;

    /// Sets the wall clock forwards, or backwards.
    fn jump(&self, ms: i64);

    /// A document of the VSI: its schedule keeps this many snapshots; or without a schedule.
    async fn apply(&mut self, vsi: &ScheduledVsi, keep: Option<usize>) -> Result<(), String>;

    /// A user takes a snapshot.
    async fn take(&mut self, vsi: &ScheduledVsi);

    /// A user deletes the VSI.
    async fn delete(&mut self, vsi: &ScheduledVsi) -> Result<(), String>;

    /// The process dies, and the next one is told to delete the VSI before it continues any work.
    async fn delete_after_death(&mut self, vsi: &ScheduledVsi) -> Result<(), String>;

    /// A user pauses all work, or ends the pause.
    fn pause(&self, is_paused: bool) -> impl Future<Output = Result<(), String>> + 'static;

    /// The process dies at a random moment, or something else fails for a while.
    async fn disturb(&mut self, random: &mut StdRng) -> Result<(), String>;

    /// Nothing fails any more.
    fn heal(&mut self);

    /// Works on schedules as a daemon does, and lists all snapshots.
    async fn work(&mut self) -> Result<Vec<SeenSnapshot>, String>;

    /// What a VSI does not show that is promised, if anything.
    async fn not_current(&self, name: &str) -> Result<Option<String>, String>;
}

/// A game that is being played.
pub(super) struct ScheduleGame<W> {
    pub(super) world: W,
    random: StdRng,
    model: ScheduleModel,
    /// The VSIs that exist.
    vsis: Vec<ScheduledVsi>,
    /// How far ahead of the real time the clock is, in hours.
    ahead: i64,
}

impl<W: ScheduleWorld> ScheduleGame<W> {
    pub(super) fn new(world: W, seed: u64) -> Self {
        Self {
            world,
            random: StdRng::seed_from_u64(seed),
            model: ScheduleModel::default(),
            vsis: Vec::new(),
            ahead: 0,
        }
    }

    /// Plays the game to its end.
    pub(super) async fn play(&mut self) -> Result<(), String> {
        let vsis = self.random.random_range(2..=NAMES.len());
        for (number, name) in (1..).zip(NAMES).take(vsis) {
            let host = W::HOSTS.choose(&mut self.random).unwrap();
            self.vsis.push(ScheduledVsi { name, number, host });
            self.ask(self.vsis.len() - 1, 2).await?;
        }
        if self.random.random_bool(0.5) {
            self.settle().await?;
        }
        for _ in 0..self.random.random_range(5..12) {
            self.act().await?;
            for _ in 0..self.random.random_range(1..15) {
                self.look().await?;
            }
            if self.random.random_bool(0.25) {
                self.settle().await?;
            }
        }
        self.settle().await
    }

    async fn act(&mut self) -> Result<(), String> {
        let vsi = self.random.random_range(0..self.vsis.len());
        match self.random.random_range(0..12) {
            0..=2 => {
                let hours = self.random.random_range(1..4);
                self.jump(hours);
            }
            3 => self.be_ahead().await?,
            4 => {
                // The clock is right again, or a little behind.
                let back = if self.ahead > 0 { -self.ahead } else { -2 };
                self.jump(back);
            }
            5 | 6 => self.world.disturb(&mut self.random).await?,
            7 => {
                let keep = self.random.random_range(1..4);
                self.ask(vsi, keep).await?;
            }
            8 => {
                let vsi = self.vsis[vsi];
                self.model.end(vsi.name);
                self.world.apply(&vsi, None).await?;
            }
            9 => self.world.take(&self.vsis[vsi]).await,
            _ if self.vsis.len() > 2 => self.delete(vsi).await?,
            _ => {}
        }
        Ok(())
    }

    /// The clock is years ahead for a while, in which snapshots are taken.
    async fn be_ahead(&mut self) -> Result<(), String> {
        self.jump(YEAR_HOURS * 2);
        for _ in 0..self.random.random_range(0..9) {
            self.look().await?;
        }
        if self.random.random_bool(0.7) {
            self.jump(-self.ahead);
        }
        Ok(())
    }

    /// A document asks for snapshots of a VSI.
    async fn ask(&mut self, vsi: usize, keep: usize) -> Result<(), String> {
        let vsi = self.vsis[vsi];
        self.world.apply(&vsi, Some(keep)).await?;
        self.model.ask(vsi.name, keep);
        Ok(())
    }

    /// A user deletes a VSI, often while its snapshot is due: it is recorded and not begun, or being taken.
    async fn delete(&mut self, vsi: usize) -> Result<(), String> {
        let vsi = self.vsis.remove(vsi);
        match self.random.random_range(0..4) {
            0 => {
                self.jump(1);
                self.work().await?;
                self.model.end(vsi.name);
                self.world.delete_after_death(&vsi).await
            }
            1 | 2 => self.delete_in_pause(&vsi).await,
            _ => {
                self.jump(1);
                self.work().await?;
                self.model.end(vsi.name);
                let wait = self.random.random_range(0..3_000);
                tokio::time::sleep(Duration::from_millis(wait)).await;
                self.world.delete(&vsi).await
            }
        }
    }

    /// All work is paused while a snapshot of the VSI is recorded, and it is deleted before the pause ends.
    async fn delete_in_pause(&mut self, vsi: &ScheduledVsi) -> Result<(), String> {
        self.jump(1);
        let pausing = self.world.pause(true);
        let (paused, snapshots) = tokio::join!(pausing, self.world.work());
        paused?;
        self.model.observe(snapshots?)?;
        if self.random.random_bool(0.5) {
            self.world.take(vsi).await;
        }
        self.look().await?;
        self.model.end(vsi.name);
        self.world.delete(vsi).await?;
        self.look().await?;
        self.world.pause(false).await
    }

    /// Sets the clock.
    fn jump(&mut self, hours: i64) {
        self.world.jump(hours * HOUR_MS);
        if hours < 0 {
            self.model.set_back(self.world.now_ms());
        }
        if hours.abs() >= YEAR_HOURS {
            self.ahead += hours;
        }
    }

    /// Holds the snapshots against what the page promises.
    async fn work(&mut self) -> Result<(), String> {
        let snapshots = self.world.work().await?;
        self.model.observe(snapshots)
    }

    async fn look(&mut self) -> Result<(), String> {
        self.work().await?;
        tokio::time::sleep(EVERY).await;
        Ok(())
    }

    /// Everything is taken that is due, and what is superfluous is deleted.
    async fn settle(&mut self) -> Result<(), String> {
        self.world.heal();
        let mut wrong = String::new();
        for _ in 0..SETTLES {
            self.look().await?;
            wrong = match self.unsettled().await? {
                None => {
                    self.model.settled(self.world.now_ms());
                    return Ok(());
                }
                Some(unsettled) => unsettled,
            };
        }
        Err(wrong)
    }

    /// What is not yet as the page promises.
    async fn unsettled(&self) -> Result<Option<String>, String> {
        for name in self.model.scheduled() {
            if let Some(why) = self.world.not_current(&name).await? {
                return Ok(Some(why));
            }
        }
        Ok(self.model.unsettled(self.world.now_ms()))
    }
}
