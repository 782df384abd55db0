//! Networks.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use vsiflow_steps::ports::{
    DhcpLease, GuestStream, NetworkInfo, NetworkPort, PortErrorKind, PortResult,
};

use super::LibvirtHost;
use crate::{connect_error::ConnectError, error::Absent};

#[async_trait]
impl NetworkPort for LibvirtHost {
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>> {
        let calls = self.quick().await?;
        let object = format!("network {name}");
        let at = self.speaking(&object);
        let found = match calls.network_lookup_by_name(name).await {
            Ok(found) => found,
            Err(error) if error.libvirt().and_then(|e| e.absent()) == Some(Absent::Network) => {
                return Ok(None);
            }
            Err(error) => return Err(at.of(&error)),
        };
        let active = calls
            .network_is_active(&found)
            .await
            .map_err(|e| at.of(&e))?;
        let xml = calls
            .network_get_xml_desc(&found)
            .await
            .map_err(|e| at.of(&e))?;
        Ok(Some(NetworkInfo {
            name: name.to_owned(),
            active,
            xml,
        }))
    }

    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>> {
        let calls = self.quick().await?;
        let object = format!("network {name}");
        let at = self.speaking(&object);
        let found = calls
            .network_lookup_by_name(name)
            .await
            .map_err(|e| at.of(&e))?;
        let leases = calls
            .network_get_dhcp_leases(&found, None)
            .await
            .map_err(|e| at.of(&e))?;
        let lease = |lease: crate::protocol::DhcpLease| {
            let mac = lease.mac?.to_lowercase();
            Some(DhcpLease {
                mac,
                ip: lease.address,
                hostname: lease.hostname,
            })
        };
        Ok(leases.into_iter().filter_map(lease).collect())
    }

    async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> PortResult<Box<dyn GuestStream>> {
        // A guest says which address it has: none of the host's own is one.
        if self
            .own_addresses()
            .await?
            .contains(&address.to_canonical())
        {
            let object = format!("port {port} of {address}");
            let at = self.speaking(&object);
            return Err(at.error(
                PortErrorKind::Denied,
                "that is an address of the host itself",
            ));
        }
        let dialled = self.session.dial(address, port, within).await;
        dialled.map_err(|error| {
            let object = format!("port {port} of {address}");
            let at = self.speaking(&object);
            match error {
                // The host was there; the guest was not.
                ConnectError::ChannelRefused { .. } => {
                    at.error(PortErrorKind::WrongState, "nobody accepts the connection")
                }
                ConnectError::TimedOut {
                    waiting_for: "a guest to answer",
                    ..
                } => at.error(PortErrorKind::WrongState, "nobody answers"),
                ConnectError::ForwardingProhibited { .. } => at.error(
                    PortErrorKind::Denied,
                    "the host's sshd forbids TCP forwarding (AllowTcpForwarding)",
                ),
                error => self.unconnected(&error),
            }
        })
    }
}
