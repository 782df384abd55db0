//! Starts a network on a host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{Params, object, own_network, own_uuid};
use crate::{
    error,
    ports::{HostPorts, Hosts, NetworkInfo, PortErrorKind},
};

/// Starts the network, and sets it to start with its host.
///
/// A crash during the step leaves it off, or on and perhaps without autostart; the next attempt requests
/// both again.
pub struct StartNetwork {
    hosts: Arc<dyn Hosts>,
}

/// The network after [`StartNetwork`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The bridge that its guests are on.
    pub bridge: Option<String>,
}

impl StartNetwork {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

async fn defined(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<NetworkInfo, Failure> {
    let network = own_network(ports, &params.name, own_uuid(cx)).await?;
    network.ok_or_else(|| {
        error::NETWORK_MISSING
            .failure("the network was removed from the host")
            .on_host(ports.host.name())
            .of_object(object(&params.name))
    })
}

fn output(network: NetworkInfo) -> Output {
    Output {
        bridge: network.shape.bridge,
    }
}

#[async_trait]
impl Step for StartNetwork {
    const NAME: &'static str = "start_network";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let network = defined(cx, &ports, params).await?;
        // An earlier attempt may have ended between the start and setting autostart.
        Ok(if network.active && cx.attempt == 1 {
            Observed::Present(output(network))
        } else {
            Observed::Needed
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let network = defined(cx, &ports, params).await?;
        let started = ports.networks.start_network(&params.name).await;
        started.map_err(|error| match error.kind {
            // libvirt found a route that the host did not report to vsiflow.
            PortErrorKind::Exists => error::NETWORK_OVERLAP
                .failure(&error.message)
                .on_host(ports.host.name())
                .of_object(object(&params.name)),
            _ => error.into(),
        })?;
        Ok(Done::updated(output(network)))
    }
}
