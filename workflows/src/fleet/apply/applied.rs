//! What an apply did about an object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::model::EntityId;

use crate::fleet::{NeededRoom, index::Known};
use crate::{
    plan::{Plan, PlannedChange},
    record::{RolloutPredecessor, kind},
    spec::{DesiredDataDisk, ResolvedVsi},
};

/// What an apply did about one VSI or data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "DocumentEffect")]
pub enum Change {
    /// It is new.
    Created,
    /// Its desired state changed.
    Configured,
    /// Nothing changed.
    Unchanged,
}

/// A VSI or a data disk that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Its kind: `vsi`, `pool`, `disk` or `type`.
    pub kind: &'static str,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Its entity; `None` for a type, and after a dry run that would have created it.
    pub entity: Option<EntityId>,
    /// What was done.
    pub change: Change,
    /// The fields that differ from what documents asked for before.
    pub fields: Vec<PlannedChange>,
    /// The plan that brings it to its desired state.
    pub plan: Plan,
    /// The room that the plan needs for disks that replace others; empty unless something is only planned.
    pub needs: Vec<NeededRoom>,
    /// Whether the plan waits for approval.
    pub awaits_approval: bool,
    /// References without a document now; the VSI keeps what they resolved to before.
    pub retained_refs: Vec<String>,
    /// The contract that the VSI was made from was lost; the document's contract was stored in its
    /// place.
    pub contract_put_back: bool,
}

impl Applied {
    pub(in crate::fleet) fn of(
        vsi: &ResolvedVsi,
        entity: Option<EntityId>,
        change: Change,
    ) -> Self {
        let (namespace, name) = (&vsi.desired.namespace, &vsi.desired.name);
        Self {
            retained_refs: vsi.retained_refs.clone(),
            ..Self::unplanned(kind::VSI, namespace, name, entity, change)
        }
    }

    pub(in crate::fleet) fn of_disk(
        disk: &DesiredDataDisk,
        entity: EntityId,
        change: Change,
    ) -> Self {
        Self::unplanned(
            kind::DISK,
            &disk.namespace,
            &disk.name,
            Some(entity),
            change,
        )
    }

    /// Replaces the plan by a refusal of the whole change.
    pub(in crate::fleet) fn refuse_because(&mut self, path: &str, why: &str) {
        let refused = PlannedChange::refused(path, why);
        self.change = Change::Configured;
        self.awaits_approval = false;
        self.fields = vec![refused.clone()];
        self.plan = Plan {
            changes: vec![refused],
            ..Plan::default()
        };
    }

    /// An entry without a plan or changed fields.
    pub(in crate::fleet) fn unplanned(
        kind: &'static str,
        namespace: &str,
        name: &str,
        entity: Option<EntityId>,
        change: Change,
    ) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            entity,
            change,
            fields: Vec::new(),
            plan: Plan::default(),
            needs: Vec::new(),
            awaits_approval: false,
            retained_refs: Vec::new(),
            contract_put_back: false,
        }
    }
}

/// The rollout predecessor for the VSI that is updated after this one.
pub(in crate::fleet) fn predecessor(
    known: &Known,
    continue_on_failure: bool,
) -> RolloutPredecessor {
    RolloutPredecessor {
        after: known.entity.to_string(),
        name: known.label(),
        continue_on_failure,
    }
}
