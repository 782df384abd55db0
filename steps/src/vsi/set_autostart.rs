//! Sets whether the VSI starts with its host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{ownership, ports::Hosts};

/// Sets or clears libvirt's autostart of the domain.
///
/// A crash during the step leaves it set or not; the next attempt checks and sets it again. If the domain
/// does not exist, there is nothing to clear.
pub struct SetAutostart {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`SetAutostart`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Whether libvirt starts the domain with the host.
    pub on: bool,
}

/// What [`SetAutostart`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whether libvirt now starts the domain with the host.
    pub on: bool,
}

impl SetAutostart {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for SetAutostart {
    const NAME: &'static str = "set_autostart";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = ownership::own_domain(cx, &ports, params.uuid).await?;
        let autostart = domain.as_ref().map(|domain| domain.autostart);
        if autostart == Some(params.on) || (autostart.is_none() && !params.on) {
            return Ok(Observed::Present(Output { on: params.on }));
        }
        Ok(Observed::Needed)
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        ports.domains.set_autostart(params.uuid, params.on).await?;
        Ok(Done::updated(Output { on: params.on }))
    }
}
