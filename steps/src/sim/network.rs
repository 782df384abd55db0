//! The networks of a simulated host.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use uuid::Uuid;

use super::{Network, SimHost, SimHostState, host::Call};
use crate::ports::{
    DhcpHost, DhcpLease, DomainSpec, GuestStream, HostRoute, NetworkChange, NetworkInfo,
    NetworkPort, NetworkShape, NetworkSpec, PortErrorKind, PortResult, Removed,
};

#[async_trait]
impl NetworkPort for SimHost {
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>> {
        self.call(
            Call::observe("network", format!("network {name}")),
            |state, _| {
                let network = state.networks.get(name);
                Ok(network.map(|network| info(name, network)))
            },
        )
        .await
    }

    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>> {
        let object = format!("network {name}");
        self.call(
            Call::observe("leases", object.clone()),
            |state, now| match state.networks.get(name) {
                Some(network) if network.active && !network.dhcp => Ok(Vec::new()),
                Some(network) if network.active => Ok(addresses(state, name, now)),
                Some(_) => Err(self.error(PortErrorKind::NetworkInactive, &object, "not active")),
                None => Err(self.error(PortErrorKind::NetworkMissing, &object, "no such network")),
            },
        )
        .await
    }

    async fn networks(&self) -> PortResult<Vec<NetworkInfo>> {
        self.call(Call::observe("networks", ""), |state, _| {
            let networks = state.networks.iter();
            Ok(networks
                .map(|(name, network)| info(name, network))
                .collect())
        })
        .await
    }

    async fn routes(&self) -> PortResult<Option<Vec<HostRoute>>> {
        self.call(Call::observe("routes", ""), |state, _| {
            Ok(state.shell.then(|| state.routes.clone()))
        })
        .await
    }

    async fn bridges(&self) -> PortResult<Option<Vec<String>>> {
        self.call(Call::observe("bridges", ""), |state, _| {
            Ok(state.shell.then(|| state.bridges.clone()))
        })
        .await
    }

    async fn define_network(&self, spec: &NetworkSpec) -> PortResult<()> {
        let object = format!("network {}", spec.name);
        let call = Call::act("define_network", object.clone());
        self.call(call, |state, _| {
            let bridge = |network: &Network| {
                let present = network.made.as_ref();
                present.is_some_and(|present| {
                    present.bridge == spec.bridge && present.uuid != spec.uuid
                })
            };
            let named = state.networks.get(&spec.name).map(shape);
            let is_other = named.is_some_and(|shape| shape.uuid != Some(spec.uuid));
            if is_other || spec.subnet.is_some() && state.networks.values().any(bridge) {
                return Err(self.error(PortErrorKind::Exists, &object, "already exists"));
            }
            let network = (state.networks.entry(spec.name.clone())).or_insert_with(|| made(spec));
            network.made = Some(spec.clone());
            Ok(())
        })
        .await
    }

    async fn start_network(&self, name: &str) -> PortResult<()> {
        let object = format!("network {name}");
        let call = Call::act("start_network", object.clone());
        self.call(call, |state, _| {
            let network = state.networks.get_mut(name).ok_or_else(|| {
                self.error(PortErrorKind::NetworkMissing, &object, "no such network")
            })?;
            network.active = true;
            Ok(())
        })
        .await
    }

    async fn remove_network(&self, name: &str, uuid: Uuid) -> PortResult<Removed> {
        let call = Call::act("remove_network", format!("network {name}"));
        self.call(call, |state, _| {
            let shape = state.networks.get(name).map(shape);
            if shape.is_none_or(|shape| shape.uuid != Some(uuid)) {
                return Ok(Removed::Absent);
            }
            state.networks.remove(name);
            Ok(Removed::Removed)
        })
        .await
    }

    async fn change_network(
        &self,
        name: &str,
        uuid: Uuid,
        change: &NetworkChange,
    ) -> PortResult<()> {
        let object = format!("network {name}");
        let call = Call::act("change_network", object.clone());
        self.call(call, |state, _| {
            let named = state.networks.get_mut(name);
            let own_network = named.filter(|network| shape(network).uuid == Some(uuid));
            let network = own_network.ok_or_else(|| {
                self.error(PortErrorKind::NetworkMissing, &object, "no such network")
            })?;
            apply(network, change)
                .map_err(|words| self.error(PortErrorKind::WrongState, &object, words))
        })
        .await
    }

    async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        _: Duration,
    ) -> PortResult<Box<dyn GuestStream>> {
        let object = format!("port {port} of {address}");
        let served = self
            .call(Call::observe("dial", object.clone()), |state, now| {
                let served = served(state, address, port, now);
                let refused =
                    || self.error(PortErrorKind::WrongState, &object, "Connection refused");
                served.ok_or_else(refused)
            })
            .await?;
        let (ours, theirs) = tokio::io::duplex(4096);
        tokio::spawn(serve(theirs, served));
        Ok(Box::new(ours))
    }
}

/// A network that has just been defined.
fn made(spec: &NetworkSpec) -> Network {
    let gateway = spec.subnet.as_ref().map(|subnet| subnet.gateway.octets());
    let [a, b, c, _] = gateway.unwrap_or([10, 0, 0, 1]);
    Network {
        active: false,
        prefix: format!("{a}.{b}.{c}"),
        dhcp: spec.subnet.as_ref().is_some_and(|subnet| subnet.dhcp),
        lent: BTreeMap::new(),
        made: Some(spec.clone()),
        hosts: Vec::new(),
        names: Vec::new(),
    }
}

/// Applies a change as libvirt does: an entry that already exists, or is already absent, is no error if
/// it is equal.
fn apply(network: &mut Network, change: &NetworkChange) -> Result<(), &'static str> {
    match change {
        NetworkChange::AddHost(host) if network.hosts.contains(host) => {}
        NetworkChange::AddHost(host) => {
            let same = |other: &DhcpHost| other.mac == host.mac || other.ip == host.ip;
            if network.hosts.iter().any(same) {
                return Err("there is an existing dhcp host entry");
            }
            network.hosts.push(host.clone());
        }
        NetworkChange::RemoveHost(host) => network.hosts.retain(|present| present != host),
        NetworkChange::AddName(host) if network.names.contains(host) => {}
        NetworkChange::AddName(host) => {
            if network.names.iter().any(|present| present.ip == host.ip) {
                return Err("there is already at least one DNS HOST record");
            }
            network.names.push(host.clone());
        }
        NetworkChange::RemoveName(host) => network.names.retain(|present| present != host),
    }
    Ok(())
}

fn info(name: &str, network: &Network) -> NetworkInfo {
    NetworkInfo {
        name: name.to_owned(),
        active: network.active,
        xml: format!("<network simulated='yes'><name>{name}</name></network>"),
        shape: shape(network),
    }
}

fn shape(network: &Network) -> NetworkShape {
    let spec = network.made.as_ref();
    let subnets = match spec {
        Some(spec) => spec
            .subnet
            .iter()
            .map(|subnet| format!("{}/{}", subnet.gateway, subnet.prefix))
            .collect(),
        None => vec![format!("{}.1/24", network.prefix)],
    };
    NetworkShape {
        uuid: spec.map(|spec| spec.uuid),
        bridge: spec.map(|spec| spec.bridge.clone()),
        subnets,
        hosts: network.hosts.clone(),
        names: network.names.clone(),
    }
}

/// The server on a port of the guest with that address, if any.
fn served(state: &mut SimHostState, address: IpAddr, port: u16, now: u64) -> Option<Option<u16>> {
    let networks: Vec<String> = state.networks.keys().cloned().collect();
    let mut macs = Vec::new();
    for network in networks {
        let leases = addresses(state, &network, now).into_iter();
        let matching = leases.filter(|lease| lease.ip.parse() == Ok(address));
        macs.extend(matching.map(|lease| lease.mac));
    }
    let has = |spec: &DomainSpec| spec.nics.iter().any(|nic| macs.contains(&nic.mac));
    let domain = state.domains.values().find(|domain| has(&domain.spec))?;
    domain.live.as_ref()?.serves(port, now)
}

/// Serves one connection: SSH, or HTTP with this status.
async fn serve(mut stream: DuplexStream, status: Option<u16>) -> std::io::Result<()> {
    let Some(status) = status else {
        return stream.write_all(b"SSH-2.0-simulated\r\n").await;
    };
    let mut request = vec![0; 1024];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    let answer = format!("HTTP/1.1 {status} Simulated\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await
}

impl Network {
    fn gives_reserved_only(&self) -> bool {
        let spec = self.made.as_ref();
        let subnet = spec.and_then(|spec| spec.subnet.as_ref());
        subnet.is_some_and(|subnet| subnet.range.is_none())
    }
}

impl SimHostState {
    /// Assigns an address to each card on a network; a card's address does not change while its domain is
    /// defined.
    pub(super) fn lend(&mut self) {
        for (name, network) in &mut self.networks {
            let domains = self.domains.values();
            let macs: BTreeSet<_> = domains
                .flat_map(|domain| &domain.spec.nics)
                .filter(|nic| nic.network == *name)
                .map(|nic| nic.mac.clone())
                .collect();
            network.lent.retain(|mac, _| macs.contains(mac));
            let lent: BTreeSet<_> = network.lent.values().copied().collect();
            let free = (0..).filter(|number| !lent.contains(number));
            let new = macs
                .into_iter()
                .filter(|mac| !network.lent.contains_key(mac));
            let new: Vec<_> = new.zip(free).collect();
            network.lent.extend(new);
        }
    }

    /// Whether each card on a network has an address.
    fn has_lent(&self, network: &str) -> bool {
        let lent = self.networks.get(network).map(|network| &network.lent);
        let mut nics = (self.domains.values())
            .flat_map(|domain| &domain.spec.nics)
            .filter(|nic| nic.network == network);
        nics.all(|nic| lent.is_some_and(|lent| lent.contains_key(&nic.mac)))
    }
}

/// Number of guests whose addresses differ only in the last octet.
const BLOCK_SIZE: u32 = 253;

/// An address of a network, by its number.
fn address(prefix: &str, number: u32) -> String {
    let (block, last) = (number / BLOCK_SIZE, number % BLOCK_SIZE);
    let (net, third) = prefix.rsplit_once('.').unwrap_or(("10.0", prefix));
    let third = third.parse::<u32>().unwrap_or_default();
    format!(
        "{net}.{}.{}",
        third.saturating_add(block) % 256,
        last.saturating_add(2)
    )
}

/// The addresses of the guests on a network.
pub(super) fn addresses(state: &mut SimHostState, network: &str, now: u64) -> Vec<DhcpLease> {
    // A guest may have been started before addresses were stored in the state.
    if !state.has_lent(network) {
        state.lend();
    }
    let Some(lending_network) = state.networks.get(network) else {
        return Vec::new();
    };
    let mut leases = Vec::new();
    for domain in state.domains.values() {
        let Some(live) = domain.live.as_ref().filter(|live| live.has_network(now)) else {
            continue;
        };
        for nic in domain.spec.nics.iter().filter(|nic| nic.network == network) {
            let number = lending_network
                .lent
                .get(&nic.mac)
                .copied()
                .unwrap_or_default();
            let reserved = lending_network
                .hosts
                .iter()
                .find(|host| host.mac == nic.mac);
            let ip = match reserved {
                Some(host) => host.ip.clone(),
                // Without a range DHCP assigns only reserved addresses.
                None if lending_network.gives_reserved_only() => continue,
                None => address(&lending_network.prefix, number),
            };
            leases.push(DhcpLease {
                mac: nic.mac.clone(),
                ip,
                hostname: live.hostname.clone(),
            });
        }
    }
    leases
}
