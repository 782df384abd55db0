//! Pools in a set of journals: the pool is in journal 0, its members are in the journals of their
//! hosts.

use std::collections::BTreeMap;

use serde_json::Value;
use vsiflow_tests::{Running, SIMULATED_IMAGE, until_lasting};

use super::{
    shards::ShardsSite,
    shards_deaths::{Asker, Point, dies_at},
    shards_placing::{all_are_running, anchors, hosts, placed, places, start_apply, two},
};

/// A pool whose members may be on any host with that label, on separate hosts as far as possible.
pub(super) fn pool(replicas: u32, label: &str, memory: &str, more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n{more}  \
         template:\n    metadata: {{labels: {{app: pooled}}}}\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: {memory}}}\n      placement: {{spread: {{over: host}}}}\n      \
         targetSelector: {{matchLabels: {{{label}}}}}\n---\n"
    )
}

pub(super) const BLUE: &str = "fleet: blue";

/// The hosts of the pool's running members, by the members' names.
pub(super) fn members(site: &ShardsSite) -> BTreeMap<String, String> {
    let all = places(site).into_iter();
    let own = all.filter(|(name, (_, phase))| name.starts_with("web-") && phase == "Running");
    own.map(|(name, (host, _))| (name, host)).collect()
}

fn shown(site: &ShardsSite) -> Value {
    site.run(&["get", "pool/web", "-o", "json"]).exits(0).json()
}

/// The UID of a VSI.
fn uid(site: &ShardsSite, name: &str) -> String {
    let shown = site.run(&["get", name, "-o", "json"]).exits(0).json();
    shown["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[track_caller]
fn is_available(site: &ShardsSite) {
    until("the pool is not available", || {
        shown(site)["status"]["phase"] == "Available"
    });
}

/// Asserts that no request of a pool is open, and that each journal's chain is intact.
#[track_caller]
pub(super) fn nothing_is_left(site: &ShardsSite) {
    let open = "SELECT count(*) FROM vsiflow.shard_requests WHERE answer IS NULL AND lane < 2";
    until("something is open", || site.server.sql(open).trim() == "0");
    for journal in 0..4 {
        let url = site.server.url(&format!("fleet.{journal}"));
        let verify = site.named(&url, &["audit", "verify"]);
        site.vsiflow.run(&verify).exits(0);
    }
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    until_lasting(what, 240, holds);
}

#[test]
fn a_pool_over_journals_comes_up_scales_heals_and_goes() {
    let site = ShardsSite::new();
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

    let mut watching = start(&site, &["get", "--watch"]);
    assert!(watching.prints("web-2", 60), "{}", watching.error_output());
    site.run(&["scale", "pool/web", "--replicas", "5", "--wait"])
        .exits(0);
    assert_eq!(members(&site).len(), 5);
    assert!(watching.prints("web-4", 60), "{}", watching.error_output());
    watching.kill();
    site.run(&["scale", "pool/web", "--replicas", "4", "--wait"])
        .exits(0);
    let four = members(&site);
    assert_eq!(four.len(), 4);
    assert!(!places(&site).contains_key("web-4"));

    // A retry reaches each journal that has members; here nothing failed.
    let retried = site.run(&["retry", "pool/web", "--wait"]).exits(0);
    for name in four.keys() {
        let nothing = format!("vsi/{name}: nothing to retry");
        assert!(retried.stdout.contains(&nothing), "{retried:?}");
    }
    site.run(&["retry", "pool/nobody"]).exits(3).says("VSI0703");

    // A user deletes one in its journal; the pool recreates it.
    let before = uid(&site, "web-1");
    site.run(&["delete", "web-1", "--wait"]).exits(0);
    until("the pool did not make a member again", || {
        members(&site).contains_key("web-1")
    });
    assert_ne!(uid(&site, "web-1"), before);
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
    nothing_is_left(&site);
}

#[test]
fn a_rollout_over_journals_keeps_to_its_strategy() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let one_away = "  strategy: {maxUnavailable: 1}\n";
    let documents = |memory: &str, more: &str| hosts() + &pool(4, BLUE, memory, more);
    site.apply(&documents("256Mi", one_away), &["--wait"])
        .exits(0);
    let before = shown(&site)["status"]["revision"].clone();
    let uids: Vec<_> = members(&site).keys().map(|name| uid(&site, name)).collect();
    let rollout = start_apply(&site, &documents("384Mi", one_away), &["--wait"]);
    // However often it is checked, at most one member is down.
    until("the rollout does not end", || {
        let running = members(&site).len();
        assert!(running >= 3, "{:?}", places(&site));
        let status = shown(&site)["status"].clone();
        status["revision"] != before && status["updatedReplicas"] == 4 && running == 4
    });
    rollout.end(120).exits(0);
    let after: Vec<_> = members(&site).keys().map(|name| uid(&site, name)).collect();
    assert_eq!(after, uids, "a member was recreated");

    site.run(&["rollback", "pool/web", "--wait"]).exits(0);
    assert_eq!(shown(&site)["status"]["revision"], before);
    assert_eq!(shown(&site)["status"]["updatedReplicas"], 4);

    let manual = format!("{one_away}  updatePolicy: Manual\n");
    site.apply(&documents("384Mi", &manual), &["--wait"])
        .exits(4)
        .says("waits for approval");
    assert_eq!(shown(&site)["status"]["revision"], before);
    site.run(&["cordon", "web-1"]).exits(0);
    site.run(&["approve", "pool/web"]).exits(0);
    until("the others are not updated", || {
        shown(&site)["status"]["updatedReplicas"] == 3 && members(&site).len() == 4
    });
    let updated = |name: &str| {
        let status = shown(&site)["status"].clone();
        let all = status["members"].as_array().unwrap().clone();
        let found = all.iter().find(|member| member["name"] == name);
        found.unwrap()["updated"].clone()
    };
    assert_eq!(updated("web-1"), false);
    site.run(&["uncordon", "web-1", "--wait"]).exits(0);
    assert_eq!(updated("web-1"), true);
    nothing_is_left(&site);
}

#[test]
fn a_pool_keeps_to_quotas_and_to_the_names_of_others() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let quota = |vsis: u32| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {{name: team}}\n\
             spec: {{hard: {{vsis: {vsis}}}}}\n---\n"
        )
    };
    site.apply(&quota(6), &[]).exits(0);
    let disks = "  diskTemplates:\n  - metadata: {name: data}\n    spec: {size: 1Gi, deletionPolicy: Delete}\n";
    let documents = hosts() + &pool(3, BLUE, "256Mi", disks);
    site.apply(&documents, &["--wait"]).exits(4).says("VSI0738");
    assert_eq!(places(&site).len(), 4);
    // A VSI takes one of its names before there is room.
    let other = hosts() + &placed("web-1", "config: c", "{}", "128Mi");
    site.apply(&other, &["--wait"]).exits(0);
    let others = uid(&site, "web-1");
    site.apply(&quota(9), &[]).exits(0);
    site.apply(&documents, &["--wait"]).exits(4).says("VSI0721");
    until("the others are not made", || {
        let there = members(&site);
        there.contains_key("web-0") && there.contains_key("web-2")
    });
    assert_eq!(uid(&site, "web-1"), others);
    site.run(&["delete", "web-1", "--wait"]).exits(0);
    is_available(&site);
    assert_ne!(uid(&site, "web-1"), others);
    // No document may use the names of its members or their disks.
    site.apply(&other, &[]).exits(4).says("VSI0720");

    let count_disks = || {
        let listed = site.run(&["get", "disks", "-o", "json"]).exits(0).json();
        listed["items"].as_array().unwrap().len()
    };
    assert_eq!(count_disks(), 3);
    site.run(&["scale", "pool/web", "--replicas", "1", "--wait"])
        .exits(0);
    assert_eq!(count_disks(), 1);
    assert_eq!(members(&site).len(), 1);
    let used = site.run(&["get", "quotas"]).exits(0);
    assert!(used.stdout.contains("5/9"), "{used:?}");
    // The last member keeps the earlier template, and the newest one retains its disk.
    let retained = disks.replace("Delete", "Retain") + "  strategy: {partition: 1}\n";
    let retaining = hosts() + &pool(1, BLUE, "256Mi", &retained);
    site.apply(&retaining, &["--wait"]).exits(0);
    site.run(&["delete", "pool", "web", "--wait"]).exits(0);
    assert_eq!(count_disks(), 1);
    // Its record learned that: a later template cannot delete it.
    let listed = site.run(&["get", "disks", "-o", "json"]).exits(0).json();
    assert_eq!(listed["items"][0]["spec"]["deletionPolicy"], "Retain");
    nothing_is_left(&site);
}

#[test]
fn members_of_a_journal_without_a_holder_are_unknown_and_nothing_is_doubled() {
    let site = ShardsSite::new();
    let (_first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let documents = hosts() + &pool(4, BLUE, "256Mi", "");
    site.apply(&documents, &["--wait"]).exits(0);
    let before: Vec<_> = members(&site).keys().map(|name| uid(&site, name)).collect();
    let pid = second.pid();
    assert_eq!(site.holder_of(3), pid);
    // Its leases are long, so journals 2 and 3 have no holder from now on.
    second.kill();
    let printed = site.run(&[
        "scale",
        "pool/web",
        "--replicas",
        "5",
        "--wait",
        "--timeout",
        "110s",
    ]);
    printed
        .exits(4)
        .says("VSI0766")
        .says("does not say what members it has");
    let there = places(&site);
    let own = there.keys().filter(|name| name.starts_with("web-"));
    assert!(own.count() <= 5, "{there:?}");
    // The next holder finds all of them, and recreates none.
    site.release_leases(pid);
    site.until_held(4, 1);
    is_available(&site);
    let after: Vec<_> = members(&site).keys().map(|name| uid(&site, name)).collect();
    assert_eq!(after.len(), 5);
    assert_eq!(after[..4], before[..]);
    nothing_is_left(&site);
}

fn start(site: &ShardsSite, arguments: &[&str]) -> Running {
    site.start(&|of_process| site.vsiflow.start(of_process), arguments)
}

/// Deletes a member for each point, and kills a process at that point. The member is recreated
/// once.
fn made_again_through(points: &[Point], dies: u16) {
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    let documents = hosts() + &pool(1, "config: d", "256Mi", "");
    site.apply(&documents, &["--wait"]).exits(0);
    for point in points {
        let before = uid(&site, "web-0");
        // Nothing happens until the member is uncordoned.
        site.run(&["cordon", "web-0"]).exits(0);
        site.run(&["delete", "web-0", "--wait"]).exits(0);
        // The connection that is blocked at the point may be the one that would answer the command.
        let uncordon = || start(&site, &["uncordon", "web-0"]);
        let at = (*point, Asker::Pool);
        let outcome = dies_at(&site, at, dies, &mut processes, uncordon, || {});
        outcome.end(240).exits(0);
        is_available(&site);
        let there = places(&site);
        assert_eq!(there.len(), 5, "{point:?} {dies}: {there:?}");
        assert_eq!(there["web-0"].0, "sim:d", "{point:?} {dies}: {there:?}");
        assert_ne!(uid(&site, "web-0"), before);
        let made = site
            .run(&["get", "-o", "json", "--deleted"])
            .exits(0)
            .json();
        let all = made["items"].as_array().unwrap();
        let named = all.iter().filter(|one| one["metadata"]["name"] == "web-0");
        let expected = points.iter().position(|one| one == point).unwrap() + 2;
        assert_eq!(
            named.count(),
            expected,
            "{point:?} {dies}: it was made twice"
        );
    }
    all_are_running(&site);
    nothing_is_left(&site);
}

#[test]
fn a_member_is_made_again_once_wherever_the_holder_of_journal_0_dies() {
    use Point::{Answering, Asking, Beginning, Closing, Deciding, HandingOver, Promising};
    let points = [
        Asking,
        Deciding,
        Promising,
        HandingOver,
        Beginning,
        Answering,
        Closing,
    ];
    made_again_through(&points, 0);
}

#[test]
fn a_member_is_made_again_once_wherever_the_holder_of_its_host_dies() {
    use Point::{Answering, Appending, Beginning, Closing, HandingOver, Reporting};
    let points = [
        Reporting,
        HandingOver,
        Beginning,
        Appending,
        Answering,
        Closing,
    ];
    made_again_through(&points, 3);
}

/// The same for members that are deleted: a death in the middle leaves no member behind, and
/// deletes none that stays.
#[test]
fn a_pool_shrinks_and_goes_through_deaths_on_both_sides() {
    use Point::{Answering, Appending, Beginning, Closing, Deciding, HandingOver};
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    let deaths = [
        (Deciding, 0),
        (HandingOver, 3),
        (Beginning, 0),
        (Appending, 3),
        (Answering, 3),
        (Closing, 0),
    ];
    let most = u32::try_from(deaths.len()).unwrap();
    let documents = hosts() + &pool(most, "config: d", "128Mi", "");
    site.apply(&documents, &["--wait"]).exits(0);
    let first_uid = uid(&site, "web-0");
    for (left, (point, dies)) in (0..most).rev().zip(deaths) {
        let fewer = left.to_string();
        let shrink = || {
            if left == 0 {
                start(&site, &["delete", "pool/web"])
            } else {
                start(&site, &["scale", "pool/web", "--replicas", &fewer])
            }
        };
        let at = (point, Asker::Pool);
        let outcome = dies_at(&site, at, dies, &mut processes, shrink, || {});
        outcome.end(240).exits(0);
        let expected = usize::try_from(left).unwrap() + 4;
        until("it does not come to fewer members", || {
            places(&site).len() == expected
        });
        if left > 0 {
            is_available(&site);
            assert_eq!(uid(&site, "web-0"), first_uid);
        }
    }
    until("the pool does not go", || {
        site.run(&["get", "pool/web"]).code == Some(3)
    });
    all_are_running(&site);
    nothing_is_left(&site);
}
