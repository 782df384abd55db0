//! Games of snapshot schedules in a cluster.

use rand::rngs::StdRng;
use serde_json::{Value, json};
use vsiflow_engine::clock::Clock as _;
use vsiflow_workflows::fleet::SeenSchedules;

use super::{
    GameCluster as _, disturb, play_games,
    schedule_game::{ScheduleGame, ScheduleWorld, ScheduledVsi},
    schedule_model::SeenSnapshot,
};
use crate::{
    operator::tests::rig::{Rig, condition_of},
    sample::uid,
};

const SERVERS: &str = "virtualservers";
const SNAPSHOTS: &str = "virtualserversnapshots";

/// A cluster in which the operator works on schedules.
struct ScheduleCluster {
    rig: Rig,
    seen: SeenSchedules,
    /// How many snapshots users took.
    taken: u8,
}

impl ScheduleCluster {
    /// The process dies, and the next one takes its place.
    async fn restart(&mut self) {
        self.rig.restart().await;
        self.seen = SeenSchedules::default();
    }
}

impl ScheduleWorld for ScheduleCluster {
    const HOSTS: &'static [&'static str] = <Rig as super::GameCluster>::HOSTS;

    fn now_ms(&self) -> u64 {
        self.rig.clock().now().0
    }

    fn jump(&self, ms: i64) {
        self.rig.clock().jump(ms);
    }

    async fn apply(&mut self, vsi: &ScheduledVsi, keep: Option<usize>) -> Result<(), String> {
        let policy = keep.map(|keep| json!({"schedule": "@hourly", "keep": keep}));
        let spec = json!({"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"host": vsi.host}},
            "snapshotPolicy": policy.unwrap_or(Value::Null),
        }});
        let number = uid(vsi.number);
        self.rig.server.apply(SERVERS, vsi.name, number, spec);
        Ok(())
    }

    async fn take(&mut self, vsi: &ScheduledVsi) {
        self.taken += 1;
        let (name, number) = (format!("user-{}", self.taken), 50 + self.taken);
        let spec = json!({"spec": {"virtualServer": vsi.name}});
        self.rig.server.apply(SNAPSHOTS, &name, uid(number), spec);
    }

    async fn delete(&mut self, vsi: &ScheduledVsi) -> Result<(), String> {
        self.rig.server.delete(SERVERS, vsi.name);
        Ok(())
    }

    async fn delete_after_death(&mut self, vsi: &ScheduledVsi) -> Result<(), String> {
        self.delete(vsi).await?;
        self.restart().await;
        Ok(())
    }

    fn pause(&self, is_paused: bool) -> impl Future<Output = Result<(), String>> + 'static {
        self.rig.pause(is_paused)
    }

    async fn disturb(&mut self, random: &mut StdRng) -> Result<(), String> {
        disturb(&mut self.rig, random).await;
        self.seen = SeenSchedules::default();
        Ok(())
    }

    fn heal(&mut self) {
        self.rig.server.heal();
    }

    async fn work(&mut self) -> Result<Vec<SeenSnapshot>, String> {
        let snapshots = self.rig.apply_schedules(&mut self.seen).await;
        let snapshots = snapshots.map_err(|error| error.to_string())?;
        Ok(snapshots.iter().map(SeenSnapshot::of).collect())
    }

    async fn not_current(&self, name: &str) -> Result<Option<String>, String> {
        let object = self.rig.server.get(SERVERS, name);
        let is = |condition| condition_of(object.clone(), condition)["status"] == "True";
        let status = || format!("{name}: {}", object.clone().unwrap_or_default()["status"]);
        Ok((!is("Ready") || !is("SnapshotsCurrent")).then(status))
    }
}

async fn play(seed: u64) -> Result<(), String> {
    let cluster = ScheduleCluster {
        rig: Rig::begin().await,
        seen: SeenSchedules::default(),
        taken: 0,
    };
    let mut game = ScheduleGame::new(cluster, seed);
    let played = Box::pin(game.play()).await;
    game.world.rig.stop().await;
    played
}

#[tokio::test(start_paused = true)]
async fn schedules_of_a_cluster_keep_what_their_page_promises() {
    play_games(play).await;
}
