//! Watches the hosts: by their domain events, and by a slow periodic scan. Their guests are scanned as
//! well.
//!
//! Each host has its own watcher, so a slow or dead host does not delay the others.

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

/// How many scans may wait to be reported.
pub const SCAN_QUEUE: usize = 64;
/// How often new hosts are looked for.
const NEW_HOSTS_INTERVAL: Duration = Duration::from_secs(5);
/// Events within this time are handled in one scan.
const BATCH_WINDOW: Duration = Duration::from_millis(300);
/// The delay before a subscription that ended is renewed.
const RESUBSCRIBE_DELAY: Duration = Duration::from_secs(1);

/// A scan of one host.
#[derive(Clone, Debug)]
pub struct HostScan {
    /// The host's id.
    pub host: String,
    /// Whether all its VSIs were scanned, or only those it reported events of.
    pub whole: bool,
    /// The result.
    pub report: DriftReport,
}

/// The reason why a wait for changes ended.
enum HostChange {
    /// These VSIs are to be scanned.
    Of(BTreeSet<Uuid>),
    /// A full scan is due, or something requires one.
    Everything,
}

/// The VSIs of a host as the last scan read them. The next scan reads only changed ones again.
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
    /// Watches every host with VSIs until the journal fails. Scans a VSI when its host reports that the
    /// domain changed, and all VSIs at each interval `every`. Acts as [`HostHandle::scan`] does. Each scan
    /// is sent to `scans`.
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
                () = sleep(NEW_HOSTS_INTERVAL.min(every)) => {}
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
                sleep(NEW_HOSTS_INTERVAL.min(every)).await;
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

    /// Scans these VSIs and reports the result. Returns whether the host was restarted, so that all its
    /// VSIs are to be scanned.
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
        // The receiver is closed only when the process ends.
        let _ = scans.send(look).await;
        Ok(restarted)
    }

    /// Subscribes to a host's domain events. A host that does not answer, or has no events, is scanned all
    /// the same.
    async fn subscribe(&self, host: &str) -> Option<Box<dyn HostChanges>> {
        let ports = self.hosts.host(host).await.ok()?;
        ports.host.changes().await.ok().flatten()
    }

    /// The VSIs on a host that are scanned.
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

/// Waits for changes until `until`; changes shortly after one another are returned together.
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
                    until = until.min(Instant::now() + BATCH_WINDOW);
                }
                domains.insert(domain);
            }
            Ok(Ok(None)) => return HostChange::Everything,
            Ok(Err(_ended)) => {
                *changes = None;
                sleep(RESUBSCRIBE_DELAY).await;
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
