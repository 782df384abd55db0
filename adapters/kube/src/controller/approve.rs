//! Passes approvals of changes from the cluster to the fleet.

use vsiflow_workflows::{fleet::EntityPresence, record::vsi_entity};

use super::{Controller, by};
use crate::{resource::Resource, resource_cache::Snapshot};

impl Controller {
    /// Passes on what annotations approve. An approval names its change, so one that was passed on
    /// before, or whose change was replaced since, has no effect.
    pub(super) async fn approve(&mut self, snapshot: &Snapshot) {
        let vsis = snapshot
            .resources
            .iter()
            .filter(|one| one.key.kind.is_vsi() && !one.is_deleting());
        for resource in vsis {
            if let Some(id) = resource.approves()
                && resource.old_finalizer().is_none()
            {
                self.approve_one(resource, id).await;
            }
        }
    }

    async fn approve_one(&mut self, resource: &Resource, id: &str) {
        let alive = vsi_entity(resource.uid)
            .is_ok_and(|entity| self.fleet.knowledge(&entity) == EntityPresence::Alive);
        if !alive {
            return;
        }
        let (namespace, uid) = (&resource.key.namespace, resource.uid.to_string());
        let by = by(&resource.manager, "the resource approves it");
        match self
            .fleet
            .vsis()
            .approve_this(namespace, &uid, id, by)
            .await
        {
            Ok(false) => {}
            Ok(true) => self.status_queue.dirty_uid(&resource.uid),
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
                self.status_queue.dirty_uid(&resource.uid);
            }
        }
    }
}
