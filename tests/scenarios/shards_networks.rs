//! Networks in a set of journals: the journal of each host that uses a network has it, it is
//! deleted in all of them or in none, and its types belong to the set.

use serde_json::Value;

use super::{
    shards::ShardsSite,
    shards_placing::{anchors, hosts, placed, two},
    shards_pools::{BLUE, members, nothing_is_left, pool},
};

fn network(policy: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\nmetadata: {{name: inner}}\nspec: \
         {{cidr: 10.20.0.0/24, deletionPolicy: {policy}}}\n---\n"
    )
}

/// A server on that host and on the network.
fn on(host: &str, name: &str) -> String {
    let interfaces = "  interfaces: [{network: inner}]\n";
    placed(name, &format!("config: {host}"), "{}", "128Mi").replace("  placement: {}\n", interfaces)
}

/// A pool with one member on each host, on the network.
fn networked(replicas: u32) -> String {
    let interfaces = "      interfaces: [{network: inner}]\n      machine:";
    pool(replicas, BLUE, "128Mi", "").replace("      machine:", interfaces)
}

/// The networks that vsiflow makes.
fn made(site: &ShardsSite) -> Vec<Value> {
    let list = site.run(&["get", "networks", "-o", "json"]).exits(0).json();
    let mut all = list["items"].as_array().unwrap().clone();
    all.retain(|network| !network["status"]["made"].is_null() || !network["made"].is_null());
    all
}

#[test]
fn a_network_is_where_its_servers_are_and_ends_everywhere_or_nowhere() {
    let site = ShardsSite::new();
    let (_first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let servers = on("b", "one") + &on("d", "two");
    site.apply(&(hosts() + &network("Delete") + &servers), &["--wait"])
        .exits(0);
    assert_eq!(made(&site).len(), 2, "{:?}", made(&site));
    let listed = site.run(&["get", "networks"]).exits(0);
    listed.says("sim:b").says("sim:d");
    site.run(&["history", "network/inner"])
        .exits(0)
        .says("define_network");
    let described = site.run(&["describe", "network/inner"]).exits(0);
    described.says("sim:b").says("sim:d").says("define_network");

    // Its document changes it in every journal.
    site.apply(&network("Retain"), &[])
        .exits(0)
        .says("network/inner configured");
    assert!(format!("{:?}", made(&site)).matches("Retain").count() == 2);
    site.apply(&network("Delete"), &[]).exits(0);
    let other = network("Delete").replace("10.20", "10.30");
    site.apply(&other, &[]).exits(4).says("VSI0745");

    site.run(&["delete", "one", "--wait"]).exits(0);
    let in_use = site.run(&["delete", "network/inner"]).exits(4);
    in_use.says("VSI0746").says("in use by two");
    assert_eq!(
        made(&site).len(),
        2,
        "one journal deleted it before all agreed"
    );
    site.run(&["delete", "network/nothing"])
        .exits(3)
        .says("VSI0703");
    second.terminate();
    site.until_held(4, 1);
    site.run(&["delete", "two", "--wait"]).exits(0);
    site.run(&["delete", "network", "inner", "--wait"]).exits(0);
    assert_eq!(made(&site), Vec::<Value>::new());
    site.run(&["delete", "network/inner"])
        .exits(3)
        .says("VSI0703");
    nothing_is_left(&site);
}

#[test]
fn members_of_a_pool_are_on_a_network_of_each_of_their_hosts() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let documents = hosts() + &network("Delete") + &networked(3);
    site.apply(&documents, &["--wait"]).exits(0);
    assert_eq!(members(&site).len(), 3);
    assert_eq!(made(&site).len(), 3, "{:?}", made(&site));
    // Wherever its members were: the pool retains the network in all journals.
    site.run(&["scale", "pool/web", "--replicas", "0", "--wait"])
        .exits(0);
    let in_use = site.run(&["delete", "network/inner"]).exits(4);
    in_use.says("VSI0746").says("pool/web");
    site.run(&["scale", "pool/web", "--replicas", "2", "--wait"])
        .exits(0);
    site.apply(&(hosts() + &network("Retain") + &networked(2)), &["--wait"])
        .exits(0);
    assert_eq!(format!("{:?}", made(&site)).matches("Retain").count(), 3);
    site.apply(
        &documents.replace("replicas: 3", "replicas: 2"),
        &["--wait"],
    )
    .exits(0);

    site.run(&["delete", "pool/web", "--wait"]).exits(0);
    site.run(&["delete", "network/inner", "--wait"]).exits(0);
    assert_eq!(made(&site), Vec::<Value>::new());
    nothing_is_left(&site);
}

#[test]
fn a_type_is_the_sets_and_makes_servers_on_every_host() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    let tiny = "apiVersion: vsiflow.io/v1\nkind: VirtualServerType\nmetadata: {name: tiny}\nspec: {cpus: 1, memory: 256Mi}\n---\n";
    site.apply(&(anchors() + tiny), &["--wait"])
        .exits(0)
        .says("type/tiny created");
    let listed = site.run(&["get", "types", "-o", "name"]).exits(0).stdout;
    assert_eq!(listed.matches("tiny").count(), 1, "{listed}");
    assert_eq!(listed.matches("small").count(), 1, "{listed}");
    site.run(&["describe", "type/tiny"]).exits(0).says("256Mi");
    let image = vsiflow_tests::SIMULATED_IMAGE;
    let create = [
        "create", "of-type", "--type", "tiny", "--image", image, "--on", "sim:d", "--wait",
    ];
    site.run(&create).exits(0);
    let made = site.run(&["get", "of-type", "-o", "json"]).exits(0).json();
    assert_eq!(made["spec"]["machine"]["memory"], "256Mi", "{made}");
    let changed = tiny.replace("256Mi", "512Mi");
    site.apply(&changed, &[])
        .exits(0)
        .says("type/tiny configured");
    site.run(&["delete", "type/tiny"]).exits(0);
    site.run(&["describe", "type/tiny"])
        .exits(3)
        .says("VSI0703");
    site.run(&["delete", "type/tiny"]).exits(3).says("VSI0703");
    site.run(&["delete", "type/small"]).exits(2).says("VSI0810");
}
