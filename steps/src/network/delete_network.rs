//! Deletes a network on its host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{object, own_uuid};
use crate::{
    error, ownership,
    ports::{DomainInfo, HostPorts, Hosts, NetworkInfo, Removed},
};

/// Stops the network and removes its definition once nothing on the host uses it. The step is blocked,
/// and checks again automatically, as long as any domain (ours or not, running or off) has a card on it
/// or on its bridge, or another network is on its bridge.
///
/// A crash during the step leaves the network on, off, or deleted; the next attempt acts on what it
/// finds.
pub struct DeleteNetwork {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`DeleteNetwork`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The network's name on the host.
    pub name: String,
    /// Whether this journal recorded the intent to make it.
    pub recorded: bool,
}

/// What [`DeleteNetwork`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whether this step deleted it.
    pub removed: bool,
}

impl DeleteNetwork {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

/// The network, if it is ours; another network of this name is not touched.
async fn own(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<Option<(NetworkInfo, Uuid)>, Failure> {
    let uuid = own_uuid(cx);
    let network = (ports.networks.network(&params.name).await?)
        .filter(|network| network.shape.uuid == Some(uuid));
    Ok(network.map(|network| (network, uuid)))
}

/// Checks that nothing on the host uses the network, immediately before it is deleted.
async fn unused(cx: &StepContext, ports: &HostPorts, network: &NetworkInfo) -> Result<(), Failure> {
    let in_use = |by: String| {
        error::NETWORK_IN_USE
            .failure(format!("the network is in use by {by}"))
            .on_host(ports.host.name())
            .of_object(object(&network.name))
    };
    let bridge = network.shape.bridge.as_deref();
    let is_it = |name: &str| name == network.name || Some(name) == bridge;
    let has_card = |domain: &&DomainInfo| {
        let shapes = std::iter::once(&domain.stored).chain(&domain.live);
        let mut nics = shapes.flat_map(|shape| &shape.nics);
        nics.any(|nic| is_it(&nic.network))
    };
    let domains = ports.domains.domains().await?;
    ownership::none_ahead(cx, ports, &domains)?;
    if let Some(domain) = domains.iter().find(has_card) {
        let user = ownership::called(cx, domain);
        // The deletion is recorded only once no VSI that stays is on the network: this one is being taken down.
        if ownership::is_ours(cx, domain, domain.uuid) {
            return Err(error::BUSY
                .failure(format!("{user} is on the network until it is deleted"))
                .on_host(ports.host.name())
                .of_object(object(&network.name)));
        }
        return Err(in_use(user));
    }
    let networks = ports.networks.networks().await?;
    let on_bridge = |other: &&NetworkInfo| {
        other.shape.uuid != network.shape.uuid
            && bridge.is_some()
            && other.shape.bridge.as_deref() == bridge
    };
    // A bridge that belongs to the host may serve other networks too.
    let makes_bridge = !network.shape.subnets.is_empty();
    match networks.iter().find(on_bridge).filter(|_| makes_bridge) {
        Some(user) => Err(in_use(object(&user.name))),
        None => Ok(()),
    }
}

#[async_trait]
impl Step for DeleteNetwork {
    const NAME: &'static str = "delete_network";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let absent = Observed::Present(Output { removed: false });
        if !params.recorded {
            // Nothing was ever made: a network of this name is foreign and is not touched.
            return Ok(absent);
        }
        let ports = self.hosts.host(&params.host).await?;
        Ok(match own(cx, &ports, params).await? {
            Some(_) => Observed::Needed,
            None => absent,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let Some((network, uuid)) = own(cx, &ports, params).await? else {
            return Ok(Done::present(Output { removed: false }));
        };
        unused(cx, &ports, &network).await?;
        let removed = ports.networks.remove_network(&params.name, uuid).await?;
        Ok(Done::updated(Output {
            removed: removed == Removed::Removed,
        }))
    }
}
