//! Checks whether a host has room for a network.

use std::sync::Arc;

use async_trait::async_trait;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{Params, object, own_network, own_uuid};
use crate::{
    error,
    ports::{HostPorts, Hosts, NetworkMode},
};

/// The first major version of libvirt that supports a VLAN for guests on a Linux bridge.
const VLAN_SINCE: u64 = 11;

/// Checks that no other network on the host has the network's name or any of its addresses, and that the
/// host has what the network needs.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt checks again.
pub struct CheckNetwork {
    hosts: Arc<dyn Hosts>,
}

/// No output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

impl CheckNetwork {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, cx: &StepContext, params: &Params) -> Result<Output, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        check(&ports, params, own_uuid(cx)).await?;
        Ok(Output {})
    }
}

async fn check(ports: &HostPorts, params: &Params, uuid: Uuid) -> Result<(), Failure> {
    if own_network(ports, &params.name, uuid).await?.is_none() {
        supported(ports, params).await?;
        free(ports, params).await?;
    }
    Ok(())
}

/// The reason why a host cannot have a network of this UUID; `None` if it has room for one, or has it
/// already. It only reads.
///
/// # Errors
/// When the host's state cannot be read: then it is unknown whether there is an obstacle.
pub async fn obstacle(
    ports: &HostPorts,
    params: &Params,
    uuid: Uuid,
) -> Result<Option<Failure>, Failure> {
    let of_host = [
        error::NETWORK_FOREIGN,
        error::NETWORK_OVERLAP,
        error::NETWORK_UNSUPPORTED,
    ];
    match check(ports, params, uuid).await {
        Ok(()) => Ok(None),
        Err(failure)
            if of_host
                .iter()
                .any(|code| code.code == failure.code.as_str()) =>
        {
            Ok(Some(failure))
        }
        Err(failure) => Err(failure),
    }
}

async fn supported(ports: &HostPorts, params: &Params) -> Result<(), Failure> {
    let lacks = |message: String| {
        Err(error::NETWORK_UNSUPPORTED
            .failure(message)
            .on_host(ports.host.name())
            .of_object(object(&params.name)))
    };
    if params.vlan.is_some() {
        let version = ports.host.facts().await?.libvirt_version;
        let major = version
            .split('.')
            .next()
            .and_then(|m| m.parse::<u64>().ok());
        if major.is_none_or(|major| major < VLAN_SINCE) {
            return lacks(format!(
                "a VLAN needs libvirt {VLAN_SINCE} or newer, the host has {version}"
            ));
        }
    }
    if let (NetworkMode::Bridge, Some(bridge)) = (params.mode, &params.bridge)
        && let Some(bridges) = ports.networks.bridges().await?
        && !bridges.contains(bridge)
    {
        return lacks(format!("the host has no bridge {bridge}"));
    }
    Ok(())
}

/// Checks that no route of the host and no other network overlaps the network's addresses.
async fn free(ports: &HostPorts, params: &Params) -> Result<(), Failure> {
    let Some(subnet) = &params.subnet else {
        return Ok(());
    };
    let range = Ipv4Net::new(subnet.gateway, subnet.prefix)
        .map_err(|error| Failure::defect(error.to_string()))?;
    let overlaps = |used_by: String| {
        let message = format!("{} overlaps {used_by}", range.trunc());
        Err(error::NETWORK_OVERLAP
            .failure(message)
            .on_host(ports.host.name())
            .of_object(object(&params.name)))
    };
    for network in ports.networks.networks().await? {
        let mut subnets =
            (network.shape.subnets.iter()).filter_map(|cidr| cidr.parse::<Ipv4Net>().ok());
        if let Some(used) = subnets.find(|used| overlap(&range, used)) {
            return overlaps(format!("{} of network {}", used.trunc(), network.name));
        }
    }
    // If the host does not report its routes, libvirt checks them itself before it starts the network.
    let routes = ports.networks.routes().await?.unwrap_or_default();
    if let Some(route) = routes.iter().find(|route| overlap(&range, &route.to)) {
        return overlaps(match route.device.as_str() {
            "" => format!("the host's own address {}", route.to.addr()),
            device => format!("{}, which the host reaches through {device}", route.to),
        });
    }
    Ok(())
}

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

#[async_trait]
impl Step for CheckNetwork {
    const NAME: &'static str = "check_network";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Present(self.inspect(cx, params).await?))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::present(self.inspect(cx, params).await?))
    }
}
