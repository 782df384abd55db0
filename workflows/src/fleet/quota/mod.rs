//! Quotas of namespaces: their records, the count of their usage, and the one place that refuses growth
//! (see [`crate::quota`]).
//!
//! Every command that may increase a namespace's usage is checked here before anything is recorded:
//! documents, `create` and clones by [`Fleet::apply`]; `scale`, `rollback` and `approve` of pools by
//! their record. What a pool or group makes was admitted with it. An adopted VSI exists already: it
//! counts, and is not refused. An admitted change holds the turn until it is recorded, because two
//! concurrent changes would not see each other's usage.

mod cache;
mod count;
mod demand;
mod members;
mod object;
pub(in crate::fleet) mod over_journals;
mod record;

use std::collections::BTreeSet;

use tokio::sync::{Mutex, MutexGuard};

pub use self::object::{QuotaObject, QuotaStatus};
use self::{cache::Counts, demand::Demand};
use super::{Fleet, FleetError};
use crate::{
    group::{GroupRecord, ItemRecord},
    pool::PoolRecord,
    record::{group_entity, kind},
    spec::Resolved,
};

/// In-memory state of quotas.
#[derive(Default)]
pub(super) struct QuotaState {
    /// Held from reading the quotas until the permitted change is recorded.
    turn: Mutex<()>,
    counts: Counts,
}

impl Fleet {
    /// The turn of a change that quotas may refuse; `None` if there are no quotas.
    pub(in crate::fleet) async fn quota_turn(
        &self,
        resolved: &Resolved,
    ) -> Option<MutexGuard<'_, ()>> {
        let none = self.entities_of(kind::QUOTA).is_empty() && resolved.quotas.is_empty();
        if none || is_admitted(resolved) && resolved.quotas.is_empty() {
            None
        } else {
            Some(self.quotas.turn.lock().await)
        }
    }

    /// The turn of a change of a pool.
    pub(in crate::fleet) async fn quota_turn_of_pool(&self) -> Option<MutexGuard<'_, ()>> {
        if self.entities_of(kind::QUOTA).is_empty() {
            None
        } else {
            Some(self.quotas.turn.lock().await)
        }
    }

    /// Refuses documents that would exceed the quotas of their namespaces.
    ///
    /// # Errors
    /// `VSI0738` with what is used, asked for and allowed; `VSI0739` and `VSI0748` if that cannot be
    /// counted.
    pub(in crate::fleet) async fn refuse_over_quota(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        // In a set of journals, growth is admitted before it is handed over.
        if is_admitted(resolved) || self.pools.is_of_set() {
            return Ok(());
        }
        let quotas = self.quotas_with(&resolved.quotas).await?;
        let concerned = namespaces(resolved);
        if !concerned.iter().any(|namespace| quotas.limit(namespace)) {
            return Ok(());
        }
        let count = self.count().await?;
        let demand = self.demand(resolved, &count).await?;
        demand.judge(&quotas, &count)
    }

    /// Refuses a pool's new record if it would exceed a quota.
    ///
    /// # Errors
    /// As for [`Self::refuse_over_quota`].
    pub(in crate::fleet) async fn refuse_pool_over_quota(
        &self,
        pool: &PoolRecord,
    ) -> Result<(), FleetError> {
        if self.pools.is_of_set() {
            // Its members are admitted when they are made.
            return Ok(());
        }
        let quotas = self.quotas_with(&[]).await?;
        if !quotas.limit(&pool.namespace) {
            return Ok(());
        }
        let count = self.count().await?;
        let item = self.item_of(pool).await?;
        Demand::of_record(pool, item.as_ref(), &count).judge(&quotas, &count)
    }

    /// The item of a group that makes a pool, with the pool's number of members.
    async fn item_of(&self, pool: &PoolRecord) -> Result<Option<ItemRecord>, FleetError> {
        let Some(of) = &pool.of_group else {
            return Ok(None);
        };
        let entity = group_entity(of.uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let Some(group) = self.known_record::<GroupRecord>(&entity).await? else {
            return Ok(None);
        };
        let item = group.record.item(&of.item).cloned();
        Ok(item.map(|item| ItemRecord {
            replicas: Some(pool.replicas),
            ..item
        }))
    }
}

/// Whether everything here was admitted with the pool or group that makes it, or uses no quota.
fn is_admitted(resolved: &Resolved) -> bool {
    let vsis = resolved.vsis.iter();
    let pools = resolved.pools.iter();
    let disks = resolved.data_disks.iter();
    resolved.groups.is_empty()
        && vsis
            .map(|vsi| &vsi.desired)
            .all(|vsi| vsi.member_of.is_some())
        && pools
            .map(|pool| &pool.desired)
            .all(|pool| pool.of_group.is_some())
        && disks.map(|disk| &disk.member_of).all(Option::is_some)
}

/// The namespaces whose usage may grow.
fn namespaces(resolved: &Resolved) -> BTreeSet<&str> {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired.namespace);
    let pools = resolved.pools.iter().map(|pool| &pool.desired.namespace);
    let groups = resolved.groups.iter().map(|group| &group.namespace);
    let disks = resolved.data_disks.iter().map(|disk| &disk.namespace);
    let all = vsis.chain(pools).chain(groups).chain(disks);
    all.map(String::as_str).collect()
}
