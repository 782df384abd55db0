//! Pools in a set of journals: the pool is in journal 0, its members are wherever their hosts are.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::Value;
use vsiflow_tests::SIMULATED_IMAGE;

use super::{
    shards::Site,
    shards_placing::{anchors, hosts, places, two},
};

/// A pool whose members may be on any host with that label, one on each as long as there are some.
fn pool(replicas: u32, label: &str, memory: &str, more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n{more}  \
         template:\n    metadata: {{labels: {{app: pooled}}}}\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: {memory}}}\n      placement: {{spread: {{over: host}}}}\n      \
         targetSelector: {{matchLabels: {{{label}}}}}\n---\n"
    )
}

const BLUE: &str = "fleet: blue";

/// The hosts of the pool's members that are running, by their names.
fn members(site: &Site) -> BTreeMap<String, String> {
    let all = places(site).into_iter();
    let own = all.filter(|(name, (_, phase))| name.starts_with("web-") && phase == "Running");
    own.map(|(name, (host, _))| (name, host)).collect()
}

fn shown(site: &Site) -> Value {
    let listed = site.run(&["get", "pool/web", "-o", "json"]).exits(0).json();
    listed["items"][0].clone()
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(240);
    while !holds() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_pool_over_journals_comes_up_scales_heals_and_goes() {
    let site = Site::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let documents = hosts() + &pool(3, BLUE, "256Mi", "");
    site.apply(&documents, &["--dry-run"])
        .exits(0)
        .says("pool/web created (dry run)");
    site.apply(&documents, &["--wait"]).exits(0);
    let there = members(&site);
    assert_eq!(
        there.keys().collect::<Vec<_>>(),
        ["web-0", "web-1", "web-2"]
    );
    let hosts_of: std::collections::BTreeSet<_> = there.values().collect();
    assert_eq!(hosts_of.len(), 3, "{there:?}");
    let pool_shown = shown(&site);
    assert_eq!(pool_shown["status"]["phase"], "Available", "{pool_shown}");
    assert_eq!(pool_shown["status"]["readyReplicas"], 3);
    site.run(&["describe", "pool/web"])
        .exits(0)
        .says("web-2")
        .says("Available");
    site.run(&["history", "pool/web"]).exits(0);
    site.run(&["wait", "pool/web", "--for", "condition=Available"])
        .exits(0);
    site.apply(&documents, &["--wait"])
        .exits(0)
        .says("pool/web unchanged");

    site.run(&["scale", "pool/web", "--replicas", "5", "--wait"])
        .exits(0);
    assert_eq!(members(&site).len(), 5);
    site.run(&["scale", "pool/web", "--replicas", "4", "--wait"])
        .exits(0);
    let four = members(&site);
    assert_eq!(four.len(), 4);
    assert!(!places(&site).contains_key("web-4"));

    // Somebody deletes one, in its journal; the pool makes it again.
    let uid = |name: &str| {
        let shown = site.run(&["get", name, "-o", "json"]).exits(0).json();
        shown["items"][0]["metadata"]["uid"].clone()
    };
    let before = uid("web-1");
    site.run(&["delete", "web-1", "--wait"]).exits(0);
    until("the pool did not make a member again", || {
        members(&site).contains_key("web-1")
    });
    assert_ne!(uid("web-1"), before);
    site.run(&[
        "wait",
        "pool/web",
        "--for",
        "condition=Available",
        "--timeout",
        "120s",
    ])
    .exits(0);

    site.run(&["delete", "pool/web", "--wait"]).exits(0);
    let left = places(&site);
    assert_eq!(left.len(), 4, "{left:?}");
    let gone = site.run(&["get", "pools"]).exits(0);
    assert!(!gone.stdout.contains("web"), "{gone:?}");
    let open = "SELECT count(*) FROM vsiflow.shard_requests WHERE answer IS NULL AND lane < 2";
    assert_eq!(site.server.sql(open).trim(), "0");
}
