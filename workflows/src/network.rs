//! Workflows of networks: make, delete and forget a network on one host. A network is an entity of its
//! own, whichever VSIs use it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, Graph, InvalidId, Name, Text},
    step::Step as _,
};
use vsiflow_steps::{
    network::{
        CheckNetwork, DefineNetwork, DeleteNetwork, StartNetwork, delete_network,
        reserve_addresses::Reservation,
    },
    vsi::{ReleaseSecrets, release},
};

use crate::{
    cards::cards,
    nodes::Nodes,
    record::{VsiRecord, network_entity},
    spec::{DesiredNetwork, DesiredVsi},
};

/// The workflow that makes a network, and starts it.
pub const NAME: &str = "ensure_network";

/// The workflow that deletes a network.
pub const DELETE: &str = "delete_network";

/// The workflow that forgets a network, and leaves it on the host.
pub const FORGET: &str = "forget_network";

/// The desired state of a network on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// The host's id.
    pub host: String,
    /// The network.
    pub network: DesiredNetwork,
}

impl NetworkRecord {
    /// The entity: host, namespace and name make its identity.
    ///
    /// # Errors
    /// When no entity can have the name.
    pub fn entity(&self) -> Result<EntityId, InvalidId> {
        network_entity(&self.host, &self.network.on_host())
    }
}

/// Whether this journal recorded the intent to make the network.
pub fn is_recorded(state: &EntityState) -> bool {
    state.intents.contains(&Name::of(DefineNetwork::NAME))
}

/// The graph: `check_network` → `define_network` → `start_network`.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &NetworkRecord) -> Result<Graph, Failure> {
    let params = record.network.params(&record.host);
    let mut nodes = Nodes::new(NAME, &record.host);
    nodes.step::<CheckNetwork>(&[], &params)?;
    nodes.step::<DefineNetwork>(&[CheckNetwork::NAME], &params)?;
    nodes.step::<StartNetwork>(&[DefineNetwork::NAME], &params)?;
    Ok(nodes.build())
}

/// The graph: `delete_network`. A network that this journal never started to make is only forgotten.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn delete_graph(record: &NetworkRecord, state: &EntityState) -> Result<Graph, Failure> {
    let params = delete_network::Params {
        host: record.host.clone(),
        name: record.network.on_host(),
        recorded: is_recorded(state),
    };
    let mut nodes = Nodes::new(DELETE, &record.host);
    let node = nodes.step::<DeleteNetwork>(&[], &params)?;
    if !params.recorded {
        // It contacts no host.
        node.lane = Text::default();
    }
    Ok(nodes.build())
}

/// The graph that forgets the network: its host is not contacted, and the network remains.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn forget_graph(record: &NetworkRecord) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(FORGET, &record.host);
    let secrets = Vec::new();
    let node = nodes.step::<ReleaseSecrets>(&[], &release::Params { secrets })?;
    node.lane = Text::default();
    Ok(nodes.build())
}

/// The addresses that networks reserve for the cards of a VSI.
pub(crate) fn reservations(record: &VsiRecord) -> Vec<Reservation> {
    let vsi = &record.vsi;
    let cards = cards(record).into_iter();
    let cards = cards.filter_map(|card| {
        let made = vsi.made_networks.get(&card.network)?;
        let reservation = reservation(vsi, &card.network, card.mac)?;
        Some(Reservation {
            dhcp: made.dhcp,
            dns: made.dns,
            ..reservation
        })
    });
    cards.filter(|card| card.dhcp || card.dns).collect()
}

/// The reservations that a VSI had and does not have any more.
pub(crate) fn given_up(before: &DesiredVsi, now: &DesiredVsi) -> Vec<Reservation> {
    let networks = before.addresses.keys();
    let gone = networks.filter(|network| !now.addresses.contains_key(*network));
    // The MAC address does not matter: the address and the name belong to the VSI.
    let gone = gone.filter_map(|network| reservation(before, network, String::new()));
    gone.collect()
}

fn reservation(vsi: &DesiredVsi, network: &str, mac: String) -> Option<Reservation> {
    Some(Reservation {
        entity: network_entity(&vsi.host, network).ok()?.to_string(),
        network: network.to_owned(),
        mac,
        ip: vsi.addresses.get(network)?.to_string(),
        name: vsi.name.clone(),
        dhcp: true,
        dns: true,
    })
}

/// The network configuration of a guest with cards whose networks have no DHCP; `None` if it needs
/// none.
pub(crate) fn static_config(record: &VsiRecord) -> Option<String> {
    let vsi = &record.vsi;
    let is_static = |network: &DesiredNetwork| !network.dhcp;
    let mut named = vsi.made_networks.iter();
    named.find(|(name, made)| is_static(made) && vsi.addresses.contains_key(*name))?;
    let cards = cards(record).into_iter().enumerate();
    let cards = cards.map(|(place, card)| {
        let made = vsi.made_networks.get(&card.network);
        let made = made.filter(|made| is_static(made));
        let own = made.and_then(|made| {
            let address = vsi.addresses.get(&card.network)?;
            Some(addressed(made, &address.to_string()))
        });
        let mut config = own.unwrap_or_else(|| serde_json::json!({"dhcp4": true}));
        if let Some(fields) = config.as_object_mut() {
            let mac = serde_json::json!({"macaddress": card.mac});
            fields.insert("match".to_owned(), mac);
        }
        (format!("card{place}"), config)
    });
    let cards: BTreeMap<_, _> = cards.collect();
    // JSON is YAML.
    Some(serde_json::json!({"version": 2, "ethernets": cards}).to_string())
}

fn addressed(network: &DesiredNetwork, address: &str) -> serde_json::Value {
    let bits = network.cidr.map_or(32, |cidr| cidr.prefix_len());
    let mut config = serde_json::json!({"addresses": [format!("{address}/{bits}")]});
    let leads_out = network.mode != vsiflow_steps::ports::NetworkMode::Isolated;
    if let (Some(gateway), Some(fields)) = (network.gateway(), config.as_object_mut()) {
        if leads_out {
            fields.insert("gateway4".to_owned(), gateway.to_string().into());
        }
        if network.dns {
            let servers = serde_json::json!({"addresses": [gateway.to_string()]});
            fields.insert("nameservers".to_owned(), servers);
        }
    }
    config
}
