//! The request that boot disks are made anew.
//!
//! All names are looked up before anything is recorded. Whoever selected the VSIs and agreed to it sends their UIDs.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::executor::By;
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet, Fleets, ReplacementPlace},
    kinds::ObjectKind,
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{self, ActAnswer, ActEffect, ActedObject, JournalRequest, journal_of},
    agreed,
    reading::default_namespace,
};
use crate::{Caller, JournalSet, Problem, Rights, api::Api};

/// A VSI whose boot disk is to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RebuildTarget {
    /// Its name.
    pub name: String,
    /// Its UID, if only that VSI is meant.
    #[serde(default)]
    pub uid: Option<String>,
}

/// Asks that the boot disks of VSIs are made anew from their images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RebuildRequest {
    /// The namespace of names without one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The VSIs.
    pub vsis: Vec<RebuildTarget>,
    /// Delete the present boot disk before the new one is made.
    #[serde(default)]
    pub in_place: bool,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

impl ServiceRequest for RebuildRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "rebuild",
        path: "/v1/rebuild",
        summary: "Make the boot disks of VSIs anew from their images",
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

impl JournalRequest for RebuildRequest {
    fn check(&self) -> Result<(), Problem> {
        for target in &self.vsis {
            let (kind, _) = ObjectKind::of_name(&target.name);
            if kind != ObjectKind::Vsi {
                let detail = format!("{}: a {} has no boot disk", target.name, kind.words().noun);
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Problem::new(status, "VSI0810", detail, "name VSIs"));
            }
        }
        Ok(())
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(&self, api: &Api, set: &dyn JournalSet) -> Result<BTreeMap<u16, Self>, Problem> {
        let fleets = api.fleets().await?;
        let mut parts: BTreeMap<u16, Self> = BTreeMap::new();
        for target in &self.vsis {
            let journal = journal_of(set, &fleets, &self.namespace, &target.name).await?;
            let part = parts.entry(journal).or_insert_with(|| Self {
                vsis: Vec::new(),
                ..self.clone()
            });
            part.vsis.push(target.clone());
        }
        Ok(parts)
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        Ok(ActAnswer::of(self.rebuilt(fleet, &by).await?))
    }
}

impl RebuildRequest {
    async fn rebuilt(&self, fleet: &Fleet, by: &By) -> Result<Vec<ActedObject>, Problem> {
        let fleets = Fleets::from(fleet.clone());
        for target in &self.vsis {
            agreed::check(
                &fleets,
                &self.namespace,
                &target.name,
                target.uid.as_deref(),
            )
            .await?;
        }
        let names: Vec<_> = self.vsis.iter().map(|target| target.name.clone()).collect();
        let place = ReplacementPlace::of(self.in_place);
        let mut rebuilt = Vec::new();
        for object in fleet.objects_named(&self.namespace, &names).await? {
            let recorded = fleet
                .vsis()
                .rebuild(&object.namespace, &object.name, place, by.clone())
                .await;
            rebuilt.push(match recorded {
                Ok((_, plan)) => ActedObject {
                    plan: Some(plan),
                    ..ActedObject::of(object, ActEffect::Recorded)
                },
                // A VSI that cannot be rebuilt does not stop the others.
                Err(refusal) if refusal.kind == ErrorKind::Blocked => ActedObject {
                    problem: Some(refusal.into()),
                    ..ActedObject::of(object, ActEffect::Refused)
                },
                Err(error) => return Err(error.into()),
            });
        }
        Ok(rebuilt)
    }
}
