//! Stores and reads the records of quotas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, Name, Precedence},
};

use crate::{
    fleet::{
        Applied, Change, Fleet, FleetError, QuotaHandle, store::DesiredUpdates,
        unreadable::DesiredReading,
    },
    plan::{self, How},
    record::kind,
    spec::quota::{DesiredQuota, QuotaLimits},
};

/// A quota as recorded; without limits, it is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct QuotaRecord {
    namespace: String,
    name: String,
    #[serde(default)]
    hard: Option<QuotaLimits>,
}

/// A quota whose limits cannot be read.
pub(super) struct LostQuota {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) failure: Failure,
}

/// All quotas, by namespace and name.
pub(super) struct Quotas {
    pub(super) read: Vec<DesiredQuota>,
    pub(super) lost: Vec<LostQuota>,
}

impl Quotas {
    /// Whether one of them is for that namespace.
    pub(super) fn limit(&self, namespace: &str) -> bool {
        let mut read = self.read.iter().map(|one| &one.namespace);
        let mut lost = self.lost.iter().map(|one| &one.namespace);
        read.any(|its| its == namespace) || lost.any(|its| its == namespace)
    }
}

/// The recorded state of one quota.
enum KnownQuota {
    None,
    Limits(QuotaLimits),
    Lost,
}

impl QuotaHandle<'_> {
    /// Whether there is a quota of that name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn has(self, namespace: &str, name: &str) -> Result<bool, FleetError> {
        let quota = self.fleet.quota(namespace, name).await?;
        Ok(!matches!(quota, KnownQuota::None))
    }

    /// Deletes a quota. Existing objects are unchanged.
    ///
    /// # Errors
    /// When there is no quota of that name, or the journal cannot be written.
    pub async fn delete(self, namespace: &str, name: &str, by: By) -> Result<(), FleetError> {
        if !self.has(namespace, name).await? {
            return Err(FleetError::not_found(kind::QUOTA, name));
        }
        let mut updates = DesiredUpdates::default();
        record(&mut updates, namespace, name, None)?;
        self.fleet.record(updates, by).await
    }
}

impl Fleet {
    async fn quota(&self, namespace: &str, name: &str) -> Result<KnownQuota, FleetError> {
        let entity = quota_entity(namespace, name)?;
        let Some(state) = self.engine.entity(&entity) else {
            return Ok(KnownQuota::None);
        };
        let read: DesiredReading<QuotaRecord> = self.read_whole(&entity, &state).await?;
        Ok(match read {
            DesiredReading::Record(record) => match record.hard {
                Some(hard) => KnownQuota::Limits(hard),
                None => KnownQuota::None,
            },
            DesiredReading::Nothing => KnownQuota::None,
            DesiredReading::Lost(_) => KnownQuota::Lost,
        })
    }

    /// All quotas; those of documents replace those of the journal.
    pub(super) async fn quotas_with(
        &self,
        documents: &[DesiredQuota],
    ) -> Result<Quotas, FleetError> {
        let (mut all, found) = (BTreeMap::new(), self.read_all_whole(kind::QUOTA).await?);
        for (_, _, record) in found.read {
            let record: QuotaRecord = record;
            if let Some(hard) = record.hard {
                all.insert((record.namespace, record.name), hard);
            }
        }
        for quota in documents {
            let place = (quota.namespace.clone(), quota.name.clone());
            all.insert(place, quota.hard.clone());
        }
        let lost = found.lost.into_iter().filter_map(|(entity, _, failure)| {
            let (namespace, name) = entity.id().split_once('/')?;
            let place = (namespace.to_owned(), name.to_owned());
            let is_anew = all.contains_key(&place);
            (!is_anew).then_some(LostQuota {
                namespace: place.0,
                name: place.1,
                failure,
            })
        });
        let lost = lost.collect();
        let read = all
            .into_iter()
            .map(|((namespace, name), hard)| DesiredQuota {
                namespace,
                name,
                hard,
            });
        Ok(Quotas {
            read: read.collect(),
            lost,
        })
    }

    /// Works out the change of each quota document.
    pub(in crate::fleet) async fn draft_quotas(
        &self,
        quotas: &[DesiredQuota],
        updates: &mut DesiredUpdates,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        for quota in quotas {
            let (namespace, name) = (&quota.namespace, &quota.name);
            let before = self.quota(namespace, name).await?;
            let change = match &before {
                KnownQuota::None => Change::Created,
                KnownQuota::Limits(before) if *before == quota.hard => Change::Unchanged,
                KnownQuota::Limits(_) | KnownQuota::Lost => Change::Configured,
            };
            // No entity: there is no work that a caller could wait for.
            let mut applied = Applied::unplanned(kind::QUOTA, namespace, name, None, change);
            if change == Change::Configured {
                let changed_hard = changed(&before, &quota.hard)?;
                applied.plan.changes.push(changed_hard);
            }
            if change != Change::Unchanged {
                record(updates, namespace, name, Some(quota.hard.clone()))?;
            }
            all.push(applied);
        }
        Ok(all)
    }
}

fn changed(before: &KnownQuota, after: &QuotaLimits) -> Result<plan::PlannedChange, FleetError> {
    let before = match before {
        KnownQuota::Limits(limits) => Some(limits),
        KnownQuota::None | KnownQuota::Lost => None,
    };
    let value = |limits: &QuotaLimits| {
        serde_json::to_value(limits).map_err(|error| FleetError::defect(error.to_string()))
    };
    Ok(plan::PlannedChange {
        path: "hard".to_owned(),
        before: before.map(value).transpose()?,
        after: Some(value(after)?),
        how: How::Recorded,
        why: "what is there stays as it is".to_owned(),
    })
}

pub(super) fn quota_entity(namespace: &str, name: &str) -> Result<EntityId, FleetError> {
    let entity = EntityId::new(Name::of(kind::QUOTA), format!("{namespace}/{name}"));
    entity.map_err(|_| FleetError::not_found(kind::QUOTA, name))
}

fn record(
    updates: &mut DesiredUpdates,
    namespace: &str,
    name: &str,
    hard: Option<QuotaLimits>,
) -> Result<(), FleetError> {
    let record = QuotaRecord {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        hard,
    };
    let entity = quota_entity(namespace, name)?;
    updates.add(entity, kind::QUOTA, Precedence::Record, &record, None)
}
