//! Gives the fleet what the world asks for, and lets go of what is gone.
//!
//! One pass at a time: a snapshot is translated, compared with what was given before, and only
//! the difference continues. A pass that is cut short at any point is repeated by the next one with
//! the same result: finalizers are set before the fleet hears of a resource, applying the same
//! twice changes nothing, and a deletion is asked for again until the fleet says that it is done.

mod admission;
mod adopt;
mod apply;
mod approve;
mod claims;
mod decisions;
mod finalizers;
mod live;
mod members;
mod networks;
mod permits;
mod pools;
mod quotas;
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
use tokio::{sync::watch, time::Instant};
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
    admission::AdmissionPass, apply::ApplyRequest, claims::MemberClaims, decisions::Decisions,
    networks::NetworkSummaries,
};
use crate::{
    api::{self, CallError},
    health::Health,
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::{ResourceCache, Snapshot},
    share::{DECIDES, JournalShare},
    status_queue::{Hold, StatusFindings, StatusQueue},
    translate::{Translation, TranslationRules, translate},
};

/// Changes come in bursts (`kubectl apply -f DIR`): a pass waits that long for more.
const SETTLE: Duration = Duration::from_millis(40);
/// What the fleet or the API server refused is tried again after that.
const AGAIN: Duration = Duration::from_secs(15);
/// What other journals are asked for is looked at again after that.
const CHOSEN: Duration = Duration::from_secs(1);
/// Calls to the API server at one time.
const AT_ONCE: usize = 8;

type KnownHosts = Box<dyn Fn(&str) -> Option<HostSettings> + Send + Sync>;

/// Everything a pass works with.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) status_queue: Arc<StatusQueue>,
    pub(crate) host: Option<HostSettings>,
    permits: Arc<dyn Permits>,
    health: Arc<Health>,
    /// What the fleet knows of a host.
    known: KnownHosts,
    /// What was given to the fleet, by UID.
    applied: BTreeMap<Uuid, Hash>,
    /// Deletions that were asked for: whether only to let go.
    removals: BTreeMap<Uuid, bool>,
    /// VSIs that a quota refused, and in which pass that was.
    over_quota: BTreeMap<Uuid, u64>,
    passes: u64,
    /// Why the fleet did not take what was given.
    refused: BTreeMap<Uuid, Failure>,
    /// Resources that had our finalizer and were not to be deleted.
    kept: BTreeMap<Uuid, ResourceKey>,
    /// What was written of members' objects, by their UIDs, and the generation that it became.
    shown: BTreeMap<Uuid, (Hash, i64)>,
    /// What is done for what an empty journal does not know.
    lost: LostJournal,
    /// The other journals, where the cluster is shared with them.
    share: Option<Arc<dyn JournalShare>>,
    /// What is decided over all of them.
    decisions: Decisions,
    /// What quotas leave to journal 0 in this pass.
    admission: AdmissionPass,
    /// What other journals said of networks, as it was told of last.
    network_summaries: NetworkSummaries,
    /// Whether the fleet was given every secret that was listed.
    delivered: Arc<watch::Sender<bool>>,
    begun: Instant,
    /// Something is to be tried again.
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
            known: Box::new(move |id| of.hosts().settings(id).ok()),
            client,
            fleet,
            cache,
            status_queue,
            host,
            applied: BTreeMap::new(),
            removals: BTreeMap::new(),
            over_quota: BTreeMap::new(),
            passes: 0,
            refused: BTreeMap::new(),
            kept: BTreeMap::new(),
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

    /// With that to be named by resources.
    pub(crate) fn with_permits(self, permits: Arc<dyn Permits>) -> Self {
        Self { permits, ..self }
    }

    /// With the cluster shared with these.
    pub(crate) fn with_share(self, share: Option<Arc<dyn JournalShare>>) -> Self {
        Self { share, ..self }
    }

    /// With that told of its progress.
    pub(crate) fn with_health(self, health: Arc<Health>) -> Self {
        Self { health, ..self }
    }

    /// That it gets on.
    fn heartbeat(&self) {
        self.health.heartbeat("controller");
    }

    /// Passes as long as it is polled. Cancel safe: see the module's text.
    pub(crate) async fn run(mut self) {
        let mut changes = self.cache.changes();
        // Everything may have been listed already.
        changes.mark_changed();
        loop {
            let again = if self.decisions.is_waiting() {
                CHOSEN
            } else if self.unfinished {
                AGAIN
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
        for resource in &all.resources {
            if let Some(claim) = claims.of(resource) {
                let findings = found.entry(resource.key.clone()).or_default();
                if self
                    .check_claim(resource, claim, (&cluster, &pools), findings)
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
                ResourceKind::DataDisk if self.is_lost(resource) => {
                    findings.hold = Some(Hold::JournalLost);
                }
                ResourceKind::Snapshot => {
                    findings.hold = self.snapshot_hold(resource);
                    if findings.hold.is_none() && !resource.has_finalizer() {
                        finalizers.push((resource.clone(), true));
                    }
                }
                ResourceKind::DataDisk | ResourceKind::Network | ResourceKind::Quota
                    if !resource.has_finalizer() =>
                {
                    finalizers.push((resource.clone(), true));
                }
                _ => {}
            }
        }
        let share = self.share.clone();
        // Before what they limit.
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
        for resource in &all.resources {
            if let (Some(findings), Some(refused)) = (
                found.get_mut(&resource.key),
                self.refused.get(&resource.uid),
            ) {
                findings.refusal = Some(refused.clone());
            }
        }
        self.settle(decided, &translation);
        self.forget(&all);
        // The operator of their host's journal tells of them from now on.
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

    /// The pools of the journal; none where they cannot be read, which is tried again.
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

    /// Gives the fleet what is asked of pools, and has the cluster show their members.
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
        // What was given just now is part of it.
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

    /// What the world asks for, once hosts are free that only somebody has who is gone.
    async fn translate(&mut self, snapshot: &Snapshot) -> Translation {
        let translation = translate(snapshot, &self.rules());
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
            translate(snapshot, &self.rules())
        } else {
            translation
        }
    }

    fn rules(&self) -> TranslationRules<'_> {
        TranslationRules {
            host: self.host.as_ref(),
            permits: &*self.permits,
            owners: self.fleet.hosts().owners(),
            known: &*self.known,
        }
    }

    /// A resource that went away although it had our finalizer: somebody took that. Nothing is
    /// deleted for it; it is said.
    fn notice_vanished(&mut self, snapshot: &Snapshot) {
        let there: BTreeSet<_> = snapshot.resources.iter().map(|one| one.uid).collect();
        for (uid, key) in &self.kept {
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
        let kept = snapshot
            .resources
            .iter()
            .filter(|one| one.key.kind.is_vsi() && one.has_finalizer() && !one.is_deleting());
        self.kept = kept.map(|one| (one.uid, one.key.clone())).collect();
    }

    /// What is to be done for a VSI that is to be there.
    fn reference_state(
        &self,
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
            EntityPresence::Gone if before.observed_generation == Some(resource.generation) => {
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
        let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some((resource, has_finalizer, done)) = calls.next().await {
            self.health.heartbeat("controller");
            match done {
                Ok(Some(patched)) if has_finalizer => self.cache.update(patched),
                // Gone, or going: the watch tells.
                Ok(_) | Err(CallError::Gone) => {}
                // Perhaps by its status alone, of which the watch tells without a word to this.
                Err(CallError::Conflict) => self.cache.poke(),
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("the finalizer of {} cannot be set: {error}", resource.key);
                }
            }
        }
    }

    /// Forgets what was given for resources that are not there any more.
    fn forget(&mut self, snapshot: &Snapshot) {
        let there: BTreeSet<_> = snapshot.resources.iter().map(|one| one.uid).collect();
        self.applied.retain(|uid, _| there.contains(uid));
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

/// What is to be done for a VSI.
enum ReferenceState {
    Nothing,
    Finalizer,
    Desired(ApplyRequest),
    /// What stands is taken over first.
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
            ..StatusFindings::default()
        };
        (key, findings)
    });
    found.collect()
}
