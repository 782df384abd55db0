//! Quotas of namespaces: their records, what is taken of them, and the one place where growth is refused
//! (see [`crate::quota`]).
//!
//! Every command that may have a namespace take more comes by here before anything is recorded: documents,
//! `create` and clones by [`Fleet::apply`], `scale`, `rollback` and `approve` of pools by their record. What a
//! pool or a group makes was admitted with it. What is adopted stands already: it counts, and is not refused. Who was
//! admitted holds the turn until that is recorded: of two at the same time, one would not see what the other was
//! given.

mod cache;
mod count;
mod demand;
mod object;
pub(in crate::fleet) mod over_journals;
mod record;

use std::collections::BTreeSet;

use tokio::sync::{Mutex, MutexGuard};

pub use self::object::{QuotaObject, QuotaStatus};
use self::{cache::Counts, demand::Demand};
use super::{Fleet, FleetError};
use crate::{pool::PoolRecord, record::kind, spec::Resolved};

/// What is kept for quotas beside the journal.
#[derive(Default)]
pub(super) struct QuotaState {
    /// Held from the look at quotas to the record of what they permit.
    turn: Mutex<()>,
    counts: Counts,
}

impl Fleet {
    /// The turn of a change that quotas may refuse; none where there are none.
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

    /// The same for a change of a pool.
    pub(in crate::fleet) async fn quota_turn_of_pool(&self) -> Option<MutexGuard<'_, ()>> {
        if self.entities_of(kind::QUOTA).is_empty() {
            None
        } else {
            Some(self.quotas.turn.lock().await)
        }
    }

    /// Refuses documents that would have a namespace take more than its quotas allow.
    ///
    /// # Errors
    /// `VSI0738` with what is used, asked for and allowed; `VSI0739` and `VSI0748` where that cannot be counted.
    pub(in crate::fleet) async fn refuse_over_quota(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        // Of a set, what grows is admitted before it is handed over.
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

    /// Refuses what is about to be recorded of a pool, for the same reasons.
    ///
    /// # Errors
    /// As for documents.
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
        Demand::of_record(pool, &count).judge(&quotas, &count)
    }
}

/// Whether all of it was admitted with the pool or the group that makes it, or takes nothing.
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

/// The namespaces that may take more.
fn namespaces(resolved: &Resolved) -> BTreeSet<&str> {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired.namespace);
    let pools = resolved.pools.iter().map(|pool| &pool.desired.namespace);
    let groups = resolved.groups.iter().map(|group| &group.namespace);
    let disks = resolved.data_disks.iter().map(|disk| &disk.namespace);
    let all = vsis.chain(pools).chain(groups).chain(disks);
    all.map(String::as_str).collect()
}
