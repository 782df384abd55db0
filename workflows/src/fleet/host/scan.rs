//! Scans hosts for drift: changes that were made outside vsiflow, and guests to start again after a restart
//! of the host.

use std::{
    collections::{BTreeMap, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream};
use serde::Deserialize;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityState, Failure, Name, Text},
    step::Step as _,
};
use vsiflow_steps::{
    guest::Seed,
    names,
    ports::{DomainInfo, DomainShape, HostFacts, HostPorts, VolumeKey},
    vsi::{Addresses, AdoptDomain, DefineDomain, StartDomain},
};

use crate::fleet::{
    Fleet, FleetError, HostHandle, apply::predecessor, index::Known, network::object,
    store::DesiredUpdates,
};
use crate::{
    drift::{self, DriftFinding, Expected},
    phase::{Phase, is_gone},
    record::{Power, PowerAction, vsi_entity},
    spec::{OnDrift, PowerState},
    vsi_graph,
};

/// How many hosts are scanned at the same time.
const CONCURRENT_HOSTS: usize = 16;
/// How many guests of one host start at the same time after its restart.
const CONCURRENT_STARTS: usize = 4;
/// How many runs a VSI may have within which time for drift to be restored; beyond that it is only
/// reported.
const RESTORE_LIMIT: (usize, Duration) = (5, Duration::from_secs(600));

/// The result of a scan of all hosts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriftReport {
    /// VSIs that differ from what vsiflow wrote, and how.
    pub drifted: Vec<(String, Vec<DriftFinding>)>,
    /// VSIs that are started again because their host was restarted.
    pub restarted: Vec<String>,
    /// VSIs that are being restored.
    pub restored: Vec<String>,
    /// Hosts that could not be scanned.
    pub unreachable: Vec<(String, Failure)>,
}

/// The actions that a scan may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum ScanMode {
    /// Drift is only recorded.
    Nothing,
    /// VSIs with `onDrift: Restore` are restored.
    Restore,
    /// Also, VSIs of a restarted host are started again.
    All,
}

impl DriftReport {
    fn add(&mut self, other: Self) {
        self.drifted.extend(other.drifted);
        self.restarted.extend(other.restarted);
        self.restored.extend(other.restored);
        self.unreachable.extend(other.unreachable);
    }
}

/// What a scan reads from the output of the step that defined or adopted a domain.
#[derive(Default, Deserialize)]
struct DefineOutput {
    #[serde(default)]
    written: Option<DomainShape>,
}

/// What a scan reads from the output of the step that started or adopted a domain.
#[derive(Default, Deserialize)]
struct StartOutput {
    #[serde(default)]
    boot_id: Option<String>,
}

/// A VSI and what a scan found.
struct SeenVsi {
    known: Known,
    /// Its host was restarted since the guest was started.
    restarted: bool,
    findings: Vec<DriftFinding>,
}

impl HostHandle<'_> {
    /// Scans every settled VSI on its host, and records new differences. With `act`, VSIs with `onDrift:
    /// Restore` are restored, and after a restart of a host the VSIs that are to run are started again, in
    /// order and a few at a time.
    ///
    /// # Errors
    /// When the journal cannot be read or written. A host that does not answer is part of the report.
    pub async fn scan(self, act: bool) -> Result<DriftReport, FleetError> {
        let mut by_host = BTreeMap::<String, Vec<Known>>::new();
        for known in self.fleet.known().await?.into_iter().filter(is_watched) {
            let host = known.record.vsi.host.clone();
            by_host.entry(host).or_default().push(known);
        }
        let looks = by_host.into_iter();
        let act = if act {
            ScanMode::All
        } else {
            ScanMode::Nothing
        };
        let looks = looks.map(|(host, known)| async move {
            self.fleet.scan_guests(&host, known.clone()).await?;
            self.fleet.scan_host(host, known, act).await
        });
        let mut all = DriftReport::default();
        let mut looks = stream::iter(looks).buffered(CONCURRENT_HOSTS);
        while let Some(report) = looks.next().await {
            all.add(report?);
        }
        Ok(all)
    }
}

impl Fleet {
    /// Scans these settled VSIs, all of one host.
    pub(in crate::fleet) async fn scan_host(
        &self,
        host: String,
        known: Vec<Known>,
        act: ScanMode,
    ) -> Result<DriftReport, FleetError> {
        let act = self.global_pause().map_or(act, |_| ScanMode::Nothing);
        let (mut report, mut updates) = (DriftReport::default(), DesiredUpdates::default());
        // An error while reading one host concerns only that host.
        let seen = AssertUnwindSafe(self.scan_vsis(&host, known)).catch_unwind();
        match seen.await.unwrap_or_else(|_| Err(panicked(&host))) {
            Ok(seen) => {
                self.reach.record(&host, None);
                self.record_scans(seen, act, &mut report, &mut updates)
                    .await?;
            }
            Err(error) => {
                let message = error.failure.message.as_str().to_owned();
                self.reach.record(&host, Some(message));
                report.unreachable.push((host, *error.failure));
            }
        }
        let by = engine("found by a scan of the host");
        self.record(updates, by).await?;
        self.record_machines().await?;
        Ok(report)
    }

    async fn scan_vsis(&self, host: &str, known: Vec<Known>) -> Result<Vec<SeenVsi>, FleetError> {
        let ports = self.hosts.host(host).await.map_err(Failure::from)?;
        let facts = ports.host.facts().await.map_err(Failure::from)?;
        if let Some(seen) = ports.host.uuid().await.map_err(Failure::from)? {
            self.reach.saw_uuid(host, &seen);
        }
        let domains = ports.domains.domains().await.map_err(Failure::from)?;
        let networks = object::broken(&ports, &known).await?;
        let domains: HashMap<_, _> = domains.iter().map(|one| (one.uuid, one)).collect();
        let mut addresses = Addresses::on(&ports);
        let mut all = Vec::new();
        for vsi in known {
            let mut seen = self.see(&ports, &facts, &domains, vsi).await?;
            let record = &seen.known.record;
            let domain = domains.get(&record.uid);
            let runs = domain.is_some_and(|domain| domain.state.is_active());
            if runs {
                let found = addresses.of(record.uid, &vsi_graph::cards(record)).await;
                let is_there = |uid| self.has_vsi(uid);
                self.addresses.put(record.uid, found, is_there);
                let own = record.vsi.networks.iter();
                let broken = own.filter_map(|name| networks.get(name));
                seen.findings.extend(broken.cloned());
                seen.findings.extend(self.of_guest(&seen.known));
            }
            all.push(seen);
        }
        all.sort_by_cached_key(|seen| seen.known.record.vsi.full_name());
        Ok(all)
    }

    fn has_vsi(&self, uid: Uuid) -> bool {
        vsi_entity(uid).is_ok_and(|entity| {
            let state = self.engine.entity(&entity);
            state.is_some_and(|state| !is_gone(&entity, &state))
        })
    }

    async fn see(
        &self,
        ports: &HostPorts,
        facts: &HostFacts,
        domains: &HashMap<Uuid, &DomainInfo>,
        known: Known,
    ) -> Result<SeenVsi, FleetError> {
        let (uid, power) = (known.record.uid, known.record.power_state());
        let written = self.written(&known.state).await?;
        let booted = [StartDomain::NAME, AdoptDomain::NAME];
        let started: StartOutput = self.output_of_newest(&booted, &known.state).await?;
        let autostart = vsi_graph::autostarts(&known.record.vsi, power);
        let expected = Expected {
            power,
            autostart,
            written,
        };
        let domain = domains.get(&uid).copied();
        let mut findings = match domain.filter(|domain| !self.is_ours(domain, uid)) {
            Some(domain) => drift::unmarked(power, domain),
            None => drift::findings(&expected, domain),
        };
        let runs = domain.is_some_and(|domain| domain.state.is_active());
        for (what, volume) in volumes(&known, runs) {
            let there = ports.storage.volume(&volume).await;
            if there.map_err(Failure::from)?.is_none() {
                findings.push(drift::gone(&what, &volume.to_string()));
            }
        }
        let boots = started.boot_id.as_deref().zip(facts.boot_id.as_deref());
        let rebooted = boots.is_some_and(|(then, now)| then != now);
        let restarted = rebooted
            && power != PowerState::Stopped
            && (findings.is_empty() || drift::is_power_alone(&findings));
        Ok(SeenVsi {
            known,
            restarted,
            findings,
        })
    }

    /// The shape of the domain that was written last, or found when the VSI was adopted.
    async fn written(&self, state: &EntityState) -> Result<Option<DomainShape>, FleetError> {
        let steps = [DefineDomain::NAME, AdoptDomain::NAME];
        let defined: DefineOutput = self.output_of_newest(&steps, state).await?;
        Ok(defined.written)
    }

    fn is_ours(&self, domain: &DomainInfo, uid: Uuid) -> bool {
        let ours = |mark: &vsiflow_steps::ports::OwnerMark| {
            mark.journal == *self.journal_id && mark.uid == uid.to_string()
        };
        domain.mark.as_ref().is_some_and(ours)
    }

    async fn record_scans(
        &self,
        seen: Vec<SeenVsi>,
        act: ScanMode,
        report: &mut DriftReport,
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        let mut to_start: Vec<Known> = Vec::new();
        for seen_vsi in seen {
            let name = seen_vsi.known.label();
            if seen_vsi.restarted {
                report.restarted.push(name);
                to_start.push(seen_vsi.known);
                continue;
            }
            self.note(&seen_vsi).await?;
            if seen_vsi.findings.is_empty() {
                continue;
            }
            let mendable = drift::is_mendable(&seen_vsi.findings);
            if act != ScanMode::Nothing && mendable && self.may_restore(&seen_vsi.known) {
                self.restore(&seen_vsi.known, updates).await?;
                report.restored.push(name.clone());
            }
            report.drifted.push((name, seen_vsi.findings));
        }
        if act == ScanMode::All {
            self.start_again(&to_start, updates).await?;
        }
        Ok(())
    }

    /// Records the findings if they are new.
    async fn note(&self, seen: &SeenVsi) -> Result<(), FleetError> {
        let known = &seen.known;
        let recorded = known.state.state.as_ref();
        let was_recorded = recorded.is_some_and(|(_, detail)| drift::tells_drift(detail));
        let (phase, detail) = match seen.findings.as_slice() {
            [] if !was_recorded => return Ok(()),
            [] => (settled(known), Text::default()),
            found if drift::runs(found) => (Phase::Degraded, drift::findings_text(found)),
            found => (Phase::Failed, drift::findings_text(found)),
        };
        let (entity, by) = (known.entity.clone(), engine("found by a scan of the host"));
        let phase = Name::of(phase.as_str());
        Ok(self.engine.note_state(entity, phase, detail, by).await?)
    }

    fn may_restore(&self, known: &Known) -> bool {
        let (most, within) = RESTORE_LIMIT;
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let now = self.clock.now().0;
        // A run that is far in the future was begun while the clock was ahead.
        let recent =
            |run: &&vsiflow_engine::model::RunId| now.abs_diff(run.0.timestamp_ms()) < within;
        let runs = known.state.runs.iter().filter(recent).count();
        known.record.vsi.on_drift == OnDrift::Restore && runs <= most
    }

    /// Writes the domain again as it was written last, and brings the guest to its desired power state.
    /// Nothing is made again.
    async fn restore(&self, known: &Known, updates: &mut DesiredUpdates) -> Result<(), FleetError> {
        let mut restored = known.clone();
        Arc::make_mut(&mut restored.record).restore = true;
        self.power_update(&restored, power(known), false, None, updates)
            .await
    }

    /// Starts guests again, in the order of their names, a few at a time.
    async fn start_again(
        &self,
        to_start: &[Known],
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        for (place, known) in to_start.iter().enumerate() {
            let before = place
                .checked_sub(CONCURRENT_STARTS)
                .and_then(|at| to_start.get(at));
            let before = before.map(|before| predecessor(before, true));
            self.power_update(known, power(known), false, before, updates)
                .await?;
        }
        Ok(())
    }
}

/// Whether a VSI is scanned: it was made, it is settled, and it is not being deleted.
pub(in crate::fleet) fn is_watched(known: &Known) -> bool {
    let state = &known.state;
    let stays = !known.is_deleted() && !crate::fleet::apply::is_deleting(state);
    known.unreadable.is_none() && state.is_settled() && state.reached > 0 && stays
}

fn settled(known: &Known) -> Phase {
    match known.record.power_state() {
        PowerState::Running => Phase::Running,
        PowerState::Stopped => Phase::Stopped,
        PowerState::Paused => Phase::Paused,
    }
}

/// The command that brings a guest to its desired power state, even if that state is recorded as reached.
fn power(known: &Known) -> Power {
    let state = known.record.power_state();
    Power {
        state,
        action: Some(PowerAction::to(state)),
        grace_s: vsi_graph::GRACE_S,
        drained: known.record.power.and_then(|power| power.drained),
    }
}

/// The volumes that a VSI's domain names, with their display names. A boot disk that lasts for one start
/// may be gone while its guest is off.
fn volumes(known: &Known, runs: bool) -> Vec<(String, VolumeKey)> {
    let (record, pool) = (&known.record, &known.record.vsi.pool);
    let seed = names::seed(pool, record.uid, record.vsi.seed());
    let what = match record.vsi.seed() {
        Seed::Cidata => "cidata",
        _ => "Ignition's configuration",
    };
    let boot = (runs || !vsi_graph::is_ephemeral(&record.vsi))
        .then(|| vsi_graph::BootDisks::of(record, &known.state.objects).current());
    let boot = boot.map(|volume| ("boot disk".to_owned(), volume));
    let own = boot
        .into_iter()
        .chain(seed.map(|seed| (what.to_owned(), seed)));
    let named = record.adopted.as_ref().is_none_or(|a| a.own_volumes);
    let own = own.filter(move |_| named);
    let disks = record.vsi.disks.iter();
    let disks = disks.map(|disk| {
        (
            format!("data disk {}", disk.name),
            vsi_graph::volume(record, disk),
        )
    });
    own.chain(disks).collect()
}

fn panicked(host: &str) -> FleetError {
    FleetError::defect(format!("a look at {host} ended in a panic"))
}

fn engine(reason: &str) -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new(reason),
    }
}
