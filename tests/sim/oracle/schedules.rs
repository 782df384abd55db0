//! Games of snapshot schedules: docs/how-to/snapshots.md.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_engine::clock::Clock as _;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{Fleet, SeenSchedules, SnapshotObject},
    phase::Phase,
};

use crate::{
    documents::{self, VsiDocument, uuid},
    gate::CrashGate,
    ownership, story,
    world::{CrashWorld, in_virtual_time, user},
};

const HOUR_MS: i64 = 3_600_000;
const YEAR_HOURS: i64 = 365 * 24;
const NAMES: [&str; 6] = ["sa", "sb", "sc", "sd", "se", "sf"];
const HOSTS: [&str; 2] = ["sim:a", "sim:b"];
const KEEP: u32 = 2;
/// How often schedules are looked at.
const EVERY: Duration = Duration::from_secs(3);
/// Snapshots that are open on a host at the same time.
const PARALLEL: usize = 2;

/// A game that is being played.
struct ScheduleGame {
    world: CrashWorld,
    random: StdRng,
    fleet: Fleet,
    seen: SeenSchedules,
    /// How far ahead of the real time the clock is, in hours.
    ahead: i64,
    /// For each VSI with a schedule: since when its due times count, in hours since the epoch.
    since: BTreeMap<&'static str, i64>,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let world = CrashWorld::new(None).await;
        let fleet = world.start(&CrashGate::safe()).await;
        let fleet = fleet.map_err(|error| error.to_string())?;
        let mut game = ScheduleGame {
            world,
            random: StdRng::seed_from_u64(seed),
            fleet,
            seen: SeenSchedules::default(),
            ahead: 0,
            since: BTreeMap::new(),
        };
        game.play().await
    })
}

impl ScheduleGame {
    async fn play(&mut self) -> Result<(), String> {
        let vsis = self.random.random_range(2..=NAMES.len());
        for (number, name) in (1..).zip(NAMES).take(vsis) {
            let host = HOSTS.choose(&mut self.random).unwrap();
            let vsi = VsiDocument::new(name, number, host)
                .server(GuestType::CloudInit)
                .snapshots("@hourly", KEEP);
            let vsi = documents::resolved(&[vsi]);
            let applied = self.fleet.apply(vsi, user()).await;
            applied.map_err(|error| error.to_string())?;
            let entity = ownership::entity(uuid(number));
            let decided = self.fleet.decided(&entity).await;
            decided.map_err(|error| error.to_string())?;
            self.since.insert(name, self.hour());
        }
        self.look().await?;
        for _ in 0..self.random.random_range(5..12) {
            self.act().await?;
            for _ in 0..self.random.random_range(1..20) {
                self.look().await?;
                tokio::time::sleep(EVERY).await;
            }
        }
        self.settle().await
    }

    async fn act(&mut self) -> Result<(), String> {
        match self.random.random_range(0..8) {
            0..=3 => {
                let hours = self.random.random_range(1..4);
                self.jump(hours);
            }
            4 => self.jump(YEAR_HOURS * 2),
            5 => {
                // The clock is right again, or a little behind.
                let back = if self.ahead > 0 { -self.ahead } else { -2 };
                self.jump(back);
            }
            6 => self.seen = SeenSchedules::default(),
            _ if self.since.len() > 2 => {
                let names: Vec<_> = self.since.keys().copied().collect();
                let name = *names.choose(&mut self.random).unwrap();
                self.since.remove(name);
                let deleted = story::delete(&self.fleet, name, false).await;
                deleted.map_err(|error| error.to_string())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets the clock. Due times that were recorded and are in the future then count no more.
    fn jump(&mut self, hours: i64) {
        self.world.clock.jump(hours * HOUR_MS);
        if hours < 0 {
            let now = self.hour();
            self.since.values_mut().for_each(|since| *since = now);
        }
        if hours.abs() >= YEAR_HOURS {
            self.ahead += hours;
        }
    }

    /// The hours since the epoch that have passed.
    fn hour(&self) -> i64 {
        i64::try_from(self.world.clock.now().0).unwrap() / HOUR_MS
    }

    /// Works on schedules as a daemon does, and holds the snapshots against what the page promises.
    async fn look(&mut self) -> Result<(), String> {
        let applied = self.fleet.snapshots().apply_schedules(&mut self.seen).await;
        applied.map_err(|error| error.to_string())?;
        let all = self.fleet.snapshots().list(true).await;
        let all = all.map_err(|error| error.to_string())?;
        for host in HOSTS {
            let open = all.iter().filter(|one| one.status.host == host);
            let open = open.filter(|one| {
                ["Pending", "Creating", "Blocked"].contains(&one.status.phase.as_str())
            });
            if open.clone().count() > PARALLEL {
                let names: Vec<_> = open.map(|one| &one.metadata.name).collect();
                return Err(format!("{host} takes {names:?} at the same time"));
            }
        }
        let mut due: Vec<_> = all.iter().map(due_time).collect();
        due.sort();
        if let Some(pair) = due.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("{pair:?} is there twice"));
        }
        Ok(())
    }

    /// The newest due time, if it counts for this VSI.
    fn newest_due(&self, name: &str) -> Option<String> {
        let (hour, since) = (self.hour(), self.since.get(name)?);
        let ms = u64::try_from(hour * HOUR_MS).unwrap();
        let due =
            humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_millis(ms));
        (hour > *since).then(|| due.to_string().trim_end_matches('Z').to_owned())
    }

    /// Everything is taken that is due, and what is superfluous is deleted.
    async fn settle(&mut self) -> Result<(), String> {
        let mut wrong = String::new();
        for _ in 0..300 {
            self.look().await?;
            wrong = match self.unsettled().await? {
                None => return Ok(()),
                Some(unsettled) => unsettled,
            };
            tokio::time::sleep(EVERY).await;
        }
        Err(wrong)
    }

    /// What is not yet as the page promises.
    async fn unsettled(&self) -> Result<Option<String>, String> {
        let all = self.fleet.snapshots().list(true).await;
        let all = all.map_err(|error| error.to_string())?;
        for name in self.since.keys() {
            let vsi = self.fleet.vsis().get("default", name).await;
            let vsi = vsi.map_err(|error| error.to_string())?;
            if vsi.status.phase != Phase::Running {
                return Ok(Some(format!("{name} is {}", vsi.status.phase)));
            }
            let mut conditions = vsi.status.conditions.iter();
            let current = conditions
                .find(|one| one.name == "SnapshotsCurrent")
                .unwrap();
            let own = all.iter().filter(|one| one.spec["virtualServer"] == *name);
            let whole: Vec<_> = own.filter(|one| one.status.phase == "Ready").collect();
            let due = self.newest_due(name);
            let is_taken = due.as_ref().is_none_or(|due| {
                let mut whole = whole
                    .iter()
                    .filter_map(|one| one.status.scheduled_time.as_ref());
                whole.any(|taken| taken.starts_with(due))
            });
            let kept = whole.len() <= usize::try_from(KEEP).unwrap();
            if current.status != "True" || !is_taken || !kept {
                let whole: Vec<_> = whole.iter().map(|one| &one.metadata.name).collect();
                return Ok(Some(format!("{name}: {due:?}, {whole:?}, {current:?}")));
            }
        }
        Ok(None)
    }
}

fn due_time(one: &SnapshotObject) -> (String, String) {
    let due = one.status.scheduled_time.clone().unwrap_or_default();
    (one.status.virtual_server_uid.clone(), due)
}
