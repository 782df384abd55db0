//! Networks.

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
    /// What of the definition vsiflow looks at.
    #[serde(default)]
    pub shape: NetworkShape,
}

/// What of a network's definition vsiflow looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkShape {
    /// Its UUID; none where the definition could not be read.
    pub uuid: Option<Uuid>,
    /// The bridge that its guests are on.
    pub bridge: Option<String>,
    /// Its IPv4 addresses with their prefixes, as `10.0.0.1/24`.
    pub subnets: Vec<String>,
    /// The addresses that its DHCP gives to one card only.
    pub hosts: Vec<DhcpHost>,
    /// The names that its DNS answers for.
    pub names: Vec<DnsHost>,
}

/// An address that DHCP gives to one card only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpHost {
    /// The card's MAC address, lower case.
    pub mac: String,
    /// The address.
    pub ip: String,
    /// The name that the guest is given.
    pub name: Option<String>,
}

/// Names that the DNS of a network answers for with one address.
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
    /// They reach one another and the host.
    Isolated,
    /// They are on a bridge of the host, beside other machines.
    Bridge,
}

/// The IPv4 side of a network that the host serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSubnet {
    /// The host's own address there.
    pub gateway: Ipv4Addr,
    /// The length of the prefix, in bits.
    pub prefix: u8,
    /// Whether the host gives addresses away.
    pub dhcp: bool,
    /// The first and the last address that it gives to any card; none where only reserved ones are given.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// A network to be defined.
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
    /// Its addresses; none in mode bridge.
    pub subnet: Option<NetworkSubnet>,
    /// Whether the host answers DNS queries there.
    pub dns: bool,
    /// The domain of its guests' names.
    pub domain: Option<String>,
    /// The largest packet in bytes; the host's default where absent.
    pub mtu: Option<u32>,
    /// The VLAN of its guests, in mode bridge.
    pub vlan: Option<u16>,
}

/// One change of a network, in its stored definition and, while it is active, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkChange {
    /// An address is reserved.
    AddHost(DhcpHost),
    /// A reservation ends. What differs in MAC address or address stays.
    RemoveHost(DhcpHost),
    /// Names are answered for.
    AddName(DnsHost),
    /// The names of this address are not answered for any more.
    RemoveName(DnsHost),
}

/// Addresses that a host reaches, or has, beside its networks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// The addresses.
    #[serde(with = "as_text")]
    pub to: Ipv4Net,
    /// The device that leads there; empty for an address of the host's own.
    pub device: String,
}

/// Addresses with their prefix, as people write them.
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

/// An address that a network gave away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpLease {
    /// The card's MAC address, lower case.
    pub mac: String,
    /// The address.
    pub ip: String,
    /// The name the guest gave itself.
    pub hostname: Option<String>,
}

/// A connection to a port of a guest.
pub trait GuestStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> GuestStream for T {}

/// Networks of a host.
#[async_trait]
pub trait NetworkPort: Send + Sync {
    /// The network of that name; `None` where the host says that there is none.
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>>;

    /// The addresses the network gave away. Empty for a network without DHCP of libvirt's.
    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>>;

    /// All networks, active or not, anybody's.
    async fn networks(&self) -> PortResult<Vec<NetworkInfo>>;

    /// Where the host's IPv4 routes lead, default routes left out, and the addresses that it has;
    /// `None` where it does not tell.
    async fn routes(&self) -> PortResult<Option<Vec<HostRoute>>>;

    /// The bridges of the host; `None` where it does not tell.
    async fn bridges(&self) -> PortResult<Option<Vec<String>>>;

    /// Defines a network. `Exists` where another UUID has its name, or another network its bridge.
    async fn define_network(&self, spec: &NetworkSpec) -> PortResult<()>;

    /// Starts a network that is inactive, and has it start with its host. One that is active stays so.
    async fn start_network(&self, name: &str) -> PortResult<()>;

    /// Stops the network of that name and UUID, and removes its definition.
    async fn remove_network(&self, name: &str, uuid: Uuid) -> PortResult<Removed>;

    /// Changes the network of that name and UUID. What is there already, or gone already, is no error.
    async fn change_network(
        &self,
        name: &str,
        uuid: Uuid,
        change: &NetworkChange,
    ) -> PortResult<()>;

    /// A TCP connection to a guest, made by the host, so that networks are reached which nobody
    /// else can reach. `WrongState` where nothing answers there within that time; `Denied` where
    /// the host makes no connections for us.
    async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> PortResult<Box<dyn GuestStream>>;
}
