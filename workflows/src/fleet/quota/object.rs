//! Quotas as Kubernetes-shaped objects, with their usage.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    count::UsageByTaker,
    record::{LostQuota, Quotas, quota_entity},
};
use crate::{
    fleet::{
        Fleet, FleetError, Metadata, QuotaHandle, unreadable::UNREADABLE, vsi::object::rfc3339,
    },
    quota::{Limit, Usage, limits},
    spec::{
        documents,
        quota::{DesiredQuota, QuotaLimits},
    },
};

/// A quota.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Who it is.
    pub metadata: Metadata,
    /// What it limits.
    pub spec: QuotaShown,
    /// What is taken of each limit.
    pub status: QuotaStatus,
}

/// What a quota limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaShown {
    /// The limits.
    pub hard: QuotaLimits,
}

/// What is taken of each limit, as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaStatus {
    /// The limits.
    pub hard: BTreeMap<String, String>,
    /// What is taken.
    pub used: BTreeMap<String, String>,
    /// The limits of which more is taken than is allowed: they were lowered, or what stood was adopted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceeded: Vec<String>,
    /// `Unreadable` if its limits cannot be read. Nothing more is made in its namespace until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<&'static str>,
    /// Why they cannot be read, and what can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl QuotaHandle<'_> {
    /// All quotas, with their usage.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self) -> Result<Vec<QuotaObject>, FleetError> {
        self.list_over(&[]).await
    }

    /// All quotas, with their usage in this journal and in others.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub async fn list_over(self, others: &[&Fleet]) -> Result<Vec<QuotaObject>, FleetError> {
        let Quotas { read: quotas, lost } = self.fleet.quotas_with(&[]).await?;
        let mut objects: Vec<_> = lost.iter().map(|lost| self.lost(lost)).collect();
        if quotas.is_empty() {
            return Ok(objects);
        }
        let mut taken = vec![self.fleet.count().await?.taken.by_taker];
        for other in others {
            taken.push(other.count().await?.taken.by_taker);
        }
        objects.extend(self.shown(quotas, &taken)?);
        Ok(objects)
    }

    /// The object of a quota whose limits cannot be read.
    fn lost(self, lost: &LostQuota) -> QuotaObject {
        QuotaObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::QUOTA,
            metadata: Metadata {
                name: lost.name.clone(),
                namespace: lost.namespace.clone(),
                uid: String::new(),
                generation: 0,
                creation_timestamp: String::new(),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            },
            spec: QuotaShown {
                hard: QuotaLimits::default(),
            },
            status: QuotaStatus {
                hard: BTreeMap::new(),
                used: BTreeMap::new(),
                exceeded: Vec::new(),
                phase: Some(UNREADABLE),
                message: Some(format!("{}. {}", lost.failure, lost.failure.remedy)),
            },
        }
    }

    /// Builds the objects of these quotas.
    pub(super) fn shown(
        self,
        quotas: Vec<DesiredQuota>,
        taken: &[UsageByTaker],
    ) -> Result<Vec<QuotaObject>, FleetError> {
        let mut objects = Vec::new();
        for quota in quotas {
            let entity = quota_entity(&quota.namespace, &quota.name)?;
            let (created, _) = self.fleet.engine.times(&entity).unwrap_or_default();
            let state = self.fleet.engine.entity(&entity);
            let desired = state.as_ref().and_then(|state| state.desired.as_ref());
            let generation = desired.map_or(0, |desired| desired.generation);
            let used = taken.iter().map(|taken| taken.of(&quota.namespace));
            let limits = limits(&quota.hard, used.fold(Usage::default(), Usage::plus));
            let all = |text: fn(Limit) -> String| {
                let all = limits.iter();
                all.map(|one| (one.name.to_owned(), text(*one))).collect()
            };
            objects.push(QuotaObject {
                api_version: documents::VSIFLOW_API_VERSION,
                kind: documents::QUOTA,
                status: QuotaStatus {
                    hard: all(Limit::hard),
                    used: all(Limit::used),
                    exceeded: exceeded(&limits),
                    phase: None,
                    message: None,
                },
                metadata: Metadata {
                    name: quota.name,
                    namespace: quota.namespace,
                    uid: String::new(),
                    generation,
                    creation_timestamp: rfc3339(created),
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                },
                spec: QuotaShown { hard: quota.hard },
            });
        }
        Ok(objects)
    }
}

fn exceeded(limits: &[Limit]) -> Vec<String> {
    let over = limits.iter().filter(|limit| limit.used > limit.hard);
    over.map(|limit| limit.name.to_owned()).collect()
}
