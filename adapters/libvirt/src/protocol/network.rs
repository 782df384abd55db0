//! Calls on virtual networks and their DHCP leases.

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
pub struct WireDhcpLease {
    /// The network's bridge on the host.
    pub iface: String,
    /// When it ends, in seconds since 1970.
    pub expiry_time: i64,
    /// 0 is IPv4, 1 is IPv6 (`virIPAddrType`).
    pub kind: i32,
    /// The holder's MAC address.
    pub mac: Option<String>,
    /// Identity association (IPv6).
    pub iaid: Option<String>,
    /// The address.
    pub address: String,
    /// Its prefix length in bits.
    pub prefix: u32,
    /// The host name that the holder sent.
    pub hostname: Option<String>,
    /// The holder's client ID or DUID.
    pub client_id: Option<String>,
}

impl Calls {
    /// Lists all networks, active or not.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_list_all_networks(&self) -> Result<Vec<RemoteNetwork>> {
        let (networks, _count): (Vec<RemoteNetwork>, u32) = self
            .call(Procedure::ConnectListAllNetworks, &(1_i32, 0_u32))
            .await?;
        Ok(networks)
    }

    /// Finds a network by name.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) if it does not exist.
    pub async fn network_lookup_by_name(&self, name: &str) -> Result<RemoteNetwork> {
        self.call(Procedure::NetworkLookupByName, name).await
    }

    /// Whether a network is active.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) if it does not exist.
    pub async fn network_is_active(&self, network: &RemoteNetwork) -> Result<bool> {
        self.call::<_, i32>(Procedure::NetworkIsActive, network)
            .await
            .map(|active| active == 1)
    }

    /// A network's XML.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) if it does not exist.
    pub async fn network_get_xml_desc(&self, network: &RemoteNetwork) -> Result<String> {
        self.call(Procedure::NetworkGetXmlDesc, &(network, 0_u32))
            .await
    }

    /// A network's DHCP leases, for one MAC address or for all.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if the network is not active.
    pub async fn network_get_dhcp_leases(
        &self,
        network: &RemoteNetwork,
        mac: Option<&str>,
    ) -> Result<Vec<WireDhcpLease>> {
        let args = (network, mac, 1_i32, 0_u32);
        let (leases, _count): (Vec<WireDhcpLease>, u32) =
            self.call(Procedure::NetworkGetDhcpLeases, &args).await?;
        Ok(leases)
    }

    /// Defines a network, or changes the stored definition of the one with its name and UUID.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_FAILED` (9) if the name belongs to another UUID.
    pub async fn network_define_xml(&self, xml: &str) -> Result<RemoteNetwork> {
        self.call(Procedure::NetworkDefineXml, xml).await
    }

    /// Starts a defined network.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it is already active.
    pub async fn network_create(&self, network: &RemoteNetwork) -> Result<()> {
        self.call(Procedure::NetworkCreate, network).await
    }

    /// Sets whether libvirt starts a network with the host.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) if it does not exist.
    pub async fn network_set_autostart(&self, network: &RemoteNetwork, on: bool) -> Result<()> {
        let args = (network, i32::from(on));
        self.call(Procedure::NetworkSetAutostart, &args).await
    }

    /// Stops a network.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it is not active.
    pub async fn network_destroy(&self, network: &RemoteNetwork) -> Result<()> {
        self.call(Procedure::NetworkDestroy, network).await
    }

    /// Removes the definition of a network.
    ///
    /// # Errors
    /// [`NO_NETWORK`](crate::code::NO_NETWORK) if it does not exist.
    pub async fn network_undefine(&self, network: &RemoteNetwork) -> Result<()> {
        self.call(Procedure::NetworkUndefine, network).await
    }

    /// Changes one part of a network: the stored definition, the active network, or both, as the flags
    /// choose.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if a part to add exists already, or a part to remove does not exist.
    pub async fn network_update(
        &self,
        network: &RemoteNetwork,
        command: UpdateCommand,
        section: UpdateSection,
        xml: &str,
        flags: u32,
    ) -> Result<()> {
        let (command, section) = (command as u32, section as u32);
        // Before libvirt 7.2 the daemon read the two arguments in the opposite order.
        let supported: i32 = self
            .call(Procedure::ConnectSupportsFeature, &FEATURE_UPDATE_ORDER)
            .await?;
        let (first, second) = match supported {
            0 => (section, command),
            _ => (command, section),
        };
        let args = (network, first, second, -1_i32, xml, flags);
        self.call(Procedure::NetworkUpdate, &args).await
    }
}

/// `VIR_DRV_FEATURE_NETWORK_UPDATE_HAS_CORRECT_ORDER`.
const FEATURE_UPDATE_ORDER: i32 = 16;

/// How a part of a network is changed (`virNetworkUpdateCommand`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum UpdateCommand {
    /// Removes the part.
    Delete = 2,
    /// Adds the part after the others.
    AddLast = 3,
}

/// A part of a network (`virNetworkUpdateSection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum UpdateSection {
    /// An address reserved for a host.
    IpDhcpHost = 4,
    /// A DNS name.
    DnsHost = 10,
}

/// `VIR_NETWORK_UPDATE_AFFECT_LIVE`.
pub const AFFECT_LIVE: u32 = 1;
/// `VIR_NETWORK_UPDATE_AFFECT_CONFIG`.
pub const AFFECT_CONFIG: u32 = 2;
