//! Which generation of each resource is recorded.
//!
//! What a command deleted is not made again for the generation that was recorded, and it is made again
//! for a newer one. A generation that was only tried does not count: the fleet may have refused it.

use std::collections::BTreeMap;

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Hash};
use vsiflow_workflows::fleet::{EntityPresence, FleetError};

use super::{Controller, claims::MemberClaims};
use crate::{
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::Snapshot,
    status_queue::StatusFindings,
};

/// One generation of a resource, as it is passed to the fleet.
#[derive(Clone, Copy)]
pub(super) struct AppliedGeneration {
    pub(super) uid: Uuid,
    pub(super) generation: i64,
    /// Hash of everything that matters for the resource.
    pub(super) print: Hash,
}

impl AppliedGeneration {
    pub(super) fn of(resource: &Resource, print: Hash) -> Self {
        Self {
            uid: resource.uid,
            generation: resource.generation,
            print,
        }
    }
}

impl Controller {
    /// Whether the fleet has this already. A newer generation that asks for the same is then recorded,
    /// too.
    pub(super) fn is_in_fleet(&mut self, applied: AppliedGeneration) -> bool {
        let is_same = self.applied.get(&applied.uid) == Some(&applied.print);
        if is_same {
            self.recorded.insert(applied.uid, applied.generation);
            self.refused.remove(&applied.uid);
        }
        is_same
    }

    /// Records the result of applying a resource to the fleet.
    pub(super) fn record_result(&mut self, applied: AppliedGeneration, error: Option<FleetError>) {
        let uid = applied.uid;
        match error {
            None => {
                self.applied.insert(uid, applied.print);
                self.recorded.insert(uid, applied.generation);
                self.refused.remove(&uid);
            }
            Some(error) => {
                self.unfinished = true;
                self.refused.insert(uid, *error.failure);
            }
        }
        self.status_queue.dirty_uid(&uid);
    }

    /// Whether a command deleted the object of a resource, and the resource was not changed since it was
    /// recorded. If nothing says which generation was recorded, it is the present one.
    pub(super) fn is_removed(&mut self, resource: &Resource, entity: &EntityId) -> bool {
        if self.fleet.knowledge(entity) != EntityPresence::Gone {
            return false;
        }
        let reported = || resource.progress().recorded();
        let recorded = self.recorded.get(&resource.uid).copied();
        let recorded = recorded.or_else(reported).unwrap_or(resource.generation);
        self.recorded.insert(resource.uid, recorded);
        let is_unchanged = recorded == resource.generation;
        if !is_unchanged {
            self.applied.remove(&resource.uid);
        }
        is_unchanged
    }

    /// Adds the results of a pass to its findings.
    pub(super) fn add_results(
        &self,
        all: &Snapshot,
        claims: &MemberClaims,
        found: &mut BTreeMap<ResourceKey, StatusFindings>,
    ) {
        for resource in &all.resources {
            let Some(findings) = found.get_mut(&resource.key) else {
                continue;
            };
            if let Some(refused) = self.refused.get(&resource.uid) {
                findings.refusal = Some(refused.clone());
            }
            let recorded = self.recorded.get(&resource.uid).copied();
            let reported = || resource.progress().recorded_generation;
            findings.recorded_generation = recorded.or_else(reported);
            let is_held = findings.hold.is_some() || resource.is_deleting();
            let is_wrong = findings.refusal.is_some() || !findings.problems.is_empty();
            findings.is_pending = !is_held
                && !is_wrong
                && claims.of(resource).is_none()
                && is_recorded_alone(resource.key.kind)
                && recorded != Some(resource.generation);
        }
    }
}

/// Whether each resource of that kind is recorded. References are recorded with the VSIs that use them.
fn is_recorded_alone(kind: ResourceKind) -> bool {
    match kind {
        ResourceKind::Vsi
        | ResourceKind::VirtualServer
        | ResourceKind::Pool
        | ResourceKind::Group
        | ResourceKind::DataDisk => true,
        ResourceKind::DataDiskRef
        | ResourceKind::NetworkRef
        | ResourceKind::Network
        | ResourceKind::Quota
        | ResourceKind::Snapshot => false,
    }
}
