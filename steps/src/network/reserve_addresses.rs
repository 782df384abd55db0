//! Reserves the addresses of a VSI in its networks.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{object, own_network, uuid_of};
use crate::{
    error,
    ports::{DhcpHost, DnsHost, HostPorts, Hosts, NetworkChange, NetworkInfo},
};

/// Reserves the card's address in each network's DHCP, and the VSI's name in its DNS.
///
/// An address or name that another card has is refused, and not changed. A crash during the step leaves
/// some of them reserved; the next attempt adds what is missing.
pub struct ReserveAddresses {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`ReserveAddresses`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The cards with their addresses.
    pub cards: Vec<Reservation>,
}

/// The address of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The network's entity, as `KIND/ID`.
    pub entity: String,
    /// The network's name on the host.
    pub network: String,
    /// The card's MAC address, lower case.
    pub mac: String,
    /// The address.
    pub ip: String,
    /// The name.
    pub name: String,
    /// Whether the network's DHCP assigns the address.
    pub dhcp: bool,
    /// Whether the network's DNS resolves the name.
    pub dns: bool,
}

/// What [`ReserveAddresses`] reserved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The cards with their addresses.
    pub cards: Vec<Reservation>,
}

impl ReserveAddresses {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

impl Reservation {
    fn host(&self) -> DhcpHost {
        DhcpHost {
            mac: self.mac.clone(),
            ip: self.ip.clone(),
            name: Some(self.name.clone()),
        }
    }

    fn dns_host(&self) -> DnsHost {
        DnsHost {
            ip: self.ip.clone(),
            names: vec![self.name.clone()],
        }
    }

    /// The changes that remove this card's entries from the network.
    pub(super) fn entries(&self, network: &NetworkInfo) -> Vec<NetworkChange> {
        let shape = &network.shape;
        let mine = |host: &&DhcpHost| {
            host.mac == self.mac || host.ip == self.ip && host.name == self.host().name
        };
        let own_name = self.dns_host();
        let hosts = shape.hosts.iter().filter(mine).cloned();
        let names = shape
            .names
            .iter()
            .filter(|name| **name == own_name)
            .cloned();
        hosts
            .map(NetworkChange::RemoveHost)
            .chain(names.map(NetworkChange::RemoveName))
            .collect()
    }

    /// The changes that add the missing entries, after removals of stale ones.
    ///
    /// # Errors
    /// `VSI0316` if another card or name has what this one needs.
    fn changes(
        &self,
        ports: &HostPorts,
        network: &NetworkInfo,
    ) -> Result<Vec<NetworkChange>, Failure> {
        let conflict = |message: String| {
            Err(error::ADDRESS_TAKEN
                .failure(message)
                .on_host(ports.host.name())
                .of_object(object(&self.network)))
        };
        let (shape, own) = (&network.shape, self.host());
        let other_cards = shape.hosts.iter().filter(|host| host.mac != self.mac);
        let same = |host: &&DhcpHost| host.ip == self.ip || host.name.as_ref() == Some(&self.name);
        if let Some(holder) = other_cards.filter(|_| self.dhcp).find(same) {
            let name = holder.name.as_deref().unwrap_or("a card without a name");
            let (ip, mac) = (&holder.ip, &holder.mac);
            return conflict(format!(
                "{ip} is reserved for {name} with the MAC address {mac}"
            ));
        }
        let named = |host: &&DnsHost| host.names.contains(&self.name) && host.ip != self.ip;
        if let Some(holder) = shape.names.iter().filter(|_| self.dns).find(named) {
            let (name, ip) = (&self.name, &holder.ip);
            return conflict(format!("the name {name} is given to {ip}"));
        }
        let mut changes = Vec::new();
        if self.dhcp && !shape.hosts.contains(&own) {
            let stale = shape.hosts.iter().filter(|host| host.mac == self.mac);
            changes.extend(stale.cloned().map(NetworkChange::RemoveHost));
            changes.push(NetworkChange::AddHost(own));
        }
        let answers = |host: &DnsHost| host.ip == self.ip && host.names.contains(&self.name);
        if self.dns && !shape.names.iter().any(answers) {
            if let Some(holder) = shape.names.iter().find(|host| host.ip == self.ip) {
                let (ip, names) = (&holder.ip, holder.names.join(", "));
                return conflict(format!("{ip} has the name {names}"));
            }
            changes.push(NetworkChange::AddName(self.dns_host()));
        }
        Ok(changes)
    }
}

/// The changes that a card's network still needs.
async fn missing_changes(
    cx: &StepContext,
    ports: &HostPorts,
    card: &Reservation,
) -> Result<Vec<NetworkChange>, Failure> {
    let uuid = uuid_of(&cx.journal_id, &card.entity);
    let Some(network) = own_network(ports, &card.network, uuid).await? else {
        return Err(error::NETWORK_MISSING
            .failure("there is no such network")
            .on_host(ports.host.name())
            .of_object(object(&card.network)));
    };
    let changes = card.changes(ports, &network)?;
    if card.dhcp && !changes.is_empty() && network.active {
        let leases = ports.networks.leases(&card.network).await?;
        let mut other_leases = leases.iter().filter(|lease| lease.mac != card.mac);
        if let Some(lease) = other_leases.find(|lease| lease.ip == card.ip) {
            let (ip, mac) = (&lease.ip, &lease.mac);
            let message = format!("{ip} is leased to the MAC address {mac}");
            return Err(error::ADDRESS_TAKEN
                .failure(message)
                .on_host(ports.host.name())
                .of_object(object(&card.network)));
        }
    }
    Ok(changes)
}

fn output(params: &Params) -> Output {
    Output {
        cards: params.cards.clone(),
    }
}

#[async_trait]
impl Step for ReserveAddresses {
    const NAME: &'static str = "reserve_addresses";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut needed = false;
        for card in &params.cards {
            needed |= !missing_changes(cx, &ports, card).await?.is_empty();
        }
        Ok(if needed {
            Observed::Needed
        } else {
            Observed::Present(output(params))
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        for card in &params.cards {
            let uuid = uuid_of(&cx.journal_id, &card.entity);
            for change in missing_changes(cx, &ports, card).await? {
                let networks = &ports.networks;
                networks
                    .change_network(&card.network, uuid, &change)
                    .await?;
            }
        }
        Ok(Done::created(output(params)))
    }
}
