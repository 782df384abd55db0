//! The keys that netplan knows below a device. It refuses the whole configuration for another one.
//! <https://netplan.readthedocs.io/en/stable/netplan-yaml/>.

use serde_json::{Map, Value};

use super::{InputProblem, misspelling::is_misspelling, netplan_values};

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
/// The problem of a key that netplan does not know, or of a value that it does not take.
pub(super) fn check(section: &str, name: &str, device: &Value) -> Option<InputProblem> {
    let device = Device {
        place: format!("{section}.{name}"),
        fields: device.as_object()?,
    };
    let keys = device.fields.keys();
    let mut unknown_keys = keys.filter_map(|key| unknown(&device.place, key, &DEVICE));
    unknown_keys
        .next()
        .or_else(|| device.unknown_below())
        .or_else(|| device.unknown_of_routes())
        .or_else(|| netplan_values::check(&device.place, device.fields))
}

/// A device of a configuration, with its place there.
struct Device<'a> {
    place: String,
    fields: &'a Map<String, Value>,
}

impl Device<'_> {
    fn unknown_below(&self) -> Option<InputProblem> {
        BELOW.iter().find_map(|(name, known)| {
            let mut keys = self.fields.get(*name)?.as_object()?.keys();
            let place = format!("{}.{name}", self.place);
            keys.find_map(|key| unknown(&place, key, known))
        })
    }

    fn unknown_of_routes(&self) -> Option<InputProblem> {
        let routes = self.fields.get("routes")?.as_array()?.iter();
        let place = format!("{}.routes", self.place);
        let mut keys = routes.filter_map(Value::as_object).flat_map(Map::keys);
        keys.find_map(|key| unknown(&place, key, &ROUTE))
    }
}

/// The problem of a key that is not among the known ones. One that resembles a known key is misspelt; another may be
/// of a newer netplan.
fn unknown(place: &str, key: &str, known: &[&str]) -> Option<InputProblem> {
    if known.contains(&key) {
        return None;
    }
    let resembling = known
        .iter()
        .find(|candidate| is_misspelling(key, candidate));
    let meant = resembling.map_or_else(String::new, |candidate| {
        format!("; is `{candidate}` meant?")
    });
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
pub(super) fn shown(place: &str, key: &str) -> String {
    let path = format!("{place}.{key}");
    let is_word = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    if path.len() <= 80 && path.chars().all(is_word) {
        path
    } else {
        "…".to_owned()
    }
}
