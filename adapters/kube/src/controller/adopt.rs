//! Adoption of existing domains and disks, for resources that are older than the fleet's journal.

use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_workflows::{
    fleet::{Adopting, FleetError},
    record::disk_entity,
    spec::Resolved,
};

use super::{
    Controller,
    apply_request::{ApplyRequest, generation_reason},
    by,
    shard_scope::is_worked_on,
};
use crate::{resource::Resource, status_queue::Hold, translate::Translation};

/// What to do for resources that were worked on before and that the journal does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostJournal {
    /// Nothing: the status says so, and a person must decide.
    #[default]
    Wait,
    /// The existing domains and disks are adopted as they are.
    Adopt,
}

impl Controller {
    /// Whether the existing domain or disk is adopted for a resource that the journal does not know: either
    /// the resource asks for it, or this process was started so, for all resources that were worked on.
    pub(super) fn is_to_be_adopted(&self, resource: &Resource, worked_on: bool) -> bool {
        resource.is_to_be_adopted() || worked_on && self.lost == LostJournal::Adopt
    }

    /// Whether a journal that does not exist any more worked on this disk.
    pub(super) fn is_unknown_disk(&self, resource: &Resource) -> bool {
        !self.is_known(resource) && is_worked_on(resource)
    }

    /// Whether nothing is done for an unknown disk until a person decides.
    pub(super) fn is_lost(&self, resource: &Resource) -> bool {
        self.is_unknown_disk(resource) && !self.is_to_be_adopted(resource, true)
    }

    /// Whether the existing volume becomes this disk's. Otherwise it would belong to somebody else.
    pub(super) fn is_disk_to_be_adopted(&self, resource: &Resource) -> bool {
        !self.is_known(resource) && self.is_to_be_adopted(resource, is_worked_on(resource))
    }

    /// Why nothing is done for a data disk that is not being deleted, if there is a reason.
    pub(super) fn disk_hold(&mut self, resource: &Resource) -> Option<Hold> {
        let entity = disk_entity(resource.uid).ok()?;
        if self.is_lost(resource) {
            Some(Hold::JournalLost)
        } else if self.is_removed(resource, &entity) {
            // Made again, it would be empty.
            Some(Hold::Removed)
        } else {
            None
        }
    }

    /// Adopts an unknown disk. Returns whether that succeeded.
    pub(super) async fn adopt_disk(
        &mut self,
        resource: &Resource,
        translation: &Translation,
    ) -> bool {
        let mut disks = translation.rest.data_disks.iter();
        let disk = disks.find(|disk| disk.uid == Some(resource.uid));
        // Without a host in any document nothing can look for the disk.
        let Some(disk) = disk.filter(|disk| !disk.host.is_empty()) else {
            self.unfinished = true;
            return false;
        };
        let host = translation.rest.hosts.get(&disk.host).cloned();
        let by = by(&resource.manager, &generation_reason(resource.generation));
        match self.fleet.disks().adopt(disk.clone(), host, by).await {
            Ok(_) => true,
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
                false
            }
        }
    }

    /// Adopts the domains of these requests. The next pass applies what they are made from, which
    /// changes nothing then.
    pub(super) async fn adopt(&mut self, requests: Vec<ApplyRequest>, rest: &Resolved) {
        for request in requests {
            self.unfinished = true;
            match self.adopt_one(&request, rest).await {
                Ok(()) => drop(self.refused.remove(&request.uid)),
                Err(error) => drop(self.refused.insert(request.uid, *error.failure)),
            }
            self.status_queue.dirty_uid(&request.uid);
        }
    }

    async fn adopt_one(&self, request: &ApplyRequest, rest: &Resolved) -> Result<(), FleetError> {
        let desired = &request.vsi.desired;
        let host = rest.hosts.get(&desired.host).cloned().ok_or_else(|| {
            let message = format!("nothing is known of the host {}", desired.host);
            FleetError::from(Failure::new(FailureClass::Blocked, "VSI0001", message))
        })?;
        let what = Adopting {
            host,
            domain: request.uid.to_string(),
            namespace: Some(desired.namespace.clone()),
            name: Some(desired.name.clone()),
            // The lost journal left its ownership mark, and no process works with that journal any more.
            force: self.lost == LostJournal::Adopt,
        };
        let by = by(&request.manager, &generation_reason(request.generation));
        let Some(share) = &self.share else {
            return self.fleet.vsis().adopt(what, by).await.map(drop);
        };
        let resolved = Resolved {
            vsis: vec![(*request.vsi).clone()],
            ..Resolved::default()
        };
        let live = self.live(&resolved).await?;
        share.adopt(what, by, &live).await
    }
}
