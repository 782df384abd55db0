//! Networks.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use super::PortResult;

/// A network as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its name.
    pub name: String,
    /// Whether it is active.
    pub active: bool,
    /// Its definition, as the host prints it.
    pub xml: String,
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
