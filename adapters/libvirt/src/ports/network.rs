//! Implements the network port with libvirt's calls on networks.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_steps::ports::{
    DhcpLease, GuestStream, HostRoute, NetworkChange, NetworkInfo, NetworkPort, NetworkSpec,
    PortErrorKind, PortResult, Removed,
};

use super::LibvirtHost;
use crate::{
    connect_error::ConnectError,
    connection::Calls,
    error::{Absent, Error},
    protocol::RemoteNetwork,
    xml,
};

/// Whether libvirt itself reported that there is no such network.
pub(super) fn is_absent(error: &Error) -> bool {
    error.libvirt().and_then(|e| e.absent()) == Some(Absent::Network)
}

#[async_trait]
impl NetworkPort for LibvirtHost {
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>> {
        let calls = self.quick().await?;
        let object = format!("network {name}");
        let context = self.speaking(&object);
        let network = match calls.network_lookup_by_name(name).await {
            Ok(network) => network,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(context.of(&error)),
        };
        self.info(&calls, &network).await
    }

    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>> {
        let calls = self.quick().await?;
        let object = format!("network {name}");
        let context = self.speaking(&object);
        let network = calls
            .network_lookup_by_name(name)
            .await
            .map_err(|e| context.of(&e))?;
        let leases = calls
            .network_get_dhcp_leases(&network, None)
            .await
            .map_err(|e| context.of(&e))?;
        let lease = |lease: crate::protocol::WireDhcpLease| {
            let mac = lease.mac?.to_lowercase();
            Some(DhcpLease {
                mac,
                ip: lease.address,
                hostname: lease.hostname,
            })
        };
        Ok(leases.into_iter().filter_map(lease).collect())
    }

    async fn networks(&self) -> PortResult<Vec<NetworkInfo>> {
        let calls = self.quick().await?;
        let list_reply = calls.connect_list_all_networks().await;
        let listed = list_reply.map_err(|e| self.speaking("networks").of(&e))?;
        let mut networks = Vec::with_capacity(listed.len());
        for network in listed {
            networks.extend(self.info(&calls, &network).await?);
        }
        Ok(networks)
    }

    async fn routes(&self) -> PortResult<Option<Vec<HostRoute>>> {
        self.host_routes().await
    }

    async fn bridges(&self) -> PortResult<Option<Vec<String>>> {
        self.host_bridges().await
    }

    async fn define_network(&self, spec: &NetworkSpec) -> PortResult<()> {
        self.define(spec).await
    }

    async fn start_network(&self, name: &str) -> PortResult<()> {
        self.start(name).await
    }

    async fn remove_network(&self, name: &str, uuid: Uuid) -> PortResult<Removed> {
        self.remove(name, uuid).await
    }

    async fn change_network(
        &self,
        name: &str,
        uuid: Uuid,
        change: &NetworkChange,
    ) -> PortResult<()> {
        self.change(name, uuid, change).await
    }

    async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> PortResult<Box<dyn GuestStream>> {
        // The guest reports its address, so it could name one of the host's own.
        if self
            .own_addresses()
            .await?
            .contains(&address.to_canonical())
        {
            let object = format!("port {port} of {address}");
            let context = self.speaking(&object);
            return Err(context.error(
                PortErrorKind::Denied,
                "that is an address of the host itself",
            ));
        }
        self.connect_to(address, port, within).await
    }
}

impl LibvirtHost {
    /// The network; `None` if it was deleted since it was found.
    async fn info(
        &self,
        calls: &Calls,
        network: &RemoteNetwork,
    ) -> PortResult<Option<NetworkInfo>> {
        let object = format!("network {}", network.name);
        let context = self.speaking(&object);
        let reading = async {
            let active = calls.network_is_active(network).await?;
            Ok((active, calls.network_get_xml_desc(network).await?))
        };
        let (active, xml) = match reading.await {
            Ok(description) => description,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(context.of(&error)),
        };
        let length = xml.len();
        let name = network.name.clone();
        let parse = move || {
            let shape = xml::network::shape(&xml)?;
            Ok(NetworkInfo {
                name,
                active,
                xml,
                shape,
            })
        };
        let info = self.parsed_in_turn(length, parse).await;
        info.map(Some).map_err(|e| context.unreadable(&e))
    }

    /// A TCP connection from the host to an address.
    pub(super) async fn connect_to(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> PortResult<Box<dyn GuestStream>> {
        let dialled = self.session.dial(address, port, within).await;
        dialled.map_err(|error| {
            let object = format!("port {port} of {address}");
            let context = self.speaking(&object);
            match error {
                // The host was reached; the guest was not.
                ConnectError::ChannelRefused { .. } => context.error(
                    PortErrorKind::WrongState,
                    "no process accepts the connection",
                ),
                ConnectError::TimedOut {
                    waiting_for: "a guest to answer",
                    ..
                } => context.error(PortErrorKind::WrongState, "no process answers"),
                ConnectError::ForwardingProhibited { .. } => context.error(
                    PortErrorKind::Denied,
                    "the host's sshd forbids TCP forwarding (AllowTcpForwarding)",
                ),
                error => self.unconnected(&error),
            }
        })
    }
}
