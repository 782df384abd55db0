//! Virtual networks and their DHCP leases.

use serde::{Deserialize, Serialize};

use super::{Procedure, Uuid};
use crate::connection::Calls;
use crate::error::Result;

/// A network (`remote_nonnull_network`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteNetwork {
    /// Its name, unique on the host.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A DHCP lease of a network (`remote_network_dhcp_lease`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DhcpLease {
    /// The network's bridge on the host.
    pub iface: String,
    /// When it ends, seconds since 1970.
    pub expiry_time: i64,
    /// 0 is IPv4, 1 is IPv6 (`virIPAddrType`).
    pub kind: i32,
    /// The holder's MAC address.
    pub mac: Option<String>,
    /// Identity association (IPv6).
    pub iaid: Option<String>,
    /// The address.
    pub address: String,
    /// Its prefix length, bits.
    pub prefix: u32,
    /// The name the holder gave itself.
    pub hostname: Option<String>,
    /// The holder's client id or DUID.
    pub client_id: Option<String>,
}

impl Calls {
    /// Lists all networks, active or not.
    ///
    /// # Errors
    /// As of every call, see [`Error`](crate::Error).
    pub async fn connect_list_all_networks(&self) -> Result<Vec<RemoteNetwork>> {
        let (networks, _count): (Vec<RemoteNetwork>, u32) = self
            .call(Procedure::ConnectListAllNetworks, &(1_i32, 0_u32))
            .await?;
        Ok(networks)
    }

    /// Finds a network by name.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) where there is none.
    pub async fn network_lookup_by_name(&self, name: &str) -> Result<RemoteNetwork> {
        self.call(Procedure::NetworkLookupByName, name).await
    }

    /// Whether a network is up.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) where there is none.
    pub async fn network_is_active(&self, network: &RemoteNetwork) -> Result<bool> {
        self.call::<_, i32>(Procedure::NetworkIsActive, network)
            .await
            .map(|active| active == 1)
    }

    /// A network's XML.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) where there is none.
    pub async fn network_get_xml_desc(&self, network: &RemoteNetwork) -> Result<String> {
        self.call(Procedure::NetworkGetXmlDesc, &(network, 0_u32))
            .await
    }

    /// A network's DHCP leases, of one MAC address or of all.
    ///
    /// # Errors
    /// 55 where the network is not up.
    pub async fn network_get_dhcp_leases(
        &self,
        network: &RemoteNetwork,
        mac: Option<&str>,
    ) -> Result<Vec<DhcpLease>> {
        let args = (network, mac, 1_i32, 0_u32);
        let (leases, _count): (Vec<DhcpLease>, u32) =
            self.call(Procedure::NetworkGetDhcpLeases, &args).await?;
        Ok(leases)
    }
}
