//! Commands on hosts in a set of journals: the journal of the host carries each out, and adopts
//! what exists there.

use serde_json::Value;
use vsiflow_tests::until;

use super::{
    shards::ShardsSite,
    shards_placing::{anchors, hosts, placed, places, two},
};

fn uid(site: &ShardsSite, name: &str) -> String {
    let shown = site.run(&["get", name, "-o", "json"]).exits(0).json();
    shown["metadata"]["uid"].as_str().unwrap().to_owned()
}

fn phase(site: &ShardsSite, name: &str) -> String {
    places(site)[name].1.clone()
}

#[test]
fn a_host_is_looked_at_cordoned_and_drained_by_its_journal() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let inventory = ["host", "inventory", "sim:d", "-o", "json"];
    let all = site.run(&inventory).exits(0).json();
    let domain = uid(&site, "on-d");
    let items = all["items"].as_array().unwrap();
    let has = items.iter().any(|item| item["metadata"]["name"] == domain);
    assert!(has, "{all}");
    site.run(&["host", "check", "sim:b"])
        .exits(0)
        .says("libvirt");

    site.run(&["host", "cordon", "sim:d", "--reason", "firmware"])
        .exits(0)
        .says("host/sim:d cordoned");
    site.run(&["describe", "host/sim:d"])
        .exits(0)
        .says("firmware");
    // Nothing is placed there any more, also not by journal 0.
    let far = placed("far", "site: far", "{}", "128Mi");
    site.apply(&(hosts() + &far), &["--wait"]).exits(0);
    assert_eq!(places(&site)["far"].0, "sim:c");
    site.run(&["host", "drain", "sim:d", "--stop"]).exits(0);
    assert_eq!(phase(&site, "on-d"), "Stopped");
    assert_eq!(phase(&site, "on-c"), "Running");
    site.run(&["host", "uncordon", "sim:d", "--start"]).exits(0);
    assert_eq!(phase(&site, "on-d"), "Running");

    site.run(&["host", "cordon", "sim:nowhere"])
        .exits(3)
        .says("VSI0703");
    site.run(&["host", "inventory"]).exits(2).says("VSI0607");
    site.run(&["host", "drain", "sim:d", "--move", "--yes"])
        .exits(2)
        .says("VSI0764");
}

#[test]
fn what_stands_on_a_host_is_adopted_by_its_journal_under_a_name_that_no_other_has() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let domain = uid(&site, "on-d");
    site.run(&["delete", "on-d", "--orphan", "--wait"]).exits(0);
    // Its domain exists, so its addresses are not released.
    site.run(&["delete", &domain, "--release", "--wait"])
        .exits(4)
        .says("VSI0758");
    let adopt = |more: &[&str]| {
        site.run(&[&["adopt", &domain, "--on", "sim:d", "--wait"][..], more].concat())
    };
    adopt(&["--as", "on-b"]).exits(4).says("VSI0765");
    adopt(&["--as", "taken"])
        .exits(0)
        .says("vsi/taken is adopted without changes");
    assert_eq!(places(&site)["taken"], ("sim:d".into(), "Running".into()));
    assert_eq!(uid(&site, "taken"), domain);
    adopt(&[]).exits(0).says("is managed already, as vsi/taken");
    site.run(&["stop", "taken", "--wait"]).exits(0);
    assert_eq!(phase(&site, "taken"), "Stopped");

    // The host's description is applied along with the VSI, because the set does not know it yet.
    site.run(&["delete", "taken", "--orphan", "--wait"])
        .exits(0);
    let host =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {HOSTNAME: 'sim:new'}\n";
    let file = site.vsiflow.write("host.yaml", host);
    let nothing = ["adopt", "nothing", "-f", file.to_str().unwrap()];
    site.run(&nothing).exits(3).says("VSI0703");
    let known = site.run(&["get", "host", "-o", "name"]).exits(0);
    known.says("sim:new");
}

#[test]
fn images_of_all_journals_are_listed_brought_and_removed() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let images = || {
        let list = site.run(&["image", "list", "-o", "json"]).exits(0).json();
        list["items"].as_array().unwrap().clone()
    };
    assert_eq!(images().len(), 4);
    let other = "http://images.test/other.qcow2";
    site.run(&[
        "image",
        "upload",
        other,
        "-l",
        "site=far",
        "--timeout",
        "60s",
    ])
    .exits(0)
    .says("is whole on sim:c")
    .says("is whole on sim:d");
    assert_eq!(images().len(), 6);
    site.run(&["image", "upload", other, "-l", "site=none"])
        .exits(3)
        .says("VSI0703");
    site.run(&["image", "upload", other, "--host", "sim:a"])
        .exits(0);
    site.run(&["image", "upload", "a.qcow2", "-l", "site=far"])
        .exits(2)
        .says("VSI0764");
    site.run(&["image", "prune", "--dry-run"])
        .exits(0)
        .says("sim:c")
        .says("sim:a");
    assert_eq!(images().len(), 7);
    site.run(&["image", "prune"]).exits(0);
    until("unused images are gone", 60, || {
        let left: Vec<Value> = images();
        (left.len() == 4).then_some(())
    });
}
