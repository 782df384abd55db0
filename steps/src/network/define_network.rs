//! Defines a network on a host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{Params, foreign, own_network, own_uuid};
use crate::{
    ownership,
    ports::{Hosts, PortErrorKind},
};

/// Defines the network once; a later attempt does not remove reservations that were added to it.
///
/// A crash during the step leaves no network or the whole definition. The next attempt recognises it by
/// its UUID and the recorded intent. If a network has that UUID but no intent is recorded, a newer copy
/// of this journal made it, and the step refuses it.
pub struct DefineNetwork {
    hosts: Arc<dyn Hosts>,
}

/// What [`DefineNetwork`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The network's UUID.
    pub uuid: Uuid,
    /// The bridge that its guests are on.
    pub bridge: String,
}

impl DefineNetwork {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

fn output(cx: &StepContext, params: &Params) -> Output {
    let spec = params.spec(own_uuid(cx));
    Output {
        uuid: spec.uuid,
        bridge: spec.bridge,
    }
}

#[async_trait]
impl Step for DefineNetwork {
    const NAME: &'static str = "define_network";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        match own_network(&ports, &params.name, own_uuid(cx)).await? {
            Some(_) if cx.intended_before => Ok(Observed::Present(output(cx, params))),
            Some(_) => {
                ownership::not_behind_host(cx, &ports).await?;
                Err(foreign(&ports, &params.name))
            }
            None => Ok(Observed::Needed),
        }
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let spec = params.spec(own_uuid(cx));
        let defined = ports.networks.define_network(&spec).await;
        defined.map_err(|error| match error.kind {
            PortErrorKind::Exists => foreign(&ports, &params.name),
            _ => error.into(),
        })?;
        Ok(Done::created(output(cx, params)))
    }
}
