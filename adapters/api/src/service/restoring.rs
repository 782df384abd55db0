//! Requests that put VSIs back to snapshots: what is lost by it, and that it is done.
//!
//! The answer to the first names the snapshot by its UID. Whoever agreed to the loss sends that UID: another snapshot that has
//! the name by now is not restored.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::executor::By;
use vsiflow_workflows::{
    fleet::{Fleet, Fleets, NeededRoom, ReplacementPlace, RestoreOptions, RestoreScope},
    kinds::ObjectKind,
    plan::Plan,
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{self, ActAnswer, ActEffect, ActedObject, JournalRequest, journal_of},
    agreed,
    reading::default_namespace,
};
use crate::{Caller, ForwardedRequest, JournalSet, Problem, Rights, api::Api};

/// How a VSI is put back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Restoration {
    /// Leave out the memory of the snapshot: the guest boots from the disks.
    pub disks_only: bool,
    /// Restore copies without a check of their recorded hashes, or with none on record.
    pub unverified: bool,
    /// Delete the present disks before their copies are put back, for pools without room for both.
    pub in_place: bool,
}

impl From<Restoration> for RestoreOptions {
    fn from(restoration: Restoration) -> Self {
        let scope = if restoration.disks_only {
            RestoreScope::DisksOnly
        } else {
            RestoreScope::All
        };
        Self {
            scope,
            unverified: restoration.unverified,
            place: ReplacementPlace::of(restoration.in_place),
        }
    }
}

/// Asks what is lost if a VSI is put back to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanRestorationRequest {
    /// The namespace, unless the name has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The snapshot.
    pub name: String,
    /// How it is put back.
    #[serde(default)]
    pub how: Restoration,
    /// Ask the host for room, and say what would be refused.
    #[serde(default)]
    pub foresee: bool,
}

/// What a restoration does, and what it leaves out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedRestoration {
    /// The UID of the snapshot.
    pub uid: String,
    /// Its VSI, with the plan, and with the problem for which it would be refused.
    pub vsi: ActedObject,
    /// The disks of the snapshot that the VSI does not have any more, as `disk/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<String>,
    /// The room that the disks need, if the host was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeededRoom>,
}

/// Asks that a VSI is put back to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreSnapshotRequest {
    /// The namespace, unless the name has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The snapshot.
    pub name: String,
    /// Its UID, if only that snapshot is meant.
    #[serde(default)]
    pub uid: Option<String>,
    /// How it is put back.
    #[serde(default)]
    pub how: Restoration,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

impl ServiceRequest for PlanRestorationRequest {
    type Answer = PlannedRestoration;
    const OPERATION: Operation = Operation {
        id: "planRestoration",
        path: "/v1/plan-restoration",
        summary: "Show what is lost if a VSI is put back to a snapshot",
    };
    const NEEDS: Rights = Rights::Look;
    const USE: JournalUse = JournalUse::Record;

    fn needs(&self) -> Rights {
        if self.foresee {
            Rights::Operate
        } else {
            Rights::Look
        }
    }

    fn asks_hosts(&self) -> bool {
        self.foresee
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<PlannedRestoration, Problem> {
        if let Some(set) = api.set() {
            let fleets = api.fleets().await?;
            let name = qualified(&self.name);
            let journal = journal_of(set.as_ref(), &fleets, &self.namespace, &name).await?;
            let forwarded = ForwardedRequest::asking(&self, caller)?;
            return set.answer(journal, forwarded).await?.answer_to::<Self>();
        }
        Box::pin(self.planned(api.fleet()?)).await
    }
}

impl PlanRestorationRequest {
    async fn planned(&self, fleet: &Fleet) -> Result<PlannedRestoration, Problem> {
        let (namespace, name, how) = (&self.namespace, bare(&self.name), self.how.into());
        let snapshots = fleet.snapshots();
        let (vsi, plan) = snapshots.plan_restore(namespace, name, how).await?;
        let mut planned = PlannedRestoration {
            uid: snapshots.find(namespace, name).await?.id().to_owned(),
            vsi: vsi_with(fleet, &vsi, plan).await?,
            not_restored: snapshots.not_restored(namespace, name).await?,
            needs: Vec::new(),
        };
        if self.foresee {
            planned.needs = snapshots.room_to_restore(namespace, name, how).await?;
            let refusal = snapshots.restore_refusal(namespace, name, how).await?;
            let refusal = refusal.map(|failure| Problem::of(StatusCode::CONFLICT, &failure));
            planned.vsi.problem = refusal;
        }
        Ok(planned)
    }
}

impl ServiceRequest for RestoreSnapshotRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "restoreSnapshot",
        path: "/v1/restore-snapshot",
        summary: "Put a VSI back to a snapshot",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Work;

    fn is_repeatable(&self) -> bool {
        false
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for RestoreSnapshotRequest {
    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(&self, api: &Api, set: &dyn JournalSet) -> Result<BTreeMap<u16, Self>, Problem> {
        let fleets = api.fleets().await?;
        let journal = journal_of(set, &fleets, &self.namespace, &qualified(&self.name)).await?;
        Ok(BTreeMap::from([(journal, self.clone())]))
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        let fleets = Fleets::from(fleet.clone());
        let name = qualified(&self.name);
        agreed::check(&fleets, &self.namespace, &name, self.uid.as_deref()).await?;
        let how = self.how.into();
        let snapshots = fleet.snapshots();
        let restored = snapshots.restore(&self.namespace, bare(&self.name), how, by);
        let (vsi, plan) = restored.await?;
        Ok(ActAnswer::of(vec![vsi_with(fleet, &vsi, plan).await?]))
    }
}

/// A VSI that is put back, with the plan.
async fn vsi_with(
    fleet: &Fleet,
    vsi: &vsiflow_engine::model::EntityId,
    plan: Plan,
) -> Result<ActedObject, Problem> {
    let named = fleet.vsis_of(std::slice::from_ref(vsi)).await?;
    let mut objects = named.into_iter();
    let object = objects.next().ok_or_else(Problem::view_only)?;
    Ok(ActedObject {
        plan: Some(plan),
        ..ActedObject::of(object, ActEffect::Recorded)
    })
}

/// `NAME` as `snapshot/NAME`.
fn qualified(name: &str) -> String {
    format!("{}/{}", ObjectKind::Snapshot.word(), bare(name))
}

/// `snapshot/NAME` as `NAME`.
fn bare(name: &str) -> &str {
    match ObjectKind::of_name(name) {
        (ObjectKind::Snapshot, bare) => bare,
        _ => name,
    }
}
