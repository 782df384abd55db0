//! Removes finalizers once the fleet reports that nothing is left.

use std::sync::Arc;

use uuid::Uuid;
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::{DeletionMode, EntityPresence, FleetError},
    record::{disk_entity, vsi_entity},
};

use super::{Controller, LostJournal, by, claims::MemberClaims};
use crate::{
    kind::ResourceKind,
    resource::Resource,
    status_queue::{Hold, StatusFindings},
    translate::Translation,
};

impl Controller {
    /// Whether our finalizer can be removed.
    pub(super) async fn may_finalize(
        &mut self,
        resource: &Arc<Resource>,
        translation: &Translation,
        claims: &MemberClaims,
        findings: &mut StatusFindings,
    ) -> bool {
        if !resource.has_finalizer() {
            return false;
        }
        match resource.key.kind {
            ResourceKind::Vsi | ResourceKind::VirtualServer => {
                self.vsi_may_finalize(resource, findings).await
            }
            ResourceKind::Pool | ResourceKind::Group => {
                self.pool_may_finalize(resource, claims, findings).await
            }
            ResourceKind::DataDisk => {
                self.disk_may_finalize(resource, translation, findings)
                    .await
            }
            ResourceKind::Network => self.network_may_finalize(resource).await,
            ResourceKind::Quota => self.quota_may_finalize(resource).await,
            ResourceKind::Snapshot => self.snapshot_may_finalize(resource, findings).await,
            _ => true,
        }
    }

    async fn vsi_may_finalize(
        &mut self,
        resource: &Resource,
        findings: &mut StatusFindings,
    ) -> bool {
        let Ok(entity) = vsi_entity(resource.uid) else {
            return false;
        };
        let worked_on = resource.progress().run_id.is_some() || resource.is_to_be_adopted();
        self.request_removal(resource, &entity, worked_on, findings)
            .await
    }

    async fn disk_may_finalize(
        &mut self,
        resource: &Resource,
        translation: &Translation,
        findings: &mut StatusFindings,
    ) -> bool {
        let Ok(entity) = disk_entity(resource.uid) else {
            return false;
        };
        match self.fleet.disks().users(resource.uid).await {
            Ok(users) if users.is_empty() || resource.is_orphaned() => {}
            Ok(users) => {
                findings.hold = Some(Hold::InUse(users));
                self.unfinished = true;
                return false;
            }
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
                return false;
            }
        }
        let unknown = self.is_unknown_disk(resource) && !resource.is_orphaned();
        let worked_on = if unknown && self.lost == LostJournal::Adopt {
            !self.adopt_disk(resource, translation).await
        } else {
            unknown
        };
        self.request_removal(resource, &entity, worked_on, findings)
            .await
    }

    /// Asks the fleet to remove the object of a resource, once. Returns whether it is removed.
    pub(super) async fn request_removal(
        &mut self,
        resource: &Resource,
        entity: &EntityId,
        worked_on: bool,
        findings: &mut StatusFindings,
    ) -> bool {
        let (uid, orphan) = (resource.uid, resource.is_orphaned());
        match self.fleet.knowledge(entity) {
            EntityPresence::Gone => return true,
            EntityPresence::None if orphan || !worked_on => return true,
            EntityPresence::None => {
                findings.hold = Some(Hold::JournalLost);
                return false;
            }
            EntityPresence::Alive => {}
        }
        if self.removals.get(&uid) != Some(&orphan) {
            let deleted = self.delete(resource, orphan).await;
            self.removal_requested(uid, orphan, deleted.err());
        }
        // The removal may have been completed immediately.
        self.fleet.knowledge(entity) == EntityPresence::Gone
    }

    /// Records that the fleet was asked to remove the object of a resource, or why it refused.
    pub(super) fn removal_requested(
        &mut self,
        uid: Uuid,
        orphan: bool,
        refused: Option<FleetError>,
    ) {
        match refused {
            None => {
                self.removals.insert(uid, orphan);
                self.refused.remove(&uid);
            }
            Some(error) => {
                self.unfinished = true;
                self.refused.insert(uid, *error.failure);
            }
        }
    }

    async fn delete(&self, resource: &Resource, orphan: bool) -> Result<EntityId, FleetError> {
        let by = by(&resource.manager, &resource.deletion_reason());
        let (namespace, id) = (&resource.key.namespace, resource.uid.to_string());
        // The newest spec may never have been applied.
        let mode = if orphan {
            DeletionMode::Orphan
        } else {
            DeletionMode::of_document(resource.deletion_policy())
        };
        match resource.key.kind {
            ResourceKind::Vsi | ResourceKind::VirtualServer => {
                self.fleet.vsis().delete(namespace, &id, mode, by).await
            }
            ResourceKind::Snapshot => {
                self.fleet
                    .snapshots()
                    .delete(namespace, &id, orphan, by)
                    .await
            }
            _ => self.fleet.disks().delete(namespace, &id, mode, by).await,
        }
    }
}
