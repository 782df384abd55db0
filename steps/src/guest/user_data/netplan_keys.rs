//! The keys that netplan knows below a device. It refuses the whole configuration for another one.
//! <https://netplan.readthedocs.io/en/stable/netplan-yaml/>.

use serde_json::Value;

use super::InputProblem;

const REMEDY: &str = "correct the key; `netplan generate` checks the file";

/// The keys of devices of any type: several types share most of them.
const DEVICE: [&str; 91] = [
    "accept-ra",
    "access-points",
    "activation-mode",
    "addresses",
    "ageing",
    "aging",
    "apn",
    "arp-proxy",
    "auth",
    "auto-config",
    "checksums",
    "critical",
    "delay-virtual-functions-rebind",
    "device-id",
    "dhcp-identifier",
    "dhcp4",
    "dhcp4-overrides",
    "dhcp6",
    "dhcp6-overrides",
    "do-not-fragment",
    "embedded-switch-mode",
    "emit-lldp",
    "extensions",
    "flow-label",
    "gateway4",
    "gateway6",
    "generic-receive-offload",
    "generic-segmentation-offload",
    "hairpin",
    "id",
    "ignore-carrier",
    "infiniband-mode",
    "interfaces",
    "ipv6-address-generation",
    "ipv6-address-token",
    "ipv6-mtu",
    "ipv6-privacy",
    "key",
    "keys",
    "large-receive-offload",
    "limit",
    "link",
    "link-local",
    "local",
    "mac-learning",
    "macaddress",
    "mark",
    "match",
    "mode",
    "mtu",
    "nameservers",
    "neigh-suppress",
    "network-id",
    "networkmanager",
    "notifications",
    "number",
    "openvswitch",
    "optional",
    "optional-addresses",
    "parameters",
    "password",
    "path-cost",
    "peer",
    "peers",
    "pin",
    "port",
    "port-mac-learning",
    "port-priority",
    "port-range",
    "ra-overrides",
    "receive-checksum-offload",
    "regulatory-domain",
    "remote",
    "renderer",
    "routes",
    "routing-policy",
    "set-name",
    "short-circuit",
    "sim-id",
    "sim-operator-id",
    "table",
    "tcp-segmentation-offload",
    "tcp6-segmentation-offload",
    "transmit-checksum-offload",
    "ttl",
    "type-of-service",
    "username",
    "virtual-function-count",
    "vxlan",
    "wakeonlan",
    "wakeonwlan",
];
/// The keys of the mappings below a device that people write most.
const BELOW: [(&str, &[&str]); 4] = [
    ("nameservers", &["addresses", "search"]),
    ("match", &["driver", "macaddress", "name"]),
    ("dhcp4-overrides", &OVERRIDES),
    ("dhcp6-overrides", &OVERRIDES),
];
const OVERRIDES: [&str; 9] = [
    "hostname",
    "route-metric",
    "send-hostname",
    "use-dns",
    "use-domains",
    "use-hostname",
    "use-mtu",
    "use-ntp",
    "use-routes",
];
const ROUTE: [&str; 13] = [
    "advertised-mss",
    "advertised-receive-window",
    "congestion-window",
    "from",
    "metric",
    "mtu",
    "on-link",
    "scope",
    "table",
    "to",
    "type",
    "via",
    "mark",
];
/// The keys that switch something on or off.
const SWITCHES: [&str; 4] = ["dhcp4", "dhcp6", "optional", "critical"];
/// The texts that netplan takes for such a key.
const SWITCH_TEXTS: [&str; 8] = ["true", "on", "yes", "y", "false", "off", "no", "n"];

/// The problem of a key that netplan does not know, or of a switch that is neither on nor off.
pub(super) fn check(section: &str, name: &str, device: &Value) -> Option<InputProblem> {
    let place = format!("{section}.{name}");
    let fields = device.as_object()?;
    let own = fields.keys().find_map(|key| unknown(&place, key, &DEVICE));
    let switch = || {
        let wrong = |key: &&&str| fields.get(**key).is_some_and(|value| !is_switch(value));
        let key = SWITCHES.iter().find(wrong)?;
        let message = format!("`{}` is neither true nor false", shown(&place, key));
        Some(InputProblem::new(message, "write true or false"))
    };
    let below = || {
        BELOW.iter().find_map(|(key, known)| {
            let place = format!("{place}.{key}");
            let mapping = fields.get(*key)?.as_object()?;
            mapping
                .keys()
                .find_map(|other| unknown(&place, other, known))
        })
    };
    let routes = || {
        let place = format!("{place}.routes");
        let routes = fields.get("routes")?.as_array()?.iter();
        let mut keys = routes
            .filter_map(Value::as_object)
            .flat_map(|one| one.keys());
        keys.find_map(|key| unknown(&place, key, &ROUTE))
    };
    let mapping = || {
        let wrong = |(key, _): &&(&str, &[&str])| fields.get(*key).is_some_and(|v| !v.is_object());
        let (key, _) = BELOW.iter().find(wrong)?;
        let message = format!(
            "`{}` is not a mapping of keys to values",
            shown(&place, key)
        );
        Some(InputProblem::new(message, REMEDY))
    };
    let gateway = || {
        let is_address =
            |text: &str| text.parse::<std::net::IpAddr>().is_ok() || text.contains("$(");
        let wrong = |key: &&&str| {
            let value = fields.get(**key);
            value.is_some_and(|value| !value.as_str().is_some_and(is_address))
        };
        let key = ["gateway4", "gateway6"].iter().find(wrong)?;
        let message = format!("`{}` is not an address", shown(&place, key));
        Some(InputProblem::new(message, REMEDY))
    };
    own.or_else(switch)
        .or_else(mapping)
        .or_else(below)
        .or_else(gateway)
        .or_else(routes)
}

/// The problem of a key that is not among the known ones. One that resembles a known key is misspelt; another may be
/// of a newer netplan.
fn unknown(place: &str, key: &str, known: &[&str]) -> Option<InputProblem> {
    if known.contains(&key) {
        return None;
    }
    let resembling = known.iter().find(|other| is_misspelling(key, other));
    let meant = resembling.map_or_else(String::new, |other| format!("; is `{other}` meant?"));
    let message = format!(
        "netplan does not know its key `{}`{meant}",
        shown(place, key)
    );
    Some(InputProblem {
        is_doubt: resembling.is_none(),
        ..InputProblem::new(message, REMEDY)
    })
}

/// The place of a key; only keys that are words are shown.
fn shown(place: &str, key: &str) -> String {
    let path = format!("{place}.{key}");
    let is_word = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    if path.len() <= 80 && path.chars().all(is_word) {
        path
    } else {
        "…".to_owned()
    }
}

fn is_switch(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::String(text) => {
            SWITCH_TEXTS.contains(&text.to_lowercase().as_str()) || text.contains("$(")
        }
        _ => false,
    }
}

/// Whether one letter too many, too few, other or two exchanged ones, or an underscore, make the difference.
pub(super) fn is_misspelling(key: &str, known: &str) -> bool {
    let key = key.to_lowercase().replace(['_', ' '], "-");
    if key == known || key == known.replace('-', "") {
        return true;
    }
    let same = |pair: &(char, char)| pair.0 == pair.1;
    let start = key.chars().zip(known.chars()).take_while(same).count();
    let ends = key.chars().rev().zip(known.chars().rev());
    let end = ends.take_while(same).count();
    let rest = |text: &str| {
        text.chars()
            .count()
            .saturating_sub(start.saturating_add(end))
    };
    let (more, less) = (rest(&key), rest(known));
    let is_exchanged = || {
        let middle = |text: &str| -> Vec<char> { text.chars().skip(start).take(2).collect() };
        let mut reversed = middle(&key);
        reversed.reverse();
        more == 2 && less == 2 && reversed == middle(known)
    };
    known.len() > 3 && more.max(less) <= 1 || is_exchanged()
}
