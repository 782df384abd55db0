//! Has the fleet adopt what stands on hosts, for resources that are older than its journal.

use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_workflows::{
    fleet::{Adopting, FleetError},
    spec::Resolved,
};

use super::{
    Controller,
    apply::{ApplyRequest, generation},
    by,
    shard_scope::is_worked_on,
};
use crate::{resource::Resource, translate::Translation};

/// What is done for resources that were worked on and that the journal knows nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LostJournal {
    /// Nothing: it is said, and waits for somebody.
    #[default]
    Wait,
    /// What stands on the hosts is adopted as it is.
    Adopt,
}

impl Controller {
    /// Whether what stands on its host is to be adopted for a resource that the journal does not
    /// know: the resource says so, or whoever started this process does for all that were worked
    /// on.
    pub(super) fn is_to_be_adopted(&self, resource: &Resource, worked_on: bool) -> bool {
        resource.is_to_be_adopted() || worked_on && self.lost == LostJournal::Adopt
    }

    /// Whether a disk was worked on by a journal that is not there any more.
    pub(super) fn is_unknown_disk(&self, resource: &Resource) -> bool {
        !self.is_known(resource) && is_worked_on(resource)
    }

    /// Whether nothing is done for such a disk until somebody decides.
    pub(super) fn is_lost(&self, resource: &Resource) -> bool {
        self.is_unknown_disk(resource) && self.lost == LostJournal::Wait
    }

    /// Has the fleet take such a disk over, where whoever started this process said so. Tells
    /// whether it did.
    pub(super) async fn adopt_disk(
        &mut self,
        resource: &Resource,
        translation: &Translation,
    ) -> bool {
        let mut disks = translation.rest.data_disks.iter();
        let disk = disks.find(|disk| disk.uid == Some(resource.uid));
        // Nobody can look for it while no document says on which host.
        let Some(disk) = disk.filter(|disk| !disk.host.is_empty()) else {
            self.unfinished = true;
            return false;
        };
        let host = translation.rest.hosts.get(&disk.host).cloned();
        let by = by(&resource.manager, &generation(resource.generation));
        match self.fleet.disks().adopt(disk.clone(), host, by).await {
            Ok(_) => true,
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
                false
            }
        }
    }

    /// Has them adopted. What they are made from is given to the fleet by the next pass, and
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
            // A journal that was lost left its mark, and nobody works with it any more.
            force: self.lost == LostJournal::Adopt,
        };
        let by = by(&request.manager, &generation(request.generation));
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
