//! The statuses of quotas.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{AGAIN, PROGRESS_EVERY, ReportDone, Reporter};
use crate::{
    crd::QuotaResourceStatus,
    kind::ResourceKind,
    report,
    resource::{Resource, ResourceKey},
};

impl Reporter {
    /// Counts what is used, for all quotas at one time and not too often: each VSI that is made changes it.
    pub(super) async fn look_at_quotas(&mut self, keys: &mut BTreeSet<ResourceKey>) {
        let is_quota = |key: &ResourceKey| key.kind == ResourceKind::Quota;
        let asked: Vec<_> = keys.iter().filter(|key| is_quota(key)).cloned().collect();
        if asked.is_empty() {
            return;
        }
        let since = self.counted_at.map(|at| at.elapsed());
        if let Some(wait) = since.and_then(|since| PROGRESS_EVERY.checked_sub(since)) {
            keys.retain(|key| !is_quota(key));
            asked.into_iter().for_each(|key| self.later(key, wait));
            return;
        }
        match self.fleet.quotas().list().await {
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
                asked.into_iter().for_each(|key| self.later(key, AGAIN));
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
