//! Checks that the networks of the VSI are available.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::ports::{HostPorts, Hosts, PortError, PortErrorKind};

/// Checks that every network exists and is active.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt checks again.
pub struct ResolveNetworks {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`ResolveNetworks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The networks, in the order of the guest's cards.
    pub networks: Vec<String>,
}

/// What [`ResolveNetworks`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The networks, in the order of the guest's cards.
    pub networks: Vec<String>,
}

impl ResolveNetworks {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, params: &Params) -> Result<Output, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        for network in &params.networks {
            active(&ports, network).await?;
        }
        Ok(Output {
            networks: params.networks.clone(),
        })
    }
}

async fn active(ports: &HostPorts, name: &str) -> Result<(), Failure> {
    let problem = |kind, words: &str| {
        PortError::new(kind, ports.host.name(), format!("network {name}"), words)
    };
    match ports.networks.network(name).await? {
        Some(network) if network.active => Ok(()),
        Some(_) => Err(problem(PortErrorKind::NetworkInactive, "the network is not active").into()),
        None => Err(problem(PortErrorKind::NetworkMissing, "there is no such network").into()),
    }
}

#[async_trait]
impl Step for ResolveNetworks {
    const NAME: &'static str = "resolve_networks";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Present(self.inspect(params).await?))
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::present(self.inspect(params).await?))
    }
}
