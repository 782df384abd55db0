//! Suspends the VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::starting;
use crate::{
    error,
    ports::{DomainState, HostPorts, Hosts},
};

/// Suspends the domain if it runs; its memory is preserved.
///
/// A crash during the step leaves it running or suspended; the next attempt checks which.
pub struct SuspendDomain {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`SuspendDomain`].
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

impl SuspendDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for SuspendDomain {
    const NAME: &'static str = "suspend_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = starting::decided(cx, &ports, params.uuid).await?;
        match domain.map(|domain| domain.state) {
            Some(DomainState::Paused) => Ok(Observed::Present(Output {})),
            Some(state) if state.is_active() => Ok(Observed::Needed),
            _ => Err(off(&ports, params.uuid)),
        }
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        ports.domains.suspend(params.uuid).await?;
        Ok(Done::updated(Output {}))
    }
}

fn off(ports: &HostPorts, uuid: Uuid) -> Failure {
    error::NOT_RUNNING
        .failure("the domain does not run; nothing can be suspended")
        .on_host(ports.host.name())
        .of_object(format!("domain {uuid}"))
}
