//! Resumes a suspended VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::starting;
use crate::ports::{DomainState, Hosts};

/// Resumes a suspended domain; nothing is done if it is not suspended.
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
        ports.domains.resume(params.uuid).await?;
        Ok(Done::updated(Output {}))
    }
}
