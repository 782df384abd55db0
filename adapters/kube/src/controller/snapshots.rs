//! Applies the snapshots of the cluster to the fleet: each is taken once, by the UID of its resource.
//!
//! A snapshot that cannot be taken yet (because its VSI is being made, for example) reports that and is
//! retried. One that was taken and then deleted by a command is never taken again for the same resource,
//! nor one that an empty journal does not know.

use std::collections::BTreeMap;

use vsiflow_engine::model::{EntityId, Hash};
use vsiflow_workflows::{fleet::EntityPresence, record::snapshot_entity, spec::Resolved};

use super::{
    Controller, apply_request::generation_reason, by, recorded::AppliedGeneration,
    shard_scope::is_worked_on,
};
use crate::{
    kind::ResourceKind,
    resource::Resource,
    resource_cache::Snapshot,
    status_queue::{Hold, StatusFindings},
    translate::Translation,
};

impl Controller {
    /// Why a snapshot must not be applied to the fleet, if there is a reason.
    pub(super) fn snapshot_hold(&self, resource: &Resource) -> Option<Hold> {
        let entity = snapshot_entity(resource.uid).ok()?;
        match self.fleet.knowledge(&entity) {
            EntityPresence::None if is_worked_on(resource) => Some(Hold::JournalLost),
            EntityPresence::Gone => Some(Hold::Removed),
            EntityPresence::None | EntityPresence::Alive => None,
        }
    }

    /// Applies each snapshot that was not applied yet.
    pub(super) async fn apply_snapshots(&mut self, snapshot: &Snapshot, translation: &Translation) {
        let snapshots = translation.rest.snapshots.iter();
        let snapshots: BTreeMap<_, _> = snapshots.filter_map(|one| Some((one.uid?, one))).collect();
        for resource in &snapshot.resources {
            let Some(desired) = snapshots.get(&resource.uid) else {
                continue;
            };
            let held = resource.old_finalizer().is_some() || self.snapshot_hold(resource).is_some();
            let is_served = resource.key.kind == ResourceKind::Snapshot && resource.has_finalizer();
            if held || !is_served || resource.is_deleting() {
                continue;
            }
            self.heartbeat();
            let spec = serde_json::to_vec(&desired.spec).unwrap_or_default();
            let generation = AppliedGeneration::of(resource, Hash::of(&spec));
            if self.is_in_fleet(generation) {
                continue;
            }
            let resolved = Resolved {
                snapshots: vec![(*desired).clone()],
                ..translation.rest.alone()
            };
            let by = by(&resource.manager, &generation_reason(resource.generation));
            let applied = self.record(resolved, by).await;
            self.record_result(generation, applied.err());
        }
    }

    /// Asks the fleet to delete the snapshot of a resource, once. Returns whether it is deleted.
    pub(super) async fn snapshot_may_finalize(
        &mut self,
        resource: &Resource,
        findings: &mut StatusFindings,
    ) -> bool {
        let entity: EntityId = match snapshot_entity(resource.uid) {
            Ok(entity) => entity,
            Err(_) => return false,
        };
        self.request_removal(resource, &entity, is_worked_on(resource), findings)
            .await
    }
}
