//! Documents whose selector matches several hosts: which host is chosen, and that the choice stays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, Vsiflow};

/// The ConfigMap of a simulated host.
fn host(name: &str, zone: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels: {{fleet: blue, zone: {zone}, host: {name}}}\n\
         data:\n  HOSTNAME: sim:{name}\n{more}---\n"
    )
}

fn hosts() -> String {
    [host("a", "x", ""), host("b", "x", ""), host("c", "y", "")].concat()
}

/// A server that may be placed on any of the hosts.
fn server(name: &str, placement: &str, memory: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: {memory}}}\n  \
         targetSelector: {{matchLabels: {{fleet: blue}}}}\n  placement: {placement}\n---\n"
    )
}

fn pool(replicas: u32, placement: &str, more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n{more}  \
         template:\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 512Mi}}\n      targetSelector: {{matchLabels: {{fleet: blue}}}}\n      \
         placement: {placement}\n---\n"
    )
}

/// The host of each VSI.
fn places(vsiflow: &Vsiflow) -> BTreeMap<String, String> {
    let all = vsiflow.run(&["get", "vsi", "-o", "json"]).exits(0).json();
    let items = all["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items
        .map(|vsi| (text(&vsi["metadata"]["name"]), text(&vsi["status"]["host"])))
        .collect()
}

const SPREAD: &str = "{spread: {over: host}}";

#[test]
fn servers_are_spread_over_hosts_and_say_why_they_are_where_they_are() {
    let vsiflow = Vsiflow::of_documents();
    let servers: String = (0..6)
        .map(|one| server(&format!("v{one}"), SPREAD, "512Mi"))
        .collect();
    let documents = hosts() + &servers;
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let places = places(&vsiflow);
    let each = |host: &str| places.values().filter(|one| *one == host).count();
    assert_eq!(
        [each("sim:a"), each("sim:b"), each("sim:c")],
        [2, 2, 2],
        "{places:?}"
    );
    let described = vsiflow.run(&["describe", "v1"]).exits(0).stdout;
    for words in [
        "Placement:",
        "chosen sim:b: it fits; the fewest of them are there (0)",
        "not sim:a: it fits; 1 of them are there already, on the chosen one 0",
    ] {
        assert!(described.contains(words), "{words} is not in {described}");
    }
    vsiflow.apply(&documents, &[]).exits(0).says("v1 unchanged");
}

#[test]
fn what_is_placed_stays_whatever_the_labels_of_hosts_say_later() {
    let vsiflow = Vsiflow::of_documents();
    let one = server("one", "{}", "512Mi");
    vsiflow.apply(&(hosts() + &one), &["--wait"]).exits(0);
    assert_eq!(places(&vsiflow)["one"], "sim:a");
    // The selector no longer matches its host, and the other hosts have more room.
    let moved = host("a", "x", "").replace("fleet: blue", "fleet: red");
    let others = host("b", "x", "") + &host("c", "y", "");
    vsiflow
        .apply(&(moved + &others + &one), &["--wait"])
        .exits(0)
        .says("one unchanged");
    let resized = server("one", SPREAD, "1Gi");
    vsiflow
        .apply(&(others + &resized), &["--wait"])
        .exits(0)
        .says("one configured");
    assert_eq!(places(&vsiflow)["one"], "sim:a");
    let vsi = vsiflow.vsi("one");
    assert_eq!(vsi["status"]["phase"], "Running");
    assert_eq!(vsi["spec"]["placement"]["spread"]["over"], "host");
}

#[test]
fn without_placement_several_hosts_are_refused_as_ever() {
    let vsiflow = Vsiflow::of_documents();
    let one = server("one", "{}", "512Mi").replace("  placement: {}\n", "");
    let refused = vsiflow.apply(&(hosts() + &one), &[]).exits(2);
    assert!(
        refused.stderr.contains("fleet=blue matches 3 ConfigMaps"),
        "{}",
        refused.stderr
    );
}

#[test]
fn where_no_host_fits_nothing_is_made_and_each_says_what_it_lacks() {
    let vsiflow = Vsiflow::of_documents();
    let small = host("a", "x", "  OVERCOMMIT_MEMORY: \"0.5\"\n");
    let first = server("first", "{}", "512Mi");
    vsiflow
        .apply(&(small.clone() + &first), &["--wait"])
        .exits(0);
    let all = small + &host("b", "x", "") + &host("c", "y", "");
    vsiflow
        .apply(
            &(all.clone() + &first + &server("on-b", "{}", "512Mi")),
            &["--wait"],
        )
        .exits(0);
    vsiflow
        .run(&["host", "cordon", "sim:b", "--reason", "firmware"])
        .exits(0);
    let large = server("large", "{antiAffinity: {matchLabels: {app: db}}}", "300Gi");
    let before = vsiflow
        .run(&["events", "-o", "json"])
        .exits(0)
        .stdout
        .lines()
        .count();
    for command in [&["--dry-run"][..], &[]] {
        let refused = vsiflow
            .apply(&(all.clone() + &large), command)
            .exits(4)
            .stderr;
        for words in [
            "VSI0737",
            "sim:a: it lacks 300Gi of memory",
            "sim:b: it is cordoned: firmware",
            "sim:c: it lacks 300Gi of memory: 256Gi",
        ] {
            assert!(refused.contains(words), "{words} is not in {refused}");
        }
    }
    assert!(!places(&vsiflow).contains_key("large"));
    let after = vsiflow
        .run(&["events", "-o", "json"])
        .exits(0)
        .stdout
        .lines()
        .count();
    assert_eq!(before, after, "nothing is recorded");
    // It is placed once there is room.
    let room = host("c", "y", "  OVERCOMMIT_MEMORY: \"2\"\n") + &large;
    vsiflow.apply(&room, &["--wait"]).exits(0);
    assert_eq!(places(&vsiflow)["large"], "sim:c");
}

#[test]
fn hosts_show_what_they_have_and_what_is_promised() {
    let vsiflow = Vsiflow::of_documents();
    let more = "  OVERCOMMIT_CPUS: \"2\"\n  DEVICES: crypto\n";
    let documents = host("a", "x", more)
        + &host("b", "x", "")
        + &server("one", "{requires: {device: crypto}}", "2Gi");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let wide = vsiflow.run(&["get", "host", "-o", "wide"]).exits(0).stdout;
    let line = |name: &str| {
        wide.lines()
            .find(|line| line.starts_with(name))
            .unwrap()
            .to_owned()
    };
    for words in ["1/64", "2Gi/256Gi", "2/1/1", "images"] {
        assert!(line("sim:a").contains(words), "{words} is not in {wide}");
    }
    assert!(line("sim:b").contains("0/64"), "{wide}");
    // A host that has not been checked says so.
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d, labels: {only: d}}\ndata: {HOSTNAME: sim:d}\n---\n";
    let fixed = server("fixed", "{}", "512Mi")
        .replace("  placement: {}\n", "")
        .replace("fleet: blue", "only: d");
    vsiflow
        .apply(&(other.to_owned() + &fixed), &["--wait"])
        .exits(0);
    let wide_again = vsiflow.run(&["get", "host", "-o", "wide"]).exits(0);
    wide_again.says("1/unknown");
    vsiflow.run(&["host", "check", "sim:d", "--arch", "x86_64"]);
    let wide_of_one = vsiflow
        .run(&["get", "host", "sim:d", "-o", "wide"])
        .exits(0);
    wide_of_one.says("1/64");
}

#[test]
fn the_members_of_a_pool_are_placed_one_by_one_and_stay() {
    let vsiflow = Vsiflow::of_documents();
    let over_zones = "{spread: {over: label, label: zone}}";
    vsiflow
        .apply(&(hosts() + &pool(4, over_zones, "")), &["--wait"])
        .exits(0)
        .says("pool/web is Available");
    let first = places(&vsiflow);
    let on_c = first.values().filter(|host| *host == "sim:c").count();
    assert_eq!(on_c, 2, "two zones share four: {first:?}");
    // Another host is added: no VSI moves, and new ones are placed there.
    let joined = hosts() + &host("d", "z", "");
    vsiflow
        .apply(&(joined + &pool(5, over_zones, "")), &["--wait"])
        .exits(0);
    let second = places(&vsiflow);
    assert_eq!(second["web-4"], "sim:d");
    assert!(
        first.iter().all(|(name, host)| second[name] == *host),
        "{first:?} {second:?}"
    );
}

#[test]
fn a_member_whose_disk_is_retained_is_made_again_where_its_disk_is() {
    let vsiflow = Vsiflow::of_documents();
    let disks = "  diskTemplates:\n  - metadata: {name: data}\n    spec: {size: 1Gi}\n";
    let documents = hosts() + &pool(3, SPREAD, disks);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let first = places(&vsiflow);
    assert_eq!(
        first.values().collect::<BTreeSet<_>>().len(),
        3,
        "{first:?}"
    );
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "1", "--wait"])
        .exits(0);
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "3", "--wait"])
        .exits(0);
    assert_eq!(places(&vsiflow), first);
    let described = vsiflow.run(&["describe", "web-2"]).exits(0);
    described.says("its data disk data-web-2 is on");
}

#[test]
fn a_pool_that_does_not_fit_is_refused_as_a_whole() {
    let vsiflow = Vsiflow::of_documents();
    let apart = "{spread: {over: host}, antiAffinity: {matchLabels: {vsiflow.io/pool: web}}}";
    let refused = vsiflow
        .apply(&(hosts() + &pool(4, apart, "")), &[])
        .exits(4);
    assert!(refused.stderr.contains("VSI0737"), "{}", refused.stderr);
    assert!(places(&vsiflow).is_empty());
    vsiflow
        .apply(&(hosts() + &pool(3, apart, "")), &["--wait"])
        .exits(0);
    let scale_refused = vsiflow
        .run(&["scale", "pool/web", "--replicas", "4"])
        .exits(4);
    assert!(
        scale_refused.stderr.contains("antiAffinity: web-"),
        "{}",
        scale_refused.stderr
    );
    assert_eq!(places(&vsiflow).len(), 3);
}

#[test]
fn a_cordoned_member_that_is_gone_needs_no_host() {
    let vsiflow = Vsiflow::of_documents();
    let documents = hosts() + &pool(2, SPREAD, "");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    vsiflow.run(&["cordon", "web-1"]).exits(0);
    vsiflow.run(&["delete", "web-1", "--wait"]).exits(0);
    for host in ["sim:a", "sim:b", "sim:c"] {
        vsiflow.run(&["host", "cordon", host]).exits(0);
    }
    let applied = vsiflow.apply(&documents, &[]).exits(0);
    applied.says("pool/web unchanged");
    let larger = hosts() + &pool(3, SPREAD, "");
    vsiflow.apply(&larger, &[]).exits(4).says("VSI0737");
}

#[test]
fn mistakes_of_a_placement_are_told_before_anything_is_made() {
    let vsiflow = Vsiflow::of_documents();
    for (placement, words) in [
        (
            "{spread: {over: label}}",
            "a spread over a label names the label",
        ),
        (
            "{pack: true, spread: {over: host}}",
            "pack and spread contradict one another",
        ),
        ("{spread: {over: moon}}", "spec.placement.spread.over"),
    ] {
        let refused = vsiflow
            .apply(&(hosts() + &server("one", placement, "512Mi")), &[])
            .exits(2);
        assert!(
            refused.stderr.contains(words),
            "{words} is not in {}",
            refused.stderr
        );
    }
    let odd = host("a", "x", "  OVERCOMMIT_CPUS: much\n") + &server("one", "{}", "512Mi");
    let refused = vsiflow.apply(&odd, &[]).exits(2);
    assert!(
        refused.stderr.contains("OVERCOMMIT_CPUS"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_group_takes_the_networks_along_on_every_host_that_its_members_were_placed_on() {
    let vsiflow = Vsiflow::of_documents();
    let documents = format!(
        "{}apiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\nmetadata: {{name: net}}\n\
         spec: {{cidr: 10.20.0.0/24}}\n---\n\
         apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: db}}\nspec:\n  waves:\n  \
         - name: all\n    pools:\n    - name: node\n      replicas: 2\n      template:\n        spec:\n          \
         imageURL: {SIMULATED_IMAGE}\n          guest: {{type: none}}\n          \
         machine: {{cpus: 1, memory: 512Mi}}\n          interfaces: [{{network: net}}]\n          \
         targetSelector: {{matchLabels: {{fleet: blue}}}}\n          placement: {SPREAD}\n",
        hosts()
    );
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let places = places(&vsiflow);
    let hosts: BTreeSet<_> = places.values().cloned().collect();
    assert_eq!(hosts.len(), 2, "{places:?}");
    let made = || {
        let listed = vsiflow
            .run(&["get", "network", "-o", "json"])
            .exits(0)
            .json();
        let items = listed["items"].as_array().unwrap().iter();
        let made = items.filter(|network| !network["status"]["made"].is_null());
        made.map(|network| network["status"]["host"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(made(), hosts);
    // A network stays while a pool may have members on it.
    vsiflow
        .run(&["delete", "network/net"])
        .exits(4)
        .says("VSI0746");
    vsiflow.run(&["delete", "group/db", "--wait"]).exits(0);
    assert_eq!(made(), BTreeSet::new());
}
