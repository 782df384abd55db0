//! The steps of a network that vsiflow makes on a host, and of the addresses that VSIs have there.
//!
//! libvirt stores no metadata with a network before version 9.7. So a network is identified by its UUID,
//! which is derived from the journal and the network's entity: no other program makes one with that UUID.

pub mod await_networks;
pub mod check_network;
pub mod define_network;
pub mod delete_network;
pub mod release_addresses;
pub mod reserve_addresses;
pub mod start_network;

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

pub use await_networks::AwaitNetworks;
pub use check_network::CheckNetwork;
pub use define_network::DefineNetwork;
pub use delete_network::DeleteNetwork;
pub use release_addresses::ReleaseAddresses;
pub use reserve_addresses::ReserveAddresses;
pub use start_network::StartNetwork;

use serde::{Deserialize, Serialize};

use crate::{
    error,
    ports::{HostPorts, NetworkInfo, NetworkMode, NetworkSpec, NetworkSubnet},
};

/// Parameters of the steps of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// Its name on the host.
    pub name: String,
    /// How guests reach other machines.
    pub mode: NetworkMode,
    /// The bridge of the host that guests are on; `None` if libvirt makes one.
    pub bridge: Option<String>,
    /// Its addresses; `None` in mode bridge.
    pub subnet: Option<NetworkSubnet>,
    /// Whether the host answers DNS queries there.
    pub dns: bool,
    /// The domain of its guests' names.
    pub domain: Option<String>,
    /// The largest packet in bytes; `None` for the host's default.
    pub mtu: Option<u32>,
    /// The VLAN of its guests.
    pub vlan: Option<u16>,
}

impl Params {
    /// The specification that is sent to the host.
    fn spec(&self, uuid: Uuid) -> NetworkSpec {
        NetworkSpec {
            name: self.name.clone(),
            uuid,
            bridge: self.bridge.clone().unwrap_or_else(|| device(uuid)),
            mode: self.mode,
            subnet: self.subnet.clone(),
            dns: self.dns,
            domain: self.domain.clone(),
            mtu: self.mtu,
            vlan: self.vlan,
        }
    }
}

/// The UUID of the network that a journal makes for this entity (`KIND/ID`).
pub fn uuid_of(journal_id: &str, entity: &str) -> Uuid {
    let hash = Hash::of(format!("{journal_id}\0{entity}").as_bytes());
    let mut bytes = [0; 16];
    let pairs = bytes.iter_mut().zip(hash.0);
    pairs.for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The UUID of this run's network.
fn own_uuid(cx: &StepContext) -> Uuid {
    uuid_of(&cx.journal_id, &cx.entity.to_string())
}

/// The name of the bridge that libvirt makes for a network; Linux permits 15 bytes.
fn device(uuid: Uuid) -> String {
    let digits = uuid.simple().to_string();
    format!("vsn{}", digits.get(..10).unwrap_or_default())
}

/// A network's name in failures.
fn object(name: &str) -> String {
    format!("network {name}")
}

/// The network of that name if it has that UUID; `None` if the host reports that there is none.
///
/// # Errors
/// Blocked, `VSI0225`, if another network has the name; port errors by their kind.
async fn own_network(
    ports: &HostPorts,
    name: &str,
    uuid: Uuid,
) -> Result<Option<NetworkInfo>, Failure> {
    match ports.networks.network(name).await? {
        Some(network) if network.shape.uuid != Some(uuid) => Err(foreign(ports, name)),
        network => Ok(network),
    }
}

fn foreign(ports: &HostPorts, name: &str) -> Failure {
    error::NETWORK_FOREIGN
        .failure("a network of this name exists, and this journal did not make it")
        .on_host(ports.host.name())
        .of_object(object(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_known_by_journal_and_entity() {
        let one = uuid_of("j1", "network/a");
        assert_eq!(one, uuid_of("j1", "network/a"));
        assert_ne!(one, uuid_of("j2", "network/a"));
        assert_ne!(one, uuid_of("j1", "network/b"));
        assert!(device(one).len() <= 15, "{}", device(one));
    }
}
