//! Translates the networks and cards of a machine. The network of its pod is the host's network `default`, and
//! others are documents of networks in its namespace.

use vsiflow_workflows::spec::{
    FieldPath,
    documents::{API_VERSION, NETWORK_REF},
};

use super::super::{
    data_volume::word,
    fields::{Fields, Refusals, list, object, text},
    names::UniqueNames,
};
use crate::node::{Value, YamlNode};

/// The network that pods are on, as a document and on the host.
const DEFAULT: &str = "default";

/// A network that cards name.
pub(super) struct CardNetwork {
    name: String,
    /// The name of its document; the host's network `default` if absent.
    document: Option<YamlNode>,
}

/// Reads the networks.
pub(super) fn networks(spec: &mut Fields<'_>, refusals: &mut Refusals) -> Vec<CardNetwork> {
    let (mut networks, mut names) = (Vec::new(), UniqueNames::of("networks"));
    for mut network in spec.list("networks", refusals) {
        let name = network.text("name", refusals).and_then(YamlNode::text);
        let name = name.unwrap_or_default().to_owned();
        names.is_new(&name, &network.own_path(), refusals);
        let mut document = None;
        if network.has("multus") {
            let mut multus = network.object("multus", refusals);
            let path = multus.path("networkName");
            match multus.text("networkName", refusals) {
                Some(node) => document = Some(of_namespace(node)),
                None => refusals.missing(path, "name the document of a network in this namespace"),
            }
            // Which of several networks is the pod's own does not matter outside of a cluster.
            let default_path = multus.path("default");
            if !matches!(
                multus.take("default").map(|node| &node.value),
                None | Some(Value::Bool(_))
            ) {
                refusals.wrong(
                    default_path,
                    "default is true or false",
                    "remove it: it has no effect",
                );
            }
            multus.end(refusals);
        }
        if network.has("pod") {
            network.object("pod", refusals).end(refusals);
        }
        network.end(refusals);
        networks.push(CardNetwork { name, document });
    }
    networks
}

/// The name of a network's document. A namespace before it is the one of the definition in the cluster.
fn of_namespace(node: &YamlNode) -> YamlNode {
    let name = node.text().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    super::instead(node, super::word_of(name))
}

/// The paths in a machine of the networks that it names in other namespaces, with these namespaces. A machine is on
/// a network of its own namespace here.
pub(in crate::kubevirt) fn of_other_namespaces<'n>(
    machine: &'n YamlNode,
    instance: FieldPath,
    own: &str,
) -> Vec<(FieldPath, &'n str)> {
    let path = instance.key("spec").key("networks");
    let networks = machine.find(&path.0).map(|node| &node.value);
    let Some(Value::List(networks)) = networks else {
        return Vec::new();
    };
    let named = networks.iter().enumerate().filter_map(|(index, network)| {
        let name = network.get("multus")?.get("networkName")?.text()?;
        let (namespace, _) = name.rsplit_once('/')?;
        let place = path.clone().index(index).key("multus").key("networkName");
        (namespace != own).then_some((place, namespace))
    });
    named.collect()
}

/// Reads the cards, and returns the interfaces of the server; none if it has one card on the network of pods.
pub(super) fn interfaces(
    devices: &mut Fields<'_>,
    networks: Vec<CardNetwork>,
    refusals: &mut Refusals,
) -> Option<YamlNode> {
    let (mut named, mut names) = (Vec::new(), UniqueNames::of("interfaces"));
    for mut card in devices.list("interfaces", refusals) {
        let path = card.path("name");
        let name = card.text("name", refusals).and_then(YamlNode::text);
        if let Some(name) = name {
            names.is_new(name, &card.own_path(), refusals);
        }
        for binding in ["masquerade", "bridge"] {
            if card.has(binding) {
                card.object(binding, refusals).end(refusals);
            }
        }
        for passed_through in ["sriov", "macvtap"] {
            let remedy = "write `bridge: {}` for a virtio card on this network; a card of the host is not passed through";
            card.refuse(passed_through, remedy, refusals);
        }
        word(&mut card, "model", "virtio", refusals);
        let remedy = "remove it; MAC addresses follow from the server's UID";
        card.refuse("macAddress", remedy, refusals);
        card.end(refusals);
        let network = networks
            .iter()
            .find(|network| Some(network.name.as_str()) == name);
        match network {
            Some(network) => named.push(network),
            None if name.is_none() => refusals.missing(path, "write the name of its network"),
            None if networks.is_empty() => {}
            None => refusals.wrong(
                path,
                "no network has the name of this interface",
                "add it to networks",
            ),
        }
    }
    // Without interfaces, KubeVirt makes one for each network.
    if named.is_empty() {
        named.extend(&networks);
    }
    if named.iter().all(|network| network.document.is_none()) && named.len() < 2 {
        return None;
    }
    list(named.into_iter().map(interface).collect())
}

fn interface(network: &CardNetwork) -> YamlNode {
    let name = network.document.clone().unwrap_or_else(|| text(DEFAULT));
    object([("network", Some(name))])
}

/// The document of the host's network `default` that a server refers to by an interface, if it does.
pub(in crate::kubevirt) fn default_reference(server: &YamlNode) -> Option<YamlNode> {
    let spec = server.get("spec")?;
    let Value::List(interfaces) = &spec.get("interfaces")?.value else {
        return None;
    };
    let mut interfaces = interfaces.iter();
    let is_default =
        |interface: &YamlNode| interface.get("network").and_then(YamlNode::text) == Some(DEFAULT);
    if !interfaces.any(is_default) {
        return None;
    }
    let namespace = server.get("metadata")?.get("namespace").cloned();
    let metadata = object([("name", Some(text(DEFAULT))), ("namespace", namespace)]);
    let reference = object([
        ("networkName", Some(text(DEFAULT))),
        ("targetSelector", spec.get("targetSelector").cloned()),
    ]);
    Some(object([
        ("apiVersion", Some(text(API_VERSION))),
        ("kind", Some(text(NETWORK_REF))),
        ("metadata", Some(metadata)),
        ("spec", Some(reference)),
    ]))
}
