//! One sanctity game: beats of commands, administrators, faults, kills, backups and clocks.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_engine::{
    journal::{ChainedJournal as _, Journal as _, MemoryJournal, Record},
    model::Hash,
};
use vsiflow_steps::sim::{Faults, SimHostState};
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, Verdict},
    record::PowerAction,
};

use super::{
    administrator, defects, export,
    host_care::HostCare,
    oracle::DiskId,
    orders,
    pools::UserPool,
    user::{self, UserCommand},
    user_state::UserState,
    watch::TokenWatch,
};
use crate::{
    audit::CrashAudit,
    documents::POOL,
    gate::{CrashGate, CrashMoment},
    journals::{self, WorldJournals},
    ownership,
    sabotage::Defect,
    sim::{
        game_log,
        plan::{self, UserAction},
    },
    world::{CrashWorld, HOSTS, in_virtual_time, user},
};

const HOUR_MS: i64 = 3_600_000;
const GIB: u64 = 1 << 30;
/// How long the game waits at its end, while nothing is broken any more.
const CALM: Duration = Duration::from_secs(20 * 60);
/// Longer than any call of a dead process takes.
const CALLS_END: Duration = Duration::from_secs(10);

/// How much happened in a game.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SanctityReport {
    pub tokens: u64,
    pub ended: u32,
    pub commands: u32,
    pub refusals: u32,
    pub restarts: u32,
    pub restored: u32,
    pub events: usize,
    /// The hash of when which events were recorded, without identifiers that are drawn.
    pub trace: String,
}

/// A copy of the journal, and what the user knew when it was made.
struct JournalBackup {
    /// The offset of its last event.
    last: u64,
    user: UserState,
}

struct SanctityGame {
    world: CrashWorld,
    watch: Arc<TokenWatch>,
    user: UserState,
    random: StdRng,
    beats: u32,
    pending: Option<UserCommand>,
    /// The next slot that gets a good document before the beats begin.
    unmade: usize,
    /// Whether the pending command was given before, and its answer was lost.
    is_repeated: bool,
    backup: Option<JournalBackup>,
    /// Whether the backup is restored once the process is dead.
    restores_backup: bool,
    /// Whether the process works on everything, as a daemon does.
    is_daemon: bool,
    /// Whether the user also maintains hosts.
    cares_for_hosts: bool,
    log: Vec<String>,
    report: SanctityReport,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64, sabotage: Option<Defect>, aloud: bool) -> Result<SanctityReport, String> {
    in_virtual_time(async {
        let mut game = SanctityGame::new(seed, sabotage).await;
        let played = Box::pin(game.play()).await;
        if aloud {
            if played.is_err() {
                game_log::print_game(&game.world).await;
            }
            game.log.iter().for_each(|line| println!("{line}"));
        }
        played.map(|()| game.report)
    })
}

impl SanctityGame {
    async fn new(seed: u64, sabotage: Option<Defect>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut world = CrashWorld::new(sabotage).await;
        let watch = TokenWatch::new(world.hosts.clone(), world.audit.clone());
        world.watch = Some(watch.clone());
        let slots = plan::slots(&mut random);
        let user = UserState::new(slots, UserPool::draw(&mut random));
        Self {
            world,
            watch,
            user,
            beats: random.random_range(20..80),
            is_daemon: random.random_bool(0.5),
            cares_for_hosts: seed.is_multiple_of(4),
            random,
            pending: None,
            is_repeated: false,
            unmade: 0,
            backup: None,
            restores_backup: false,
            log: Vec::new(),
            report: SanctityReport::default(),
        }
    }

    async fn play(&mut self) -> Result<(), String> {
        loop {
            let gate = CrashGate::safe();
            if let Some(ended) = gate.outlived(self.live(&gate)).await {
                ended?;
                break;
            }
            self.died().await?;
        }
        let oracle = self.watch.oracle();
        (self.report.tokens, self.report.ended) = (oracle.next, oracle.ended);
        let ledger = self.world.audit.ledger();
        self.report.events = ledger.records.len();
        let events: String = ledger.records.iter().map(traced).collect();
        self.report.trace = Hash::of(events.as_bytes()).to_string();
        drop(ledger);
        oracle.verdict()
    }

    async fn died(&mut self) -> Result<(), String> {
        self.report.restarts += 1;
        self.is_repeated = self.pending.is_some();
        self.note("the process dies".to_owned());
        if std::mem::take(&mut self.restores_backup) {
            self.restore_backup().await?;
        }
        if self.random.random_bool(0.3) {
            self.administrator_defines().await;
        }
        if self.random.random_bool(0.4) {
            let downtime = self.random.random_range(1..20_000);
            tokio::time::sleep(Duration::from_millis(downtime)).await;
        }
        self.is_daemon = self.random.random_bool(0.5);
        Ok(())
    }

    /// While the process is down, the administrator gives guests the definitions that they had before a snapshot.
    async fn administrator_defines(&mut self) {
        for host in HOSTS {
            let sim = self.world.hosts.sim(host).await.unwrap();
            if let Some(what) = administrator::define_earlier(&sim, &self.watch).await {
                self.note(format!("the administrator: {what} on {host}"));
            }
        }
    }

    async fn start(&self, gate: &Arc<CrashGate>) -> Result<Fleet, FleetError> {
        let fleet = self.world.start(gate).await?;
        let mut open = fleet.interrupted().await?;
        let disks = fleet.disks().interrupted().await?;
        let snapshots = fleet.snapshots().interrupted().await?;
        open.extend(
            disks
                .into_iter()
                .chain(snapshots)
                .map(|(entity, ..)| entity),
        );
        fleet.resume(open, user()).await?;
        if self.is_daemon {
            fleet.drive_all().await?;
        }
        Ok(fleet)
    }

    async fn live(&mut self, gate: &Arc<CrashGate>) -> Result<(), String> {
        let started = self.start(gate).await;
        let fleet = started.map_err(|error| format!("no start: {error}"))?;
        loop {
            if let Some(command) = self.pending.clone() {
                self.report.commands += 1;
                self.perform(&fleet, &command).await;
                (self.pending, self.is_repeated) = (None, false);
            }
            self.look(&fleet).await?;
            if self.unmade < self.user.slots.len() {
                let vsi = user::first_document(&self.user.slots[self.unmade], &mut self.random);
                self.note(format!("the user: {vsi:?}"));
                self.pending = Some(UserCommand::Apply(self.unmade, Box::new(vsi)));
                self.unmade += 1;
                continue;
            }
            if self.beats == 0 {
                return self.end(&fleet).await;
            }
            self.beats -= 1;
            self.beat(gate).await;
        }
    }

    /// Looks at the hosts, and closes the orders of what has settled.
    async fn look(&mut self, fleet: &Fleet) -> Result<(), String> {
        defects::unasked(self.world.sabotage, fleet, &self.user).await;
        self.watch.look("a beat").await;
        self.watch.oracle().verdict()?;
        self.user
            .free_deleted_names(&self.world.audit, &mut self.watch.oracle());
        let working = fleet.working();
        for slot in 0..self.user.slots.len() {
            let UserAction::There(vsi) = self.user.slots[slot].desired.clone() else {
                continue;
            };
            let entity = ownership::entity(vsi.uid);
            let is_idle = !working.contains(&entity);
            let is_settled = is_idle && fleet.verdict(&entity) == Some(Verdict::Reached);
            let known = &mut self.user.known[slot];
            if is_settled {
                known.settled(&vsi, &mut self.watch.oracle());
            } else if !(is_idle && known.is_cancelled) {
                continue;
            }
            known.is_cancelled = false;
            for disk in orders::disks(&vsi) {
                self.close_orders(disk).await;
            }
        }
        if let Some(pool) = &self.user.pool
            && working.is_empty()
            && fleet.verdict(&pool.entity()) == Some(Verdict::Reached)
        {
            self.user.pool_has_settled(&mut self.watch.oracle());
        }
        self.snapshots_that_are_whole(fleet).await;
        self.watch.oracle().verdict()
    }

    async fn close_orders(&self, disk: DiskId) {
        if self.watch.oracle().has_order(disk) {
            let read = self.watch.defined_tokens(disk).await;
            self.watch.oracle().close_orders(disk, read.as_ref());
        }
    }

    async fn snapshots_that_are_whole(&self, fleet: &Fleet) {
        for snapshot in &self.user.snapshots {
            let entity = ownership::snapshot(snapshot.uid);
            if fleet.snapshots().is_ready(&entity) {
                let copied = self.watch.copied_tokens(snapshot.uid).await;
                self.watch.oracle().is_whole(snapshot.uid, &copied);
            }
        }
    }

    async fn beat(&mut self, gate: &CrashGate) {
        let random = &mut self.random;
        match random.random_range(0..24) {
            0..=7 => {
                let most = *[300, 3_000, 40_000, 120_000].choose(random).unwrap();
                let wait = random.random_range(0..most);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            8..=15 => {
                let pool = self.user.pool.as_ref();
                let pool = pool.filter(|_| random.random_bool(0.4));
                let command = match pool {
                    _ if self.cares_for_hosts && random.random_bool(0.2) => {
                        UserCommand::Hosts(HostCare::draw(random))
                    }
                    Some(pool) => UserCommand::Pool(pool.command(random)),
                    None => user::command(&self.user.slots, &self.user.snapshots, random),
                };
                self.note(format!("the user: {command:?}"));
                self.pending = Some(command);
            }
            16 => self.disturb().await,
            17..=19 => {
                let what = administrator::act(&self.world, &self.watch, random).await;
                self.note(format!("the administrator: {what}"));
                self.watch.oracle().may_have_started(None);
                self.watch.look(&format!("the administrator: {what}")).await;
            }
            20 | 21 => {
                let moments = [
                    CrashMoment::Before,
                    CrashMoment::Written,
                    CrashMoment::After,
                ];
                gate.die_in(random.random_range(0..80), *moments.choose(random).unwrap());
            }
            22 => {
                let hours = *[-24, -1, 1, 24, 24 * 40].choose(random).unwrap();
                self.world.clock.jump(hours * HOUR_MS);
            }
            // A journal that is restored does not know where members went since.
            _ if self.user.pool.as_ref().is_some_and(|pool| pool.is_placed) => {}
            _ if self.backup.is_some() => {
                self.restores_backup = true;
                gate.die();
                std::future::pending::<()>().await;
            }
            _ => self.back_up().await,
        }
    }

    /// Changes what works on a host.
    async fn disturb(&mut self) {
        let random = &mut self.random;
        let host = *HOSTS.choose(random).unwrap();
        let sim = self.world.hosts.sim(host).await.unwrap();
        match random.random_range(0..8) {
            0..=2 => {
                let (rate, most) = (random.random_range(0.02..0.4), random.random_range(1..60));
                let faults = Faults::seeded(random.random(), rate, most);
                sim.set_faults(faults).await;
            }
            3 => sim.set_faults(Faults::none()).await,
            4 => sim.with(toggle_pool).await,
            5 => sim.with(fill_or_clear).await,
            _ => sim.restart_with_guests().await,
        }
        self.note(format!("{host} is disturbed"));
        self.watch.oracle().may_have_started(None);
        self.watch.look(&format!("{host} is disturbed")).await;
    }

    /// Gives a command. It opens its orders before it is given, since its work may begin before its answer.
    async fn perform(&mut self, fleet: &Fleet, command: &UserCommand) {
        let command = self.user.completed(command);
        let orders = self.user.gives(&command, self.is_repeated, &self.watch);
        let done = self.give(fleet, &command).await;
        defects::move_away(&self.world, &self.user, &command).await;
        if let Err(error) = &done {
            self.report.refusals += 1;
            self.note(format!("  refused: {error}"));
        }
        let oracle = &mut self.watch.oracle();
        self.user
            .is_answered(command, &orders, done.is_ok(), oracle);
    }

    async fn give(&self, fleet: &Fleet, command: &UserCommand) -> Result<(), FleetError> {
        let defect = self.world.sabotage;
        if let UserCommand::Export(slot) = command {
            let disk = self.user.slots[*slot].standing().and_then(|vsi| vsi.disk);
            return match disk {
                Some(disk) => export::export(defect, fleet, &self.watch, disk).await,
                None => Ok(()),
            };
        }
        Box::pin(defects::give(defect, fleet, &self.user, command)).await
    }

    async fn back_up(&mut self) {
        let head = self.world.journals.current().head().await.unwrap();
        if let Some(head) = head {
            self.user.keeps_hosts = true;
            let user = self.user.clone();
            self.backup = Some(JournalBackup {
                last: head.last,
                user,
            });
            self.note(format!("a backup up to event {}", head.last));
        }
    }

    /// Replaces the journal by the backup, as `restore` and `restore --confirm` do. The user knows again what
    /// they knew then, and no order is open.
    async fn restore_backup(&mut self) -> Result<(), String> {
        let Some(backup) = self.backup.take() else {
            return Ok(());
        };
        tokio::time::sleep(CALLS_END).await;
        self.watch.look("the calls of the dead process").await;
        // What an order has ended by now is not held against the restored journal.
        let ordered = self.watch.oracle().ordered();
        for disk in ordered {
            self.close_orders(disk).await;
        }
        let old = self.world.journals.current();
        let words = |error: vsiflow_engine::journal::JournalError| error.to_string();
        let links = old.read_links(0, usize::MAX).await.map_err(words)?;
        let stored = old.read_stored(0, usize::MAX).await.map_err(words)?;
        let mut stored = stored.into_iter().map(|stored| stored.bytes);
        let restored = Arc::new(MemoryJournal::default());
        for link in links.iter().filter(|link| link.last <= backup.last) {
            let count = usize::try_from(link.last - link.first + 1).unwrap();
            let batch = stored.by_ref().take(count).collect();
            restored.restore(batch).await.map_err(words)?;
        }
        let voids_orders = self.world.sabotage != Some(Defect::OrdersOutliveRestore);
        journals::begin_new_incarnation(restored.as_ref(), voids_orders).await?;
        let audit = CrashAudit::new(self.world.hosts.clone());
        audit.durable(&restored.read_all(0, usize::MAX).await.map_err(words)?);
        self.world.journals = WorldJournals::Memory(restored);
        self.world.audit = audit.clone();
        self.watch.is_audited_by(audit);
        self.user = backup.user.restored(&self.user, &mut self.watch.oracle());
        self.pending = None;
        self.report.restored += 1;
        self.note(format!("the backup of event {} is restored", backup.last));
        Ok(())
    }

    /// Nothing is broken any more: whatever is tried again by itself is tried now, and power commands follow.
    async fn end(&mut self, fleet: &Fleet) -> Result<(), String> {
        for host in HOSTS {
            let sim = self.world.hosts.sim(host).await.unwrap();
            sim.set_faults(Faults::none()).await;
            sim.with(|state| {
                let pool = state.pools.get_mut(POOL).unwrap();
                (pool.active, pool.capacity) = (true, 100 * GIB);
            })
            .await;
            administrator::remove_machines(&sim, &self.watch).await;
        }
        if self.cares_for_hosts {
            for care in HostCare::ends() {
                self.perform(fleet, &UserCommand::Hosts(care)).await;
            }
        }
        tokio::time::sleep(CALM).await;
        self.look(fleet).await?;
        for slot in 0..self.user.slots.len() {
            for action in [PowerAction::Stop, PowerAction::Start] {
                let command = UserCommand::Power(slot, action, true);
                self.perform(fleet, &command).await;
                tokio::time::sleep(CALM / 10).await;
            }
            self.perform(fleet, &UserCommand::Retry(slot)).await;
        }
        tokio::time::sleep(CALM).await;
        self.look(fleet).await
    }

    fn note(&mut self, line: String) {
        let event = self.world.audit.ledger().records.len();
        self.log.push(format!("[event {event}] {line}"));
    }
}

/// A line about an event: its time and what it says before its payload, without the identifiers in it.
fn traced(record: &Record) -> String {
    let (at, said) = (record.event.at.0, format!("{:?}", record.event.kind));
    let said = said.split('[').next().unwrap_or_default();
    let is_drawn = |word: &&str| word.len() >= 26;
    let words = said.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !is_drawn(word)).collect();
    format!("{at} {}\n", words.join(" "))
}

fn toggle_pool(state: &mut SimHostState) {
    let pool = state.pools.get_mut(POOL).unwrap();
    pool.active = !pool.active;
}

fn fill_or_clear(state: &mut SimHostState) {
    let pool = state.pools.get_mut(POOL).unwrap();
    let used = pool.capacity.saturating_sub(pool.available());
    let is_roomy = pool.available() > GIB;
    pool.capacity = if is_roomy { used + 1_000 } else { 100 * GIB };
}
