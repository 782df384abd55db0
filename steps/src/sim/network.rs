//! The networks of a simulated host.

use async_trait::async_trait;

use super::{SimHost, State, host::Call};
use crate::ports::{Lease, NetworkInfo, NetworkPort, PortErrorKind, PortResult};

#[async_trait]
impl NetworkPort for SimHost {
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>> {
        self.call(
            Call::look("network", format!("network {name}")),
            |state, _| {
                Ok(state.networks.get(name).map(|network| NetworkInfo {
                    name: name.to_owned(),
                    active: network.active,
                    xml: format!("<network simulated='yes'><name>{name}</name></network>"),
                }))
            },
        )
        .await
    }

    async fn leases(&self, name: &str) -> PortResult<Vec<Lease>> {
        let object = format!("network {name}");
        self.call(
            Call::look("leases", object.clone()),
            |state, now| match state.networks.get(name) {
                Some(network) if network.active && !network.dhcp => Ok(Vec::new()),
                Some(network) if network.active => Ok(addresses(state, name, &network.prefix, now)),
                Some(_) => Err(self.error(PortErrorKind::NetworkInactive, &object, "not active")),
                None => Err(self.error(PortErrorKind::NetworkMissing, &object, "no such network")),
            },
        )
        .await
    }
}

/// The addresses of the guests on a network.
pub(super) fn addresses(state: &State, network: &str, prefix: &str, now: u64) -> Vec<Lease> {
    let mut leases = Vec::new();
    for (index, domain) in state.domains.values().enumerate() {
        let Some(live) = domain.live.as_ref().filter(|live| live.has_network(now)) else {
            continue;
        };
        for nic in domain.spec.nics.iter().filter(|nic| nic.network == network) {
            let last = index.saturating_add(2) % 254;
            leases.push(Lease {
                mac: nic.mac.clone(),
                ip: format!("{prefix}.{last}"),
                hostname: live.hostname.clone(),
            });
        }
    }
    leases
}
