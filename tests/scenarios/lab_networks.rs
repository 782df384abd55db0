//! Several networks of a real host: their order, addresses, and one that disappears.

use serde_json::json;
use vsiflow_tests::{
    Lab, Vsi, Vsiflow,
    lab::{Deleted, quietly},
};

/// A network of a test, beside the host's own. It is deleted when this is dropped.
struct TestNetwork(&'static str);

impl TestNetwork {
    fn new(lab: &Lab, name: &'static str) -> Self {
        let xml = format!(
            "<network><name>{name}</name><bridge name='vbr-{name}'/>\
             <ip address='192.168.141.1' netmask='255.255.255.0'>\
             <dhcp><range start='192.168.141.2' end='192.168.141.99'/></dhcp></ip></network>"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), xml).unwrap();
        lab.virsh(&["net-define", &file.path().to_string_lossy()]);
        lab.virsh(&["net-start", name]);
        Self(name)
    }

    /// A reference to it that sorts first, for VSIs with this label.
    fn reference(&self, chosen_by: &str) -> String {
        let name = self.0;
        format!(
            "---\napiVersion: hpse.ibm.com/v1\n\
             kind: HyperProtectContainerRuntimeOnPremNetworkRef\n\
             metadata:\n  name: a-{name}\n  labels: {{network: {chosen_by}}}\n\
             spec:\n  networkName: {name}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n"
        )
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        for end in ["net-destroy", "net-undefine"] {
            quietly(&[end, self.0]);
        }
    }
}

/// Networks and MAC addresses of a domain's cards, in their order.
fn cards(lab: &Lab, uid: &str) -> Vec<(String, String)> {
    let listed = lab.virsh(&["domiflist", uid]);
    let words = listed.lines().map(|line| line.split_whitespace());
    let cards = words.filter_map(|mut words| {
        let (network, mac) = (words.nth(2)?, words.nth(1)?);
        Some((network.to_owned(), mac.to_owned()))
    });
    cards.collect()
}

#[test]
fn lab_cards_keep_their_addresses_while_networks_come_and_go() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-cards.qcow2"), Vsiflow::of_documents());
    let network = TestNetwork::new(&lab, "t-cards");
    let _gone = Deleted(&vsiflow, "t-cards");
    let vsi = Vsi::named("t-cards").image(image.url()).network("default");
    let apply = |chosen_by: &str| {
        let documents = format!("{}{vsi}{}", lab.host(), network.reference(chosen_by));
        vsiflow.apply(&documents, &["--wait"]).exits(0)
    };
    apply("t-cards");
    let uid = lab.domains("default/t-cards").remove(0);
    let before = cards(&lab, &uid);
    let names: Vec<_> = before.iter().map(|(card, _)| card.as_str()).collect();
    assert_eq!(names, ["t-cards", "default"]);
    let (own, default) = (before[0].clone(), before[1].clone());
    apply("nobody");
    assert_eq!(cards(&lab, &uid), std::slice::from_ref(&default));
    apply("t-cards");
    assert_eq!(cards(&lab, &uid), [default, own]);

    let status = || {
        let refreshed = vsiflow.run(&["get", "vsi", "t-cards", "--refresh", "-o", "json"]);
        refreshed.exits(0).json()["status"].clone()
    };
    lab.virsh(&["net-destroy", "t-cards"]);
    let without = status();
    assert_eq!(without["phase"], "Degraded", "{without:#}");
    assert!(
        without.to_string().contains("network t-cards"),
        "{without:#}"
    );
    lab.virsh(&["net-start", "t-cards"]);
    assert_eq!(status()["phase"], "Running");
    let listed = vsiflow.run(&["get", "network", "t-cards", "-o", "json"]);
    let shown = listed.exits(0).json()["items"][0]["status"].clone();
    assert_eq!(shown["usedBy"], json!(["t-cards"]));
    let xml = shown["xml"].as_str().unwrap();
    assert!(xml.contains("<bridge name='vbr-t-cards'"), "{xml}");
    vsiflow.run(&["delete", "t-cards", "--wait"]).exits(0);
}

#[test]
fn lab_a_static_address_is_in_the_cidata_that_the_guest_boots_with() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-static.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-static");
    let netplan =
        "networkConfig: |\n    version: 2\n    ethernets: {enc1: {addresses: [192.168.122.5/24]}}";
    let vsi = Vsi::named("t-static").image(image.url()).with(netplan);
    let documents = format!("{}{vsi}", lab.host());
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let uid = lab.domains("default/t-static").remove(0);
    let iso = format!("/var/lib/libvirt/images/cidata-{uid}.iso");
    let cidata = String::from_utf8_lossy(&std::fs::read(iso).unwrap()).into_owned();
    assert!(cidata.contains("192.168.122.5/24"));
    vsiflow.run(&["delete", "t-static", "--wait"]).exits(0);
}
