//! Watches the hosts: by what they tell of their domains, and by a slow look again and again. Beside
//! that their guests are looked at.
//!
//! Each host has a watcher of its own, so that one that is slow or dead delays nobody else.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;
use vsiflow_engine::model::EntityId;
use vsiflow_steps::ports::HostChanges;

use crate::fleet::{
    DriftReport, Fleet, FleetError, HostHandle,
    host::scan::{ScanMode, is_watched},
    index::Known,
    unreadable::DesiredReading,
};
use crate::record::vsi_entity;

/// Scans that may wait to be reported.
pub const SCAN_QUEUE: usize = 64;
/// How often hosts that came since are looked for.
const NEW_HOSTS: Duration = Duration::from_secs(5);
/// What happens together is looked at together.
const TOGETHER: Duration = Duration::from_millis(300);
/// A subscription that ended is made anew after that long.
const AGAIN: Duration = Duration::from_secs(1);

/// A look at one host.
#[derive(Clone, Debug)]
pub struct HostScan {
    /// The host's id.
    pub host: String,
    /// Whether all its VSIs were looked at, or only those it told of.
    pub whole: bool,
    /// What it came to.
    pub report: DriftReport,
}

/// What ended a wait for changes.
enum HostChange {
    /// These VSIs are to be looked at.
    Of(BTreeSet<Uuid>),
    /// It is time for, or something calls for, a look at everything.
    Everything,
}

/// What looks at a host read of its VSIs: the next one reads again only what changed since.
#[derive(Default)]
pub(in crate::fleet) struct ReadOfHost(Mutex<HashMap<EntityId, Known>>);

impl ReadOfHost {
    fn take(&self) -> HashMap<EntityId, Known> {
        std::mem::take(&mut *self.lock())
    }

    fn put(&self, known: &[Known]) {
        let all = known.iter();
        *self.lock() = all.map(|one| (one.entity.clone(), one.clone())).collect();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntityId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostHandle<'_> {
    /// Watches every host with VSIs until the journal fails: looks when it tells that a domain
    /// changed, and at everything each `every`; acts as [`HostHandle::scan`] does. Each look is sent to
    /// `scans`.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn watch(
        self,
        every: Duration,
        scans: mpsc::Sender<HostScan>,
    ) -> Result<Infallible, FleetError> {
        let mut watchers = JoinSet::new();
        let mut watched = BTreeSet::new();
        loop {
            for host in self.fleet.directory.ids() {
                if watched.insert(host.clone()) {
                    let fleet = self.fleet.clone();
                    let scans = scans.clone();
                    watchers.spawn(async move {
                        let read = ReadOfHost::default();
                        let guests = fleet.watch_guests(&host, every, &read, &scans);
                        let domains = fleet.watch_domains(&host, every, &read, &scans);
                        tokio::try_join!(guests, domains).map(|(never, _)| never)
                    });
                }
            }
            tokio::select! {
                () = sleep(NEW_HOSTS.min(every)) => {}
                Some(ended) = watchers.join_next() => return ended.unwrap_or_else(panicked),
            }
        }
    }
}

impl Fleet {
    async fn watch_domains(
        &self,
        host: &str,
        every: Duration,
        read: &ReadOfHost,
        scans: &mpsc::Sender<HostScan>,
    ) -> Result<Infallible, FleetError> {
        let mut changes = None;
        loop {
            let next = Instant::now() + every;
            let known = self.watched_on(host, read).await?;
            if known.is_empty() {
                changes = None;
                sleep(NEW_HOSTS.min(every)).await;
                continue;
            }
            if changes.is_none() {
                changes = self.subscribe(host).await;
            }
            self.scan_and_publish(host, known, true, scans).await?;
            while let HostChange::Of(domains) = changed(&mut changes, next).await {
                let changed_vsis = self.watched_of(&domains).await?;
                if !changed_vsis.is_empty()
                    && self
                        .scan_and_publish(host, changed_vsis, false, scans)
                        .await?
                {
                    break;
                }
            }
        }
    }

    /// Looks; whether the host was restarted, so that everything is to be looked at.
    pub(in crate::fleet) async fn scan_and_publish(
        &self,
        host: &str,
        known: Vec<Known>,
        whole: bool,
        scans: &mpsc::Sender<HostScan>,
    ) -> Result<bool, FleetError> {
        let act = if whole {
            ScanMode::All
        } else {
            ScanMode::Restore
        };
        let report = self.scan_host(host.to_owned(), known, act).await?;
        let restarted = !report.restarted.is_empty();
        let host = host.to_owned();
        let look = HostScan {
            host,
            whole,
            report,
        };
        // Nobody listens any more only when the process ends.
        let _ = scans.send(look).await;
        Ok(restarted)
    }

    /// A host that does not answer, or tells nothing, is looked at all the same.
    async fn subscribe(&self, host: &str) -> Option<Box<dyn HostChanges>> {
        let ports = self.hosts.host(host).await.ok()?;
        ports.host.changes().await.ok().flatten()
    }

    /// The VSIs on a host that are looked at.
    pub(in crate::fleet) async fn watched_on(
        &self,
        host: &str,
        read: &ReadOfHost,
    ) -> Result<Vec<Known>, FleetError> {
        let mut known = self.known_on_since(host, &read.take()).await?;
        known.retain(|known| known.record.vsi.host == host && is_watched(known));
        read.put(&known);
        Ok(known)
    }

    pub(in crate::fleet) async fn watched_of(
        &self,
        domains: &BTreeSet<Uuid>,
    ) -> Result<Vec<Known>, FleetError> {
        let mut all = Vec::new();
        for entity in domains.iter().filter_map(|uid| vsi_entity(*uid).ok()) {
            let Some(state) = self
                .engine
                .entity(&entity)
                .filter(|state| state.is_settled())
            else {
                continue;
            };
            if let DesiredReading::Record(record) = self.read_desired(&entity, &state).await? {
                all.push(self.known_as(entity, state, Arc::new(record)).await?);
            }
        }
        all.retain(is_watched);
        Ok(all)
    }
}

/// Waits for changes until then; what comes within a moment is taken together.
async fn changed(changes: &mut Option<Box<dyn HostChanges>>, until: Instant) -> HostChange {
    let Some(subscription) = changes else {
        tokio::time::sleep_until(until).await;
        return HostChange::Everything;
    };
    let (mut domains, mut until) = (BTreeSet::new(), until);
    loop {
        match timeout_at(until, subscription.next()).await {
            Ok(Ok(Some(domain))) => {
                if domains.is_empty() {
                    until = until.min(Instant::now() + TOGETHER);
                }
                domains.insert(domain);
            }
            Ok(Ok(None)) => return HostChange::Everything,
            Ok(Err(_ended)) => {
                *changes = None;
                sleep(AGAIN).await;
                return HostChange::Everything;
            }
            Err(_elapsed) if domains.is_empty() => return HostChange::Everything,
            Err(_elapsed) => return HostChange::Of(domains),
        }
    }
}

fn panicked(error: JoinError) -> Result<Infallible, FleetError> {
    Err(FleetError::defect(format!(
        "a watcher of hosts ended: {error}"
    )))
}
