//! Creates, changes and removes vsiflow's networks, and reads routes and bridges of the host.

use std::{net::Ipv4Addr, time::Duration};

use ipnet::Ipv4Net;
use uuid::Uuid;
use vsiflow_steps::ports::{
    HostRoute, NetworkChange, NetworkSpec, PortErrorKind, PortResult, Removed,
};

use super::{
    LibvirtHost,
    error::{ErrorContext, MessageFact},
    network::is_absent,
};
use crate::{
    connection::Calls,
    error::Error,
    protocol::{AFFECT_CONFIG, AFFECT_LIVE, RemoteNetwork, UpdateCommand, UpdateSection},
    xml,
};

const COMMAND: Duration = Duration::from_secs(15);
/// The host's routes, and addresses that must stay reachable although a default route leads there: its name
/// servers, and the client of this session.
const ROUTES: &str = "cat /proc/net/route; grep -h '^nameserver' /etc/resolv.conf 2>/dev/null; \
    echo \"peer $SSH_CONNECTION\"";
const BRIDGES: &str = "for b in /sys/class/net/*/bridge; do [ -e \"$b\" ] && basename \"$(dirname \"$b\")\"; done; true";
/// A prefix that covers half of all addresses or more is a default route.
const DEFAULT_ROUTE: u8 = 1;

impl LibvirtHost {
    /// The host's routes, and its own addresses; `None` if the host does not permit commands.
    pub(super) async fn host_routes(&self) -> PortResult<Option<Vec<HostRoute>>> {
        if !self.has_shell().await? {
            return Ok(None);
        }
        let mut all_routes = routes(&self.command(ROUTES, COMMAND).await?);
        let own_addresses = self.own_addresses().await?.into_iter();
        all_routes.extend(own_addresses.filter_map(|address| match address {
            std::net::IpAddr::V4(address) if !address.is_loopback() => Some(HostRoute {
                to: address.into(),
                device: String::new(),
            }),
            _ => None,
        }));
        Ok(Some(all_routes))
    }

    pub(super) async fn host_bridges(&self) -> PortResult<Option<Vec<String>>> {
        if !self.has_shell().await? {
            return Ok(None);
        }
        let output = self.command(BRIDGES, COMMAND).await?;
        Ok(Some(output.lines().map(str::to_owned).collect()))
    }

    pub(super) async fn define(&self, spec: &NetworkSpec) -> PortResult<()> {
        let (calls, object) = (self.quick().await?, format!("network {}", spec.name));
        let defined = calls.network_define_xml(&xml::network::network(spec)).await;
        defined
            .map(drop)
            .map_err(|error| self.speaking(&object).creation_error(&error))
    }

    pub(super) async fn start(&self, name: &str) -> PortResult<()> {
        let (calls, object) = (self.quick().await?, format!("network {name}"));
        let context = self.speaking(&object);
        let lookup = calls.network_lookup_by_name(name).await;
        let network = lookup.map_err(|e| context.of(&e))?;
        let active = calls.network_is_active(&network).await;
        if !active.map_err(|e| context.of(&e))? {
            let started = calls.network_create(&network).await;
            started.map_err(|e| context.creation_error(&e))?;
        }
        let set = calls.network_set_autostart(&network, true).await;
        set.map_err(|e| context.of(&e))
    }

    pub(super) async fn remove(&self, name: &str, uuid: Uuid) -> PortResult<Removed> {
        let (calls, object) = (self.quick().await?, format!("network {name}"));
        let context = self.speaking(&object);
        let Some((network, active)) = own(&calls, name, uuid).await.map_err(|e| context.of(&e))?
        else {
            return Ok(Removed::Absent);
        };
        let removed = async {
            if active {
                calls.network_destroy(&network).await?;
            }
            calls.network_undefine(&network).await
        };
        match removed.await {
            Ok(()) => Ok(Removed::Removed),
            Err(error) if is_absent(&error) => Ok(Removed::Removed),
            Err(error) => Err(context.of(&error)),
        }
    }

    pub(super) async fn change(
        &self,
        name: &str,
        uuid: Uuid,
        change: &NetworkChange,
    ) -> PortResult<()> {
        let (calls, object) = (self.quick().await?, format!("network {name}"));
        let context = self.speaking(&object);
        let own_network = own(&calls, name, uuid).await.map_err(|e| context.of(&e))?;
        let Some((network, active)) = own_network else {
            return Err(context.error(PortErrorKind::NetworkMissing, "there is no such network"));
        };
        let flags = AFFECT_CONFIG | if active { AFFECT_LIVE } else { 0 };
        let (command, section, xml) = update(change);
        let changed = calls.network_update(&network, command, section, &xml, flags);
        let Err(error) = changed.await else {
            return Ok(());
        };
        // An earlier attempt whose reply was lost may have made the change.
        let shape = match calls.network_get_xml_desc(&network).await {
            Ok(definition) => self.parsed(definition, xml::network::shape).await.ok(),
            Err(_) => None,
        };
        let is_made = shape.is_some_and(|shape| match change {
            NetworkChange::AddHost(host) => shape.hosts.contains(host),
            NetworkChange::RemoveHost(host) => !shape.hosts.contains(host),
            NetworkChange::AddName(host) => shape.names.contains(host),
            NetworkChange::RemoveName(host) => !shape.names.contains(host),
        });
        if is_made && error.libvirt().is_some() {
            Ok(())
        } else {
            Err(context.of(&error))
        }
    }
}

/// The network with this name and UUID, and whether it is active.
async fn own(
    calls: &Calls,
    name: &str,
    uuid: Uuid,
) -> Result<Option<(RemoteNetwork, bool)>, Error> {
    let network = match calls.network_lookup_by_name(name).await {
        Ok(network) if network.uuid.0 == uuid => network,
        Ok(_) => return Ok(None),
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let active = calls.network_is_active(&network).await?;
    Ok(Some((network, active)))
}

fn update(change: &NetworkChange) -> (UpdateCommand, UpdateSection, String) {
    use UpdateCommand::{AddLast, Delete};
    use UpdateSection::{DnsHost, IpDhcpHost};
    match change {
        NetworkChange::AddHost(host) => (AddLast, IpDhcpHost, xml::network::dhcp_host(host)),
        NetworkChange::RemoveHost(host) => (Delete, IpDhcpHost, xml::network::dhcp_host(host)),
        NetworkChange::AddName(host) => (AddLast, DnsHost, xml::network::dns_host(host)),
        NetworkChange::RemoveName(host) => (Delete, DnsHost, xml::network::dns_host(host)),
    }
}

impl ErrorContext<'_> {
    /// The error of a call that creates something; another owner may already have it.
    fn creation_error(&self, error: &Error) -> vsiflow_steps::ports::PortError {
        use MessageFact::{AlreadyInUse, NameTaken, VolumeNameTaken};
        let fact = error.libvirt().map(MessageFact::of);
        let mut failure = self.of(error);
        if matches!(fact, Some(NameTaken | AlreadyInUse | VolumeNameTaken)) {
            failure.kind = PortErrorKind::Exists;
        }
        failure
    }
}

/// Parses `/proc/net/route`: device, destination, gateway, flags, …, mask; addresses are in the machine's
/// byte order.
fn routes(text: &str) -> Vec<HostRoute> {
    let address = |hex: &str| {
        let number = u32::from_str_radix(hex, 16).ok()?;
        Some(Ipv4Addr::from(number.to_ne_bytes()))
    };
    let route = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (device, base) = (words.first()?, address(words.get(1)?)?);
        let prefix = ipnet::ipv4_mask_to_prefix(address(words.get(7)?)?).ok()?;
        let destination = Ipv4Net::new(base, prefix).ok()?;
        (prefix > DEFAULT_ROUTE).then(|| HostRoute {
            to: destination,
            device: (*device).to_owned(),
        })
    };
    let needed = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let device = match words.next()? {
            "nameserver" => "its default route, a name server",
            "peer" => "its default route, vsiflow",
            _ => return None,
        };
        let destination: Ipv4Addr = words.next()?.parse().ok()?;
        (!destination.is_loopback()).then(|| HostRoute {
            to: destination.into(),
            device: device.to_owned(),
        })
    };
    let route_of = |line: &str| route(line).or_else(|| needed(line));
    text.lines().filter_map(route_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_but_default_ones() {
        let line = |device: &str, to: [u8; 4], mask: [u8; 4]| {
            let hex = |bytes| format!("{:08X}", u32::from_ne_bytes(bytes));
            let (to, mask) = (hex(to), hex(mask));
            format!("{device}\t{to}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0\n")
        };
        let text = format!(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
             {}{}rubbish\nnameserver 10.9.9.9\nnameserver fd00::1\npeer 10.8.8.8 5 10.1.1.1 22\n\
             nameserver 127.0.0.53\npeer\n",
            line("eth0", [0, 0, 0, 0], [0, 0, 0, 0]),
            line("virbr0", [192, 168, 122, 0], [255, 255, 255, 0]),
        );
        let found = routes(&text);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[0].to.to_string(), "192.168.122.0/24");
        assert_eq!(found[0].device, "virbr0");
        assert_eq!(found[1].to.to_string(), "10.9.9.9/32");
        assert_eq!(found[2].to.to_string(), "10.8.8.8/32");
    }
}
