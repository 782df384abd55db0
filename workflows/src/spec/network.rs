//! Kind `VirtualServerNetwork`: a network that vsiflow makes on each host where a VSI refers to it.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use vsiflow_steps::{
    network::Params,
    ports::{NetworkMode, NetworkSubnet},
};

use super::documents::Document;
use super::meta::ObjectMeta;
use super::policy::DeletionPolicy;
use super::problem::{FieldPath, Problem, ProblemCode};
use super::schema::Words;

/// The spec of kind `VirtualServerNetwork`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerNetworkSpec {
    /// Its IPv4 addresses, such as 10.20.0.0/24; the host has the first one.
    #[serde(default, deserialize_with = "cidr")]
    #[schemars(with = "Option<String>", length(max = 18), extend("x-example" = "10.20.0.0/24", "x-expected" = "an IPv4 network"))]
    pub cidr: Option<Ipv4Net>,
    /// How guests reach other machines.
    #[serde(default)]
    #[schemars(with = "Words<NetworkMode>")]
    pub mode: NetworkMode,
    /// The bridge of the host that guests are on, in mode bridge: one that the administrator permits.
    #[serde(default, deserialize_with = "device")]
    #[schemars(length(max = 15), extend("x-example" = "br0"))]
    pub bridge: Option<String>,
    /// The addresses that the host gives to guests.
    #[serde(default)]
    #[schemars(extend("x-example" = "{enabled: true}"))]
    pub dhcp: DhcpSpec,
    /// The names that the host answers for.
    #[serde(default)]
    #[schemars(extend("x-example" = "{domain: lab.example.com}"))]
    pub dns: DnsSpec,
    /// The largest packet in bytes.
    #[serde(default, deserialize_with = "mtu")]
    #[schemars(range(min = 576, max = 65535), extend("x-example" = 1500))]
    pub mtu: Option<u32>,
    /// The VLAN of its guests, in mode bridge.
    #[serde(default, deserialize_with = "vlan")]
    #[schemars(range(min = 1, max = 4094), extend("x-example" = 12))]
    pub vlan: Option<u16>,
    /// What becomes of an object on its host when its resource is deleted.
    #[serde(default = "DeletionPolicy::of_vsis")]
    pub deletion_policy: DeletionPolicy,
}

/// The DHCP service of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DhcpSpec {
    /// Whether it does.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Addresses for cards that no server has.
    #[serde(default)]
    #[schemars(extend("x-example" = "{start: 10.20.0.100, end: 10.20.0.200}", "x-expected" = "an object with start and end"))]
    pub range: Option<RangeSpec>,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RangeSpec {
    /// The first.
    #[schemars(with = "String", length(max = 15), extend("x-example" = "10.20.0.100", "x-expected" = "an IPv4 address"))]
    pub start: Ipv4Addr,
    /// The last.
    #[schemars(with = "String", length(max = 15), extend("x-example" = "10.20.0.200", "x-expected" = "an IPv4 address"))]
    pub end: Ipv4Addr,
}

/// The DNS service of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsSpec {
    /// Whether it does.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// The domain of these names.
    #[serde(default, deserialize_with = "domain")]
    #[schemars(length(max = 253), extend("x-example" = "lab.example.com"))]
    pub domain: Option<String>,
}

/// The desired state of a network that vsiflow makes. It has no host: it is made on the host of each
/// VSI that refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredNetwork {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Its IPv4 addresses; `None` if other machines serve them.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "net_text")]
    pub cidr: Option<Ipv4Net>,
    /// How guests reach other machines.
    pub mode: NetworkMode,
    /// The host's bridge that guests are connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Whether the host assigns addresses by DHCP.
    pub dhcp: bool,
    /// The range for cards without an address of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeSpec>,
    /// Whether the host serves DNS.
    pub dns: bool,
    /// The domain of its guests' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The MTU, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The VLAN of its guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// What happens to it on its hosts when it is deleted.
    pub deletion_policy: DeletionPolicy,
}

/// Serialization of an IPv4 network with its prefix, as people write it.
mod net_text {
    use ipnet::Ipv4Net;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        net: &Option<Ipv4Net>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match net {
            Some(net) => to.collect_str(net),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Ipv4Net>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        let net = text.map(|text| text.parse().map_err(D::Error::custom));
        net.transpose()
    }
}

/// The name on hosts of the network with this metadata.
pub fn name_on_host(meta: &ObjectMeta) -> String {
    format!("{}.{}", meta.namespace, meta.name)
}

impl DesiredNetwork {
    /// The desired state of a document.
    pub(super) fn of(document: &Document<ServerNetworkSpec>) -> Self {
        let (meta, spec) = (&document.meta, &document.spec);
        let served = spec.mode != NetworkMode::Bridge;
        Self {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            cidr: spec.cidr,
            mode: spec.mode,
            bridge: spec.bridge.clone(),
            dhcp: served && spec.dhcp.enabled.unwrap_or(true),
            range: spec.dhcp.range,
            dns: served && spec.dns.enabled.unwrap_or(true),
            domain: spec.dns.domain.clone(),
            mtu: spec.mtu,
            vlan: spec.vlan,
            deletion_policy: spec.deletion_policy,
        }
    }

    /// Its name on hosts. It is unique, because a namespace has no dot.
    pub fn on_host(&self) -> String {
        format!("{}.{}", self.namespace, self.name)
    }

    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The first address: the host's own, or in mode bridge the router's.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.cidr?.hosts().next()
    }

    /// The addresses that cards can have: all except network, broadcast, gateway and range.
    pub fn pool(&self) -> impl Iterator<Item = Ipv4Addr> {
        let (gateway, range) = (self.gateway(), self.range);
        let hosts = self.cidr.map(|cidr| cidr.hosts());
        let hosts = hosts.into_iter().flatten();
        hosts.filter(move |address| Some(*address) != gateway && !is_within(range, *address))
    }

    /// Why a card cannot have this address; `None` if it can.
    pub fn refuses(&self, address: Ipv4Addr) -> Option<String> {
        let Some(cidr) = self.cidr else {
            return Some(format!("network {} has no cidr", self.name));
        };
        let why = if !cidr.contains(&address) {
            format!("is not in {cidr}")
        } else if address == cidr.network() || address == cidr.broadcast() {
            "is that of the network itself or its broadcast address".to_owned()
        } else if Some(address) == self.gateway() {
            "is that of the host or the router".to_owned()
        } else if is_within(self.range, address) {
            "is in dhcp.range, which is for cards without an address of their own".to_owned()
        } else {
            return None;
        };
        Some(format!("{address} {why}"))
    }

    /// The network without the fields that may change after it is made.
    pub fn lasting(&self) -> Self {
        Self {
            deletion_policy: DeletionPolicy::Delete,
            ..self.clone()
        }
    }

    /// The parameters of the steps on a host.
    pub fn params(&self, host: &str) -> Params {
        let served = self.mode != NetworkMode::Bridge;
        let subnet = |cidr: Ipv4Net| {
            Some(NetworkSubnet {
                gateway: self.gateway()?,
                prefix: cidr.prefix_len(),
                dhcp: self.dhcp,
                range: self.range.map(|range| (range.start, range.end)),
            })
        };
        Params {
            host: host.to_owned(),
            name: self.on_host(),
            mode: self.mode,
            bridge: self.bridge.clone(),
            subnet: self.cidr.filter(|_| served).and_then(subnet),
            dns: self.dns,
            domain: self.domain.clone(),
            mtu: self.mtu,
            vlan: self.vlan,
        }
    }
}

fn is_within(range: Option<RangeSpec>, address: Ipv4Addr) -> bool {
    range.is_some_and(|range| (range.start..=range.end).contains(&address))
}

/// The longest name of a network; with its namespace it is a file name on hosts.
const MAX_NAME_LEN: usize = 63;
/// Private addresses: RFC 1918 and RFC 6598.
const PRIVATE: [&str; 4] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
];
/// Permitted prefix lengths: networks of 8 to 65,536 addresses.
const PREFIXES: std::ops::RangeInclusive<u8> = 16..=29;

/// Checks a document without the others.
pub(super) fn check(document: &Document<ServerNetworkSpec>, problems: &mut Vec<Problem>) {
    let spec = &document.spec;
    let mut add = |path: &[&str], message: String, remedy: &str| {
        let path = FieldPath::of(path.iter().copied());
        problems.push(document.problem(ProblemCode::WrongValue, path, message, remedy));
    };
    if document.meta.name.len() > MAX_NAME_LEN {
        let message = format!("the name of a network has at most {MAX_NAME_LEN} characters");
        add(&["metadata", "name"], message, "give it a shorter name");
    }
    match (spec.mode, &spec.bridge) {
        (NetworkMode::Bridge, None) => add(
            &["spec", "bridge"],
            "mode bridge needs the name of a bridge of the host".to_owned(),
            "add it, for example: bridge: br0",
        ),
        (NetworkMode::Bridge, Some(_)) => {
            let serves = spec.dhcp.enabled == Some(true) || spec.dhcp.range.is_some();
            let names = spec.dns.enabled == Some(true) || spec.dns.domain.is_some();
            if serves || names {
                let field = if serves { "dhcp" } else { "dns" };
                let message = format!("in mode bridge others serve {field}, not the host");
                add(&["spec", field], message, "remove it");
            }
        }
        (_, Some(_)) => add(
            &["spec", "bridge"],
            "only mode bridge names a bridge; libvirt makes those of other networks".to_owned(),
            "remove it, or write mode: bridge",
        ),
        (_, None) => {}
    }
    if spec.vlan.is_some() && spec.mode != NetworkMode::Bridge {
        let message = "only guests on a bridge of the host have a VLAN".to_owned();
        add(
            &["spec", "vlan"],
            message,
            "remove it, or write mode: bridge",
        );
    }
    let Some(cidr) = spec.cidr else {
        if spec.mode != NetworkMode::Bridge {
            let message = "the network has no addresses".to_owned();
            add(
                &["spec", "cidr"],
                message,
                "add it, for example: cidr: 10.20.0.0/24",
            );
        }
        return;
    };
    if let Some(why) = unusable(cidr) {
        let remedy = "choose private addresses, for example: cidr: 10.20.0.0/24";
        add(&["spec", "cidr"], why, remedy);
        return;
    }
    let Some(range) = spec.dhcp.range else { return };
    let desired = DesiredNetwork {
        range: None,
        ..DesiredNetwork::of(document)
    };
    let ends = [range.start, range.end];
    let why = ends.into_iter().find_map(|end| desired.refuses(end));
    let why = why.or_else(|| {
        (range.start > range.end).then(|| "the range ends before it starts".to_owned())
    });
    if let Some(why) = why {
        let remedy = "choose two addresses of the cidr without its first and last";
        add(&["spec", "dhcp", "range"], why, remedy);
    }
}

/// Why a network cannot have these addresses; `None` if it can.
fn unusable(cidr: Ipv4Net) -> Option<String> {
    let special = [
        ("0.0.0.0/8", "no machine's address"),
        ("127.0.0.0/8", "the host's loopback"),
        (
            "169.254.0.0/16",
            "link-local, where clouds have their metadata service",
        ),
        ("224.0.0.0/3", "multicast or reserved"),
    ];
    let special = special.into_iter().find(|(net, _)| {
        let net = net.parse::<Ipv4Net>();
        net.is_ok_and(|net| net.contains(&cidr.network()) || cidr.contains(&net.network()))
    });
    if let Some((_, what)) = special {
        return Some(format!("{cidr} is {what}"));
    }
    let is_private = |net: &&str| {
        let net = net.parse::<Ipv4Net>();
        net.is_ok_and(|net| net.contains(&cidr))
    };
    if !PRIVATE.iter().any(is_private) {
        let all = PRIVATE.join(", ");
        return Some(format!(
            "{cidr} is not private: the host would not reach the machines that have it; private are {all}"
        ));
    }
    if !PREFIXES.contains(&cidr.prefix_len()) {
        let (least, most) = (PREFIXES.start(), PREFIXES.end());
        return Some(format!(
            "the prefix of {cidr} is not between {least} and {most}"
        ));
    }
    None
}

fn cidr<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ipv4Net>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let cidr: Ipv4Net = text.parse().map_err(|_| {
        D::Error::custom("a cidr is an IPv4 network with its prefix, such as 10.20.0.0/24")
    })?;
    if cidr == cidr.trunc() {
        Ok(Some(cidr))
    } else {
        Err(D::Error::custom(format_args!(
            "{cidr} is an address in a network; write the network, {}",
            cidr.trunc()
        )))
    }
}

/// Linux's limit for the length of device names.
const DEVICE_MAX: usize = 15;

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let fits = (1..=DEVICE_MAX).contains(&name.len());
    if !fits || !name.bytes().all(plain) || name == "." || name == ".." {
        return Err(D::Error::custom(
            "a device is named by 1 to 15 letters, digits, `-`, `_` and `.`",
        ));
    }
    Ok(Some(name))
}

fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let mtu = u32::deserialize(deserializer)?;
    if (576..=65_535).contains(&mtu) {
        Ok(Some(mtu))
    } else {
        Err(D::Error::custom("mtu is between 576 and 65535"))
    }
}

fn vlan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let vlan = u16::deserialize(deserializer)?;
    if (1..=4094).contains(&vlan) {
        Ok(Some(vlan))
    } else {
        Err(D::Error::custom("vlan is between 1 and 4094"))
    }
}

fn domain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let domain = String::deserialize(deserializer)?;
    super::meta::check_subdomain(&domain).map_err(D::Error::custom)?;
    Ok(Some(domain))
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
