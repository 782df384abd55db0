//! The statuses of quotas.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use vsiflow_workflows::fleet::{FleetError, QuotaObject};

use super::{AGAIN, PROGRESS_EVERY, ReportDone, Reporter};
use crate::{
    crd::QuotaResourceStatus,
    kind::ResourceKind,
    report,
    resource::{Resource, ResourceKey},
    share::DECIDES,
};

/// What is used in other journals is asked for that often.
pub(super) const OVER_JOURNALS_EVERY: Duration = Duration::from_secs(30);

impl Reporter {
    /// Nobody tells of what is made in other journals: it is looked at from time to time.
    pub(super) fn count_again(&self) {
        let share = self.share.as_ref();
        if share.is_some_and(|share| share.number() == DECIDES) {
            self.desk.dirty_kind(ResourceKind::Quota);
        }
    }

    /// How often what is used of these is counted anew, at most.
    fn counts_every(&self, asked: &[ResourceKey]) -> Duration {
        let is_counted = |key: &ResourceKey| {
            let place = (key.namespace.clone(), key.name.clone());
            self.quotas.contains_key(&place)
        };
        if self.share.is_some() && asked.iter().all(is_counted) {
            OVER_JOURNALS_EVERY
        } else {
            PROGRESS_EVERY
        }
    }

    async fn counted(&self) -> Result<Vec<QuotaObject>, FleetError> {
        match &self.share {
            Some(share) => share.quotas().await,
            None => self.fleet.quotas().list().await,
        }
    }

    /// Counts what is used, for all quotas at one time and not too often: each VSI that is made changes it.
    pub(super) async fn look_at_quotas(&mut self, keys: &mut BTreeSet<ResourceKey>) {
        let is_quota = |key: &ResourceKey| key.kind == ResourceKind::Quota;
        let asked: Vec<_> = keys.iter().filter(|key| is_quota(key)).cloned().collect();
        let is_told = |key: &ResourceKey| self.desk.findings(key).is_some();
        if !asked.iter().any(is_told) {
            return;
        }
        let every = self.counts_every(&asked);
        let since = self.counted_at.map(|at| at.elapsed());
        if let Some(wait) = since.and_then(|since| every.checked_sub(since)) {
            keys.retain(|key| !is_quota(key));
            asked.into_iter().for_each(|key| self.later(key, wait));
            return;
        }
        match self.counted().await {
            Ok(objects) => {
                self.counted_at = Some(Instant::now());
                let named = objects.into_iter().map(|object| {
                    let meta = &object.metadata;
                    ((meta.namespace.clone(), meta.name.clone()), object)
                });
                self.quotas = named.collect();
            }
            Err(error) => {
                tracing::warn!("what quotas allow is not known: {error}");
                keys.retain(|key| !is_quota(key));
                let again = AGAIN.max(every);
                asked.into_iter().for_each(|key| self.later(key, again));
            }
        }
    }

    pub(super) async fn quota(&self, resource: &Arc<Resource>) -> ReportDone {
        let Some(findings) = self.desk.findings(&resource.key) else {
            return ReportDone::Settled;
        };
        let place = (resource.key.namespace.clone(), resource.key.name.clone());
        let before: QuotaResourceStatus = resource.status_as();
        let object = self.quotas.get(&place);
        let mut status = report::quota(&findings, object, &before, Timestamp::now());
        status.served_by.clone_from(&self.served_by);
        if status == before && !resource.status.is_null() {
            return ReportDone::Settled;
        }
        let note = report::quota_event(resource.uid, &before, &status);
        self.write_with(resource, &status, note).await
    }
}
