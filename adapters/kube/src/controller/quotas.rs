//! Applies the quotas of namespaces to the fleet, and deletes them.
//!
//! Quotas are applied before everything that they limit. VSIs that a quota refused are requested again
//! with every pass, a bounded number per namespace: counting takes time, and a tenant may ask for more
//! than is permitted as often as they like.

use std::collections::BTreeMap;

use uuid::Uuid;
use vsiflow_engine::model::{Failure, Hash};
use vsiflow_workflows::{fleet::ErrorKind, spec::Resolved};

use super::{
    Controller,
    apply_request::{ApplyRequest, generation_reason},
    by,
    recorded::AppliedGeneration,
};
use crate::{
    kind::ResourceKind, resource::Resource, resource_cache::Snapshot, translate::Translation,
};

/// VSIs of one namespace that a quota may refuse in one pass; the other VSIs of the namespace then wait
/// for the next pass.
const REFUSALS: usize = 64;

/// The error code of a refusal by a quota.
const EXCEEDED: &str = "VSI0738";

/// Refusals of one pass by namespace: how many, and the newest.
#[derive(Default)]
pub(super) struct QuotaRefusals(BTreeMap<String, (usize, Failure)>);

impl QuotaRefusals {
    /// Counts a refusal. Returns whether a quota was the reason.
    pub(super) fn note(&mut self, namespace: &str, failure: &Failure) -> bool {
        if failure.code.as_str() != EXCEEDED {
            return false;
        }
        let first = || (0, failure.clone());
        let (count, newest) = self.0.entry(namespace.to_owned()).or_insert_with(first);
        *count = count.saturating_add(1);
        newest.clone_from(failure);
        true
    }

    /// The refusal because of which nothing more of that namespace is requested in this pass, if any.
    pub(super) fn why_not(&self, namespace: &str) -> Option<&Failure> {
        let (count, newest) = self.0.get(namespace)?;
        (*count >= REFUSALS).then_some(newest)
    }
}

impl Controller {
    /// Applies each quota that differs from what was applied last.
    pub(super) async fn apply_quotas(&mut self, snapshot: &Snapshot, translation: &Translation) {
        let quotas = translation.rest.quotas.iter();
        let quotas: BTreeMap<_, _> = quotas
            .map(|quota| ((&*quota.namespace, &*quota.name), quota))
            .collect();
        for resource in &snapshot.resources {
            let key = &resource.key;
            let is_served = key.kind == ResourceKind::Quota && resource.has_finalizer();
            let Some(quota) = quotas
                .get(&(&*key.namespace, &*key.name))
                .filter(|_| is_served && !resource.is_deleting())
            else {
                continue;
            };
            self.heartbeat();
            let bytes = serde_json::to_vec(&quota.hard).unwrap_or_default();
            let generation = AppliedGeneration::of(resource, Hash::of(&bytes));
            if self.is_in_fleet(generation) && self.has_quota(resource).await {
                continue;
            }
            let resolved = Resolved {
                quotas: vec![(*quota).clone()],
                ..translation.rest.alone()
            };
            let by = by(&resource.manager, &generation_reason(resource.generation));
            let applied = match &self.share {
                Some(share) => share.limit(resolved, by).await,
                None => self.fleet.apply(resolved, by).await.map(drop),
            };
            self.record_result(generation, applied.err());
        }
    }

    /// Whether the fleet has the quota: a command may have deleted it.
    async fn has_quota(&self, resource: &Resource) -> bool {
        let (namespace, name) = (&resource.key.namespace, &resource.key.name);
        self.fleet
            .quotas()
            .has(namespace, name)
            .await
            .unwrap_or(false)
    }

    /// Ends the limits with the resource; existing VSIs remain.
    pub(super) async fn quota_may_finalize(&mut self, resource: &Resource) -> bool {
        let (namespace, name) = (&resource.key.namespace, &resource.key.name);
        let by = by(&resource.manager, &resource.deletion_reason());
        match self.fleet.quotas().delete(namespace, name, by).await {
            Ok(()) => true,
            Err(error) if error.kind == ErrorKind::NotFound => true,
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
                false
            }
        }
    }

    /// Sorts requests: those that no quota refused yet come first, then the oldest refusals, so that
    /// none waits behind others that are refused again and again.
    pub(super) fn in_turn(&self, requests: Vec<ApplyRequest>) -> Vec<ApplyRequest> {
        let mut requests = requests;
        requests.sort_by_key(|request| self.asked_at(&request.uid));
        requests
    }

    fn asked_at(&self, uid: &Uuid) -> u64 {
        self.over_quota.get(uid).copied().unwrap_or_default()
    }
}
