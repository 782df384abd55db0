//! VSIs without a host in a set of journals: journal 0 chooses among all hosts, even if processes
//! die.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use vsiflow_tests::{Ran, Running, SIMULATED_IMAGE, until_lasting};

use super::{
    shards::ShardsSite,
    shards_deaths::{Asker, Point, Stall, through_deaths},
};

/// A host with a little more than 4 GiB of memory for VSIs.
fn host(name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{fleet: blue, config: {name}{more}}}}}\n\
         data: {{HOSTNAME: 'sim:{name}', OVERCOMMIT_MEMORY: '0.016'}}\n---\n"
    )
}

pub(super) fn hosts() -> String {
    let far = ", site: far";
    [host("a", ""), host("b", ""), host("c", far), host("d", far)].concat()
}

/// A VSI that may be on any host with that label.
pub(super) fn placed(name: &str, label: &str, placement: &str, memory: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}, labels: {{app: web}}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: {memory}}}\n  \
         targetSelector: {{matchLabels: {{{label}}}}}\n  placement: {placement}\n---\n"
    )
}

/// A server on each host, so that every host has a journal of its own: a is in journal 0, d in
/// journal 3.
pub(super) fn anchors() -> String {
    let one = |name: &str| {
        placed(
            &format!("on-{name}"),
            &format!("config: {name}"),
            "{}",
            "512Mi",
        )
        .replace("  placement: {}\n", "")
    };
    hosts() + &["a", "b", "c", "d"].map(one).concat()
}

/// How much memory of a host VSIs may take, in MiB.
const ROOM: u64 = 256 * 1024 * 16 / 1000;
const BLUE: &str = "fleet: blue";

/// The host and phase of each VSI that is not deleted.
pub(super) fn places(site: &ShardsSite) -> BTreeMap<String, (String, String)> {
    let all = site.vsis();
    let count = all.len();
    let places: BTreeMap<_, _> = all
        .into_iter()
        .map(|(name, phase, host)| (name, (host, phase)))
        .collect();
    assert_eq!(places.len(), count, "a VSI exists twice: {places:?}");
    places
}

/// The memory that VSIs take on each host, in MiB.
fn taken(site: &ShardsSite) -> BTreeMap<String, u64> {
    let listed = site.run(&["get", "-o", "json"]).exits(0).json();
    let mut taken = BTreeMap::new();
    for vsi in listed["items"].as_array().unwrap() {
        let host = vsi["status"]["host"].as_str().unwrap().to_owned();
        let memory = vsi["spec"]["machine"]["memory"].as_str().unwrap();
        let mib = match memory.strip_suffix("Gi") {
            Some(gib) => gib.parse::<u64>().unwrap() * 1024,
            None => memory.strip_suffix("Mi").unwrap().parse().unwrap(),
        };
        *taken.entry(host).or_default() += mib;
    }
    taken
}

#[track_caller]
fn nothing_is_promised_twice(site: &ShardsSite) {
    let taken = taken(site);
    assert!(taken.values().all(|mib| *mib <= ROOM), "{taken:?}");
}

#[track_caller]
pub(super) fn all_are_running(site: &ShardsSite) {
    until_lasting("all are running", 240, || {
        let places = places(site);
        places.values().all(|(_, phase)| phase == "Running")
    });
}

pub(super) fn start_apply(site: &ShardsSite, documents: &str, more: &[&str]) -> Running {
    site.start(
        &|arguments| site.vsiflow.start_apply(documents, arguments),
        more,
    )
}

fn serving(process: &mut Running, journal: u16) {
    let words = format!("serving journal {journal}");
    assert!(process.reaches(&words, 120), "{}", process.error_output());
}

/// Two processes: the first has journals 0 and 1, and with them hosts a and b; the second has the
/// others.
pub(super) fn two(site: &ShardsSite) -> (Running, Running) {
    let mut first = site.process();
    serving(&mut first, 3);
    let mut second = site.process();
    serving(&mut second, 2);
    serving(&mut second, 3);
    site.until_held(4, 2);
    (first, second)
}

#[test]
fn hosts_of_all_journals_are_chosen_among_and_what_stands_there_stays() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    let spread = "{spread: {over: host}}";
    let servers: String = (0..8)
        .map(|one| placed(&format!("v{one}"), BLUE, spread, "512Mi"))
        .collect();
    let documents = hosts() + &servers;
    site.apply(&documents, &["--dry-run"])
        .exits(0)
        .says("v7 created (dry run)");
    assert_eq!(places(&site), BTreeMap::new());
    site.apply(&documents, &["--wait"]).exits(0);
    let before = places(&site);
    for host in ["a", "b", "c", "d"] {
        let host = format!("sim:{host}");
        let here = before.values().filter(|(its, _)| *its == host);
        assert_eq!(here.count(), 2, "{before:?}");
    }
    let described = site.run(&["describe", "v1"]).exits(0).stdout;
    assert!(described.contains("chosen sim:b: it fits"), "{described}");
    let again = site.apply(&documents, &[]).exits(0);
    again.says("v0 unchanged").says("v7 unchanged");
    assert_eq!(places(&site), before);

    // An existing VSI stays where it is, even if it was placed by name or another host fits better
    // now.
    let anchored = anchors();
    site.apply(&anchored, &["--wait"]).exits(0);
    let moving = hosts() + &placed("on-d", BLUE, "{}", "512Mi");
    site.apply(&moving, &[]).exits(0);
    assert_eq!(places(&site)["on-d"].0, "sim:d");

    // If nothing fits, the error names every host, and none of the documents is recorded.
    let large = hosts() + &placed("w", BLUE, "{}", "512Mi") + &placed("x", BLUE, "{}", "64Gi");
    let refused = site.apply(&large, &[]).exits(4);
    let refused = refused.says("VSI0737").says("sim:a").says("sim:d");
    refused.says("64Gi of memory");
    assert!(!places(&site).contains_key("w"));
    // A deleted VSI is placed again.
    site.run(&["delete", "on-d", "--wait"]).exits(0);
    site.apply(&moving, &["--wait"]).exits(0);
    assert_eq!(places(&site)["on-d"].1, "Running");
    for journal in 0..4 {
        let url = site.server.url(&format!("fleet.{journal}"));
        let verify = site.named(&url, &["audit", "verify"]);
        site.vsiflow.run(&verify).exits(0);
    }
}

#[test]
fn anti_affinity_and_data_disks_hold_over_journals() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let alone = "{antiAffinity: {matchLabels: {app: web}}}";
    let far = "site: far";
    let apart = |name: &str| placed(name, far, alone, "512Mi");
    // The anchors do not have this label.
    site.run(&["delete", "on-c", "--wait"]).exits(0);
    site.run(&["delete", "on-d", "--wait"]).exits(0);
    let documents = hosts() + &apart("one") + &apart("two");
    site.apply(&documents, &["--wait"]).exits(0);
    let there: BTreeSet<_> = ["one", "two"]
        .map(|name| places(&site)[name].0.clone())
        .into();
    assert_eq!(there.len(), 2);
    let third = hosts() + &apart("three");
    site.apply(&third, &[]).exits(4).says("antiAffinity");

    // A VSI must be on the host of its disk, even if other hosts have more room.
    let disk = "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDisk\n\
        metadata: {name: data, labels: {disk: data}}\nspec: {size: 1Gi, targetSelector: {matchLabels: {config: c}}}\n---\n";
    let server = placed("db", BLUE, "{}", "512Mi").replace("app: web", "app: db");
    let selector = "  diskSelector: {matchLabels: {disk: data}}\n  placement:";
    let with_disk = hosts() + disk + &server.replace("  placement:", selector);
    site.apply(&with_disk, &["--wait"]).exits(0);
    assert_eq!(places(&site)["db"].0, "sim:c");
    let described = site.run(&["describe", "db"]).exits(0);
    described.says("its data disk data is on");
}

fn through(points: &[Point], dies: u16) {
    let document = |name: &str| placed(name, "config: d", "{}", "128Mi");
    let (site, _processes) = through_deaths(points, dies, |_| {}, document);
    let all = places(&site);
    assert_eq!(all.len(), 4 + points.len(), "{all:?}");
    all_are_running(&site);
    nothing_is_promised_twice(&site);
    // The next placements remove all promises.
    let one = hosts() + &placed("last", "config: d", "{}", "128Mi");
    site.apply(&one, &["--wait"]).exits(0);
    let last_one = hosts() + &placed("very-last", "config: d", "{}", "128Mi");
    site.apply(&last_one, &["--wait"]).exits(0);
    let open = site
        .server
        .sql("SELECT count(*) FROM vsiflow.shard_requests WHERE answer IS NULL");
    assert_eq!(open.trim(), "0");
}

#[test]
fn a_choice_outlives_the_holder_of_journal_0_wherever_it_dies() {
    use Point::{Answering, Asking, Beginning, Closing, HandingOver, Promising, Reporting};
    let points = [
        Asking,
        Reporting,
        Promising,
        HandingOver,
        Beginning,
        Answering,
        Closing,
    ];
    through(&points, 0);
}

#[test]
fn a_choice_outlives_the_holder_of_the_chosen_host_wherever_it_dies() {
    use Point::{Answering, Appending, Beginning, Closing, HandingOver, Reporting};
    let points = [
        Reporting,
        HandingOver,
        Beginning,
        Appending,
        Answering,
        Closing,
    ];
    through(&points, 3);
}

#[test]
fn what_was_deleted_is_not_made_again_by_who_begins_the_choice_anew() {
    let site = ShardsSite::new();
    let (first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let documents = hosts() + &placed("short", "config: d", "{}", "128Mi");
    let stall = Stall::at(&site, (Point::Closing, Asker::Command));
    let started = start_apply(&site, &documents, &[]);
    stall.is_reached();
    site.run(&["delete", "short", "--wait"]).exits(0);
    let pid = first.pid();
    assert_eq!(site.holder_of(0), pid);
    first.kill();
    stall.ends(true);
    site.release_leases(pid);
    started.end(240).exits(0).says("created");
    assert!(!places(&site).contains_key("short"));
    // The next one of that name is created.
    site.apply(&documents, &["--wait"]).exits(0);
    assert_eq!(places(&site)["short"].1, "Running");
}

#[test]
fn two_choices_at_the_same_time_promise_no_room_twice() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    // Beside the anchor, three of them fit on each of the two hosts.
    let started: Vec<_> = (0..10)
        .map(|one| {
            let documents = hosts() + &placed(&format!("v{one}"), "site: far", "{}", "1Gi");
            start_apply(&site, &documents, &[])
        })
        .collect();
    let ended: Vec<Ran> = started.into_iter().map(|one| one.end(240)).collect();
    let made = ended.iter().filter(|one| one.code == Some(0)).count();
    assert_eq!(made, 6, "{ended:?}");
    for refused in ended.into_iter().filter(|one| one.code != Some(0)) {
        refused.exits(4).says("VSI0737");
    }
    nothing_is_promised_twice(&site);
    all_are_running(&site);
}

/// Random commands, while processes die at random times.
#[test]
fn random_game_of_choices_and_deaths() {
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random::<u64>());
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    let quota = "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {name: most}\nspec: {hard: {vsis: 12}}\n";
    site.apply(quota, &[]).exits(0);
    let mut started: Vec<(String, String, Running)> = Vec::new();
    let mut all = BTreeMap::new();
    for round in 0..24 {
        if random.random_bool(0.25) {
            let dead = processes.remove(random.random_range(0..processes.len()));
            let pid = dead.pid();
            dead.kill();
            site.release_leases(pid);
            processes.push(site.process());
        } else {
            // Some are applied again before the outcome of the first command is known.
            let number = random.random_range(0..=round);
            let name = format!("v{number}");
            let memory = all
                .entry(name.clone())
                .or_insert_with(|| ["512Mi", "1Gi", "1536Mi"][random.random_range(0..3)]);
            let documents = hosts() + &placed(&name, BLUE, "{}", memory);
            let running = start_apply(&site, &documents, &[]);
            started.push((name, documents, running));
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..1500)));
    }
    let mut made = BTreeSet::new();
    let mut refused = BTreeMap::new();
    for (name, documents, running) in started {
        let ended = running.end(300);
        match ended.code {
            Some(0) => _ = made.insert(name),
            _ => _ = refused.insert(name, (documents, ended)),
        }
    }
    nothing_is_promised_twice(&site);
    assert!(places(&site).len() <= 12, "{:?}", places(&site));
    let there: BTreeSet<_> = places(&site)
        .into_keys()
        .filter(|name| name.starts_with('v'))
        .collect();
    assert!(made.is_subset(&there), "{made:?} {there:?}");
    for (name, (documents, ended)) in refused {
        assert_eq!(ended.code, Some(4), "{ended:?}");
        assert!(
            made.contains(&name)
                || ["VSI0737", "VSI0738"]
                    .iter()
                    .any(|code| ended.stderr.contains(code)),
            "{ended:?}"
        );
        // The same outcome again, or there is room now.
        let again = site.apply(&documents, &[]);
        assert!([Some(0), Some(4)].contains(&again.code), "{again:?}");
    }
    nothing_is_promised_twice(&site);
    assert!(places(&site).len() <= 12, "{:?}", places(&site));
    all_are_running(&site);
}
