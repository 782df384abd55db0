//! Games of snapshot schedules from documents.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, rngs::StdRng};
use vsiflow_engine::clock::Clock as _;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{Fleet, SeenSchedules, SnapshotRequest},
    phase::Phase,
};

use super::{
    next_process,
    schedule_game::{ScheduleGame, ScheduleWorld, ScheduledVsi},
    schedule_model::SeenSnapshot,
    start,
};
use crate::{
    documents::{self, VsiDocument, uuid},
    gate::{CrashGate, CrashMoment},
    ownership, story,
    world::{CrashWorld, in_virtual_time, user},
};

/// A process that works on schedules.
struct ScheduleProcess {
    world: CrashWorld,
    gate: Arc<CrashGate>,
    fleet: Fleet,
    seen: SeenSchedules,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let (world, gate) = (CrashWorld::new(None).await, CrashGate::safe());
        let fleet = start(&world, &gate).await?;
        let process = ScheduleProcess {
            world,
            gate,
            fleet,
            seen: SeenSchedules::default(),
        };
        let mut game = ScheduleGame::new(process, seed);
        let played = game.play().await;
        game.world.gate.die();
        played
    })
}

fn document(vsi: &ScheduledVsi) -> VsiDocument {
    VsiDocument::new(vsi.name, vsi.number.into(), vsi.host).server(GuestType::CloudInit)
}

impl ScheduleWorld for ScheduleProcess {
    const HOSTS: &'static [&'static str] = &["sim:a", "sim:b"];

    fn now_ms(&self) -> u64 {
        self.world.clock.now().0
    }

    fn jump(&self, ms: i64) {
        self.world.clock.jump(ms);
    }

    async fn apply(&mut self, vsi: &ScheduledVsi, keep: Option<usize>) -> Result<(), String> {
        let mut document = document(vsi);
        if let Some(keep) = keep {
            document = document.snapshots("@hourly", u32::try_from(keep).unwrap());
        }
        let resolved = documents::resolved(&[document]);
        let applied = self.fleet.apply(resolved, user()).await;
        applied.map_err(|error| error.to_string())?;
        let entity = ownership::entity(uuid(vsi.number.into()));
        let decided = self.fleet.decided(&entity).await;
        decided.map(drop).map_err(|error| error.to_string())
    }

    async fn take(&mut self, vsi: &ScheduledVsi) {
        let (snapshots, request) = (self.fleet.snapshots(), SnapshotRequest::default());
        // Another one may be in progress.
        let _ = snapshots.take("default", vsi.name, request, user()).await;
    }

    async fn delete(&mut self, vsi: &ScheduledVsi) -> Result<(), String> {
        let deleted = story::delete(&self.fleet, vsi.name, false).await;
        deleted.map_err(|error| error.to_string())
    }

    async fn delete_after_death(&mut self, vsi: &ScheduledVsi) -> Result<(), String> {
        self.gate.die();
        (self.gate, self.seen) = (CrashGate::safe(), SeenSchedules::default());
        let started = self.world.start(&self.gate).await;
        self.fleet = started.map_err(|error| error.to_string())?;
        self.delete(vsi).await?;
        let driven = self.fleet.drive_all().await;
        driven.map_err(|error| error.to_string())
    }

    fn pause(&self, is_paused: bool) -> impl Future<Output = Result<(), String>> + 'static {
        let fleet = self.fleet.clone();
        async move {
            let paused = fleet.set_global_pause(is_paused, user()).await;
            paused.map_err(|error| error.to_string())
        }
    }

    async fn disturb(&mut self, random: &mut StdRng) -> Result<(), String> {
        if random.random_bool(0.3) {
            self.seen = SeenSchedules::default();
            return Ok(());
        }
        let calls = random.random_range(0..40);
        self.gate.die_in(calls, CrashMoment::After);
        let works = async {
            for _ in 0..5 {
                // It fails once the process is dead.
                let _ = self.fleet.snapshots().apply_schedules(&mut self.seen).await;
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        };
        // A call in which the process dies has no answer.
        tokio::select! {
            () = works => {}
            () = self.gate.died() => {}
        }
        self.seen = SeenSchedules::default();
        (self.fleet, self.gate) = next_process(&self.world, &self.gate).await?;
        Ok(())
    }

    fn heal(&mut self) {}

    async fn work(&mut self) -> Result<Vec<SeenSnapshot>, String> {
        let applied = self.fleet.snapshots().apply_schedules(&mut self.seen).await;
        applied.map_err(|error| error.to_string())?;
        let snapshots = self.fleet.snapshots().list(true).await;
        let snapshots = snapshots.map_err(|error| error.to_string())?;
        Ok(snapshots.iter().map(SeenSnapshot::of).collect())
    }

    async fn not_current(&self, name: &str) -> Result<Option<String>, String> {
        let vsi = self.fleet.vsis().get("default", name).await;
        let vsi = vsi.map_err(|error| error.to_string())?;
        if vsi.status.phase != Phase::Running {
            return Ok(Some(format!("{name} is {}", vsi.status.phase)));
        }
        let mut conditions = vsi.status.conditions.iter();
        let current = conditions.find(|one| one.name == "SnapshotsCurrent");
        let is_current = current.is_some_and(|current| current.status == "True");
        Ok((!is_current).then(|| format!("{name}: {current:?}")))
    }
}
