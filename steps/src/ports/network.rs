//! The port to networks.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use async_trait::async_trait;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use uuid::Uuid;

use super::{PortResult, Removed};

/// A network as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Whether it is active.
    pub active: bool,
    /// Its definition, as the host prints it.
    pub xml: String,
    /// The parts of the definition that vsiflow reads.
    #[serde(default)]
    pub shape: NetworkShape,
}

/// The parts of a network's definition that vsiflow reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkShape {
    /// Its UUID; `None` if the definition could not be read.
    pub uuid: Option<Uuid>,
    /// The bridge that its guests are on.
    pub bridge: Option<String>,
    /// Its IPv4 addresses with their prefixes, as `10.0.0.1/24`.
    pub subnets: Vec<String>,
    /// The addresses that its DHCP reserves for one card each.
    pub hosts: Vec<DhcpHost>,
    /// The names that its DNS resolves.
    pub names: Vec<DnsHost>,
}

/// An address that DHCP reserves for one card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpHost {
    /// The card's MAC address, lower case.
    pub mac: String,
    /// The address.
    pub ip: String,
    /// The name that DHCP sends to the guest.
    pub name: Option<String>,
}

/// Names that a network's DNS resolves to one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsHost {
    /// The address.
    pub ip: String,
    /// The names.
    pub names: Vec<String>,
}

/// How guests of a network reach other machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NetworkMode {
    /// Through the host, with its address.
    #[default]
    Nat,
    /// Through the host, with their own addresses.
    Routed,
    /// They reach only one another and the host.
    Isolated,
    /// They are on a bridge of the host, beside other machines.
    Bridge,
}

/// The IPv4 subnet of a network that the host serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSubnet {
    /// The host's own address there.
    pub gateway: Ipv4Addr,
    /// The length of the prefix, in bits.
    pub prefix: u8,
    /// Whether the host assigns addresses by DHCP.
    pub dhcp: bool,
    /// The first and the last address that it assigns to any card; `None` if it assigns only reserved
    /// ones.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// A network to define.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Its name on the host.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// The bridge: one that libvirt makes, or in mode bridge one that the host has.
    pub bridge: String,
    /// How guests reach other machines.
    pub mode: NetworkMode,
    /// Its addresses; `None` in mode bridge.
    pub subnet: Option<NetworkSubnet>,
    /// Whether the host answers DNS queries there.
    pub dns: bool,
    /// The domain of its guests' names.
    pub domain: Option<String>,
    /// The largest packet in bytes; `None` for the host's default.
    pub mtu: Option<u32>,
    /// The VLAN of its guests, in mode bridge.
    pub vlan: Option<u16>,
}

/// A change of a network. It applies to its stored definition and, if it is active, immediately to the
/// running network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkChange {
    /// Adds a reservation of an address.
    AddHost(DhcpHost),
    /// Removes a reservation. One with another MAC address or address is not changed.
    RemoveHost(DhcpHost),
    /// Adds names to its DNS.
    AddName(DnsHost),
    /// Removes the names of this address from its DNS.
    RemoveName(DnsHost),
}

/// Addresses that a host reaches, or has, outside of its networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// The addresses.
    #[serde(with = "as_text")]
    pub to: Ipv4Net,
    /// The device of the route; empty for an address of the host itself.
    pub device: String,
}

/// Serialises addresses with their prefix as text.
mod as_text {
    use ipnet::Ipv4Net;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(net: &Ipv4Net, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(net)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Ipv4Net, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// An address that a network has leased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpLease {
    /// The card's MAC address, lower case.
    pub mac: String,
    /// The address.
    pub ip: String,
    /// The hostname that the guest sent.
    pub hostname: Option<String>,
}

/// A connection to a port of a guest.
pub trait GuestStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> GuestStream for T {}

/// Networks of a host.
#[async_trait]
pub trait NetworkPort: Send + Sync {
    /// The network of that name; `None` if the host reports that there is none.
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>>;

    /// The leases of the network. Empty if the network has no DHCP of libvirt.
    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>>;

    /// All networks, active or not, ours and foreign.
    async fn networks(&self) -> PortResult<Vec<NetworkInfo>>;

    /// The host's IPv4 routes without default routes, and its own addresses; `None` if it does not report
    /// them.
    async fn routes(&self) -> PortResult<Option<Vec<HostRoute>>>;

    /// The bridges of the host; `None` if it does not report them.
    async fn bridges(&self) -> PortResult<Option<Vec<String>>>;

    /// Defines a network. `Exists` if another UUID has its name, or another network its bridge.
    async fn define_network(&self, spec: &NetworkSpec) -> PortResult<()>;

    /// Starts a network that is inactive, and sets it to start with its host. An active one is not
    /// restarted.
    async fn start_network(&self, name: &str) -> PortResult<()>;

    /// Stops the network of that name and UUID, and removes its definition.
    async fn remove_network(&self, name: &str, uuid: Uuid) -> PortResult<Removed>;

    /// Changes the network of that name and UUID. An entry that already exists, or is already absent, is
    /// not an error.
    async fn change_network(
        &self,
        name: &str,
        uuid: Uuid,
        change: &NetworkChange,
    ) -> PortResult<()>;

    /// Opens a TCP connection to a guest from the host, so that networks can be reached that only the
    /// host reaches. `WrongState` if nothing answers within that time; `Denied` if the host makes no
    /// connections for us.
    async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> PortResult<Box<dyn GuestStream>>;
}
