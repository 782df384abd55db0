//! Parses and writes networks: <https://libvirt.org/formatnetwork.html>.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use vsiflow_steps::ports::{
    DhcpHost, DnsHost, NetworkMode, NetworkShape, NetworkSpec, NetworkSubnet,
};

use super::{Element, XmlDocument, XmlError, write::Tag};

/// Parses the parts of a network that vsiflow uses.
pub(crate) fn shape(xml: &str) -> Result<NetworkShape, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let uuid = root.text_at(&["uuid"]).and_then(|text| text.parse().ok());
    let bridge = root.child("bridge").and_then(|b| b.attribute("name"));
    let hosts = (root.all("ip"))
        .filter_map(|ip| ip.child("dhcp"))
        .flat_map(|dhcp| dhcp.all("host"))
        .filter_map(host);
    let names = (root.child("dns").into_iter())
        .flat_map(|dns| dns.all("host"))
        .filter_map(names_of);
    Ok(NetworkShape {
        uuid,
        bridge: bridge.map(str::to_owned),
        subnets: root.all("ip").filter_map(subnet).collect(),
        hosts: hosts.collect(),
        names: names.collect(),
    })
}

/// IPv4 only. Without prefix or mask libvirt uses the classes of addresses.
fn subnet(ip: Element<'_>) -> Option<String> {
    let address: Ipv4Addr = ip.attribute("address")?.parse().ok()?;
    let prefix = ip.attribute("prefix").and_then(|bits| bits.parse().ok());
    let mask = ip
        .attribute("netmask")
        .and_then(|mask| mask.parse().ok())
        .and_then(|mask| ipnet::ipv4_mask_to_prefix(mask).ok());
    let class = match address.octets() {
        [0..128, ..] => 8,
        [128..192, ..] => 16,
        _ => 24,
    };
    let net = Ipv4Net::new(address, prefix.or(mask).unwrap_or(class)).ok()?;
    Some(net.to_string())
}

fn host(host: Element<'_>) -> Option<DhcpHost> {
    Some(DhcpHost {
        mac: host.attribute("mac").unwrap_or_default().to_lowercase(),
        ip: host.attribute("ip")?.to_owned(),
        name: host.attribute("name").map(str::to_owned),
    })
}

fn names_of(host: Element<'_>) -> Option<DnsHost> {
    let names = host.all("hostname").map(|name| name.text().to_owned());
    Some(DnsHost {
        ip: host.attribute("ip")?.to_owned(),
        names: names.collect(),
    })
}

/// Writes the definition of a network.
pub(crate) fn network(spec: &NetworkSpec) -> String {
    let forward = match spec.mode {
        NetworkMode::Nat => Some("nat"),
        NetworkMode::Routed => Some("route"),
        NetworkMode::Bridge => Some("bridge"),
        NetworkMode::Isolated => None,
    };
    let mut bridge = Tag::new("bridge").with("name", &spec.bridge);
    if spec.mode != NetworkMode::Bridge {
        bridge = bridge.with("stp", "on").with("delay", "0");
    }
    let domain = |name: &String| {
        let domain = Tag::new("domain").with("name", name);
        domain.with("localOnly", "yes")
    };
    let vlan = |tag: u16| Tag::new("vlan").child(Tag::new("tag").with("id", tag));
    let served = spec.mode != NetworkMode::Bridge;
    let dns = Tag::new("dns").with("enable", if spec.dns { "yes" } else { "no" });
    Tag::new("network")
        .child(Tag::new("name").text(&spec.name))
        .child(Tag::new("uuid").text(spec.uuid))
        .children(forward.map(|mode| Tag::new("forward").with("mode", mode)))
        .child(bridge)
        .children(spec.mtu.map(|size| Tag::new("mtu").with("size", size)))
        .children(spec.domain.iter().map(domain))
        .children(served.then_some(dns))
        .children(spec.vlan.map(vlan))
        .children(spec.subnet.iter().map(ip))
        .build()
}

fn ip(subnet: &NetworkSubnet) -> Tag {
    let range = |(start, end): (Ipv4Addr, Ipv4Addr)| {
        let range = Tag::new("range").with("start", start);
        range.with("end", end)
    };
    let ip = Tag::new("ip")
        .with("family", "ipv4")
        .with("address", subnet.gateway)
        .with("prefix", subnet.prefix);
    match subnet.range {
        Some(ends) if subnet.dhcp => ip.child(Tag::new("dhcp").child(range(ends))),
        _ => ip,
    }
}

/// The element of an address reserved for a host.
pub(crate) fn dhcp_host(host: &DhcpHost) -> String {
    let mut tag = Tag::new("host").with("mac", &host.mac);
    if let Some(name) = &host.name {
        tag = tag.with("name", name);
    }
    tag.with("ip", &host.ip).build()
}

/// The element of a host's DNS names.
pub(crate) fn dns_host(host: &DnsHost) -> String {
    let names = host.names.iter();
    Tag::new("host")
        .with("ip", &host.ip)
        .children(names.map(|name| Tag::new("hostname").text(name)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NetworkSpec {
        NetworkSpec {
            name: "default.<b>'s".into(),
            uuid: uuid::Uuid::from_u128(7),
            bridge: "vsn0".into(),
            mode: NetworkMode::Nat,
            subnet: Some(NetworkSubnet {
                gateway: Ipv4Addr::new(10, 1, 2, 1),
                prefix: 24,
                dhcp: true,
                range: Some((Ipv4Addr::new(10, 1, 2, 9), Ipv4Addr::new(10, 1, 2, 20))),
            }),
            dns: true,
            domain: Some("lab.test".into()),
            mtu: Some(1400),
            vlan: None,
        }
    }

    #[test]
    fn what_is_defined_is_read_back() {
        let xml = network(&spec());
        let document = XmlDocument::parse(&xml).unwrap();
        let root = document.root();
        assert_eq!(root.text_at(&["name"]), Some("default.<b>'s"));
        let found = shape(&xml).unwrap();
        assert_eq!(found.uuid, Some(uuid::Uuid::from_u128(7)));
        assert_eq!(found.bridge.as_deref(), Some("vsn0"));
        assert_eq!(found.subnets, ["10.1.2.1/24"]);
        assert!(
            xml.contains("<range start='10.1.2.9' end='10.1.2.20'/>"),
            "{xml}"
        );
    }

    #[test]
    fn a_network_on_a_bridge_has_nothing_of_its_own() {
        let mut spec = spec();
        (spec.mode, spec.subnet, spec.vlan) = (NetworkMode::Bridge, None, Some(12));
        let xml = network(&spec);
        assert!(xml.contains("<forward mode='bridge'/>"), "{xml}");
        assert!(xml.contains("<vlan><tag id='12'/></vlan>"), "{xml}");
        assert!(!xml.contains("<dns") && !xml.contains("<ip"), "{xml}");
    }

    #[test]
    fn reservations_and_names_are_read_and_written() {
        let xml = "<network><dns><host ip='10.1.2.3'><hostname>web</hostname>\
             <hostname>www</hostname></host></dns>\
             <ip address='10.1.2.1' netmask='255.255.255.0'><dhcp>\
             <host mac='52:54:00:AA:00:01' name='web' ip='10.1.2.3'/></dhcp></ip>\
             <ip family='ipv6' address='fd00::1' prefix='64'/></network>";
        let found = shape(xml).unwrap();
        assert_eq!(found.subnets, ["10.1.2.1/24"]);
        let host = found.hosts.first().unwrap();
        assert_eq!(host.mac, "52:54:00:aa:00:01");
        assert_eq!(
            dhcp_host(host),
            "<host mac='52:54:00:aa:00:01' name='web' ip='10.1.2.3'/>"
        );
        assert_eq!(
            dns_host(found.names.first().unwrap()),
            "<host ip='10.1.2.3'><hostname>web</hostname><hostname>www</hostname></host>"
        );
        assert_eq!(shape("<network/>").unwrap(), NetworkShape::default());
        assert!(shape("no document").is_err());
    }
}
