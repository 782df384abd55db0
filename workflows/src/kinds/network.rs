//! Networks that VSIs are on, as their hosts show them now.

use std::collections::BTreeSet;

use serde::Serialize;

use vsiflow_engine::{executor::By, model::EntityId};

use super::{
    Cell, Column, Description, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords,
};
use crate::fleet::{
    DeletionMode, ErrorKind, Fleet, FleetError, Fleets, HistoryLine, NetworkObject,
};

/// Networks.
#[derive(Clone, Copy, Debug)]
pub(super) struct NetworkKind;

impl Kind for NetworkKind {
    type Object = NetworkObject;
    const WORDS: KindWords = KindWords {
        singular: "network",
        noun: "network",
        plural: "networks",
        synonyms: &[
            "networks",
            "vsn",
            "virtualservernetwork",
            "virtualservernetworks",
            "onprem-networkref",
            "onprem-networkrefs",
            "hyperprotectcontainerruntimeonpremnetworkref",
        ],
    };
    const NAMES: NameScope = NameScope::Host;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "networks",
        name: "Network",
    };
    const DELETION: Option<&'static str> = Some("Delete a network on each of its hosts");
    const ASKS_HOSTS: bool = true;
    const COLUMNS: &'static [Column<NetworkObject>] = &[
        Column::new("NAME", |network| Cell::text(&network.name)),
        Column::new("PHASE", |network| Cell::text(network.phase)),
        Column::new("HOST", |network| Cell::text(&network.host)),
        Column::new("USED BY", |network| Cell::text(network.used_by.join(","))),
    ];

    fn identity(network: &NetworkObject) -> ObjectIdentity<'_> {
        ObjectIdentity::named(&network.name)
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let orphan = mode == DeletionMode::Orphan;
        fleet.networks().delete(namespace, name, orphan, by).await
    }

    /// A network on each of its hosts. It is found by the name of its document, or by its name on hosts.
    async fn describe(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> Result<Description, FleetError> {
        let (namespace, name) = name.split_once('/').unwrap_or((namespace, name));
        let mut networks = fleets.networks().await?;
        let is_made = networks
            .iter()
            .any(|network| has_document(network, namespace, name));
        // Names on hosts are a prefix with the document's name, or an administrator's own.
        networks.retain(|network| {
            has_document(network, namespace, name) || !is_made && network.name == name
        });
        if networks.is_empty() {
            return Err(FleetError::not_found(Self::WORDS.singular, name));
        }
        let history = if is_made {
            history_on_hosts(fleets, namespace, name).await?
        } else {
            Vec::new()
        };
        let description = NetworkDescription {
            name,
            hosts: &networks,
        };
        let parts = networks.iter().map(details_on_host);
        let parts: Vec<_> = parts.collect();
        let details = parts.join(&Detail::Line(String::new()));
        // On each host the network is an entity of its own.
        let entities: BTreeSet<_> = history.iter().map(|line| line.entity.clone()).collect();
        Ok(Description {
            entities: entities.into_iter().collect(),
            ..Description::of(&description, details, history)?
        })
    }

    async fn list(fleets: &Fleets, _deleted: bool) -> Result<Vec<NetworkObject>, FleetError> {
        fleets.networks().await
    }
}

/// A network with its state on each of its hosts.
#[derive(Serialize)]
struct NetworkDescription<'a> {
    name: &'a str,
    hosts: &'a [NetworkObject],
}

fn has_document(network: &NetworkObject, namespace: &str, name: &str) -> bool {
    let made = network.made.as_ref();
    made.is_some_and(|made| (made.namespace.as_str(), made.name.as_str()) == (namespace, name))
}

/// The history of a network that vsiflow made; nothing is recorded for other networks of hosts.
async fn history_on_hosts(
    fleets: &Fleets,
    namespace: &str,
    name: &str,
) -> Result<Vec<HistoryLine>, FleetError> {
    let mut history = Vec::new();
    let name = format!("network/{name}");
    for fleet in fleets.all() {
        match fleet.history().lines(namespace, &name).await {
            Err(unknown) if unknown.kind == ErrorKind::NotFound => {}
            lines => history.extend(lines?),
        }
    }
    Ok(history)
}

fn details_on_host(network: &NetworkObject) -> Vec<Detail> {
    let mut details = vec![
        Detail::field("Name", &network.name),
        Detail::field("Host", &network.host),
        Detail::field("Phase", network.phase),
    ];
    if let Some(made) = &network.made {
        let document = format!("network/{} in {}", made.name, made.namespace);
        details.extend([
            Detail::field("Document", document),
            Detail::field("Mode", made.mode),
            Detail::optional("Addresses", made.cidr.as_ref()),
            Detail::field("On deletion", made.deletion_policy),
        ]);
    }
    details.push(Detail::field("Used by", network.used_by.join(",")));
    let assigned = network.made.iter().flat_map(|made| &made.addresses);
    let assigned = assigned.map(|(vsi, address)| format!("{address}: {vsi}"));
    details.extend(Detail::lines("Assigned", assigned.collect()));
    details.push(Detail::Explanation(network.message.clone()));
    details
}
