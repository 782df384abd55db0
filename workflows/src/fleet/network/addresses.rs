//! Assigns and retains the addresses of VSIs in the networks that vsiflow makes.
//!
//! An address belongs to a name: a VSI that is deleted and made again under its name gets the same address,
//! unless another VSI has it now. A VSI that was forgotten holds its addresses, because its guest may still
//! run with them, until a user releases them or adopts it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass};

use crate::fleet::{ErrorKind, Fleet, FleetError, index::Known};
use crate::spec::{DesiredNetwork, DesiredVsi, Resolved};

/// The addresses of one network on one host, by the VSIs that have or had them.
#[derive(Default)]
struct Ledger {
    /// Addresses of VSIs that may run.
    held: BTreeMap<Ipv4Addr, AddressHolder>,
    /// The newest address of each existing VSI, by the VSI's name.
    current: BTreeMap<String, Ipv4Addr>,
    /// Addresses of deleted VSIs, by the VSI's name.
    remembered: BTreeMap<String, Ipv4Addr>,
}

/// The VSI that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AddressHolder {
    name: String,
    /// Its UID, if it was forgotten: a VSI of its name is another one.
    forgotten: Option<Uuid>,
}

impl AddressHolder {
    fn living(name: String) -> Self {
        Self {
            name,
            forgotten: None,
        }
    }

    /// Whether it is the VSI of this name.
    fn is(&self, name: &str) -> bool {
        self.forgotten.is_none() && self.name == name
    }
}

impl Fleet {
    /// Assigns an address to each card in a network that vsiflow makes: the one in its document, else the
    /// one that it has or that a VSI of its name had before, else the first free one.
    ///
    /// # Errors
    /// `VSI0318` if another VSI has the address; `VSI0319` if none is free.
    pub(in crate::fleet) async fn assign_addresses(
        &self,
        resolved: &mut Resolved,
    ) -> Result<(), FleetError> {
        let has_cards = |vsi: &DesiredVsi| !vsi.made_networks.is_empty() && !vsi.host.is_empty();
        let hosts = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let hosts = hosts
            .filter(|vsi| has_cards(vsi))
            .map(|vsi| vsi.host.clone());
        let hosts: BTreeSet<_> = hosts.collect();
        for host in hosts {
            let known = self.known_on(&host).await?;
            let mut ledgers = BTreeMap::<String, Ledger>::new();
            for neighbour in &known {
                remember(&mut ledgers, neighbour);
            }
            let vsis = resolved.vsis.iter_mut().map(|vsi| &mut vsi.desired);
            let mut vsis: Vec<_> = vsis.filter(|vsi| vsi.host == host).collect();
            // Addresses in documents come before drawn ones.
            vsis.sort_by_key(|vsi| vsi.addresses.is_empty());
            for vsi in vsis {
                for (name, network) in vsi.made_networks.clone() {
                    if network.cidr.is_none() {
                        continue;
                    }
                    let ledger = ledgers.entry(name.clone()).or_default();
                    let address = ledger.assign(vsi, &name, &network)?;
                    vsi.addresses.insert(name, address);
                }
            }
        }
        Ok(())
    }
}

fn remember(ledgers: &mut BTreeMap<String, Ledger>, known: &Known) {
    let proposed = known.record.proposed.iter().map(|proposed| &proposed.vsi);
    let all = std::iter::once(&known.record.vsi).chain(proposed);
    // An earlier generation has its addresses on the host until the change is done.
    let before = known.record.before.iter().map(|before| &before.vsi);
    for vsi in before.chain(all) {
        for (network, address) in &vsi.addresses {
            let ledger = ledgers.entry(network.clone()).or_default();
            if known.may_have_stayed() {
                let holder = AddressHolder {
                    name: vsi.full_name(),
                    forgotten: Some(known.record.uid),
                };
                // A VSI that exists has its address before one that was forgotten.
                ledger.held.entry(*address).or_insert(holder);
            } else if known.is_deleted() {
                ledger.remembered.insert(vsi.full_name(), *address);
            } else {
                let holder = AddressHolder::living(vsi.full_name());
                ledger.held.insert(*address, holder);
                // The newest comes last.
                ledger.current.insert(vsi.full_name(), *address);
            }
        }
    }
}

impl Ledger {
    fn assign(
        &mut self,
        vsi: &DesiredVsi,
        name: &str,
        network: &DesiredNetwork,
    ) -> Result<Ipv4Addr, FleetError> {
        let own = vsi.full_name();
        let address = match vsi.addresses.get(name) {
            Some(address) => *address,
            None => self
                .drawn(&own, network)
                .ok_or_else(|| no_free_address(vsi, network))?,
        };
        match self.held.get(&address) {
            Some(other) if !other.is(&own) => return Err(taken(vsi, network, address, other)),
            _ => {}
        }
        self.held.insert(address, AddressHolder::living(own));
        Ok(address)
    }

    /// The address that a VSI of this name has or had, or a free one: preferably one that no VSI had
    /// before.
    fn drawn(&self, own: &str, network: &DesiredNetwork) -> Option<Ipv4Addr> {
        let had = self.remembered.get(own);
        let had = had.filter(|address| !self.held.contains_key(address));
        let before = self.current.get(own).or(had).copied();
        let before = before.filter(|address| network.refuses(*address).is_none());
        let free = || {
            network
                .pool()
                .filter(|address| !self.held.contains_key(address))
        };
        let remembered: BTreeSet<_> = self.remembered.values().collect();
        let unused = || free().find(|address| !remembered.contains(address));
        before.or_else(unused).or_else(|| free().next())
    }
}

fn taken(
    vsi: &DesiredVsi,
    network: &DesiredNetwork,
    address: Ipv4Addr,
    holder: &AddressHolder,
) -> FleetError {
    let (network, name) = (network.full_name(), &holder.name);
    let mut message = format!("{address} in network {network} is the address of VSI {name}");
    let mut remedy = "choose another address, or none to get a free one".to_owned();
    if let Some(uid) = holder.forgotten {
        message += &format!(", which was forgotten and may still run (UID {uid})");
        remedy += &format!("; once that guest is gone, `vsiflow delete {uid} --release` frees it");
    }
    let failure = Failure::new(FailureClass::Blocked, "VSI0318", message)
        .of_object(format!("vsi/{}", vsi.full_name()))
        .on_host(&vsi.host)
        .with_remedy(remedy);
    FleetError::new(ErrorKind::Blocked, failure)
}

fn no_free_address(vsi: &DesiredVsi, network: &DesiredNetwork) -> FleetError {
    let message = format!("network {} has no free address", network.full_name());
    let failure = Failure::new(FailureClass::Blocked, "VSI0319", message)
        .of_object(format!("vsi/{}", vsi.full_name()))
        .on_host(&vsi.host)
        .with_remedy("delete VSIs that are not needed, release the addresses of forgotten ones (`vsiflow delete UID \
             --release`), or make a network with a larger cidr");
    FleetError::new(ErrorKind::Blocked, failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> DesiredNetwork {
        serde_json::from_value(serde_json::json!({
            "namespace": "default", "name": "n", "cidr": "10.0.0.0/29", "mode": "nat",
            "dhcp": true, "dns": true, "deletionPolicy": "Delete",
        }))
        .unwrap()
    }

    fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn living(name: &str) -> AddressHolder {
        AddressHolder::living(name.to_owned())
    }

    #[test]
    fn an_address_belongs_to_a_name() {
        let mut ledger = Ledger::default();
        ledger.held.insert(address(2), living("default/a"));
        ledger.current.insert("default/a".into(), address(2));
        ledger.remembered.insert("default/b".into(), address(4));
        let drawn = |of: &Ledger, name: &str| of.drawn(name, &network());
        assert_eq!(drawn(&ledger, "default/a"), Some(address(2)));
        assert_eq!(drawn(&ledger, "default/b"), Some(address(4)));
        // An address that no VSI had before.
        assert_eq!(drawn(&ledger, "default/c"), Some(address(3)));
        for last in [3, 5, 6] {
            let name = format!("default/{last}");
            ledger.held.insert(address(last), living(&name));
        }
        // A deleted VSI loses its address before a new one gets none.
        assert_eq!(drawn(&ledger, "default/c"), Some(address(4)));
        ledger.held.insert(address(4), living("default/c"));
        assert_eq!(drawn(&ledger, "default/b"), None);
    }
}
