//! Networks and addresses, on the simulated host.

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow};

/// A reference to a network of the host, for the VSI `web`.
fn reference(name: &str, network: &str) -> String {
    format!(
        "---\napiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremNetworkRef\n\
         metadata:\n  name: {name}\n  labels: {{network: web}}\n\
         spec:\n  networkName: {network}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n"
    )
}

/// A host with the networks `default`, `first` and `second`.
fn host() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(vsiflow_tests::DiskDocument::named("other"), &[])
        .exits(0);
    vsiflow.change_sim(|state| {
        for (name, prefix) in [("first", "10.1.1"), ("second", "10.2.2")] {
            state["networks"][name] = json!({"active": true, "prefix": prefix});
        }
    });
    vsiflow
}

fn nics(vsiflow: &Vsiflow) -> Value {
    vsiflow.sim().domain("default/web")["spec"]["nics"].clone()
}

fn after_refresh(vsiflow: &Vsiflow) -> Value {
    let refreshed = vsiflow.run(&["get", "vsi", "web", "--refresh", "-o", "json"]);
    refreshed.exits(0).json()["status"].clone()
}

fn condition(status: &Value, name: &str) -> Option<Value> {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == name).cloned()
}

#[test]
fn defect_20_cards_keep_their_order_and_addresses_through_changes() {
    let vsiflow = host();
    // Sorted by name, whatever the order of the documents.
    let refs = format!(
        "{}{}",
        reference("net-b", "second"),
        reference("net-a", "first")
    );
    let documents = |cpus: u32| {
        let web = Vsi::named("web").cpus(cpus).network("default").to_string();
        format!("{web}{refs}")
    };
    vsiflow.apply(documents(1), &[]).exits(0);
    let before = nics(&vsiflow);
    let names: Vec<_> = before
        .as_array()
        .unwrap()
        .iter()
        .map(|n| &n["network"])
        .collect();
    assert_eq!(names, ["first", "second", "default"]);
    let status = after_refresh(&vsiflow);
    let addresses = status["ipAddresses"].as_array().unwrap();
    let starts = ["10.1.1.", "10.2.2.", "192.168.122."];
    assert_eq!(addresses.len(), 3, "{status:#}");
    for (address, start) in addresses.iter().zip(starts) {
        assert!(
            address.as_str().unwrap().starts_with(start),
            "{addresses:?}"
        );
    }
    vsiflow.apply(documents(2), &[]).exits(0);
    assert_eq!(nics(&vsiflow), before);
}

#[test]
fn defect_20_a_card_that_comes_later_comes_last_whatever_its_name() {
    let vsiflow = host();
    let web = Vsi::named("web").network("default");
    vsiflow.apply(&web, &[]).exits(0);
    let before = nics(&vsiflow);
    let both = format!("{web}{}", reference("a-net", "first"));
    vsiflow.apply(both, &[]).exits(0);
    let after = nics(&vsiflow);
    assert_eq!(
        (&after[0], &after[1]["network"]),
        (&before[0], &json!("first"))
    );
}

#[test]
fn a_reference_that_names_another_network_moves_its_card_there() {
    let vsiflow = host();
    let both = |network: &str| {
        let web = Vsi::named("web").network("default");
        format!("{web}{}", reference("a-net", network))
    };
    vsiflow.apply(both("first"), &[]).exits(0);
    let before = nics(&vsiflow);
    vsiflow
        .apply(both("second"), &[])
        .exits(0)
        .keeps_quiet_about("no document of");
    let networks = |nics: &Value| -> Vec<Value> {
        let nics = nics.as_array().unwrap().iter();
        nics.map(|nic| nic["network"].clone()).collect()
    };
    let after = nics(&vsiflow);
    assert_eq!(networks(&before), ["first", "default"]);
    assert_eq!(networks(&after), ["second", "default"]);
    assert_eq!(after[1], before[1]);
    assert_eq!(after[0]["mac"], before[0]["mac"]);
    // Its document is missing: the card stays, even if another document changes.
    let web = Vsi::named("web").network("default").cpus(2);
    vsiflow
        .apply(web, &[])
        .exits(0)
        .says("no document of network second");
    assert_eq!(networks(&nics(&vsiflow)), ["second", "default"]);
    vsiflow.apply(both("first"), &[]).exits(0);
    assert_eq!(networks(&nics(&vsiflow)), ["first", "default"]);
}

#[test]
fn a_network_that_is_off_is_a_condition_and_touches_nobody() {
    let vsiflow = host();
    let documents = format!(
        "{}{}",
        Vsi::named("web").network("default"),
        reference("net-a", "first")
    );
    vsiflow.apply(&documents, &[]).exits(0);
    vsiflow.change_sim(|state| state["networks"]["first"]["active"] = false.into());
    let status = after_refresh(&vsiflow);
    assert_eq!(status["phase"], "Degraded", "{status:#}");
    let ready = condition(&status, "NetworksReady").unwrap();
    assert_eq!(ready["status"], "False");
    assert!(
        ready["message"].as_str().unwrap().contains("network first"),
        "{ready}"
    );
    let listed = vsiflow
        .run(&["get", "network", "first", "-o", "json"])
        .exits(0)
        .json();
    let network = &listed["items"][0]["status"];
    assert_eq!(
        (&network["phase"], &network["usedBy"]),
        (&json!("Inactive"), &json!(["web"]))
    );
    assert!(
        network["xml"]
            .as_str()
            .unwrap()
            .contains("<name>first</name>")
    );
    // A new VSI waits for the network, and says so.
    let second = documents.replace("name: web\n", "name: late\n");
    vsiflow.apply(&second, &[]).exits(4).says("VSI0205");
    vsiflow.change_sim(|state| state["networks"]["first"]["active"] = true.into());
    let later_status = after_refresh(&vsiflow);
    assert_eq!(later_status["phase"], "Running", "{later_status:#}");
    assert_eq!(condition(&later_status, "NetworksReady"), None);
    assert!(
        !vsiflow
            .history("web")
            .iter()
            .any(|e| e.step() == "stop_domain")
    );
}

#[test]
fn addresses_are_looked_up_again_and_from_wherever_the_host_has_them() {
    let vsiflow = host();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    let address = |status: Value| status["ipAddresses"][0].as_str().unwrap().to_owned();
    assert!(address(after_refresh(&vsiflow)).starts_with("192.168.122."));
    vsiflow.change_sim(|state| state["networks"]["default"]["prefix"] = "10.9.9".into());
    assert!(address(after_refresh(&vsiflow)).starts_with("10.9.9."));
    // Without DHCP leases, the address comes from the guest agent or the host's neighbour table.
    vsiflow.change_sim(|state| {
        state["networks"]["default"] = json!({"active": true, "prefix": "10.8.8", "dhcp": false});
    });
    assert!(address(after_refresh(&vsiflow)).starts_with("10.8.8."));
}

#[test]
fn defect_26_a_static_address_reaches_the_guest_in_its_cidata() {
    let vsiflow = Vsiflow::simulated();
    let netplan =
        "networkConfig: |\n    version: 2\n    ethernets: {enc1: {addresses: [10.0.0.5/24]}}";
    vsiflow.apply(Vsi::named("web").with(netplan), &[]).exits(0);
    let cidata = String::from_utf8_lossy(&vsiflow.sim().content("cidata-")).into_owned();
    assert!(cidata.contains("10.0.0.5/24"));
    // A guest reads it only at its first boot, so the plan says rebuild.
    let other = Vsi::named("web").with(&netplan.replace("10.0.0.5", "10.0.0.6"));
    let path = vsiflow.write("other.yaml", &other.to_string());
    let plan = vsiflow.run(&["plan", "-f", path.to_str().unwrap(), "-o", "json"]);
    let change = plan.exits(1).json()["items"][0]["changes"][0].clone();
    assert_eq!(
        (&change["path"], &change["how"]),
        (&json!("networkConfig"), &json!("rebuild"))
    );
}

#[test]
fn defect_20_a_card_keeps_its_address_when_one_before_it_goes_and_comes_back() {
    let vsiflow = host();
    let (first, second) = (reference("net-a", "first"), reference("net-b", "second"));
    let web = Vsi::named("web").network("default");
    // A missing reference would be retained; this one exists, but the VSI does not select it.
    let unchosen = first.replace("{network: web}", "{network: other}");
    let with = |named: &str| format!("{web}{named}{second}");
    vsiflow.apply(with(&first), &[]).exits(0);
    let before = nics(&vsiflow);
    let pick = |at: usize| before[at].clone();
    vsiflow.apply(with(&unchosen), &[]).exits(0);
    assert_eq!(nics(&vsiflow), json!([pick(1), pick(2)]));
    vsiflow
        .apply(with(&unchosen), &[])
        .exits(0)
        .says("unchanged");
    // The address of its old card was free.
    vsiflow.apply(with(&first), &[]).exits(0);
    assert_eq!(nics(&vsiflow), json!([pick(1), pick(2), pick(0)]));
    let rebuilt = format!("{}{first}{second}", web.doing("another contract"));
    vsiflow.apply(rebuilt, &["--wait"]).exits(0);
    assert_eq!(nics(&vsiflow), json!([pick(1), pick(2), pick(0)]));
    after_refresh(&vsiflow);
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn a_mac_address_in_the_place_of_one_that_is_taken_is_not_taken_either() {
    let vsiflow = host();
    // The UIDs begin alike: the second VSI would have the address of the first one's first card, and in its place
    // that of the second card.
    let (first, second) = (
        "22222222-2222-4111-8111-111111111111",
        "22222222-2222-4222-8222-222222222222",
    );
    let web = Vsi::named("web").uid(first).network("default");
    let on_both = format!("{web}{}", reference("net-a", "first"));
    vsiflow.apply(&on_both, &[]).exits(0);
    // The guest runs with both cards as long as the change waits.
    vsiflow.run(&["pause", "--all"]).exits(0);
    let briefly = ["--wait", "--timeout", "1s"];
    let on_one = on_both.replace("{network: web}", "{network: none}");
    vsiflow.apply(on_one, &briefly).exits(4);
    let db = Vsi::named("db").uid(second).network("default");
    vsiflow.apply(db, &briefly).exits(4);
    let with_two_cards = vsiflow.sim();
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    let mut macs: Vec<String> = Vec::new();
    for (sim, title) in [
        (with_two_cards, "default/web"),
        (vsiflow.sim(), "default/db"),
    ] {
        let nics = sim.domain(title)["spec"]["nics"].clone();
        let nics = nics.as_array().unwrap().iter();
        macs.extend(nics.map(|nic| nic["mac"].to_string()));
    }
    assert_eq!(macs.len(), 3, "{macs:?}");
    macs.sort();
    macs.dedup();
    assert_eq!(macs.len(), 3, "{macs:?}");
}
