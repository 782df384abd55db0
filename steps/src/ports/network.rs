//! Networks.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

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

/// Networks of a host.
#[async_trait]
pub trait NetworkPort: Send + Sync {
    /// The network of that name; `None` where the host says that there is none.
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>>;

    /// The addresses the network gave away. Empty for a network without DHCP of libvirt's.
    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>>;
}
