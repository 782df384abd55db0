//! Counts and reports the usage of quotas.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::{
    task::{JoinError, JoinSet},
    time::Instant,
};
use vsiflow_workflows::fleet::{FleetError, QuotaObject};

use super::{PROGRESS_EVERY, RETRY_DELAY, ReportDone, Reporter};
use crate::{
    crd::QuotaResourceStatus,
    kind::ResourceKind,
    report,
    resource::{Resource, ResourceKey},
    share::{DECIDES, JournalShare},
};

/// How often the usage in other journals is requested.
pub(super) const OVER_JOURNALS_EVERY: Duration = Duration::from_secs(30);

/// Running requests to other journals. They run separately, because a journal without a process must be
/// waited for.
pub(super) type Counting = JoinSet<Result<Vec<QuotaObject>, FleetError>>;

impl Reporter {
    /// Usage in other journals is not notified, so it is requested from time to time.
    pub(super) fn count_again(&self) {
        let share = self.share.as_ref();
        if share.is_some_and(|share| share.number() == DECIDES) {
            self.status_queue.dirty_kind(ResourceKind::Quota);
        }
    }

    /// Has usage counted, for all quotas at the same time and not too often: each new VSI changes it.
    pub(super) async fn refresh_quota_usage(&mut self, keys: &mut BTreeSet<ResourceKey>) {
        let due: Vec<_> = keys.iter().filter(|key| is_quota(key)).cloned().collect();
        match self.share.clone() {
            _ if due.is_empty() => {}
            Some(share) => self.request_quota_usage(share, due, keys),
            None => self.count(due, keys).await,
        }
    }

    /// Counts the usage in this journal, which is the only one.
    async fn count(&mut self, due: Vec<ResourceKey>, keys: &mut BTreeSet<ResourceKey>) {
        let since = self.counted_at.map(|at| at.elapsed());
        if let Some(wait) = since.and_then(|since| PROGRESS_EVERY.checked_sub(since)) {
            keys.retain(|key| !is_quota(key));
            due.into_iter().for_each(|key| self.due.add(key, wait));
            return;
        }
        match self.fleet.quotas().list().await {
            Ok(objects) => {
                self.counted_at = Some(Instant::now());
                self.remember(objects);
            }
            Err(error) => {
                tracing::warn!("what quotas allow is not known: {error}");
                keys.retain(|key| !is_quota(key));
                due.into_iter()
                    .for_each(|key| self.due.add(key, RETRY_DELAY));
            }
        }
    }

    /// Has usage counted across journals, if that is due. Quotas that were not counted yet are reported
    /// later.
    fn request_quota_usage(
        &mut self,
        share: Arc<dyn JournalShare>,
        due: Vec<ResourceKey>,
        keys: &mut BTreeSet<ResourceKey>,
    ) {
        let counted = due.into_iter().filter_map(|key| {
            let findings = self.status_queue.findings(&key)?;
            let is_new = findings.refusal.is_none() && !self.is_counted(&key);
            Some((key, is_new))
        });
        let counted: Vec<_> = counted.collect();
        let new = counted.iter().filter(|(_, is_new)| *is_new);
        let new: Vec<_> = new.map(|(key, _)| key.clone()).collect();
        let every = if new.is_empty() {
            OVER_JOURNALS_EVERY
        } else {
            PROGRESS_EVERY
        };
        let since = self.counted_at.map(|at| at.elapsed());
        let wait = since.and_then(|since| every.checked_sub(since));
        if !counted.is_empty() && wait.is_none() && self.counting.is_empty() {
            self.counting.spawn(async move { share.quotas().await });
        }
        for key in new {
            keys.remove(&key);
            if self.counting.is_empty() {
                self.due.add(key, wait.unwrap_or(every));
            }
        }
    }

    /// Stores the result of a count, or logs why it failed.
    ///
    /// # Panics
    /// If the count panicked, so that this part of the operator ends.
    pub(super) fn counted(
        &mut self,
        counted: Result<Result<Vec<QuotaObject>, FleetError>, JoinError>,
    ) {
        match counted {
            Ok(Ok(objects)) => self.remember(objects),
            Ok(Err(error)) => tracing::warn!("what quotas allow is not known: {error}"),
            Err(ended) => {
                if let Ok(panic) = ended.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
        }
        self.counted_at = Some(Instant::now());
        self.status_queue.dirty_kind(ResourceKind::Quota);
    }

    fn remember(&mut self, objects: Vec<QuotaObject>) {
        let named = objects.into_iter().map(|object| {
            let meta = &object.metadata;
            ((meta.namespace.clone(), meta.name.clone()), object)
        });
        self.quotas = named.collect();
    }

    fn is_counted(&self, key: &ResourceKey) -> bool {
        let place = (key.namespace.clone(), key.name.clone());
        self.quotas.contains_key(&place)
    }

    pub(super) async fn quota(&self, resource: &Arc<Resource>) -> ReportDone {
        let Some(findings) = self.status_queue.findings(&resource.key) else {
            return ReportDone::Settled;
        };
        let place = (resource.key.namespace.clone(), resource.key.name.clone());
        let shown: QuotaResourceStatus = resource.status_as();
        let before: QuotaResourceStatus = self.cache.as_reported(resource).status_as();
        let object = self.quotas.get(&place);
        let mut status = report::quota(&findings, object, &before, Timestamp::now());
        status.served_by.clone_from(&self.served_by);
        if status == shown && !resource.status.is_null() {
            return self.settled(resource);
        }
        let note = report::quota_event(resource.uid, &before, &status);
        self.write_with(resource, &status, note).await
    }
}

fn is_quota(key: &ResourceKey) -> bool {
    key.kind == ResourceKind::Quota
}
