//! The values that netplan takes for its keys. It refuses the whole configuration for another one.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{
    InputProblem, is_filled_later,
    netplan_keys::shown,
    network_values::{is_address, is_hardware_address},
};

/// What a key takes.
#[derive(Clone, Copy)]
enum ValueKind {
    Switch,
    Number,
    Address4,
    Address6,
    HardwareAddress,
    Word(&'static [&'static str]),
    Words(&'static [&'static str]),
    Texts,
    Addresses,
    Mapping,
    Mappings,
}

use ValueKind::{
    Address4, Address6, Addresses, HardwareAddress, Mapping, Mappings, Number, Switch, Texts, Word,
    Words,
};

/// The keys of a device. Values of other keys are not checked.
const DEVICE: [(&str, ValueKind); 26] = [
    ("accept-ra", Switch),
    ("access-points", Mapping),
    ("critical", Switch),
    ("dhcp-identifier", Word(&["duid", "mac"])),
    ("dhcp4", Switch),
    ("dhcp4-overrides", Mapping),
    ("dhcp6", Switch),
    ("dhcp6-overrides", Mapping),
    ("gateway4", Address4),
    ("gateway6", Address6),
    ("interfaces", Texts),
    ("ipv6-mtu", Number),
    ("ipv6-privacy", Switch),
    ("link-local", Words(&["ipv4", "ipv6"])),
    ("macaddress", HardwareAddress),
    ("match", Mapping),
    ("mode", Word(&TUNNEL_MODES)),
    ("mtu", Number),
    ("nameservers", Mapping),
    ("optional", Switch),
    (
        "optional-addresses",
        Words(&["dhcp4", "dhcp6", "ipv4-ll", "ipv6-ra", "static"]),
    ),
    ("parameters", Mapping),
    ("renderer", Word(&RENDERERS)),
    ("routes", Mappings),
    ("routing-policy", Mappings),
    ("wakeonlan", Switch),
];
const TUNNEL_MODES: [&str; 13] = [
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ip6ip6",
    "ipip",
    "ipip6",
    "isatap",
    "sit",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
];
pub(super) const RENDERERS: [&str; 2] = ["networkd", "NetworkManager"];
const NAMESERVERS: [(&str, ValueKind); 2] = [("addresses", Addresses), ("search", Texts)];
const MATCH: [(&str, ValueKind); 1] = [("macaddress", HardwareAddress)];
const OVERRIDES: [(&str, ValueKind); 7] = [
    ("route-metric", Number),
    ("send-hostname", Switch),
    ("use-dns", Switch),
    ("use-hostname", Switch),
    ("use-mtu", Switch),
    ("use-ntp", Switch),
    ("use-routes", Switch),
];
const PARAMETERS: [(&str, ValueKind); 2] = [("mode", Word(&BOND_MODES)), ("stp", Switch)];
const BOND_MODES: [&str; 9] = [
    "802.3ad",
    "active-backup",
    "balance-alb",
    "balance-rr",
    "balance-slb",
    "balance-tcp",
    "balance-tlb",
    "balance-xor",
    "broadcast",
];
const ROUTE: [(&str, ValueKind); 6] = [
    ("metric", Number),
    ("mtu", Number),
    ("on-link", Switch),
    ("scope", Word(&["global", "link", "host"])),
    ("table", Number),
    ("type", Word(&ROUTE_TYPES)),
];
const ROUTE_TYPES: [&str; 11] = [
    "anycast",
    "blackhole",
    "broadcast",
    "local",
    "multicast",
    "nat",
    "prohibit",
    "throw",
    "unicast",
    "unreachable",
    "xresolve",
];
const POLICY: [(&str, ValueKind); 4] = [
    ("mark", Number),
    ("priority", Number),
    ("table", Number),
    ("type-of-service", Number),
];
const BELOW: [(&str, &[(&str, ValueKind)]); 5] = [
    ("dhcp4-overrides", &OVERRIDES),
    ("dhcp6-overrides", &OVERRIDES),
    ("match", &MATCH),
    ("nameservers", &NAMESERVERS),
    ("parameters", &PARAMETERS),
];
/// The texts that netplan takes for a switch.
const SWITCHES: [&str; 8] = ["true", "on", "yes", "y", "false", "off", "no", "n"];
/// Words instead of a hardware address, for NetworkManager.
const HARDWARE_WORDS: [&str; 5] = ["permanent", "preserve", "random", "stable", "stable-ssid"];

/// The problem of the first value of a device that netplan does not take.
pub(super) fn check(place: &str, device: &Map<String, Value>) -> Option<InputProblem> {
    let below = || {
        BELOW.iter().find_map(|(key, kinds)| {
            let fields = device.get(*key)?.as_object()?;
            first_wrong(&format!("{place}.{key}"), fields, kinds)
        })
    };
    first_wrong(place, device, &DEVICE)
        .or_else(below)
        .or_else(|| wrong_route(place, device))
        .or_else(|| wrong_policy(place, device))
        .or_else(|| renamed_without_match(place, device))
}

fn first_wrong(
    place: &str,
    fields: &Map<String, Value>,
    kinds: &[(&str, ValueKind)],
) -> Option<InputProblem> {
    kinds.iter().find_map(|(key, kind)| {
        let value = fields.get(*key)?;
        (!kind.takes(value)).then(|| problem(place, key, kind.expected()))
    })
}

fn problem(place: &str, key: &str, expected: &'static str) -> InputProblem {
    let message = format!("`{}` is not what netplan takes there", shown(place, key));
    InputProblem::new(message, expected)
}

impl ValueKind {
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::String(text)) if is_filled_later(text) => true,
            (Switch, Value::Bool(_)) | (Mapping, Value::Object(_)) => true,
            (Switch, Value::String(text)) => SWITCHES.contains(&text.to_lowercase().as_str()),
            (Number, Value::Number(number)) => number.is_u64(),
            (Number, Value::String(text)) => text.parse::<u64>().is_ok(),
            (Address4, Value::String(text)) => text.parse::<std::net::Ipv4Addr>().is_ok(),
            (Address6, Value::String(text)) => text.parse::<std::net::Ipv6Addr>().is_ok(),
            (HardwareAddress, Value::String(text)) => {
                HARDWARE_WORDS.contains(&text.as_str()) || is_hardware_address(text)
            }
            (Word(words), Value::String(text)) => words.contains(&text.as_str()),
            (Words(words), Value::Array(list)) => list.iter().all(|item| Word(words).takes(item)),
            // Names such as `y` and `7` are texts for netplan.
            (Texts, Value::Array(list)) => {
                !list.iter().any(|item| item.is_array() || item.is_object())
            }
            (Addresses, Value::Array(list)) => list
                .iter()
                .all(|item| item.as_str().is_some_and(is_address)),
            (Mappings, Value::Array(list)) => list.iter().all(Value::is_object),
            _ => false,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Switch => "write true or false",
            Number => "write a whole number",
            Address4 => "write an IPv4 address without the length of its prefix",
            Address6 => "write an IPv6 address without the length of its prefix",
            HardwareAddress => {
                "write six pairs of hexadecimal digits with colons, in quotation marks"
            }
            Word(_) | Words(_) => "write one of the words of netplan's reference",
            Texts | Addresses => {
                "write a list, for example: [192.0.2.1], without the lengths of prefixes"
            }
            Mapping => "write a mapping of keys to values",
            Mappings => "write a list of mappings, for example: [{to: default, via: 192.0.2.1}]",
        }
    }
}

fn wrong_route(place: &str, device: &Map<String, Value>) -> Option<InputProblem> {
    let routes = device.get("routes")?.as_array()?;
    (1..).zip(routes).find_map(|(number, route): (usize, _)| {
        let fields = route.as_object()?;
        let problem = first_wrong(&format!("{place}.routes"), fields, &ROUTE);
        problem.or_else(|| (!is_route(fields)).then(|| no_route(place, number)))
    })
}

/// Whether a route has its end, and a gateway of the same family if it has one.
fn is_route(route: &Map<String, Value>) -> bool {
    let text = |key: &str| route.get(key).and_then(Value::as_str);
    let Some(destination) = text("to") else {
        return false;
    };
    let via = text("via");
    if [Some(destination), via]
        .into_iter()
        .flatten()
        .any(is_filled_later)
    {
        return true;
    }
    // Without a gateway, netplan takes a route to be within the link unless the route says otherwise.
    let is_unicast = text("type").is_none_or(|kind| kind == "unicast");
    if via.is_none() && is_unicast && text("scope") == Some("global") {
        return false;
    }
    match (address_of(destination), via.map(address_of)) {
        (_, Some(None)) => false,
        (Some(destination), Some(Some(via))) => destination.is_ipv4() == via.is_ipv4(),
        (address, _) => address.is_some() || destination == "default",
    }
}

fn wrong_policy(place: &str, device: &Map<String, Value>) -> Option<InputProblem> {
    let rules = device.get("routing-policy")?.as_array()?;
    (1..).zip(rules).find_map(|(number, rule): (usize, _)| {
        let fields = rule.as_object()?;
        let problem = first_wrong(&format!("{place}.routing-policy"), fields, &POLICY);
        let no_rule = || {
            let list = shown(place, "routing-policy");
            let message = format!("entry {number} of `{list}` is not a rule");
            let remedy = "write an address with the length of its prefix as `from` or `to`, of one family if both are there";
            InputProblem::new(message, remedy)
        };
        problem.or_else(|| (!is_rule(fields)).then(no_rule))
    })
}

/// Whether a rule says whence or whither, in addresses of one family.
fn is_rule(rule: &Map<String, Value>) -> bool {
    let ends = ["from", "to"].into_iter().filter_map(|key| rule.get(key));
    let ends: Vec<Option<&str>> = ends.map(Value::as_str).collect();
    let is_later = |end: &Option<&str>| end.is_some_and(is_filled_later);
    let mut families = ends
        .iter()
        .filter(|end| !is_later(end))
        .map(|end| Some(address_of((*end)?)?.is_ipv4()));
    let first = families.next();
    let is_wrong = |family: Option<bool>| family.is_none() || Some(family) != first;
    !ends.is_empty() && first != Some(None) && !families.any(is_wrong)
}

/// The address, without the length of its prefix.
fn address_of(text: &str) -> Option<IpAddr> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse().ok()
}

fn no_route(place: &str, number: usize) -> InputProblem {
    let message = format!(
        "entry {number} of `{}` is not a route",
        shown(place, "routes")
    );
    let remedy = "write `to` with an address and the length of its prefix, or `default`, and a gateway of the same family as `via`";
    InputProblem::new(message, remedy)
}

fn renamed_without_match(place: &str, device: &Map<String, Value>) -> Option<InputProblem> {
    let has_match = || {
        device
            .get("match")
            .is_some_and(|matched| !matched.is_null())
    };
    (device.contains_key("set-name") && !has_match()).then(|| {
        let message = format!("`{}` needs `match`", shown(place, "set-name"));
        InputProblem::new(
            message,
            "add for example: match: {macaddress: \"52:54:00:12:34:56\"}",
        )
    })
}
