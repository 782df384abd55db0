//! Admission: in namespaces with quotas, if the journals of a set share the cluster, journal 0 must
//! admit what takes more than is recorded, before this journal records it. What takes no more is
//! recorded without asking.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_workflows::fleet::{FleetError, ObjectUsage, RecordedUsage};

use super::{Controller, decisions::DecisionRequest};
use crate::{
    share::{JournalShare, ResourceDecision},
    translate::Translation,
};

/// The admission state of one pass.
#[derive(Default)]
pub(super) struct AdmissionPass {
    /// The namespaces with quotas.
    limited: BTreeSet<String>,
    recorded: RecordedUsage,
    admitted: BTreeMap<Uuid, Vec<ObjectUsage>>,
    /// Resources that are not recorded in this pass.
    unadmitted: BTreeSet<Uuid>,
}

impl AdmissionPass {
    /// Namespaces with quotas; admission took care of these.
    pub(super) fn limited(&self) -> &BTreeSet<String> {
        &self.limited
    }

    /// Whether journal 0 must admit what a resource takes before it is recorded.
    pub(super) fn is_lacking(&self, uid: Uuid) -> bool {
        self.unadmitted.contains(&uid)
    }

    /// The request for admission of a resource; none if it takes no more than is recorded or admitted.
    pub(super) fn admission_request(
        &mut self,
        namespace: &str,
        request_of: impl FnOnce() -> DecisionRequest,
    ) -> Option<DecisionRequest> {
        if !self.limited.contains(namespace) {
            return None;
        }
        let request = request_of();
        let admitted = self.admitted.get(&request.uid).map(Vec::as_slice);
        let admitted = admitted.unwrap_or_default();
        if self.recorded.covers(&request.resolved, admitted) {
            return None;
        }
        self.unadmitted.insert(request.uid);
        Some(request)
    }
}

impl Controller {
    /// Reads which namespaces have quotas, and what is recorded and admitted in them.
    pub(super) async fn refresh_limits(
        &self,
        share: &dyn JournalShare,
        translation: &Translation,
        decided: &BTreeMap<Uuid, ResourceDecision>,
    ) -> Result<AdmissionPass, FleetError> {
        let vsis = translation.vsis.values();
        let vsis = vsis.map(|vsi| vsi.desired.namespace.clone());
        let disks = translation.rest.data_disks.iter();
        let namespaces = vsis
            .chain(disks.map(|disk| disk.namespace.clone()))
            .collect();
        let limited = share.limited(&namespaces).await?;
        if limited.is_empty() {
            return Ok(AdmissionPass::default());
        }
        let admitted = decided.iter();
        let admitted = admitted.map(|(uid, decision)| (*uid, decision.admitted.clone()));
        Ok(AdmissionPass {
            recorded: self.fleet.quotas().recorded_in(&limited).await?,
            admitted: admitted.collect(),
            limited,
            unadmitted: BTreeSet::new(),
        })
    }
}
