//! One game: a number of beats, each a pause, a command, a fault, a jump of the clock or a crash.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_engine::model::{EntityState, Hash};
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, ReplacementPlace, ShutdownPolicy},
    record::PowerAction,
};

use super::{
    game_log,
    plan::{self, PendingCommand, Slot, UserAction},
    settle, traffic, weather,
};
use crate::{
    check, documents,
    gate::{CrashGate, CrashMoment},
    ownership,
    sabotage::Defect,
    story,
    world::{CrashWorld, HOSTS, in_virtual_time, user},
};

const HOUR_MS: i64 = 3_600_000;

/// The result of a game.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub events: usize,
    pub calls: usize,
    pub restarts: usize,
    /// Every event and every call that a host received, in order and with its time.
    pub digest: String,
}

/// A game that is being played.
pub struct SimGame {
    pub world: CrashWorld,
    pub slots: Vec<Slot>,
    /// VSIs that were forgotten, whose objects remain on the hosts.
    pub forgotten: Vec<uuid::Uuid>,
    random: StdRng,
    beats: u32,
    pending: Option<PendingCommand>,
    restarts: usize,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64, sabotage: Option<Defect>) -> Result<Report, String> {
    in_virtual_time(async { SimGame::new(seed, sabotage).await.play().await })
}

/// Plays the game of this seed, and prints its log if it fails.
pub fn play_aloud(seed: u64) -> Result<Report, String> {
    in_virtual_time(async {
        let mut game = SimGame::new(seed, None).await;
        let played = game.play().await;
        if played.is_err() {
            game_log::print_game(&game.world).await;
        }
        played
    })
}

impl SimGame {
    async fn new(seed: u64, sabotage: Option<Defect>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let world = CrashWorld::new(sabotage).await;
        weather::begin(&world).await;
        Self {
            world,
            slots: plan::slots(&mut random),
            forgotten: Vec::new(),
            beats: random.random_range(15..70),
            random,
            pending: None,
            restarts: 0,
        }
    }

    async fn play(&mut self) -> Result<Report, String> {
        self.lives().await?;
        settle::settle(self).await?;
        Ok(self.report().await)
    }

    async fn lives(&mut self) -> Result<(), String> {
        loop {
            let gate = CrashGate::safe();
            if let Some(ended) = gate.outlived(self.live(&gate)).await {
                return ended;
            }
            self.restarts += 1;
            check::acknowledged_is_there(&self.world).await?;
            if self.random.random_bool(0.4) {
                let downtime = self.random.random_range(1..20_000);
                tokio::time::sleep(Duration::from_millis(downtime)).await;
            }
        }
    }

    /// Starts a process and resumes the interrupted work.
    pub async fn start(&self, gate: &Arc<CrashGate>) -> Result<Fleet, String> {
        let words = |error: FleetError| format!("no start: {error}");
        let fleet = self.world.start(gate).await.map_err(words)?;
        check::lives_by_the_journal(&self.world, &fleet)?;
        tokio::spawn(traffic::watch(fleet.notices(), self.world.audit.clone()));
        let mut open = fleet.interrupted().await.map_err(words)?;
        let disks = fleet.disks().interrupted().await.map_err(words)?;
        open.extend(disks.into_iter().map(|(disk, ..)| disk));
        fleet.resume(open, user()).await.map_err(words)?;
        Ok(fleet)
    }

    async fn live(&mut self, gate: &Arc<CrashGate>) -> Result<(), String> {
        let fleet = self.start(gate).await?;
        loop {
            if let Some(command) = self.pending.clone() {
                self.perform(&fleet, &command).await?;
                self.pending = None;
            }
            self.world.audit.verdict()?;
            if self.beats == 0 {
                return check::lives_by_the_journal(&self.world, &fleet);
            }
            self.beats -= 1;
            self.beat(gate).await;
        }
    }

    async fn beat(&mut self, gate: &CrashGate) {
        let random = &mut self.random;
        match random.random_range(0..20) {
            0..=6 => {
                let most = *[30, 300, 3_000, 40_000].choose(random).unwrap();
                let wait = random.random_range(0..most);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            7..=13 => self.pending = Some(plan::command(&self.slots, random)),
            14..=16 => weather::change(&self.world, random).await,
            17 | 18 => {
                let moments = [
                    CrashMoment::Before,
                    CrashMoment::Written,
                    CrashMoment::After,
                ];
                gate.die_in(random.random_range(0..80), *moments.choose(random).unwrap());
            }
            _ => {
                let hours = *[-24, -1, 1, 24].choose(random).unwrap();
                self.world.clock.jump(hours * HOUR_MS);
            }
        }
    }

    async fn perform(&mut self, fleet: &Fleet, command: &PendingCommand) -> Result<(), String> {
        self.free_deleted_names();
        let words = |error: FleetError| format!("{command:?}: {error}");
        match command {
            PendingCommand::Apply(slot, vsi) => {
                return self.apply(fleet, *slot, vsi).await.map_err(words);
            }
            PendingCommand::Delete(slot, orphan) => {
                return self.delete(fleet, *slot, *orphan).await.map_err(words);
            }
            PendingCommand::Cancel(slot) => {
                if self.slots[*slot].vsi().is_some() {
                    let entity = ownership::entity(self.slots[*slot].uid());
                    fleet.cancel(entity, user()).await.map_err(words)?;
                }
            }
            PendingCommand::Retry(slot) => {
                let entity = ownership::entity(self.slots[*slot].uid());
                fleet.retry(entity, user()).await.map_err(words)?;
            }
            PendingCommand::Power(slot, action, force) => {
                let name = self.slots[*slot].name;
                power(fleet, name, *action, *force).await.map_err(words)?;
            }
            PendingCommand::Approve(slot) => {
                self.approve(fleet, *slot).await.map_err(words)?;
            }
            PendingCommand::Look => drop(fleet.hosts().scan(true).await.map_err(words)?),
            PendingCommand::Resume => {
                let open = fleet.interrupted().await.map_err(words)?;
                fleet.resume(open, user()).await.map_err(words)?;
            }
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        fleet: &Fleet,
        slot: usize,
        vsi: &documents::VsiDocument,
    ) -> Result<(), FleetError> {
        let mut vsi = vsi.clone();
        // The VSI that had the name may have been deleted since the document was written.
        let named = &self.slots[slot];
        vsi.uid = named.uid();
        if !matches!(named.desired, UserAction::There(_)) {
            vsi.disk = vsi.disk.map(|_| named.disk());
        }
        let is_changed = match &self.slots[slot].desired {
            UserAction::There(before) => format!("{before:?}") != format!("{vsi:?}"),
            UserAction::Nothing | UserAction::Gone(_) => false,
        };
        if is_changed {
            self.world.audit.user_asked_to_destroy(vsi.uid);
        }
        match fleet
            .apply(documents::resolved(std::slice::from_ref(&vsi)), user())
            .await
        {
            Ok(_) => {
                // A Hyper Protect guest whose first boot failed gets a fresh disk by its document.
                if vsi.server.is_some() {
                    self.world.audit.user_made(vsi.uid);
                }
                self.slots[slot].desired = UserAction::There(Box::new(vsi));
            }
            Err(error)
                if matches!(
                    error.failure.code.as_str(),
                    "VSI0041" | "VSI0701" | "VSI0702"
                ) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Approves and starts the VSI of a slot, if there should be one.
    pub async fn approve_and_start(&self, fleet: &Fleet, slot: &Slot) -> Result<(), FleetError> {
        if !matches!(slot.desired, UserAction::There(_)) {
            return Ok(());
        }
        let place = self.slots.iter().position(|other| other.name == slot.name);
        self.approve(fleet, place.unwrap_or_default()).await?;
        power(fleet, slot.name, PowerAction::Start, false).await
    }

    /// Approves a VSI's change. It is not an error if no VSI has the name or no change waits.
    async fn approve(&self, fleet: &Fleet, slot: usize) -> Result<(), FleetError> {
        self.ask_to_destroy(slot);
        let names = [self.slots[slot].name.to_owned()];
        match fleet.vsis().approve("default", &names, user()).await {
            Err(error)
                if matches!(
                    error.failure.code.as_str(),
                    "VSI0702" | "VSI0703" | "VSI0704"
                ) =>
            {
                Ok(())
            }
            done => done.map(drop),
        }
    }

    async fn delete(&mut self, fleet: &Fleet, slot: usize, orphan: bool) -> Result<(), FleetError> {
        let name = self.slots[slot].name;
        let desired = &mut self.slots[slot].desired;
        if let UserAction::There(vsi) | UserAction::Gone(vsi) = desired {
            let vsi = vsi.clone();
            self.world.audit.user_asked_to_destroy(vsi.uid);
            story::delete(fleet, name, orphan).await?;
            *desired = UserAction::Gone(vsi);
        }
        Ok(())
    }

    /// Orders the deletion of the VSI of a slot again.
    pub async fn delete_again(&self, fleet: &Fleet, slot: &Slot) -> Result<(), FleetError> {
        self.world.audit.user_asked_to_destroy(slot.uid());
        story::delete(fleet, slot.name, false).await
    }

    /// Orders a new boot disk for the VSI of a slot. It is not an error if none can be made.
    pub async fn rebuild(&self, fleet: &Fleet, slot: &Slot) -> Result<(), FleetError> {
        self.world.audit.user_asked_to_destroy(slot.uid());
        let rebuilt = fleet
            .vsis()
            .rebuild("default", slot.name, ReplacementPlace::Beside, user())
            .await;
        match rebuilt {
            Err(error) if error.failure.code.as_str().starts_with("VSI07") => Ok(()),
            done => done.map(drop),
        }
    }

    fn ask_to_destroy(&self, slot: usize) {
        if let Some(slot) = self.slots.get(slot) {
            self.world.audit.user_asked_to_destroy(slot.uid());
        }
    }

    /// Frees the names whose VSIs are deleted.
    pub fn free_deleted_names(&mut self) {
        let ledger = self.world.audit.ledger();
        for slot in &mut self.slots {
            let uid = slot.uid();
            let Some(entity) = ledger.vsi(uid).filter(|entity| is_deleted(entity)) else {
                continue;
            };
            if !matches!(slot.desired, UserAction::Gone(_)) {
                continue;
            }
            // Read from the journal, because the answer to the command may have been lost.
            let last = entity.last.as_ref().map(|last| last.workflow.as_str());
            if last == Some("forget_vsi") {
                self.forgotten.push(uid);
                slot.forgotten += 1;
            }
            slot.desired = UserAction::Nothing;
            slot.age += 1;
        }
    }

    async fn report(&self) -> Report {
        let mut lines = Vec::new();
        let events = {
            let ledger = self.world.audit.ledger();
            for record in &ledger.records {
                lines.push(format!(
                    "{} {}",
                    record.event.at.0,
                    record.event.kind.type_name()
                ));
            }
            ledger.records.len()
        };
        let mut calls = 0;
        for host in HOSTS {
            let received = self.world.hosts.sim(host).await.unwrap().calls().await;
            calls += received.len();
            lines.push(format!("{received:?}"));
        }
        let digest = Hash::of(lines.join("\n").as_bytes()).to_string();
        let restarts = self.restarts;
        Report {
            events,
            calls,
            restarts,
            digest,
        }
    }
}

/// Gives a power command. It is not an error if the VSI does not exist or is in another state, because a user
/// may not know that.
pub async fn power(
    fleet: &Fleet,
    name: &str,
    action: PowerAction,
    force: bool,
) -> Result<(), FleetError> {
    let how = ShutdownPolicy {
        timeout_s: None,
        force,
    };
    let done = fleet
        .vsis()
        .power("default", name, action, how, user())
        .await;
    match done {
        Err(error)
            if matches!(
                error.failure.code.as_str(),
                "VSI0041" | "VSI0702" | "VSI0703" | "VSI0705"
            ) =>
        {
            Ok(())
        }
        done => done.map(drop),
    }
}

fn is_deleted(entity: &EntityState) -> bool {
    let state = entity.state.as_ref().map(|(name, _)| name.as_str());
    state == Some("Deleted")
}
