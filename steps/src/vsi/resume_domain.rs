//! Resumes a suspended VSI.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::starting;
use crate::{
    error,
    ports::{DomainState, HostPorts, Hosts, PoolInfo},
};

/// Resumes a suspended domain; nothing is done if it is not suspended.
///
/// A guest that an I/O error held is watched for a moment: while the cause remains, it is held again.
///
/// A crash during the step leaves it suspended or running; the next attempt checks which.
pub struct ResumeDomain {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`ResumeDomain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
}

/// No output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

impl ResumeDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for ResumeDomain {
    const NAME: &'static str = "resume_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = starting::decided(cx, &ports, params.uuid).await?;
        Ok(match domain.map(|domain| domain.state) {
            Some(DomainState::Paused) => Observed::Needed,
            _ => Observed::Present(Output {}),
        })
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let paused = ports.domains.domain(params.uuid).await?;
        ports.domains.resume(params.uuid).await?;
        if paused.is_some_and(|domain| domain.is_held_by_io_error()) {
            runs_on(&ports, params.uuid).await?;
        }
        Ok(Done::updated(Output {}))
    }
}

/// How long a guest that an I/O error held is watched after it was resumed, and the pause between two looks. It
/// repeats the write that failed immediately.
const WATCHED: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(250);
/// A pool with less room, in bytes, is full.
const FULL: u64 = 1 << 20;

/// Checks that the I/O error does not hold the guest again.
async fn runs_on(ports: &HostPorts, uid: Uuid) -> Result<(), Failure> {
    let begin = Instant::now();
    while begin.elapsed() < WATCHED {
        tokio::time::sleep(PAUSE).await;
        let domain = ports.domains.domain(uid).await?;
        if domain.is_some_and(|domain| domain.is_held_by_io_error()) {
            return Err(held_again(ports, uid).await?);
        }
    }
    Ok(())
}

async fn held_again(ports: &HostPorts, uid: Uuid) -> Result<Failure, Failure> {
    const AGAIN: &str = "the guest was resumed and is paused again by an I/O error of a disk";
    let pools = ports.storage.pools().await?;
    let full = pools
        .iter()
        .find(|pool| pool.active && pool.available < FULL);
    let failure = match full {
        Some(PoolInfo {
            name, available, ..
        }) => {
            let why = format!("{AGAIN}: pool {name} is full, it has {available} bytes left");
            error::NO_SPACE.failure(why)
        }
        None => error::NOT_RUNNING.failure(AGAIN).with_remedy(REPAIR),
    };
    Ok(failure
        .on_host(ports.host.name())
        .of_object(format!("domain {uid}")))
}

const REPAIR: &str = "Find out from the host's kernel log which disk fails and repair it, then `vsiflow unpause`; \
     or end the guest with `vsiflow stop --force`.";
