//! A network that vsiflow makes on a real host, with a guest whose address stays the same.

use std::process::Command;

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted, lab::quietly, until};

const NETWORK: &str = "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\n\
    metadata: {name: t-made}\nspec: {cidr: 10.231.7.0/24, dns: {domain: made.test}, mtu: 1400}\n";

/// Deletes the network when dropped, even if the test fails.
struct NetworkCleanup;

impl Drop for NetworkCleanup {
    fn drop(&mut self) {
        for end in ["net-destroy", "net-undefine"] {
            quietly(&[end, "default.t-made"]);
        }
    }
}

/// The address that the network's DNS has for a name; empty if none.
fn resolved(name: &str) -> String {
    let script = "import socket,struct,sys\n\
        q=struct.pack('>6H',7,256,1,0,0,0)+b''.join(bytes([len(p)])+p.encode() for p in sys.argv[1].split('.'))+b'\\0'+struct.pack('>2H',1,1)\n\
        s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(5)\n\
        s.sendto(q,('10.231.7.1',53)); a=s.recv(512)\n\
        print('.'.join(map(str,a[-4:])) if a[7] else '')";
    let ran = Command::new("python3").args(["-c", script, name]).output();
    String::from_utf8_lossy(&ran.unwrap().stdout)
        .trim()
        .to_owned()
}

fn lease(lab: &Lab) -> String {
    lab.virsh(&["net-dhcp-leases", "default.t-made"])
}

#[test]
fn lab_a_guest_gets_its_reserved_address_and_again_after_it_was_made_anew() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-made.qcow2"), Vsiflow::of_documents());
    let _network = NetworkCleanup;
    let _gone = Deleted(&vsiflow, "t-made");
    let _other = Deleted(&vsiflow, "t-other");
    let on = |name: &str, interface: &str| {
        let vsi = Vsi::named(name).image(image.url());
        let vsi = vsi.with(&format!("interfaces: [{interface}]"));
        format!("{}{vsi}{NETWORK}", lab.host())
    };
    let web = on("t-made", "{network: t-made, addresses: [10.231.7.77]}");
    vsiflow.apply(&web, &["--wait"]).exits(0);
    until("the guest has its address", 60, || {
        lease(&lab).contains("10.231.7.77/24").then_some(())
    });
    assert_eq!(resolved("t-made.made.test"), "10.231.7.77");
    assert_eq!(resolved("t-made"), "10.231.7.77");
    let listed = lab.virsh(&["net-list", "--all", "--autostart"]);
    assert!(listed.contains("default.t-made"), "{listed}");

    // The running and the stored network both have the reservation.
    for inactive in [&[][..], &["--inactive"][..]] {
        let xml = lab.virsh(&[&["net-dumpxml", "default.t-made"], inactive].concat());
        assert!(xml.contains("ip='10.231.7.77'"), "{xml}");
        assert!(xml.contains("<hostname>t-made</hostname>"), "{xml}");
    }
    vsiflow.run(&["delete", "t-made", "--wait"]).exits(0);
    let xml = lab.virsh(&["net-dumpxml", "default.t-made"]);
    assert!(!xml.contains("10.231.7.77"), "{xml}");
    assert_eq!(resolved("t-made"), "");

    // A new VSI of the same name gets the address again, without naming it.
    let again = on("t-made", "{network: t-made}");
    vsiflow.apply(&again, &["--wait"]).exits(0);
    let changed_xml = lab.virsh(&["net-dumpxml", "default.t-made"]);
    assert!(changed_xml.contains("ip='10.231.7.77'"), "{changed_xml}");
    assert_eq!(resolved("t-made"), "10.231.7.77");
    let overlapping = on("t-other", "{network: t-made-2}").replace(
        NETWORK,
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\n\
         metadata: {name: t-made-2}\nspec: {cidr: 192.168.122.0/24}\n",
    );
    vsiflow.apply(overlapping, &[]).exits(4).says("VSI0315");
    vsiflow.run(&["get", "t-other"]).exits(3);

    vsiflow.run(&["delete", "t-made", "--wait"]).exits(0);
    vsiflow
        .run(&["delete", "network/t-made", "--wait"])
        .exits(0);
    let all = lab.virsh(&["net-list", "--all", "--name"]);
    assert!(!all.contains("t-made"), "{all}");
}
