//! Applies VSIs and data disks to the fleet that differ from what was applied last.

use std::collections::BTreeMap;

use vsiflow_engine::model::Hash;
use vsiflow_workflows::{
    fleet::EntityPresence,
    record::disk_entity,
    spec::{DiskOrigin, Resolved, ResolvedVsi},
};

use super::{
    Controller,
    apply_request::{ApplyRequest, generation_reason, host_bytes, put_part},
    by,
    decisions::DecisionRequest,
    quotas::QuotaRefusals,
    recorded::AppliedGeneration,
};
use crate::{kind::ResourceKind, resource_cache::Snapshot, translate::Translation};

/// New VSIs that are applied to the fleet in one call.
const BATCH: usize = 50;

impl Controller {
    /// Applies each data disk that differs from what was applied last. A problem with one disk must not
    /// hold back VSIs that do not select it. Returns the requests for disks that must be admitted first.
    pub(super) async fn apply_disks(
        &mut self,
        snapshot: &Snapshot,
        translation: &Translation,
    ) -> Vec<DecisionRequest> {
        let mut unadmitted = Vec::new();
        let disks = translation.rest.data_disks.iter();
        let disks: BTreeMap<_, _> = disks.filter_map(|disk| Some((disk.uid?, disk))).collect();
        for resource in &snapshot.resources {
            self.heartbeat();
            let Some(disk) = disks.get(&resource.uid) else {
                continue;
            };
            let held = resource.old_finalizer().is_some() || self.disk_hold(resource).is_some();
            if held || resource.is_deleting() || !resource.has_finalizer() {
                continue;
            }
            if self.is_disk_to_be_adopted(resource) && !self.adopt_disk(resource, translation).await
            {
                continue;
            }
            let mut bytes = serde_json::to_vec(disk).unwrap_or_default();
            host_bytes(&mut bytes, &disk.host, &translation.rest);
            let generation = AppliedGeneration::of(resource, Hash::of(&bytes));
            if self.is_in_fleet(generation) {
                continue;
            }
            let decision = || DecisionRequest::of_disk(resource.uid, disk);
            if let Some(needed) = self.admission.admission_request(&disk.namespace, decision) {
                unadmitted.push(needed);
                continue;
            }
            let resolved = Resolved {
                data_disks: vec![(*disk).clone()],
                hosts: translation.rest.hosts_of([disk.host.as_str()]),
                ..translation.rest.alone()
            };
            let by = by(&resource.manager, &generation_reason(resource.generation));
            let applied = self.record(resolved, by).await;
            self.record_result(generation, applied.err());
        }
        unadmitted
    }

    /// Whether the fleet knows every data disk of the VSI, so that no other disk is taken for it.
    fn has_its_disks(&self, vsi: &ResolvedVsi) -> bool {
        let mut uids = vsi
            .desired
            .disks
            .iter()
            .filter_map(|disk| match disk.source {
                DiskOrigin::Made { uid, .. } => uid,
                DiskOrigin::Existing { .. } => None,
            });
        uids.all(|uid| {
            disk_entity(uid).is_ok_and(|disk| self.fleet.knowledge(&disk) == EntityPresence::Alive)
        })
    }

    /// Applies VSIs that differ from what was applied last. Returns the requests for those that must be
    /// admitted first, which are not applied.
    pub(super) async fn apply_requests(
        &mut self,
        requests: Vec<ApplyRequest>,
        snapshot: &Snapshot,
        translation: &Translation,
    ) -> Vec<DecisionRequest> {
        let mut unadmitted = Vec::new();
        let names = references(snapshot);
        let mut new: BTreeMap<String, Vec<(ApplyRequest, Hash)>> = BTreeMap::new();
        let mut alone = Vec::new();
        for request in self.in_turn(requests) {
            let print = fingerprint(&request.vsi, &translation.rest, &names);
            if self.is_in_fleet(request.applied(print)) {
                continue;
            }
            let decision = || DecisionRequest::of_vsi(request.uid, &request.vsi);
            let namespace = &request.vsi.desired.namespace;
            if let Some(needed) = self.admission.admission_request(namespace, decision) {
                unadmitted.push(needed);
                continue;
            }
            if !self.has_its_disks(&request.vsi) {
                self.unfinished = true;
                continue;
            }
            let is_new = self.fleet.knowledge(&request.entity) == EntityPresence::None;
            if is_new && !self.over_quota.contains_key(&request.uid) {
                new.entry(request.manager.clone())
                    .or_default()
                    .push((request, print))
            } else {
                alone.push((request, print))
            }
        }
        let mut refusals = QuotaRefusals::default();
        for (_, mut batches) in new {
            while !batches.is_empty() {
                let rest = batches.split_off(batches.len().min(BATCH));
                self.apply_together(batches, &translation.rest, &mut refusals)
                    .await;
                batches = rest;
            }
        }
        for request in alone {
            self.apply_alone(request, &translation.rest, &mut refusals)
                .await;
        }
        unadmitted
    }

    /// Applies all of them in one call; if one is refused, each in its own call.
    async fn apply_together(
        &mut self,
        requests: Vec<(ApplyRequest, Hash)>,
        rest: &Resolved,
        refusals: &mut QuotaRefusals,
    ) {
        if !self.apply(requests.clone(), rest).await {
            for request in requests {
                self.apply_alone(request, rest, refusals).await;
            }
        }
    }

    /// Applies one, unless a quota refused its namespace often enough in this pass.
    async fn apply_alone(
        &mut self,
        request: (ApplyRequest, Hash),
        rest: &Resolved,
        refusals: &mut QuotaRefusals,
    ) {
        let (uid, namespace) = (request.0.uid, request.0.vsi.desired.namespace.clone());
        if let Some(why) = refusals.why_not(&namespace) {
            self.unfinished = true;
            self.refused.insert(uid, why.clone());
            return;
        }
        if self.apply(vec![request], rest).await {
            self.over_quota.remove(&uid);
        } else if let Some(failure) = self.refused.get(&uid)
            && refusals.note(&namespace, failure)
        {
            self.over_quota.insert(uid, self.passes);
        }
    }

    async fn apply(&mut self, requests: Vec<(ApplyRequest, Hash)>, rest: &Resolved) -> bool {
        self.heartbeat();
        let Some((first, _)) = requests.first() else {
            return true;
        };
        let reason = match requests.as_slice() {
            [(one, _)] => generation_reason(one.generation),
            _ => "resources were changed".to_owned(),
        };
        let by = by(&first.manager, &reason);
        let resolved = Resolved {
            vsis: requests
                .iter()
                .map(|(request, _)| (*request.vsi).clone())
                .collect(),
            pools: Vec::new(),
            groups: Vec::new(),
            data_disks: Vec::new(),
            hosts: rest.hosts_of(
                requests
                    .iter()
                    .flat_map(|(request, _)| request.vsi.desired.possible_hosts()),
            ),
            ..rest.alone()
        };
        let error = self.record(resolved, by).await.err();
        for (request, print) in &requests {
            self.record_result(request.applied(*print), error.clone());
        }
        error.is_none()
    }
}

/// The references that exist, by namespace, as a hash: the retained references of a VSI depend on which
/// are missing.
fn references(snapshot: &Snapshot) -> BTreeMap<String, Hash> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for one in snapshot
        .resources
        .iter()
        .filter(|one| !one.key.kind.is_vsi() && !one.key.kind.has_members())
        .filter(|one| !matches!(one.key.kind, ResourceKind::Quota | ResourceKind::Snapshot))
    {
        let all = names.entry(one.key.namespace.clone()).or_default();
        all.push_str(&one.key.to_string());
        all.push('\n');
    }
    let hashes = names.into_iter();
    let hashes = hashes.map(|(namespace, all)| (namespace, Hash::of(all.as_bytes())));
    hashes.collect()
}

/// Everything that matters for one VSI, including secrets, as a hash that is never stored.
fn fingerprint(vsi: &ResolvedVsi, rest: &Resolved, references: &BTreeMap<String, Hash>) -> Hash {
    let mut bytes = serde_json::to_vec(&vsi.desired).unwrap_or_default();
    put_part(&mut bytes, vsi.contract.expose());
    if let Some(url) = &vsi.image_url {
        put_part(&mut bytes, url.expose());
    }
    for host in vsi.desired.possible_hosts() {
        host_bytes(&mut bytes, host, rest);
    }
    if vsi.selects_disks || vsi.selects_networks {
        let all = references.get(&vsi.desired.namespace);
        let hash = all.map(ToString::to_string).unwrap_or_default();
        put_part(&mut bytes, hash.as_bytes());
    }
    Hash::of(&bytes)
}
