//! Writes the status of resources, if it differs from the one on the API server.
//!
//! It is compared with the status that the API server sent last. So nothing must be remembered across a
//! restart, and a status that another process overwrites is corrected. What a new status copies from the earlier
//! one, such as the times of transitions, it copies from the one that this process reported.

mod due;
mod quotas;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde::Serialize;
use tokio::{sync::mpsc, time::Instant};
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::{
        DiskObject, EntityPresence, Fleet, FleetError, NetworkState, QuotaObject, SnapshotObject,
    },
    record::{disk_entity, group_entity, pool_entity, snapshot_entity, vsi_entity},
};

pub(crate) use self::due::DueResources;
use crate::{
    api::{self, CallError},
    crd::{GroupResourceStatus, PoolResourceStatus, ReferenceStatus, VsiResourceStatus},
    events::EventNote,
    health::Health,
    kind::ResourceKind,
    report,
    resource::{Resource, ResourceKey},
    resource_cache::ResourceCache,
    share::JournalShare,
    status_queue::{Hold, StatusFindings, StatusQueue},
};

/// How long changes are collected.
const GATHER: Duration = Duration::from_millis(100);
/// Progress is written at most this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// When a failed write is retried.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// How often the networks and volumes that resources refer to are read from their hosts.
const NETWORKS_EVERY: Duration = Duration::from_secs(60);
/// How long a host may take to return a definition: a status does not wait longer.
const HOST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before checking again whether members of other journals were reported.
const REPORT_POLL: Duration = Duration::from_secs(1);
/// A status that another process overwrote is written again at most this often.
const REWRITE_EVERY: Duration = Duration::from_secs(2);
/// A status that another operator still serves is written at most this often: that operator overwrites
/// it.
const ANOTHERS_EVERY: Duration = Duration::from_secs(60);
/// Concurrent calls to the API server.
const MAX_CALLS: usize = 8;

/// Writes status as long as it is polled.
pub(crate) struct Reporter {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) status_queue: Arc<StatusQueue>,
    pub(crate) health: Arc<Health>,
    /// When each status was last written.
    pub(crate) written: BTreeMap<ResourceKey, Instant>,
    /// The queue for Events of pools.
    pub(crate) event_notes: mpsc::Sender<EventNote>,
    /// The Lease of this process, if it has one.
    pub(crate) served_by: Option<String>,
    /// The other journals, if the cluster is shared with them.
    pub(crate) share: Option<Arc<dyn JournalShare>>,
    /// The quotas with their last usage, by namespace and name; `counted_at` is when they were counted.
    pub(crate) quotas: BTreeMap<(String, String), QuotaObject>,
    pub(crate) counted_at: Option<Instant>,
    /// Counts of usage across journals that are running.
    pub(crate) counting: quotas::Counting,
    /// What is checked again later, and when.
    pub(crate) due: DueResources,
}

/// The result of checking one resource.
enum ReportDone {
    /// Nothing more to do.
    Settled,
    /// The status was written.
    Written,
    /// The resource must be checked again after this time.
    Later(Duration),
}

impl Reporter {
    /// Cancel safe: what was not written is found again by comparing.
    pub(crate) async fn run(mut self) {
        let mut networks = tokio::time::interval(NETWORKS_EVERY);
        networks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut quotas = tokio::time::interval(quotas::OVER_JOURNALS_EVERY);
        quotas.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.status_queue.dirtied.notified() => {}
                _ = networks.tick() => {
                    self.status_queue.dirty_kind(ResourceKind::NetworkRef);
                    self.status_queue.dirty_kind(ResourceKind::DataDiskRef);
                }
                _ = quotas.tick() => self.count_again(),
                Some(counted) = self.counting.join_next() => self.counted(counted),
                () = self.due.wait() => {
                    let due = self.due.take(Instant::now());
                    due.into_iter().for_each(|key| self.status_queue.dirty(key));
                }
            }
            tokio::time::sleep(GATHER).await;
            let mut keys = self.status_queue.take();
            self.health.heartbeat("reporter");
            self.refresh_quota_usage(&mut keys).await;
            let this = &self;
            let looks = keys.into_iter().map(|key| async move {
                let done = this.report_on(&key).await;
                this.health.heartbeat("reporter");
                (key, done)
            });
            let done: Vec<_> = stream::iter(looks)
                .buffer_unordered(MAX_CALLS)
                .collect()
                .await;
            for (key, outcome) in done {
                match outcome {
                    ReportDone::Settled => self.status_queue.is_written(&key),
                    ReportDone::Written => _ = self.written.insert(key, Instant::now()),
                    ReportDone::Later(delay) => self.due.add(key, delay),
                }
            }
            self.health.idle("reporter");
            let cache = self.cache.clone();
            self.written.retain(|key, _| cache.resource(key).is_some());
            let queue = &self.status_queue;
            cache.retain_reported(|key| queue.has_findings(key));
        }
    }

    async fn report_on(&self, key: &ResourceKey) -> ReportDone {
        let Some(resource) = self.cache.resource(key) else {
            return ReportDone::Settled;
        };
        match key.kind {
            ResourceKind::Vsi | ResourceKind::VirtualServer => self.vsi(&resource).await,
            ResourceKind::Pool => self.pool(&resource).await,
            ResourceKind::Group => self.group(&resource).await,
            ResourceKind::Quota => self.quota(&resource).await,
            _ => self.reference(&resource).await,
        }
    }

    async fn vsi(&self, resource: &Arc<Resource>) -> ReportDone {
        let Some(findings) = self.status_queue.findings(&resource.key) else {
            return ReportDone::Settled;
        };
        let Ok(entity) = vsi_entity(findings.vsi.unwrap_or(resource.uid)) else {
            return ReportDone::Settled;
        };
        let object = match self.fleet.vsis().of(&entity).await {
            Ok(object) => object,
            Err(error) => {
                tracing::warn!("the status of {} is not known: {error}", resource.key);
                return ReportDone::Later(RETRY_DELAY);
            }
        };
        let shown: VsiResourceStatus = resource.status_as();
        let before: VsiResourceStatus = self.cache.as_reported(resource).status_as();
        let now = Timestamp::now();
        let mut status = report::vsi(&findings, object.as_ref(), &before, now);
        status.served_by.clone_from(&self.served_by);
        let xml = self.definition(&entity, &status, &before).await;
        report::add_definition(&mut status, xml, &before);
        if status == shown && !resource.status.is_null() {
            return self.settled(resource);
        }
        if let Some(wait) = self.is_anothers(&resource.key, &findings) {
            return ReportDone::Later(wait);
        }
        let since = self.written.get(&resource.key).map(Instant::elapsed);
        if report::is_only_progress(&shown, &status)
            && let Some(wait) = since.and_then(|since| PROGRESS_EVERY.checked_sub(since))
        {
            return ReportDone::Later(wait);
        }
        let note = report::refusal_event(resource.uid, before.reported(), status.reported());
        self.write_with(resource, &status, note).await
    }

    async fn pool(&self, resource: &Arc<Resource>) -> ReportDone {
        let Some(findings) = self.status_queue.findings(&resource.key) else {
            return ReportDone::Settled;
        };
        let uid = findings.vsi.unwrap_or(resource.uid);
        let Ok(entity) = pool_entity(uid) else {
            return ReportDone::Settled;
        };
        let object = match self.fleet.knowledge(&entity) {
            EntityPresence::None => None,
            EntityPresence::Alive if !self.fleet.pools().is_reported(&entity) => {
                return ReportDone::Later(REPORT_POLL);
            }
            _ => match self
                .fleet
                .pools()
                .get(&resource.key.namespace, entity.id())
                .await
            {
                Ok(object) => Some(object),
                Err(error) => {
                    tracing::warn!("the status of {} is not known: {error}", resource.key);
                    return ReportDone::Later(RETRY_DELAY);
                }
            },
        };
        let shown: PoolResourceStatus = resource.status_as();
        let before: PoolResourceStatus = self.cache.as_reported(resource).status_as();
        let mut status = report::pool(&findings, object.as_ref(), &before, Timestamp::now());
        status.served_by.clone_from(&self.served_by);
        if status == shown && !resource.status.is_null() {
            return self.settled(resource);
        }
        let note = report::pool_event(resource.uid, &before, &status);
        self.write_with(resource, &status, note).await
    }

    async fn group(&self, resource: &Arc<Resource>) -> ReportDone {
        let Some(findings) = self.status_queue.findings(&resource.key) else {
            return ReportDone::Settled;
        };
        let uid = findings.vsi.unwrap_or(resource.uid);
        let Ok(entity) = group_entity(uid) else {
            return ReportDone::Settled;
        };
        let namespace = &resource.key.namespace;
        match self.fleet.groups().is_reported(uid).await {
            Ok(true) => {}
            Ok(false) => return ReportDone::Later(REPORT_POLL),
            Err(error) => {
                tracing::warn!("the status of {} is not known: {error}", resource.key);
                return ReportDone::Later(RETRY_DELAY);
            }
        }
        let object = match self.fleet.knowledge(&entity) {
            EntityPresence::None => None,
            _ => match self.fleet.groups().get(namespace, entity.id()).await {
                Ok(object) => Some(object),
                Err(error) => {
                    tracing::warn!("the status of {} is not known: {error}", resource.key);
                    return ReportDone::Later(RETRY_DELAY);
                }
            },
        };
        let shown: GroupResourceStatus = resource.status_as();
        let before: GroupResourceStatus = self.cache.as_reported(resource).status_as();
        let mut status = report::group(&findings, object.as_ref(), &before, Timestamp::now());
        status.served_by.clone_from(&self.served_by);
        if status == shown && !resource.status.is_null() {
            return self.settled(resource);
        }
        let note = report::group_event(resource.uid, &before, &status);
        self.write_with(resource, &status, note).await
    }

    /// The status of a resource is as this process would write it.
    fn settled(&self, resource: &Arc<Resource>) -> ReportDone {
        self.cache.note_reported(resource);
        ReportDone::Settled
    }

    /// Writes a status, and then its Event.
    async fn write_with(
        &self,
        resource: &Resource,
        status: &impl Serialize,
        note: Option<EventNote>,
    ) -> ReportDone {
        let done = self.write(resource, status).await;
        if let (ReportDone::Written, Some(note)) = (&done, note)
            && self.event_notes.try_send(note).is_err()
        {
            tracing::warn!("Events are not sent: the API server takes too long");
        }
        done
    }

    /// How long to wait if another operator may write the same status.
    fn is_anothers(&self, key: &ResourceKey, findings: &StatusFindings) -> Option<Duration> {
        let Some(Hold::NotMigrated(_)) = findings.hold else {
            return None;
        };
        let since = self.written.get(key)?.elapsed();
        ANOTHERS_EVERY.checked_sub(since)
    }

    /// The definition of a VSI's domain, requested after a run ended; none if nothing happened since it
    /// was last reported.
    async fn definition(
        &self,
        entity: &EntityId,
        status: &VsiResourceStatus,
        before: &VsiResourceStatus,
    ) -> Option<String> {
        let stands = ["Running", "Degraded", "Stopped", "Paused"];
        let phase = status.phase.as_deref()?;
        let metadata = before.metadata.as_ref();
        let metadata = metadata.is_some_and(|old| !old.domain_xml.is_empty());
        let same = (&before.run_id, &before.phase) == (&status.run_id, &status.phase);
        if !stands.contains(&phase) || metadata && same {
            return None;
        }
        let read = tokio::time::timeout(HOST_TIMEOUT, self.fleet.vsis().domain_xml(entity));
        read.await.ok()?.ok()?
    }

    /// The host's report about the object that a resource refers to; none if the host is unknown, or the
    /// resource is not a reference.
    async fn shown(
        &self,
        resource: &Resource,
        findings: &StatusFindings,
    ) -> Option<report::ReferenceShown> {
        let host = findings.host.as_ref().filter(|_| findings.hold.is_none())?;
        let word = |key: &str| Some(resource.spec.get(key)?.as_str()?.to_owned());
        match resource.key.kind {
            ResourceKind::NetworkRef => {
                let name = word("networkName")?;
                let found = in_time(self.fleet.networks().on_host(host, &name)).await;
                Some(report::ReferenceShown::Network(name, found))
            }
            ResourceKind::DataDiskRef => {
                let (pool, name) = (word("storagePool")?, word("volumeName")?);
                let found = in_time(self.fleet.hosts().has_volume(host, &pool, &name)).await;
                Some(report::ReferenceShown::Volume(
                    format!("{pool}/{name}"),
                    found,
                ))
            }
            _ => None,
        }
    }

    async fn reference(&self, resource: &Arc<Resource>) -> ReportDone {
        let Some(findings) = self.status_queue.findings(&resource.key) else {
            return ReportDone::Settled;
        };
        let shown: ReferenceStatus = resource.status_as();
        let before: ReferenceStatus = self.cache.as_reported(resource).status_as();
        let disk = match self.disk(resource).await {
            Ok(disk) => disk,
            Err(error) => {
                tracing::warn!("the status of {} is not known: {error}", resource.key);
                return ReportDone::Later(RETRY_DELAY);
            }
        };
        let now = Timestamp::now();
        let mut status = if resource.key.kind == ResourceKind::Snapshot {
            match self.snapshot(resource).await {
                Ok(object) => report::snapshot(&findings, object.as_ref(), &before, now),
                Err(error) => {
                    tracing::warn!("the status of {} is not known: {error}", resource.key);
                    return ReportDone::Later(RETRY_DELAY);
                }
            }
        } else if resource.key.kind == ResourceKind::Network {
            match self.network(resource).await {
                Ok(Some(states)) => report::network(&findings, &states, &before, now),
                // It is reported once other journals have answered.
                Ok(None) => return ReportDone::Settled,
                Err(error) => {
                    tracing::warn!("the status of {} is not known: {error}", resource.key);
                    return ReportDone::Later(RETRY_DELAY);
                }
            }
        } else {
            let found = self.shown(resource, &findings).await;
            report::reference(&findings, disk.as_ref(), found, &before, now)
        };
        if !matches!(
            resource.key.kind,
            ResourceKind::Snapshot | ResourceKind::DataDisk
        ) {
            report::add_names(&mut status, &findings, &resource.spec, &before);
        }
        if status != shown
            && let Some(wait) = self.is_anothers(&resource.key, &findings)
        {
            return ReportDone::Later(wait);
        }
        if status == shown && !resource.status.is_null() {
            self.settled(resource)
        } else {
            let note = report::reference_event(resource.uid, &before, &status);
            self.write_with(resource, &status, note).await
        }
    }

    /// The data disk of a resource, if the fleet knows it.
    async fn disk(&self, resource: &Resource) -> Result<Option<DiskObject>, FleetError> {
        let known = resource.key.kind == ResourceKind::DataDisk
            && disk_entity(resource.uid)
                .is_ok_and(|disk| self.fleet.knowledge(&disk) != EntityPresence::None);
        if !known {
            return Ok(None);
        }
        let (namespace, uid) = (&resource.key.namespace, resource.uid.to_string());
        self.fleet.disks().get(namespace, &uid).await.map(Some)
    }

    /// The state of a network on each of its hosts; none if other journals did not report it yet.
    async fn network(&self, resource: &Resource) -> Result<Option<Vec<NetworkState>>, FleetError> {
        let (namespace, name) = (&resource.key.namespace, &resource.key.name);
        match &self.share {
            Some(share) => {
                let summary = share.network_report(&(namespace.clone(), name.clone()));
                Ok(summary.map(|summary| summary.states))
            }
            None => {
                let networks = self.fleet.networks();
                networks.states(namespace, name).await.map(Some)
            }
        }
    }

    /// The snapshot of a resource, if the fleet knows it.
    async fn snapshot(&self, resource: &Resource) -> Result<Option<SnapshotObject>, FleetError> {
        let known = snapshot_entity(resource.uid)
            .is_ok_and(|one| self.fleet.knowledge(&one) != EntityPresence::None);
        if !known {
            return Ok(None);
        }
        let (namespace, uid) = (&resource.key.namespace, resource.uid.to_string());
        self.fleet.snapshots().get(namespace, &uid).await.map(Some)
    }

    async fn write(&self, resource: &Resource, status: &impl Serialize) -> ReportDone {
        let Ok(status) = serde_json::to_value(status) else {
            return ReportDone::Settled;
        };
        let since = self.written.get(&resource.key).map(Instant::elapsed);
        let wait = since.and_then(|since| REWRITE_EVERY.checked_sub(since));
        if let Some(wait) = wait.filter(|_| self.status_queue.was_overwritten(&resource.key)) {
            return ReportDone::Later(wait);
        }
        match api::set_status(&self.client, resource, status).await {
            Ok(patched) => {
                self.status_queue.is_written(&resource.key);
                self.health.answered();
                if let Some(patched) = patched {
                    self.cache.update(patched.clone());
                    self.cache.note_reported(&Arc::new(patched));
                }
                ReportDone::Written
            }
            Err(CallError::Gone) => ReportDone::Settled,
            Err(CallError::Conflict) => ReportDone::Later(Duration::from_secs(1)),
            Err(error) => {
                // A refusal in one namespace says nothing about the others.
                if error.is_refusal() {
                    self.health.answered();
                } else {
                    self.health.failed();
                }
                tracing::warn!("the status of {} cannot be written: {error}", resource.key);
                ReportDone::Later(RETRY_DELAY)
            }
        }
    }
}

/// The host's answer within [`HOST_TIMEOUT`]; otherwise the reason why there is none, as text.
async fn in_time<T>(query: impl Future<Output = Result<T, FleetError>>) -> Result<T, String> {
    match tokio::time::timeout(HOST_TIMEOUT, query).await {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err("the host does not answer".to_owned()),
    }
}
