//! Quotas in a set of journals: they apply to the whole set, even if processes die.

use std::collections::BTreeMap;

use vsiflow_tests::{Ran, SIMULATED_IMAGE, until_lasting};

use super::{
    shards::ShardsSite,
    shards_deaths::{Point, through_deaths},
    shards_placing::{all_are_running, anchors, hosts, placed, places, start_apply, two},
};

fn quota(hard: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {{name: team}}\nspec: {{hard: {hard}}}\n---\n"
    )
}

/// A server on that host.
fn on(host: &str, name: &str) -> String {
    placed(name, &format!("config: {host}"), "{}", "128Mi").replace("  placement: {}\n", "")
}

/// What `get quotas` shows as used and allowed.
fn used(site: &ShardsSite) -> String {
    let shown = site.run(&["get", "quotas"]).exits(0).stdout;
    let line = shown.lines().find(|line| line.starts_with("team"));
    let cells = line.map(|line| line.split_whitespace().nth(1).unwrap().to_owned());
    cells.unwrap_or_else(|| panic!("{shown}"))
}

#[test]
fn a_quota_holds_over_all_journals_until_it_is_deleted() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    // Existing VSIs count, in whichever journal they are.
    site.apply(&quota("{vsis: 6}"), &[])
        .exits(0)
        .says("created");
    assert_eq!(used(&site), "4/6");
    let three = hosts() + &on("b", "x") + &on("c", "y") + &on("d", "z");
    let refused = site.apply(&three, &[]).exits(4).says("VSI0738");
    refused.says("vsis: 4 used, 3 more asked for, 6 allowed");
    assert_eq!(places(&site).len(), 4);
    let two_more = hosts() + &on("b", "x") + &on("c", "y");
    site.apply(&two_more, &["--wait"]).exits(0);
    assert_eq!(used(&site), "6/6");
    // What does not grow is permitted; VSIs that are placed count as well.
    site.apply(&two_more, &[]).exits(0).says("x unchanged");
    let chosen = hosts() + &placed("z", "fleet: blue", "{}", "128Mi");
    site.apply(&chosen, &[]).exits(4).says("VSI0738");
    site.run(&["delete", "x", "--wait"]).exits(0);
    assert_eq!(used(&site), "5/6");
    site.apply(&chosen, &["--wait"]).exits(0);
    assert_eq!(used(&site), "6/6");
    // Other namespaces are not affected.
    let other = (hosts() + &on("a", "x")).replace("{name: x,", "{name: x, namespace: other,");
    let other = other.replace(
        "metadata: {name: a,",
        "metadata: {name: a, namespace: other,",
    );
    site.apply(&other, &["--wait"]).exits(0);
    let described = site.run(&["describe", "quota/team", "-o", "json"]).exits(0);
    assert_eq!(described.json()["status"]["used"]["vsis"], "6");
    let apart = ["describe", "quota/team", "vsi/z"];
    site.run(&apart).exits(2).says("VSI0764");

    site.run(&["delete", "quota/team"]).exits(0).says("deleted");
    let unlimited = hosts() + &on("b", "x") + &on("c", "w") + &on("d", "v");
    site.apply(&unlimited, &["--wait"]).exits(0);
}

#[test]
fn what_the_journal_of_the_host_refuses_gives_its_part_back() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let network = |name: &str, cidr: &str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\nmetadata: {{name: {name}}}\nspec: {{cidr: {cidr}}}\n---\n"
        )
    };
    let in_network = |name: &str, in_it: &str| {
        let interfaces = format!("\n  interfaces: [{{network: {in_it}}}]\n---\n");
        on("d", name).replace("\n---\n", &interfaces)
    };
    site.apply(&quota("{vsis: 6}"), &[]).exits(0);
    let backend = in_network("one", "backend") + &network("backend", "10.20.0.0/24");
    site.apply(&(hosts() + &backend), &["--wait"]).exits(0);
    let other = in_network("two", "other") + &network("other", "10.20.0.128/25");
    for _ in 0..3 {
        site.apply(&(hosts() + &other), &[])
            .exits(4)
            .says("VSI0747");
    }
    // There is still room for one.
    site.apply(&(hosts() + &on("a", "three")), &["--wait"])
        .exits(0);
    site.apply(&(hosts() + &on("a", "four")), &[])
        .exits(4)
        .says("VSI0738");
    assert_eq!(used(&site), "6/6");
}

#[test]
fn commands_at_the_same_time_exceed_no_quota() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    site.apply(&quota("{vsis: 9}"), &[]).exits(0);
    let running: Vec<_> = (0..12)
        .map(|one| {
            let host = ["a", "b", "c", "d"][one % 4];
            let documents = hosts() + &on(host, &format!("v{one}"));
            start_apply(&site, &documents, &[])
        })
        .collect();
    let ended: Vec<Ran> = running.into_iter().map(|one| one.end(240)).collect();
    let made = ended.iter().filter(|one| one.code == Some(0)).count();
    assert_eq!(made, 5, "{ended:?}");
    for refused in ended.into_iter().filter(|one| one.code != Some(0)) {
        refused.exits(4).says("VSI0738");
    }
    assert_eq!(used(&site), "9/9");
    all_are_running(&site);
}

#[test]
fn what_is_there_is_not_counted_again_while_its_command_is_under_way() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    site.apply(&quota("{vsis: 6}"), &[]).exits(0);
    // The image server does not answer, so the command keeps waiting.
    let away = on("d", "one").replace(SIMULATED_IMAGE, "http://127.0.0.1:1/image.qcow2");
    let mut waits = start_apply(&site, &(hosts() + &away), &["--wait"]);
    until_lasting("it is counted", 60, || used(&site) == "5/6");
    site.apply(&(hosts() + &on("a", "other")), &[]).exits(0);
    assert_eq!(used(&site), "6/6");
    assert!(!waits.has_ended(), "the command waits for the guest");
}

fn through(points: &[Point], dies: u16) {
    // The limit permits no VSI more: each must be admitted only once.
    let most = 4 + points.len();
    let limit = |site: &ShardsSite| {
        let quota = quota(&format!("{{vsis: {most}}}"));
        site.apply(&quota, &[]).exits(0);
    };
    let (site, _processes) = through_deaths(points, dies, limit, |name| on("d", name));
    assert_eq!(used(&site), format!("{most}/{most}"));
    let more = hosts() + &on("a", "more");
    site.apply(&more, &[]).exits(4).says("VSI0738");
    let there: BTreeMap<_, _> = places(&site);
    assert_eq!(there.len(), most, "{there:?}");
    all_are_running(&site);
}

#[test]
fn an_admission_outlives_the_holder_of_journal_0_wherever_it_dies() {
    use Point::{Answering, Asking, Beginning, Closing, HandingOver, Promising};
    let points = [
        Asking,
        Promising,
        HandingOver,
        Beginning,
        Answering,
        Closing,
    ];
    through(&points, 0);
}

#[test]
fn an_admission_outlives_the_holder_of_the_host_wherever_it_dies() {
    use Point::{Answering, Appending, Beginning, HandingOver};
    through(&[HandingOver, Beginning, Appending, Answering], 3);
}
