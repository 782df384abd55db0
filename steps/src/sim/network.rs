//! The networks of a simulated host.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{SimHost, SimHostState, host::Call};
use crate::ports::{
    DhcpLease, DomainSpec, GuestStream, NetworkInfo, NetworkPort, PortErrorKind, PortResult,
};

#[async_trait]
impl NetworkPort for SimHost {
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>> {
        self.call(
            Call::look("network", format!("network {name}")),
            |state, _| {
                Ok(state.networks.get(name).map(|network| NetworkInfo {
                    name: name.to_owned(),
                    active: network.active,
                    xml: format!("<network simulated='yes'><name>{name}</name></network>"),
                }))
            },
        )
        .await
    }

    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>> {
        let object = format!("network {name}");
        self.call(
            Call::look("leases", object.clone()),
            |state, now| match state.networks.get(name) {
                Some(network) if network.active && !network.dhcp => Ok(Vec::new()),
                Some(network) if network.active => Ok(addresses(state, name, now)),
                Some(_) => Err(self.error(PortErrorKind::NetworkInactive, &object, "not active")),
                None => Err(self.error(PortErrorKind::NetworkMissing, &object, "no such network")),
            },
        )
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
            .call(Call::look("dial", object.clone()), |state, now| {
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

/// What serves at a port of the guest with that address.
fn served(state: &mut SimHostState, address: IpAddr, port: u16, now: u64) -> Option<Option<u16>> {
    let networks: Vec<String> = state.networks.keys().cloned().collect();
    let mut macs = Vec::new();
    for network in networks {
        let leases = addresses(state, &network, now).into_iter();
        let own = leases.filter(|lease| lease.ip.parse() == Ok(address));
        macs.extend(own.map(|lease| lease.mac));
    }
    let has = |spec: &DomainSpec| spec.nics.iter().any(|nic| macs.contains(&nic.mac));
    let domain = state.domains.values().find(|domain| has(&domain.spec))?;
    domain.live.as_ref()?.serves(port, now)
}

/// A server in a guest: of SSH, or of HTTP with this status. It ends with its connection.
async fn serve(mut stream: DuplexStream, status: Option<u16>) -> std::io::Result<()> {
    let Some(status) = status else {
        return stream.write_all(b"SSH-2.0-simulated\r\n").await;
    };
    let mut asked = vec![0; 1024];
    if stream.read(&mut asked).await? == 0 {
        return Ok(());
    }
    let answer = format!("HTTP/1.1 {status} Simulated\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await
}

impl SimHostState {
    /// Gives each card on a network an address of its own; one that has one keeps it for as long as
    /// its domain is defined.
    pub(super) fn lend(&mut self) {
        for (name, network) in &mut self.networks {
            let domains = self.domains.values();
            let nics = domains.flat_map(|domain| &domain.spec.nics);
            let nics = nics.filter(|nic| nic.network == *name);
            let macs: BTreeSet<_> = nics.map(|nic| nic.mac.clone()).collect();
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
        let nics = self.domains.values().flat_map(|domain| &domain.spec.nics);
        let mut nics = nics.filter(|nic| nic.network == network);
        nics.all(|nic| lent.is_some_and(|lent| lent.contains_key(&nic.mac)))
    }
}

/// So many guests have addresses that begin alike.
const ALIKE: u32 = 253;

/// An address of a network, by its number.
fn address(prefix: &str, number: u32) -> String {
    let (block, last) = (number / ALIKE, number % ALIKE);
    let (net, third) = prefix.rsplit_once('.').unwrap_or(("10.0", prefix));
    let third = third.parse::<u32>().unwrap_or_default();
    let third = third.saturating_add(block) % 256;
    format!("{net}.{third}.{}", last.saturating_add(2))
}

/// The addresses of the guests on a network.
pub(super) fn addresses(state: &mut SimHostState, network: &str, now: u64) -> Vec<DhcpLease> {
    // A guest may run since before its address was written down.
    if !state.has_lent(network) {
        state.lend();
    }
    let Some(own) = state.networks.get(network) else {
        return Vec::new();
    };
    let mut leases = Vec::new();
    for domain in state.domains.values() {
        let Some(live) = domain.live.as_ref().filter(|live| live.has_network(now)) else {
            continue;
        };
        for nic in domain.spec.nics.iter().filter(|nic| nic.network == network) {
            let number = own.lent.get(&nic.mac).copied().unwrap_or_default();
            leases.push(DhcpLease {
                mac: nic.mac.clone(),
                ip: address(&own.prefix, number),
                hostname: live.hostname.clone(),
            });
        }
    }
    leases
}
