//! Controller: passes what the cluster's resources ask for to the fleet, and finalizes deleted
//! resources.
//!
//! Passes run one at a time: a snapshot is translated and compared with what was applied before, and
//! only the difference is applied. A pass that is interrupted at any point is repeated by the next one
//! with the same result: finalizers are set before a resource is passed to the fleet, applying the same
//! twice changes nothing, and a deletion is requested until the fleet reports that it is done.

mod admission;
mod adopt;
mod apply;
mod apply_request;
mod approve;
mod claims;
mod decisions;
mod finalizers;
mod live;
mod marks;
mod members;
mod networks;
mod permits;
mod pools;
mod quotas;
mod recorded;
mod secrets;
mod shard_scope;
mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use kube::Client;
use tokio::{sync::watch, task::spawn_blocking, time::Instant};
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{Actor, Failure, Hash, Text, Who},
};
use vsiflow_workflows::{
    fleet::{EntityPresence, Fleet, ShownPool},
    record::vsi_entity,
    spec::{HostSettings, NoFiles, Permits, Resolved, ResolvedVsi},
};

pub use self::adopt::LostJournal;
use self::{
    admission::AdmissionPass, apply_request::ApplyRequest, claims::MemberClaims,
    decisions::Decisions, members::MemberPools, networks::NetworkSummaries,
};
use crate::{
    api::{self, CallError},
    health::Health,
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::{ResourceCache, Snapshot},
    share::{DECIDES, JournalShare},
    status_queue::{Hold, StatusFindings, StatusQueue},
    translate::{TextTurns, Translation, TranslationRules, translate},
};

/// Changes come in bursts (`kubectl apply -f DIR`): a pass waits this long for more of them.
const SETTLE: Duration = Duration::from_millis(40);
/// When to retry what the fleet or the API server refused.
const RETRY_DELAY: Duration = Duration::from_secs(15);
/// How often to look for the answers of other journals to requests.
const DECISION_POLL: Duration = Duration::from_secs(1);
/// Concurrent calls to the API server.
const MAX_CALLS: usize = 8;

type KnownHosts = Arc<dyn Fn(&str) -> Option<HostSettings> + Send + Sync>;

/// The state of the controller, which all passes share.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) status_queue: Arc<StatusQueue>,
    pub(crate) host: Option<HostSettings>,
    permits: Arc<dyn Permits>,
    health: Arc<Health>,
    /// Returns the settings that the fleet knows of a host.
    known: KnownHosts,
    /// The turns of namespaces in checks that take long.
    text_turns: Arc<TextTurns>,
    /// Hash of what was applied to the fleet, by UID of the resource.
    applied: BTreeMap<Uuid, Hash>,
    /// The generation of each resource that was recorded last.
    recorded: BTreeMap<Uuid, i64>,
    /// Deletions that the fleet was asked for, by UID of the resource; true if the object is only
    /// orphaned.
    removals: BTreeMap<Uuid, bool>,
    /// VSIs that a quota refused, with the number of the pass that was refused.
    over_quota: BTreeMap<Uuid, u64>,
    passes: u64,
    /// Why the fleet refused a resource.
    refused: BTreeMap<Uuid, Failure>,
    /// VSI resources that had our finalizer and were not being deleted, as of the last pass.
    with_finalizer: BTreeMap<Uuid, ResourceKey>,
    /// What was written to members' objects, by their UIDs, and the resulting generation.
    shown: BTreeMap<Uuid, (Hash, i64)>,
    /// What to do for resources that an empty journal does not know.
    lost: LostJournal,
    /// The other journals, if the cluster is shared with them.
    share: Option<Arc<dyn JournalShare>>,
    /// Decisions of journal 0 that this journal asked for.
    decisions: Decisions,
    /// Which resources need admission by journal 0 in this pass.
    admission: AdmissionPass,
    /// The newest reports of other journals about networks.
    network_summaries: NetworkSummaries,
    /// Whether every listed secret was passed to the fleet.
    delivered: Arc<watch::Sender<bool>>,
    begun: Instant,
    /// Something must be retried.
    unfinished: bool,
}

impl Controller {
    pub(crate) fn new(
        client: Client,
        fleet: Fleet,
        cache: Arc<ResourceCache>,
        status_queue: Arc<StatusQueue>,
        host: Option<HostSettings>,
        lost: LostJournal,
        delivered: Arc<watch::Sender<bool>>,
    ) -> Self {
        let of = fleet.clone();
        Self {
            permits: Arc::new(NoFiles),
            health: Arc::default(),
            known: Arc::new(move |id| of.hosts().settings(id).ok()),
            text_turns: Arc::default(),
            client,
            fleet,
            cache,
            status_queue,
            host,
            applied: BTreeMap::new(),
            recorded: BTreeMap::new(),
            removals: BTreeMap::new(),
            over_quota: BTreeMap::new(),
            passes: 0,
            refused: BTreeMap::new(),
            with_finalizer: BTreeMap::new(),
            shown: BTreeMap::new(),
            lost,
            share: None,
            decisions: Decisions::default(),
            admission: AdmissionPass::default(),
            network_summaries: NetworkSummaries::new(),
            delivered,
            begun: Instant::now(),
            unfinished: false,
        }
    }

    /// Sets which files of this machine resources may name.
    pub(crate) fn with_permits(self, permits: Arc<dyn Permits>) -> Self {
        Self { permits, ..self }
    }

    /// Sets the other journals that the cluster is shared with.
    pub(crate) fn with_share(self, share: Option<Arc<dyn JournalShare>>) -> Self {
        Self { share, ..self }
    }

    /// Sets where progress is reported.
    pub(crate) fn with_health(self, health: Arc<Health>) -> Self {
        Self { health, ..self }
    }

    /// Reports progress to the health check.
    fn heartbeat(&self) {
        self.health.heartbeat("controller");
    }

    /// Runs passes as long as it is polled. Cancel safe: see the module documentation.
    pub(crate) async fn run(mut self) {
        let mut changes = self.cache.changes();
        // Everything may have been listed already.
        changes.mark_changed();
        loop {
            let again = if self.decisions.is_waiting() {
                DECISION_POLL
            } else if self.unfinished {
                RETRY_DELAY
            } else {
                Duration::MAX
            };
            let until = Instant::now().checked_add(again);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(until) => {}
            }
            tokio::time::sleep(SETTLE).await;
            changes.mark_unchanged();
            self.heartbeat();
            Box::pin(self.pass()).await;
            self.health.idle("controller");
        }
    }

    async fn pass(&mut self) {
        self.unfinished = false;
        self.passes = self.passes.saturating_add(1);
        let cluster = self.cache.snapshot();
        let pools = self.shown_pools().await;
        let claims = self.claims(&cluster, &pools).await;
        let mut translation = self.translate(&claims.without(&cluster)).await;
        self.heartbeat();
        let candidates = self.candidates(&translation);
        let desired_pools = self.desired_pools(&cluster, &translation);
        let decided = self.decided();
        let networks = Resolved {
            networks: translation.rest.networks.clone(),
            ..translation.rest.alone()
        };
        let all = match self
            .retain_own(&cluster, &claims, &mut translation, &decided)
            .await
        {
            Ok(all) => all,
            Err(error) => {
                self.unfinished = true;
                self.settle(decided, &translation);
                tracing::warn!("what of the cluster is this journal's is not known: {error}");
                return;
            }
        };
        let snapshot = claims.without(&all);
        self.watch_networks(&all);
        self.deliver(&translation).await;
        self.notice_vanished(&snapshot);
        let mut found = findings(&all, &translation);
        let mut finalizers = Vec::new();
        let member_pools = MemberPools::new(&pools, &cluster);
        for resource in &all.resources {
            if let Some(claim) = claims.of(resource) {
                let findings = found.entry(resource.key.clone()).or_default();
                if self
                    .check_claim(resource, claim, &member_pools, findings)
                    .await
                {
                    finalizers.push((resource.clone(), false));
                }
            }
        }
        let (mut requests, mut adopted) = (Vec::new(), Vec::new());
        for resource in &snapshot.resources {
            self.heartbeat();
            let findings = found.entry(resource.key.clone()).or_default();
            if resource.is_deleting() {
                if self
                    .may_finalize(resource, &translation, &claims, findings)
                    .await
                {
                    finalizers.push((resource.clone(), false));
                }
                continue;
            }
            if let Some(finalizer) = resource.old_finalizer() {
                findings.hold = Some(Hold::NotMigrated(finalizer.to_owned()));
                continue;
            }
            match resource.key.kind {
                ResourceKind::Vsi | ResourceKind::VirtualServer => {
                    let vsi = translation.vsis.get(&resource.uid);
                    match self.reference_state(resource, vsi, findings) {
                        ReferenceState::Nothing => {}
                        ReferenceState::Finalizer => finalizers.push((resource.clone(), true)),
                        ReferenceState::Desired(request) => requests.push(request),
                        ReferenceState::Adopted(request) => adopted.push(request),
                    }
                }
                ResourceKind::Pool | ResourceKind::Group => {
                    findings.hold = self.pool_hold(resource).await;
                    findings.vsi = Some(self.pool_uid(resource).await);
                    let is_asked = translation.pools.contains_key(&resource.uid)
                        || translation.groups.contains_key(&resource.uid);
                    if is_asked && findings.hold.is_none() && !resource.has_finalizer() {
                        finalizers.push((resource.clone(), true));
                    }
                }
                ResourceKind::DataDisk | ResourceKind::Snapshot => {
                    findings.hold = match resource.key.kind {
                        ResourceKind::DataDisk => self.disk_hold(resource),
                        _ => self.snapshot_hold(resource),
                    };
                    if findings.hold.is_none() && !resource.has_finalizer() {
                        finalizers.push((resource.clone(), true));
                    }
                }
                ResourceKind::Network | ResourceKind::Quota if !resource.has_finalizer() => {
                    finalizers.push((resource.clone(), true));
                }
                _ => {}
            }
        }
        let share = self.share.clone();
        // Quotas come before the objects that they limit.
        self.apply_quotas(&snapshot, &translation).await;
        self.apply_hosts(&candidates, &translation).await;
        self.permit(desired_pools);
        self.apply_networks(&cluster, &networks).await;
        let mut unadmitted = self.apply_disks(&snapshot, &translation).await;
        self.adopt(adopted, &translation.rest).await;
        let (open, requests) = self.open_apart(requests);
        unadmitted.extend(self.apply_requests(requests, &snapshot, &translation).await);
        let requested = self.request_placement(open).await;
        self.request_admission(unadmitted).await;
        self.decisions.end_pass();
        self.approve(&snapshot).await;
        self.apply_snapshots(&snapshot, &translation).await;
        match share {
            Some(share) if share.number() != DECIDES => self.remove_absent(&all, &claims).await,
            _ => {
                self.work_on_pools(&cluster, &claims, &pools, &translation)
                    .await;
            }
        }
        self.add_results(&all, &claims, &mut found);
        self.settle(decided, &translation);
        self.forget(&all);
        // From here on the operator of their host's journal reports their status.
        let resources = all
            .resources
            .iter()
            .filter(|one| requested.contains(&one.uid));
        resources.for_each(|one| _ = found.remove(&one.key));
        let vsis = all.resources.iter();
        let vsis = vsis.filter_map(|one| Some((claims.vsi(one)?, (one.key.clone(), one.uid))));
        let members: BTreeMap<_, _> = vsis.collect();
        let keys = all.resources.iter().map(|one| (one.uid, one.key.clone()));
        let of_members = members.iter().map(|(vsi, (key, _))| (*vsi, key.clone()));
        let keys = keys.chain(of_members).collect();
        self.cache.set_members(members);
        self.status_queue.publish(found, keys);
        self.set_finalizers(finalizers).await;
    }

    /// The pools of the journal; none if they cannot be read, which is retried.
    async fn shown_pools(&mut self) -> Vec<ShownPool> {
        match self.fleet.pools().shown().await {
            Ok(pools) => pools,
            Err(error) => {
                self.unfinished = true;
                tracing::warn!("the pools of the journal cannot be read: {error}");
                Vec::new()
            }
        }
    }

    /// Applies pools and groups to the fleet, and creates the objects of their members in the cluster.
    async fn work_on_pools(
        &mut self,
        all: &Snapshot,
        claims: &MemberClaims,
        pools: &[ShownPool],
        translation: &Translation,
    ) {
        self.apply_pools(all, claims, pools, translation).await;
        self.apply_groups(all, claims, pools, translation).await;
        self.approve_templates(all).await;
        // The list includes what was applied just now.
        let shown_pools = self.shown_pools().await;
        let owners = self.owners(all, &shown_pools).await;
        let mut of_members = BTreeMap::new();
        for pool in &shown_pools {
            if let Some(owner) = owners.get(&pool.uid) {
                let key = &owner.resource.key;
                of_members.extend(pool.members.iter().map(|one| (one.uid, key.clone())));
            }
        }
        self.status_queue.set_owners(of_members);
        let owned = owners.values().map(|owner| owner.uid);
        self.fleet.pools().set_owned_elsewhere(owned);
        self.show_members(&shown_pools, &owners, all, claims).await;
    }

    /// Translates the snapshot, after releasing hosts that belong to namespaces that do not exist any
    /// more.
    async fn translate(&mut self, snapshot: &Snapshot) -> Translation {
        let translation = self.translated(snapshot).await;
        self.unfinished |= translation.has_unchecked;
        let mut freed = false;
        for (host, namespace) in &translation.stale {
            match self.fleet.hosts().release(host, namespace).await {
                Ok(free) => freed |= free,
                Err(error) => tracing::warn!("whose host {host} is, is not known: {error}"),
            }
            // Its namespace may not be listed yet, or end later.
            self.unfinished = true;
        }
        if freed {
            self.translated(snapshot).await
        } else {
            translation
        }
    }

    /// Translates on a thread for blocking work: what tenants write decides how long it takes.
    async fn translated(&self, snapshot: &Snapshot) -> Translation {
        let (snapshot, host) = (snapshot.clone(), self.host.clone());
        let (permits, known) = (self.permits.clone(), self.known.clone());
        let owners = self.fleet.hosts().owners();
        let text_turns = self.text_turns.clone();
        let translated = spawn_blocking(move || {
            let rules = TranslationRules {
                host: host.as_ref(),
                permits: &*permits,
                owners,
                known: &*known,
                text_turns,
            };
            translate(&snapshot, &rules)
        });
        match translated.await {
            Ok(translation) => translation,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is ending: this pass is dropped.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Warns of a VSI resource that disappeared although it had our finalizer: another process removed
    /// the finalizer. Nothing is deleted because of it.
    fn notice_vanished(&mut self, snapshot: &Snapshot) {
        let there: BTreeSet<_> = snapshot.resources.iter().map(|one| one.uid).collect();
        for (uid, key) in &self.with_finalizer {
            let alive = vsi_entity(*uid)
                .is_ok_and(|entity| self.fleet.knowledge(&entity) == EntityPresence::Alive);
            if !there.contains(uid) && alive {
                tracing::warn!(
                    %uid,
                    "{key} is gone although its VSI is not: nothing is deleted; \
                     `vsiflow delete` removes it"
                );
            }
        }
        let vsis = snapshot
            .resources
            .iter()
            .filter(|one| one.key.kind.is_vsi() && one.has_finalizer() && !one.is_deleting());
        self.with_finalizer = vsis.map(|one| (one.uid, one.key.clone())).collect();
    }

    /// Decides what to do for a VSI resource that is not being deleted.
    fn reference_state(
        &mut self,
        resource: &Resource,
        vsi: Option<&ResolvedVsi>,
        findings: &mut StatusFindings,
    ) -> ReferenceState {
        let Ok(entity) = vsi_entity(resource.uid) else {
            return ReferenceState::Nothing;
        };
        let before = resource.progress();
        let worked_on = before.run_id.is_some();
        let adopted = self.fleet.knowledge(&entity) == EntityPresence::None
            && self.is_to_be_adopted(resource, worked_on);
        match self.fleet.knowledge(&entity) {
            EntityPresence::None if worked_on && !adopted => {
                findings.hold = Some(Hold::JournalLost);
                return ReferenceState::Nothing;
            }
            EntityPresence::Gone if self.is_removed(resource, &entity) => {
                findings.hold = Some(Hold::Removed);
                return ReferenceState::Nothing;
            }
            _ => {}
        }
        let Some(vsi) = vsi else {
            return ReferenceState::Nothing;
        };
        if !resource.has_finalizer() {
            return ReferenceState::Finalizer;
        }
        let request = ApplyRequest {
            uid: resource.uid,
            entity,
            manager: resource.manager.clone(),
            generation: resource.generation,
            vsi: Box::new(vsi.clone()),
        };
        if adopted {
            ReferenceState::Adopted(request)
        } else {
            ReferenceState::Desired(request)
        }
    }

    async fn set_finalizers(&mut self, changes: Vec<(Arc<Resource>, bool)>) {
        let client = &self.client;
        let calls = changes.into_iter().map(|(resource, present)| async move {
            let done = api::set_finalizer(client, &resource, present).await;
            (resource, present, done)
        });
        let mut calls = stream::iter(calls).buffer_unordered(MAX_CALLS);
        while let Some((resource, has_finalizer, done)) = calls.next().await {
            self.health.heartbeat("controller");
            match done {
                Ok(Some(patched)) if has_finalizer => self.cache.update(patched),
                // Deleted, or being deleted: the watch reports it.
                Ok(_) | Err(CallError::Gone) => {}
                // Perhaps only its status was changed; the watch does not wake this controller for that.
                Err(CallError::Conflict) => self.cache.poke(),
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("the finalizer of {} cannot be set: {error}", resource.key);
                }
            }
        }
    }

    /// Forgets the state of resources that do not exist any more.
    fn forget(&mut self, snapshot: &Snapshot) {
        let there: BTreeSet<_> = snapshot.resources.iter().map(|one| one.uid).collect();
        self.applied.retain(|uid, _| there.contains(uid));
        self.recorded.retain(|uid, _| there.contains(uid));
        self.removals.retain(|uid, _| there.contains(uid));
        self.refused.retain(|uid, _| there.contains(uid));
        self.over_quota.retain(|uid, _| there.contains(uid));
        self.shown.retain(|uid, _| there.contains(uid));
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// What to do for a VSI resource.
enum ReferenceState {
    Nothing,
    Finalizer,
    Desired(ApplyRequest),
    /// The existing domain is adopted first.
    Adopted(ApplyRequest),
}

fn by(manager: &str, reason: &str) -> By {
    By {
        actor: Actor::Kubernetes(Who::new(manager)),
        reason: Text::new(reason),
    }
}

/// What the translation found, by resource.
fn findings(
    snapshot: &Snapshot,
    translation: &Translation,
) -> BTreeMap<ResourceKey, StatusFindings> {
    let found = snapshot.resources.iter().map(|resource| {
        let key = resource.key.clone();
        let findings = StatusFindings {
            generation: resource.generation,
            is_made: matches!(
                key.kind,
                ResourceKind::DataDisk | ResourceKind::Network | ResourceKind::Snapshot
            ),
            problems: translation.problems.get(&key).cloned().unwrap_or_default(),
            warnings: translation.warnings.get(&key).cloned().unwrap_or_default(),
            host: translation.hosts.get(&key).cloned(),
            used_by: translation.used_by.get(&key).cloned().unwrap_or_default(),
            power: translation
                .vsis
                .get(&resource.uid)
                .map(|vsi| vsi.desired.power_state),
            ..StatusFindings::default()
        };
        (key, findings)
    });
    found.collect()
}
