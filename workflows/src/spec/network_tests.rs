use serde_json::{Value, json};

use super::*;
use crate::spec::{DocumentRef, ObjectMeta, documents};

fn read(value: Value) -> Result<ServerNetworkSpec, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn document(spec: ServerNetworkSpec) -> Document<ServerNetworkSpec> {
    Document {
        at: DocumentRef {
            index: 0,
            source: "test".into(),
            line: None,
        },
        kind: documents::NETWORK,
        meta: ObjectMeta::named("default", "backend"),
        spec,
    }
}

/// The paths of the refused fields.
fn refused(value: Value) -> Vec<String> {
    let spec = match read(value) {
        Ok(spec) => spec,
        Err(error) => return vec![error],
    };
    let mut problems = Vec::new();
    check(&document(spec), &mut problems);
    problems.iter().map(|one| one.path.to_string()).collect()
}

#[test]
fn a_cidr_is_enough() {
    let spec = read(json!({"cidr": "10.20.0.0/24"})).unwrap();
    assert!(refused(json!({"cidr": "10.20.0.0/24"})).is_empty());
    let made = DesiredNetwork::of(&document(spec));
    assert!(made.dhcp && made.dns && made.mode == NetworkMode::Nat);
    assert_eq!(made.on_host(), "default.backend");
    assert_eq!(made.pool().next(), Some(Ipv4Addr::new(10, 20, 0, 2)));
    assert_eq!(made.pool().count(), 253);
    let text = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<DesiredNetwork>(&text).unwrap(), made);
}

#[test]
fn what_a_host_could_not_bear_is_refused() {
    let bad = [
        json!({}),
        json!({"cidr": "0.0.0.0/0"}),
        json!({"cidr": "0.0.0.0/1"}),
        json!({"cidr": "128.0.0.0/1"}),
        json!({"cidr": "169.254.0.0/16"}),
        json!({"cidr": "169.254.169.0/24"}),
        json!({"cidr": "127.0.0.0/24"}),
        json!({"cidr": "224.0.0.0/24"}),
        json!({"cidr": "255.255.255.0/24"}),
        json!({"cidr": "10.0.0.0/8"}),
        json!({"cidr": "8.8.8.0/24"}),
        json!({"cidr": "172.32.0.0/24"}),
        json!({"cidr": "10.0.0.0/30"}),
        json!({"cidr": "10.0.0.5/24"}),
        json!({"cidr": "fd00::/64"}),
        json!({"cidr": "<script>"}),
        json!({"cidr": "10.0.0.0/24", "bridge": "eth0"}),
        json!({"cidr": "10.0.0.0/24", "vlan": 5}),
        json!({"cidr": "10.0.0.0/24", "mtu": 1}),
        json!({"cidr": "10.0.0.0/24", "mtu": 65_536}),
        json!({"cidr": "10.0.0.0/24", "mode": "passthrough"}),
        json!({"cidr": "10.0.0.0/24", "xml": "<forward/>"}),
        json!({"cidr": "10.0.0.0/24", "dns": {"domain": "a'/><x y='"}}),
        json!({"cidr": "10.0.0.0/24", "dhcp": {"range": {"start": "10.0.0.9", "end": "10.0.0.3"}}}),
        json!({"cidr": "10.0.0.0/24", "dhcp": {"range": {"start": "10.0.0.1", "end": "10.0.0.3"}}}),
        json!({"cidr": "10.0.0.0/24", "dhcp": {"range": {"start": "10.0.0.2", "end": "10.0.1.3"}}}),
        json!({"mode": "bridge"}),
        json!({"mode": "bridge", "bridge": "../eth0"}),
        json!({"mode": "bridge", "bridge": "a'b"}),
        json!({"mode": "bridge", "bridge": "a-name-that-is-too-long"}),
        json!({"mode": "bridge", "bridge": "br0", "vlan": 0}),
        json!({"mode": "bridge", "bridge": "br0", "vlan": 4095}),
        json!({"mode": "bridge", "bridge": "br0", "dhcp": {"enabled": true}}),
        json!({"mode": "bridge", "bridge": "br0", "dns": {"domain": "a.test"}}),
    ];
    for spec in bad {
        assert!(!refused(spec.clone()).is_empty(), "{spec}");
    }
    let good = json!({"mode": "bridge", "bridge": "br0", "vlan": 12, "cidr": "10.0.0.0/24"});
    assert!(refused(good.clone()).is_empty(), "{:?}", refused(good));
}

#[test]
fn addresses_that_are_somebody_elses_are_refused() {
    let spec = json!({"cidr": "10.0.0.0/24", "dhcp": {"range": {"start": "10.0.0.100", "end": "10.0.0.110"}}});
    let made = DesiredNetwork::of(&document(read(spec).unwrap()));
    for (address, why) in [
        ("10.0.1.5", "is not in"),
        ("10.0.0.0", "network itself"),
        ("10.0.0.255", "broadcast"),
        ("10.0.0.1", "the host"),
        ("10.0.0.105", "dhcp.range"),
    ] {
        let refused = made.refuses(address.parse().unwrap());
        assert!(refused.is_some_and(|said| said.contains(why)), "{address}");
    }
    assert_eq!(made.refuses("10.0.0.5".parse().unwrap()), None);
    assert!(made.pool().all(|address| made.refuses(address).is_none()));
}
