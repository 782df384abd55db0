//! Checks the entries of a network configuration of version 1. cloud-init skips an entry that lacks a key, and ends
//! at an address that is none.
//! <https://docs.cloud-init.io/en/latest/reference/network-config-format-v1.html>.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{
    InputProblem, is_filled_later,
    network_values::{is_address, is_hardware_address, is_vlan},
};

/// An entry's type and the keys without which cloud-init skips it.
const TYPES: [(&str, &[&str]); 8] = [
    ("physical", &["name"]),
    ("bond", &["name", "bond_interfaces"]),
    ("bridge", &["name", "bridge_interfaces"]),
    ("vlan", &["name", "vlan_link", "vlan_id"]),
    ("infiniband", &["name"]),
    ("loopback", &["name"]),
    ("nameserver", &["address"]),
    ("route", &["destination"]),
];
const SUBNET_TYPES: [&str; 9] = [
    "dhcp",
    "dhcp4",
    "dhcp6",
    "ipv6_dhcpv6-stateful",
    "ipv6_dhcpv6-stateless",
    "ipv6_slaac",
    "manual",
    "static",
    "static6",
];
const REMEDY: &str =
    "compare the entry with cloud-init's description of network configuration, version 1";

/// The problem of the first entry that cloud-init would not apply.
pub(super) fn check(entries: &[Value]) -> Option<InputProblem> {
    (1_usize..).zip(entries).find_map(|(number, entry)| {
        let problem = wrong_entry(entry)?;
        let message = format!("entry {number} of its `config` {problem}");
        Some(InputProblem::new(message, REMEDY))
    })
}

/// What is wrong with an entry, as the rest of a sentence that begins with the entry.
fn wrong_entry(entry: &Value) -> Option<String> {
    let no_type = || Some("has no `type` that cloud-init knows".to_owned());
    let Some(fields) = entry.as_object() else {
        return no_type();
    };
    let kind = fields.get("type").and_then(Value::as_str);
    let Some((kind, needed)) = TYPES.iter().find(|(name, _)| kind == Some(name)) else {
        return no_type();
    };
    let has = |key: &str| fields.get(key).is_some_and(|value| !value.is_null());
    if let Some(missing) = needed.iter().find(|key| !has(key)) {
        return Some(format!("has no `{missing}`"));
    }
    match *kind {
        "nameserver" => wrong_addresses(fields, "address"),
        "route" => wrong_route(fields),
        _ => wrong_device(fields),
    }
}

fn wrong_route(fields: &Map<String, Value>) -> Option<String> {
    wrong_network(fields, "destination").or_else(|| wrong_address(fields, "gateway"))
}

fn wrong_device(fields: &Map<String, Value>) -> Option<String> {
    let lists = ["bond_interfaces", "bridge_interfaces"];
    let is_no_list = |key: &&str| fields.get(*key).is_some_and(|list| !list.is_array());
    if let Some(key) = lists.into_iter().find(|key| is_no_list(key)) {
        return Some(format!("has a `{key}` that is not a list"));
    }
    if fields.get("mac_address").is_some_and(|mac| !is_mac(mac)) {
        return Some("has a `mac_address` that is not six pairs of digits with colons".to_owned());
    }
    if fields.get("vlan_id").is_some_and(|id| !is_vlan(id)) {
        return Some("has a `vlan_id` that is not a number from 0 to 4094".to_owned());
    }
    let subnets = fields.get("subnets").filter(|subnets| !subnets.is_null())?;
    let Some(subnets) = subnets.as_array() else {
        return Some("has `subnets` that are not a list".to_owned());
    };
    subnets.iter().find_map(wrong_subnet)
}

fn wrong_subnet(subnet: &Value) -> Option<String> {
    let kind = subnet
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let (true, Some(fields)) = (
        is_filled_later(kind) || SUBNET_TYPES.contains(&kind),
        subnet.as_object(),
    ) else {
        return Some("has a subnet without a `type` that cloud-init knows".to_owned());
    };
    if kind.starts_with("static") && !fields.contains_key("address") {
        return Some("has a static subnet without an `address`".to_owned());
    }
    let list = fields.get("routes").and_then(Value::as_array);
    let mut routes = list.into_iter().flatten().filter_map(Value::as_object);
    wrong_network(fields, "address")
        .or_else(|| wrong_address(fields, "gateway"))
        .or_else(|| wrong_addresses(fields, "dns_nameservers"))
        .or_else(|| routes.find_map(wrong_subnet_route))
}

fn wrong_subnet_route(route: &Map<String, Value>) -> Option<String> {
    let keys = ["network", "destination"];
    let network = keys.into_iter().find_map(|key| wrong_network(route, key));
    network.or_else(|| wrong_address(route, "gateway"))
}

fn wrong_address(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let is_wrong = !is_address_of(fields.get(key)?);
    is_wrong.then(|| format!("has a `{key}` that is not an address"))
}

/// The problem of one address, or of a list of them.
fn wrong_addresses(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let is_right = match fields.get(key)? {
        Value::Array(list) => list.iter().all(is_address_of),
        single => is_address_of(single),
    };
    (!is_right).then(|| format!("has a `{key}` that is not an address"))
}

/// The problem of an address that may have the length of its prefix.
fn wrong_network(fields: &Map<String, Value>, key: &str) -> Option<String> {
    let value = fields.get(key)?;
    let is_right = match value.as_str().and_then(|text| text.split_once('/')) {
        Some((address, length)) => {
            is_filled_later(address) || is_filled_later(length) || is_prefix(address, length)
        }
        None => is_address_of(value),
    };
    let message = || {
        format!("has `{key}`, which is not an address, with or without the length of its prefix")
    };
    (!is_right).then(message)
}

fn is_prefix(address: &str, length: &str) -> bool {
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    // The length may be a mask.
    length
        .parse::<u8>()
        .map_or_else(|_| length.parse::<IpAddr>().is_ok(), |bits| bits <= most)
}

/// cloud-init ignores white space around an address.
fn is_address_of(value: &Value) -> bool {
    let text = value.as_str().map(str::trim);
    text.is_some_and(is_address)
}

fn is_mac(value: &Value) -> bool {
    let is_text = |text: &str| is_filled_later(text) || is_hardware_address(text);
    value.is_null() || value.as_str().is_some_and(is_text)
}
