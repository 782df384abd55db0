//! Leader election: the Lease that decides which one of several processes acts.
//!
//! A candidate acquires the Lease if it has no holder, or if its holder has not renewed it for its
//! duration, *as measured by the candidate's own clock* since it first saw that renewal: the clocks of
//! machines need not agree. Every write carries the version that was read, so that one of two candidates
//! is refused.
//!
//! The engine's own lease is renewed only after the API server accepted a renewal, and counts from
//! before the request. It has therefore expired before any candidate acquires the Lease, whatever
//! happens to the holder: it dies, is stopped, or cannot reach the API server. Requests that it sent
//! just before may still be in flight: a candidate also waits for the longest control call.
//!
//! What this module never does: decide anything for the engine, or act when it is not sure.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;
use vsiflow_engine::lease::{BootInstant, Lease as Right};

use crate::api::{CallError, within};

/// How often a candidate checks the Lease.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// When a failed renewal is retried.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// How often the Lease is renewed during its duration.
const RENEWALS: u32 = 3;

/// A candidate for the Lease, or its holder.
pub struct Election {
    api: Api<Lease>,
    name: String,
    identity: String,
    lasts: Duration,
    calls: Duration,
}

/// The state of the Lease that a candidate saw.
#[derive(Clone, Debug, PartialEq)]
struct ObservedLease {
    holder: Option<String>,
    renewed: Option<Timestamp>,
    version: Option<String>,
}

/// Error: a renewal was not accepted.
#[derive(Debug)]
enum NotRenewed {
    /// Another process holds the Lease.
    Lost,
    /// Unknown: the API server did not answer, or refused.
    Unknown(CallError),
}

impl Election {
    /// A candidate for the Lease `NAMESPACE/NAME`. `identity` is unique to this process. The Lease
    /// stores its duration in whole seconds, so `lasts` is rounded down for the holder too. `calls` is
    /// the longest time that a call may take which the holder sent while it held the Lease.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        identity: String,
        lasts: Duration,
        calls: Duration,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            lasts: Duration::from_secs(lasts.as_secs().max(1)),
            calls,
        }
    }

    /// Waits until this process holds the Lease, and returns the right that comes with it. Cancel safe;
    /// but the Lease may have been acquired just then, and is free again when it expires.
    pub async fn win(&self) -> std::sync::Arc<Right> {
        let mut seen: Option<(ObservedLease, Instant)> = None;
        let mut complained = false;
        loop {
            match self.attempt(&mut seen).await {
                Ok(Some(right)) => return right,
                Ok(None) => complained = false,
                Err(error) if !complained => {
                    complained = true;
                    tracing::warn!("the Lease {} cannot be acquired yet: {error}", self.name);
                }
                Err(_) => {}
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn attempt(
        &self,
        seen: &mut Option<(ObservedLease, Instant)>,
    ) -> Result<Option<std::sync::Arc<Right>>, CallError> {
        let requested = BootInstant::now();
        let right = || Ok(Some(Right::new(requested, self.lasts)));
        let Some(lease) = within(self.api.get_opt(&self.name)).await? else {
            let lease = self.lease(None);
            return match within(self.api.create(&PostParams::default(), &lease)).await {
                Ok(_) => right(),
                Err(CallError::Conflict) => Ok(None),
                Err(error) => Err(error),
            };
        };
        if !self.is_free(&lease, seen) {
            return Ok(None);
        }
        let taken = self.lease(Some(lease));
        match within(self.api.replace(&self.name, &PostParams::default(), &taken)).await {
            Ok(_) => right(),
            Err(CallError::Conflict | CallError::Gone) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the Lease has no holder, or its holder did not renew it in time and none of its requests
    /// is still in flight.
    fn is_free(&self, lease: &Lease, seen: &mut Option<(ObservedLease, Instant)>) -> bool {
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
        if holder.is_none() || holder.as_deref() == Some(self.identity.as_str()) {
            return true;
        }
        let observed = ObservedLease {
            holder,
            renewed: spec.renew_time.map(|time| time.0),
            version: lease.metadata.resource_version.clone(),
        };
        let lasts = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.lasts, Duration::from_secs);
        match seen {
            Some((before, since)) if *before == observed => {
                since.elapsed() >= lasts.saturating_add(self.calls)
            }
            _ => {
                *seen = Some((observed, Instant::now()));
                false
            }
        }
    }

    /// The Lease with this process as the holder.
    fn lease(&self, before: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let (metadata, spec) = match before {
            Some(lease) => (lease.metadata, lease.spec.unwrap_or_default()),
            None => (ObjectMeta::default(), LeaseSpec::default()),
        };
        let own = spec.holder_identity.as_deref() == Some(self.identity.as_str());
        let transitions = spec.lease_transitions.unwrap_or_default();
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..metadata
            },
            spec: Some(LeaseSpec {
                acquire_time: if own {
                    spec.acquire_time
                } else {
                    Some(now.clone())
                },
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(self.lasts.as_secs()).ok(),
                lease_transitions: Some(transitions.saturating_add(i32::from(!own))),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Renews the Lease, and with it the engine's right, until the Lease is lost.
    pub async fn keep(&self, right: &Right) {
        let mut wait = self.lasts / RENEWALS;
        loop {
            tokio::time::sleep(wait).await;
            let requested = BootInstant::now();
            let left = right.left().unwrap_or(self.lasts);
            let renewed = tokio::time::timeout(left, self.renew()).await;
            wait = match renewed {
                Ok(Ok(())) if right.renew(requested, self.lasts).is_ok() => self.lasts / RENEWALS,
                Ok(Err(NotRenewed::Unknown(error))) => {
                    tracing::warn!("the Lease {} was not renewed: {error}", self.name);
                    RETRY_DELAY
                }
                Ok(Ok(()) | Err(NotRenewed::Lost)) | Err(_) => {
                    right.give_up();
                    return;
                }
            };
            if right.check().is_err() {
                return;
            }
        }
    }

    async fn renew(&self) -> Result<(), NotRenewed> {
        let lease = within(self.api.get(&self.name)).await;
        let lease = lease.map_err(NotRenewed::Unknown)?;
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref());
        if holder != Some(self.identity.as_str()) {
            return Err(NotRenewed::Lost);
        }
        let renewed = self.lease(Some(lease));
        within(
            self.api
                .replace(&self.name, &PostParams::default(), &renewed),
        )
        .await
        .map(drop)
        .map_err(NotRenewed::Unknown)
    }

    /// Releases the Lease, so that a standby need not wait until it expires. The engine must have ended
    /// before.
    pub async fn release(&self) {
        let Ok(mut lease) = within(self.api.get(&self.name)).await else {
            return;
        };
        let Some(spec) = lease.spec.as_mut() else {
            return;
        };
        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
            spec.holder_identity = None;
            let released =
                within(self.api.replace(&self.name, &PostParams::default(), &lease)).await;
            if let Err(error) = released {
                tracing::warn!(
                    "the Lease {} is released only when it expires: {error}",
                    self.name
                );
            }
        }
    }
}
