//! Networks that vsiflow makes, and addresses that stay the same, on the simulated host.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vsiflow_tests::{Host, Vsi, Vsiflow};

/// A network that vsiflow makes, with this spec.
fn network(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\n\
         metadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

fn on(name: &str, network: &str) -> Vsi {
    Vsi::named(name).with(&format!("interfaces: [{{network: {network}}}]"))
}

fn with_address(name: &str, network: &str, address: &str) -> Vsi {
    let interface = format!("interfaces: [{{network: {network}, addresses: [{address}]}}]");
    Vsi::named(name).with(&interface)
}

/// The network on the simulated host; null if the host has none.
fn on_host(vsiflow: &Vsiflow, name: &str) -> Value {
    vsiflow.sim().network(name).clone()
}

fn addresses(vsiflow: &Vsiflow, name: &str) -> Value {
    let refreshed = vsiflow.run(&["get", "vsi", name, "--refresh", "-o", "json"]);
    refreshed.exits(0).json()["status"]["ipAddresses"].clone()
}

/// The network's DHCP reservations, sorted by name: VSIs reserve concurrently, in any order.
fn reserved(vsiflow: &Vsiflow, network: &str) -> BTreeMap<String, String> {
    let hosts = on_host(vsiflow, network)["hosts"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let hosts = hosts.as_array().cloned().unwrap_or_default();
    let pairs = hosts
        .iter()
        .map(|host| (text(&host["name"]), text(&host["ip"])));
    let by_name: BTreeMap<_, _> = pairs.collect();
    assert_eq!(by_name.len(), hosts.len(), "a name twice: {hosts:?}");
    by_name
}

fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, ip): &(&str, &str)| ((*name).to_owned(), (*ip).to_owned());
    all.iter().map(owned).collect()
}

#[test]
fn a_network_is_made_where_a_vsi_refers_to_it_and_goes_when_nothing_does() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/24, dns: {domain: lab.test}}");
    let unused = network("unused", "{cidr: 10.21.0.0/24}");
    let documents = format!("{}{backend}{unused}", on("web", "backend"));
    vsiflow
        .apply(&documents, &["--wait"])
        .exits(0)
        .says("network/backend created");
    let made = on_host(&vsiflow, "default.backend");
    assert_eq!(made["active"], true, "{made}");
    assert_eq!(made["made"]["mode"], "nat", "{made}");
    assert_eq!(on_host(&vsiflow, "default.unused"), Value::Null);
    assert_eq!(
        vsiflow.sim().domain("default/web")["spec"]["nics"][0]["network"],
        "default.backend"
    );
    assert_eq!(addresses(&vsiflow, "web"), json!(["10.20.0.2"]));
    let names = &on_host(&vsiflow, "default.backend")["names"];
    assert_eq!(names[0], json!({"ip": "10.20.0.2", "names": ["web"]}));
    vsiflow
        .apply(&documents, &["--wait"])
        .exits(0)
        .says("network/backend unchanged");
    let listed = vsiflow.run(&["get", "network", "default.backend", "-o", "json"]);
    let shown = listed.exits(0).json()["items"][0]["status"].clone();
    assert_eq!(shown["phase"], "Active", "{shown:#}");
    assert_eq!(shown["made"]["addresses"], json!({"web": "10.20.0.2"}));
    for name in ["backend", "default.backend"] {
        let described = vsiflow.run(&["describe", "network", name]).exits(0);
        described.says("10.20.0.2: web").says("On deletion");
    }
    let described = vsiflow.run(&["describe", "network/backend"]);
    described.exits(0).says("Document").says("define_network");
    let as_json = vsiflow.run(&["describe", "network/backend", "-o", "json"]);
    let whole = as_json.exits(0).json();
    assert_eq!(whole["name"], "backend");
    assert_eq!(whole["hosts"][0]["usedBy"], json!(["web"]));
    vsiflow
        .run(&["describe", "network/unused"])
        .exits(3)
        .says("VSI0703");
    vsiflow
        .run(&["delete", "network/backend"])
        .exits(4)
        .says("VSI0746")
        .says("web");
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    assert_eq!(reserved(&vsiflow, "default.backend"), BTreeMap::new());
    vsiflow
        .run(&["delete", "network/backend", "--wait"])
        .exits(0);
    assert_eq!(on_host(&vsiflow, "default.backend"), Value::Null);
    vsiflow.run(&["delete", "network/backend"]).exits(3);
}

#[test]
fn an_address_stays_with_its_name() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/29}");
    let both = format!("{}---\n{}{backend}", on("a", "backend"), on("b", "backend"));
    vsiflow.apply(&both, &["--wait"]).exits(0);
    let before = reserved(&vsiflow, "default.backend");
    assert_eq!(before, pairs(&[("a", "10.20.0.2"), ("b", "10.20.0.3")]));
    vsiflow.run(&["delete", "a", "--wait"]).exits(0);
    // Another VSI does not get the address while others are free.
    let other = format!("{}{backend}", on("c", "backend"));
    vsiflow.apply(&other, &["--wait"]).exits(0);
    vsiflow.apply(&both, &["--wait"]).exits(0);
    let after = reserved(&vsiflow, "default.backend");
    assert_eq!(
        after,
        pairs(&[("a", "10.20.0.2"), ("b", "10.20.0.3"), ("c", "10.20.0.4")])
    );
    assert_eq!(addresses(&vsiflow, "a"), json!(["10.20.0.2"]));
}

/// A pool whose members are on the network.
fn pool(replicas: u32, network: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: shop}}\nspec:\n  \
         replicas: {replicas}\n  template: {}\n",
        template(network)
    )
}

/// A group with that pool.
fn group(network: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: shop}}\nspec:\n  \
         waves:\n  - name: all\n    pools: [{{name: web, replicas: 2, template: {}}}]\n",
        template(network)
    )
}

fn template(network: &str) -> String {
    format!(
        "{{spec: {{imageURL: \"{}\", machine: {{cpus: 1, memory: 512Mi}}, interfaces: [{{network: {network}}}]}}}}",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

#[test]
fn what_somebody_else_has_is_refused_before_anything_is_made() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(vsiflow_tests::DiskDocument::named("other"), &[])
        .exits(0);
    vsiflow.change_sim(|state| {
        state["routes"] = json!([{"to": "10.99.0.0/16", "device": "eth0"}]);
        state["networks"]["default.mine"] = json!({"active": true, "prefix": "10.98.1"});
    });
    let refused = |name: &str, spec: &str, code: &str| {
        let made = network(name, spec);
        for documents in [on("web", name).to_string(), pool(2, name), group(name)] {
            let documents = format!("{documents}{made}");
            for how in [&["--dry-run"][..], &[]] {
                let ran = vsiflow.apply(&documents, how).exits(4).says(code);
                ran.says("apply again");
            }
        }
        let recorded = vsiflow.run(&["get", "vsi,pool,group", "-o", "json"]);
        assert_eq!(recorded.exits(0).json()["items"], json!([]));
    };
    refused("net", "{cidr: 192.168.122.0/25}", "VSI0315");
    refused("net", "{cidr: 10.99.7.0/24}", "VSI0315");
    refused("mine", "{cidr: 10.97.0.0/24}", "VSI0225");
    refused("net", "{mode: bridge, bridge: eth0}", "VSI0749");
    refused("net", "{mode: bridge, bridge: br0, vlan: 9}", "VSI0749");
    let sim = vsiflow.sim();
    let state = sim.state();
    let networks: Vec<_> = state["networks"].as_object().unwrap().keys().collect();
    assert_eq!(networks, ["default", "default.mine"]);
    let volumes = state["pools"]["images"]["volumes"].as_object().unwrap();
    assert!(
        volumes.keys().all(|name| !name.contains("cidata")),
        "{volumes:?}"
    );
    assert_eq!(state["networks"]["default.mine"]["prefix"], "10.98.1");
}

#[test]
fn documents_that_contradict_one_another_are_refused() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/24}");
    for (vsi, why) in [
        (with_address("web", "backend", "10.20.1.5"), "is not in"),
        (with_address("web", "backend", "10.20.0.1"), "the host"),
        (on("web", "nowhere"), "there is no network nowhere"),
    ] {
        vsiflow.apply(format!("{vsi}{backend}"), &[]).says(why);
    }
    let twice = format!(
        "{}---\n{}{backend}",
        with_address("a", "backend", "10.20.0.5"),
        with_address("b", "backend", "10.20.0.5")
    );
    vsiflow.apply(twice, &[]).exits(2).says("another VSI");
    let first = format!("{}{backend}", with_address("a", "backend", "10.20.0.5"));
    vsiflow.apply(first, &["--wait"]).exits(0);
    let second = format!("{}{backend}", with_address("b", "backend", "10.20.0.5"));
    vsiflow
        .apply(second, &[])
        .exits(4)
        .says("VSI0318")
        .says("default/a");
    let overlapping = format!(
        "{}{}",
        on("c", "other"),
        network("other", "{cidr: 10.20.0.128/25}")
    );
    vsiflow.apply(overlapping, &[]).exits(4).says("VSI0747");
    let changed = network("backend", "{cidr: 10.30.0.0/24}");
    let changed = format!("{}{changed}", on("c", "backend"));
    vsiflow.apply(changed, &[]).exits(4).says("VSI0745");
    let retained = network("backend", "{cidr: 10.20.0.0/24, deletionPolicy: Retain}");
    let retained = format!("{}{retained}", with_address("a", "backend", "10.20.0.5"));
    vsiflow
        .apply(retained, &["--wait"])
        .exits(0)
        .says("network/backend configured");
    vsiflow.run(&["delete", "a", "--wait"]).exits(0);
    vsiflow
        .run(&["delete", "network", "backend", "--wait"])
        .exits(0);
    assert_eq!(on_host(&vsiflow, "default.backend")["active"], true);
}

#[test]
fn a_foreign_domain_keeps_the_network_that_it_uses() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/24}");
    let documents = format!("{}{backend}", on("web", "backend"));
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let uuid = "11111111-2222-4333-8444-555555555555";
    let bridge = on_host(&vsiflow, "default.backend")["made"]["bridge"].clone();
    // A foreign domain on the network's bridge, under any name.
    vsiflow.change_sim(|state| {
        let domains = state["domains"].as_object_mut().unwrap();
        let mut foreign = domains.values().next().unwrap().clone();
        foreign["mark"] = Value::Null;
        foreign["live"] = Value::Null;
        foreign["running"] = Value::Null;
        foreign["state"] = json!("ShutOff");
        foreign["spec"]["uuid"] = json!(uuid);
        foreign["spec"]["name"] = json!("theirs");
        foreign["spec"]["title"] = json!("");
        foreign["spec"]["disks"] = json!([]);
        foreign["spec"]["console_log"] = json!("/var/log/theirs.log");
        foreign["spec"]["nics"] = json!([{"network": bridge, "mac": "52:54:00:00:00:99"}]);
        domains.insert(uuid.to_owned(), foreign);
    });
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    let refused_delete = vsiflow.run(&["delete", "network/backend", "--wait"]);
    refused_delete.exits(4).says("VSI0229").says("theirs");
    assert_eq!(on_host(&vsiflow, "default.backend")["active"], true);
    vsiflow.change_sim(|state| {
        state["domains"].as_object_mut().unwrap().remove(uuid);
    });
    vsiflow
        .run(&["delete", "network/backend", "--wait"])
        .exits(0);
    assert_eq!(on_host(&vsiflow, "default.backend"), Value::Null);
}

#[test]
fn without_dhcp_an_address_is_in_the_cidata() {
    let vsiflow = Vsiflow::simulated();
    let spec = "{cidr: 10.20.0.0/24, mode: isolated, dhcp: {enabled: false}}";
    let documents = format!(
        "{}{}",
        with_address("web", "quiet", "10.20.0.9"),
        network("quiet", spec)
    );
    vsiflow.apply(documents, &["--wait"]).exits(0);
    let cidata = String::from_utf8_lossy(&vsiflow.sim().content("cidata-")).into_owned();
    assert!(cidata.contains("10.20.0.9/24"), "{cidata}");
    assert!(
        !cidata.contains("gateway4"),
        "isolated guests have no way out"
    );
    let made = on_host(&vsiflow, "default.quiet");
    assert_eq!(made["names"][0]["ip"], "10.20.0.9");
    assert_eq!(made["hosts"], Value::Null);
}

#[test]
fn the_network_of_a_group_is_gone_when_its_deletion_ends() {
    let vsiflow = Vsiflow::simulated();
    let group = format!(
        "{}{}",
        group("backend"),
        network("backend", "{cidr: 10.20.0.0/24}")
    );
    vsiflow.apply(&group, &["--wait"]).exits(0);
    assert_eq!(on_host(&vsiflow, "default.backend")["active"], true);
    vsiflow
        .run(&["delete", "group/shop", "--wait"])
        .exits(0)
        .says("group/shop deleted");
    assert_eq!(on_host(&vsiflow, "default.backend"), Value::Null);
}

#[test]
fn a_network_without_a_free_address_is_told_before_anything_is_recorded() {
    let vsiflow = Vsiflow::simulated();
    // Five addresses for guests: .2 to .6.
    let backend = network("backend", "{cidr: 10.20.0.0/29}");
    let all = |names: &[&str]| {
        let vsis = names
            .iter()
            .map(|name| format!("{}---\n", on(name, "backend")));
        format!("{}{backend}", vsis.collect::<String>())
    };
    let six = vsiflow.apply(all(&["a", "b", "c", "d", "e", "f"]), &[]);
    six.exits(4).says("VSI0319").says("default/backend");
    let listed = vsiflow.run(&["get", "vsi", "-o", "json"]).exits(0).json();
    assert_eq!(listed["items"], json!([]));
    vsiflow
        .apply(all(&["a", "b", "c", "d", "e"]), &["--wait"])
        .exits(0);
    let sixth = || vsiflow.apply(all(&["f"]), &["--wait"]);
    sixth().exits(4).says("VSI0319");
    let before = reserved(&vsiflow, "default.backend");
    assert_eq!(before.len(), 5, "{before:?}");
    vsiflow.run(&["delete", "c", "--wait"]).exits(0);
    // The reservation of a deleted name is released before a new name is refused.
    sixth().exits(0);
    let after = reserved(&vsiflow, "default.backend");
    assert_eq!(after.get("f"), before.get("c"));
}

#[test]
fn a_network_has_a_history_and_is_tried_again() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(vsiflow_tests::DiskDocument::named("other"), &[])
        .exits(0);
    let foreign_network = json!({"active": true, "prefix": "10.98.1"});
    let documents = format!(
        "{}{}",
        on("web", "net"),
        network("net", "{cidr: 10.97.0.0/24}")
    );
    // The foreign network appears after the document was applied and before vsiflow makes its own.
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow.apply(&documents, &[]).exits(4).says("VSI0016");
    vsiflow.change_sim(|state| state["networks"]["default.net"] = foreign_network);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow
        .apply(&documents, &["--wait"])
        .exits(4)
        .says("VSI0225");
    let history = vsiflow
        .run(&["history", "network/net", "-o", "json"])
        .exits(0);
    history.says("check_network").says("VSI0225");
    vsiflow.change_sim(|state| {
        state["networks"]
            .as_object_mut()
            .unwrap()
            .remove("default.net");
    });
    vsiflow
        .run(&["retry", "network/net", "--wait"])
        .exits(0)
        .says("network/net is settled");
    assert_eq!(on_host(&vsiflow, "default.net")["active"], true);
    vsiflow.run(&["retry", "web", "--wait"]).exits(0);
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    vsiflow.run(&["delete", "network/net", "--wait"]).exits(0);
    let network_history = vsiflow.run(&["history", "network", "net"]).exits(0);
    network_history.says("delete_network");
    vsiflow.run(&["history", "network/nowhere"]).exits(3);
    vsiflow.run(&["retry", "network/nowhere"]).exits(3);
}

#[test]
fn a_host_that_does_not_answer_refuses_nothing() {
    let vsiflow = Vsiflow::of_documents();
    let host = Host {
        label: "lab".to_owned(),
        hostname: "127.0.0.1".to_owned(),
        port: 9,
        known_hosts: "127.0.0.1 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ".to_owned(),
        key: "none".to_owned(),
    };
    let backend = network("backend", "{cidr: 192.168.122.0/24}");
    let documents = format!("{host}{}{backend}", on("web", "backend"));
    vsiflow
        .start_apply(&documents, &["--dry-run"])
        .end(60)
        .exits(0)
        .says("network/backend created");
}

#[test]
fn the_document_of_a_pool_changes_its_network_as_that_of_a_vsi_does() {
    let vsiflow = Vsiflow::simulated();
    let with = |spec: &str| format!("{}{}", pool(2, "backend"), network("backend", spec));
    vsiflow
        .apply(with("{cidr: 10.20.0.0/24}"), &["--wait"])
        .exits(0);
    for how in [&["--dry-run"][..], &[]] {
        let changed = vsiflow.apply(with("{cidr: 10.30.0.0/24}"), how);
        changed.exits(4).says("VSI0745");
    }
    let status = vsiflow.run(&["get", "pools", "shop", "-o", "json"]);
    assert_eq!(status.exits(0).json()["status"]["phase"], "Available");
    vsiflow
        .apply(
            with("{cidr: 10.20.0.0/24, deletionPolicy: Retain}"),
            &["--wait"],
        )
        .exits(0)
        .says("network/backend configured");
    vsiflow.run(&["delete", "pool/shop", "--wait"]).exits(0);
    let deleted = vsiflow.run(&["delete", "network/backend", "--wait"]);
    deleted.exits(0);
    assert_eq!(on_host(&vsiflow, "default.backend")["active"], true);
}

#[test]
fn the_document_of_a_network_alone_changes_what_is_there_and_makes_nothing() {
    let vsiflow = Vsiflow::simulated();
    let alone = |spec: &str| network("backend", spec);
    vsiflow
        .apply(alone("{cidr: 10.20.0.0/24}"), &[])
        .exits(0)
        .says("nothing refers to it");
    let documents = format!("{}{}", on("web", "backend"), alone("{cidr: 10.20.0.0/24}"));
    vsiflow.apply(documents, &["--wait"]).exits(0);
    vsiflow
        .apply(alone("{cidr: 10.30.0.0/24}"), &[])
        .exits(4)
        .says("VSI0745");
    vsiflow
        .apply(alone("{cidr: 10.20.0.0/24, deletionPolicy: Retain}"), &[])
        .exits(0)
        .says("network/backend configured")
        .keeps_quiet_about("nothing refers to it");
    let listed = vsiflow.run(&["get", "networks", "-o", "json"]);
    let made = listed.exits(0).json()["items"][0]["status"]["made"].clone();
    assert_eq!(made["deletionPolicy"], "Retain", "{made:#}");
}

#[test]
fn several_kinds_are_listed_by_one_command() {
    let vsiflow = Vsiflow::simulated();
    let documents = format!(
        "{}{}",
        on("web", "backend"),
        network("backend", "{cidr: 10.20.0.0/24}")
    );
    vsiflow.apply(documents, &["--wait"]).exits(0);
    let get = |more: &[&str]| vsiflow.run(&[&["get", "vsi,networks,pools"], more].concat());
    let table = get(&[]).exits(0).stdout;
    let heads = table.lines().filter(|line| line.starts_with("NAME"));
    assert_eq!(heads.count(), 2, "{table}");
    assert!(table.contains("\n\n"), "{table}");
    let names = get(&["-o", "name"]).exits(0).stdout;
    assert_eq!(names, "vsi/web\nnetwork/default.backend\n");
    let items = get(&["-o", "json"]).exits(0).json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 2, "{items:#}");
    get(&["web"]).exits(2).says("VSI0810");
    get(&["-w"]).exits(2).says("VSI0810");
    vsiflow.run(&["get", "vsi,nothing"]).exits(3);
}

#[test]
fn a_name_has_one_uid_and_a_uid_has_one_name() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/24}");
    let (first, second) = (
        "11111111-1111-4111-8111-111111111111",
        "11111111-1111-4222-8222-222222222222",
    );
    let with = |name: &str, uid: &str| format!("{}{backend}", on(name, "backend").uid(uid));
    vsiflow.apply(with("web", first), &["--wait"]).exits(0);
    vsiflow
        .apply(with("web", second), &["--wait"])
        .exits(4)
        .says("VSI0726")
        .says(first);
    vsiflow
        .apply(with("db", first), &["--wait"])
        .exits(4)
        .says("VSI0757")
        .says("vsi/default/web");
    let sim = vsiflow.sim();
    assert_eq!(sim.domains(), ["default/web"]);
    // Both UIDs begin alike; on a network that vsiflow did not make, they determine the MAC addresses.
    let plain = |name: &str, uid: &str| Vsi::named(name).uid(uid).network("default");
    let third = "11111111-1111-4333-8333-333333333333";
    vsiflow.apply(plain("a", second), &["--wait"]).exits(0);
    vsiflow.apply(plain("b", third), &["--wait"]).exits(0);
    let now = vsiflow.sim();
    let mac = |title: &str| now.domain(title)["spec"]["nics"][0]["mac"].clone();
    assert_ne!(mac("default/a"), mac("default/b"));
}

#[test]
fn a_forgotten_guest_holds_its_address_until_it_is_released() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/24}");
    let uid = "33333333-3333-4333-8333-333333333333";
    let web = format!("{}{backend}", on("web", "backend").uid(uid));
    vsiflow.apply(&web, &["--wait"]).exits(0);
    vsiflow.run(&["delete", "web", "--orphan"]).exits(0);
    // The same UID would be the same domain.
    vsiflow
        .apply(&web, &[])
        .exits(4)
        .says("VSI0757")
        .says("vsiflow adopt");
    let other = format!("{}{backend}", on("db", "backend"));
    vsiflow.apply(&other, &["--wait"]).exits(0);
    let both = pairs(&[("db", "10.20.0.3"), ("web", "10.20.0.2")]);
    assert_eq!(reserved(&vsiflow, "default.backend"), both);
    let taking = format!("{}{backend}", with_address("api", "backend", "10.20.0.2"));
    vsiflow
        .apply(&taking, &["--wait"])
        .exits(4)
        .says("VSI0318")
        .says("may still run")
        .says("--release");
    let release = ["delete", uid, "--release", "--wait"];
    vsiflow.run(&release).exits(4).says("VSI0758");
    vsiflow.change_sim(|state| {
        state["domains"].as_object_mut().unwrap().remove(uid);
    });
    vsiflow
        .run(&release)
        .exits(0)
        .says("has no address any more");
    assert_eq!(
        reserved(&vsiflow, "default.backend"),
        pairs(&[("db", "10.20.0.3")])
    );
    vsiflow.apply(&taking, &["--wait"]).exits(0);
    vsiflow.run(&["get", "vsi", "web"]).exits(3);
}

#[test]
fn a_forgotten_guest_that_is_adopted_has_its_address() {
    let vsiflow = Vsiflow::simulated();
    let backend = network("backend", "{cidr: 10.20.0.0/24}");
    let web = on("web", "backend").with("deletionPolicy: Retain");
    vsiflow
        .apply(format!("{web}{backend}"), &["--wait"])
        .exits(0);
    let uid = vsiflow.vsi("web")["metadata"]["uid"].clone();
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    let adopt = ["adopt", uid.as_str().unwrap()];
    vsiflow.run(&adopt).exits(0);
    assert_eq!(vsiflow.vsi("web")["spec"]["deletionPolicy"], "Retain");
    let other = format!("{}{backend}", on("db", "backend"));
    vsiflow.apply(&other, &["--wait"]).exits(0);
    let both = pairs(&[("db", "10.20.0.3"), ("web", "10.20.0.2")]);
    assert_eq!(reserved(&vsiflow, "default.backend"), both);
}
