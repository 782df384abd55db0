//! Games of snapshot schedules in a cluster: docs/how-to/snapshots.md.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Value, json};
use vsiflow_engine::clock::Clock as _;
use vsiflow_workflows::fleet::SeenSchedules;

use super::{
    GameCluster as _, disturb, play_games,
    schedule_model::{ScheduleModel, SeenSnapshot},
};
use crate::{
    operator::tests::rig::{Rig, condition_of},
    sample::uid,
};

const SERVERS: &str = "virtualservers";
const SNAPSHOTS: &str = "virtualserversnapshots";
const HOUR_MS: i64 = 3_600_000;
const YEAR_HOURS: i64 = 365 * 24;
/// How often schedules are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// A game that is being played.
struct ScheduleGame {
    rig: Rig,
    random: StdRng,
    seen: SeenSchedules,
    model: ScheduleModel,
    /// The names and hosts of the VSIs that exist.
    vsis: Vec<(String, &'static str)>,
    /// How many snapshots users took.
    taken: u8,
    /// How far ahead of the real time the clock is, in hours.
    ahead: i64,
}

impl ScheduleGame {
    async fn play(&mut self) -> Result<(), String> {
        for number in 0..self.random.random_range(2..6) {
            let host = Rig::HOSTS.choose(&mut self.random).unwrap();
            self.vsis.push((format!("web-{number}"), host));
            self.ask(number, 2);
        }
        self.settle().await?;
        for _ in 0..self.random.random_range(4..9) {
            self.act().await?;
            for _ in 0..self.random.random_range(1..15) {
                self.look().await?;
            }
            if self.random.random_bool(0.3) {
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
            4 => {
                self.jump(YEAR_HOURS * 2);
                for _ in 0..self.random.random_range(0..8) {
                    self.look().await?;
                }
                self.jump(-self.ahead);
            }
            5 => {
                let back = if self.ahead > 0 { -self.ahead } else { -2 };
                self.jump(back);
            }
            6 => {
                let keep = self.random.random_range(1..4);
                self.ask(vsi, keep);
            }
            7 => {
                self.model.end(&self.vsis[vsi].0);
                self.apply(vsi, Value::Null);
            }
            8 => self.take(vsi),
            9 if self.vsis.len() > 2 => {
                let (name, _) = self.vsis.remove(vsi);
                self.model.end(&name);
                self.rig.server.delete(SERVERS, &name);
            }
            _ => {
                disturb(&mut self.rig, &mut self.random).await;
                self.seen = SeenSchedules::default();
            }
        }
        Ok(())
    }

    /// The resource of a VSI asks for snapshots.
    fn ask(&mut self, vsi: usize, keep: usize) {
        self.apply(vsi, json!({"schedule": "@hourly", "keep": keep}));
        self.model.ask(&self.vsis[vsi].0, keep);
    }

    fn apply(&self, vsi: usize, policy: Value) {
        let (name, host) = &self.vsis[vsi];
        let number = name.trim_start_matches("web-").parse::<u8>().unwrap();
        let spec = json!({"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"host": host}},
            "snapshotPolicy": policy,
        }});
        self.rig.server.apply(SERVERS, name, uid(1 + number), spec);
    }

    /// A user takes a snapshot by a resource.
    fn take(&mut self, vsi: usize) {
        self.taken += 1;
        let (name, number) = (format!("user-{}", self.taken), 50 + self.taken);
        let spec = json!({"spec": {"virtualServer": self.vsis[vsi].0}});
        self.rig.server.apply(SNAPSHOTS, &name, uid(number), spec);
    }

    /// Sets the clock.
    fn jump(&mut self, hours: i64) {
        self.rig.clock().jump(hours * HOUR_MS);
        if hours < 0 {
            self.model.set_back(self.now_ms());
        }
        if hours.abs() >= YEAR_HOURS {
            self.ahead += hours;
        }
    }

    fn now_ms(&self) -> u64 {
        self.rig.clock().now().0
    }

    /// Holds the snapshots against what the page promises, after some seconds.
    async fn look(&mut self) -> Result<(), String> {
        let snapshots = self.rig.apply_schedules(&mut self.seen).await;
        let snapshots = snapshots.map_err(|error| error.to_string())?;
        self.model
            .observe(snapshots.iter().map(SeenSnapshot::of).collect())?;
        tokio::time::sleep(EVERY).await;
        Ok(())
    }

    /// Everything is taken that is due, and what is superfluous is deleted.
    async fn settle(&mut self) -> Result<(), String> {
        self.rig.server.heal();
        let mut wrong = None;
        for _ in 0..600 {
            self.look().await?;
            wrong = self.not_current();
            wrong = wrong.or_else(|| self.model.unsettled(self.now_ms()));
            if wrong.is_none() {
                self.model.settled(self.now_ms());
                return Ok(());
            }
        }
        Err(wrong.unwrap_or_default())
    }

    /// A VSI whose resource does not show what is promised.
    fn not_current(&self) -> Option<String> {
        let scheduled = self.model.scheduled().into_iter();
        scheduled.into_iter().find_map(|name| {
            let object = self.rig.server.get(SERVERS, &name);
            let is = |condition| condition_of(object.clone(), condition)["status"] == "True";
            let status = || format!("{name}: {}", object.clone().unwrap_or_default()["status"]);
            (!is("Ready") || !is("SnapshotsCurrent")).then(status)
        })
    }
}

async fn play(seed: u64) -> Result<(), String> {
    let mut game = ScheduleGame {
        rig: Rig::begin().await,
        random: StdRng::seed_from_u64(seed),
        seen: SeenSchedules::default(),
        model: ScheduleModel::default(),
        vsis: Vec::new(),
        taken: 0,
        ahead: 0,
    };
    let played = Box::pin(game.play()).await;
    game.rig.stop().await;
    played
}

#[tokio::test(start_paused = true)]
async fn schedules_of_a_cluster_keep_what_their_page_promises() {
    play_games(play).await;
}
