use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::*;
use crate::spec::placement::PlacementSpec;

const GIB: u64 = 1 << 30;

/// 16 CPUs with an overcommit of 4, 64 GiB of memory, a pool of 100 GiB.
fn host(id: &str) -> PlacementHost {
    let pool = PoolCapacity {
        capacity: 100 * GIB,
        available: 100 * GIB,
    };
    PlacementHost {
        id: id.to_owned(),
        capacity: CapacityRecord {
            host: id.to_owned(),
            cpus: Some(16),
            memory: Some(64 * GIB),
            pools: BTreeMap::from([("images".to_owned(), pool)]),
            archs: BTreeMap::new(),
        },
        ..PlacementHost::default()
    }
}

fn labelled(id: &str, zone: &str) -> PlacementHost {
    PlacementHost {
        labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
        ..host(id)
    }
}

fn request(name: &str, hosts: &[&str], placement: serde_json::Value) -> PlacementRequest {
    let placement: PlacementSpec = serde_json::from_value(placement).unwrap();
    PlacementRequest {
        vsi: PlacedVsi {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            pool: None,
            anti_affinity: placement.anti_affinity.clone().map(Arc::new),
        },
        placement: Arc::new(placement),
        candidates: Arc::new(hosts.iter().map(|host| (*host).to_owned()).collect()),
        arch: "x86_64".to_owned(),
        pool: "images".to_owned(),
        needs: Needs {
            cpus: 2,
            memory: 4 * GIB,
            pools: BTreeMap::from([("images".to_owned(), 10 * GIB)]),
        },
        ..PlacementRequest::default()
    }
}

fn chosen(
    board: &mut PlacementBoard,
    count: usize,
    hosts: &[&str],
    placement: serde_json::Value,
) -> String {
    let names = (0..count).map(|number| {
        let request = request(&format!("v{number}"), hosts, placement.clone());
        board.choose(&request).unwrap().host
    });
    names.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_host_with_the_most_free_room_is_chosen_where_nothing_else_is_said() {
    let mut big = host("a");
    big.capacity.memory = Some(256 * GIB);
    big.capacity.cpus = Some(64);
    let mut board = PlacementBoard::new(vec![host("b"), big]);
    assert_eq!(chosen(&mut board, 5, &["a", "b"], json!({})), "a a a a b");
}

#[test]
fn pack_fills_one_host_after_the_other() {
    let mut board = PlacementBoard::new(vec![host("a"), host("b")]);
    let placed = chosen(&mut board, 12, &["a", "b"], json!({"pack": true}));
    assert_eq!(
        placed, "a a a a a a a a a a b b",
        "the pool of a has room for ten"
    );
}

#[test]
fn spread_goes_over_hosts_whatever_their_size() {
    let mut big = host("a");
    big.capacity.memory = Some(1024 * GIB);
    let mut board = PlacementBoard::new(vec![big, host("b"), host("c")]);
    let placed = chosen(
        &mut board,
        6,
        &["a", "b", "c"],
        json!({"spread": {"over": "host"}}),
    );
    let mut each = BTreeMap::<&str, u32>::new();
    for host in placed.split(' ') {
        *each.entry(host).or_default() += 1;
    }
    assert_eq!(
        each,
        BTreeMap::from([("a", 2), ("b", 2), ("c", 2)]),
        "{placed}"
    );
}

#[test]
fn spread_over_a_label_counts_its_values_first() {
    let hosts = vec![
        labelled("a1", "a"),
        labelled("a2", "a"),
        labelled("b1", "b"),
        host("none"),
    ];
    let mut board = PlacementBoard::new(hosts);
    let all = ["a1", "a2", "b1", "none"];
    let placement = json!({"spread": {"over": "label", "label": "zone"}});
    assert_eq!(
        chosen(&mut board, 4, &all, placement.clone()),
        "a1 b1 a2 b1"
    );
    let decision = board.choose(&request("last", &all, placement)).unwrap();
    let none = decision
        .against
        .iter()
        .find(|one| one.hosts == ["none"])
        .unwrap();
    assert_eq!(none.why, "it has no label zone");
}

#[test]
fn anti_affinity_holds_for_both_whoever_comes_first() {
    let all = ["a", "b"];
    let averse = json!({"antiAffinity": {"matchLabels": {"app": "web"}}});
    let mut board = PlacementBoard::new(vec![host("a"), host("b")]);
    assert_eq!(chosen(&mut board, 2, &all, averse.clone()), "a b");
    let refused = board
        .choose(&request("third", &all, averse.clone()))
        .unwrap_err();
    assert!(
        refused.to_string().contains("antiAffinity: v0 is there"),
        "{refused}"
    );
    let meek_refused = board.choose(&request("meek", &all, json!({}))).unwrap_err();
    assert!(
        meek_refused
            .to_string()
            .contains("antiAffinity: v1 is there"),
        "{meek_refused}"
    );
    // Other namespaces are not affected.
    let mut other = request("other", &all, averse);
    other.vsi.namespace = "other".to_owned();
    board.choose(&other).unwrap();
}

#[test]
fn a_host_that_does_not_say_what_it_has_has_neither_nothing_nor_enough() {
    let mut silent = host("a");
    silent.capacity.memory = None;
    let mut board = PlacementBoard::new(vec![silent.clone(), host("b")]);
    let decision = board.choose(&request("v", &["a", "b"], json!({}))).unwrap();
    assert_eq!(decision.host, "b");
    assert_eq!(
        decision.against[0].why,
        "it does not say how much memory it has"
    );
    let mut alone = PlacementBoard::new(vec![silent]);
    assert!(alone.choose(&request("v", &["a"], json!({}))).is_err());
}

#[test]
fn a_refusal_says_which_host_lacks_what() {
    let mut cordoned = host("a");
    cordoned.cordoned = Some("firmware".to_owned());
    let mut dead = host("b");
    dead.unreachable = Some("connection refused".to_owned());
    let mut small = host("c");
    small.promised.all.memory = 61 * GIB;
    let mut full = host("d");
    full.capacity.pools.get_mut("images").unwrap().available = GIB;
    let mut plain = host("e");
    plain.capacity.archs.insert("x86_64".to_owned(), false);
    let mut board = PlacementBoard::new(vec![cordoned, dead, small, full, plain]);
    let all = ["a", "b", "c", "d", "e", "unknown"];
    let refused = board
        .choose(&request("v", &all, json!({})))
        .unwrap_err()
        .to_string();
    for words in [
        "a: it is cordoned: firmware",
        "b: it does not answer: connection refused",
        "c: it lacks 4Gi of memory: 3Gi of memory are free",
        "d: it lacks 10Gi in pool images: 1Gi in pool images are free",
        "e: it runs no guests of architecture x86_64",
        "unknown: its settings are not known",
    ] {
        assert!(refused.contains(words), "{words} is not in {refused}");
    }
}

#[test]
fn what_is_promised_and_not_made_yet_is_not_promised_again() {
    let mut board = PlacementBoard::new(vec![host("a")]);
    assert_eq!(
        chosen(&mut board, 10, &["a"], json!({}))
            .matches('a')
            .count(),
        10
    );
    let refused = board
        .choose(&request("eleventh", &["a"], json!({})))
        .unwrap_err();
    assert!(refused.to_string().contains("in pool images"), "{refused}");
}

#[test]
fn devices_and_a_pinned_host_leave_no_choice() {
    let mut with = host("b");
    with.limits.devices = vec!["crypto".to_owned()];
    let mut board = PlacementBoard::new(vec![host("a"), with]);
    let needs = json!({"requires": {"device": "crypto"}});
    let decision = board.choose(&request("v", &["a", "b"], needs)).unwrap();
    assert_eq!(decision.host, "b");
    let mut pinned = request("w", &["a", "b"], json!({}));
    pinned.pinned = Some(("b".to_owned(), "its disk is there".to_owned()));
    assert_eq!(board.choose(&pinned).unwrap().why, "its disk is there");
}

/// Places this many requests on this many hosts; returns the choices and the time that it took.
fn many(vsis: usize, hosts: usize) -> (Vec<Decision>, Duration) {
    let zones = ["a", "b", "c"];
    let all = (0..hosts).map(|number| {
        let mut host = labelled(&format!("host-{number:03}"), zones[number % 3]);
        host.capacity.cpus = Some(64);
        host.capacity.memory = Some((512 + (number as u64 % 7) * 64) * GIB);
        host.capacity.pools.get_mut("images").unwrap().capacity = 10_000 * GIB;
        host.capacity.pools.get_mut("images").unwrap().available = 10_000 * GIB;
        host
    });
    let all: Vec<_> = all.collect();
    let ids: Vec<_> = all.iter().map(|host| host.id.clone()).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let placements = [
        json!({"spread": {"over": "host"}}),
        json!({"spread": {"over": "label", "label": "zone"}}),
        json!({"pack": true}),
        json!({}),
    ];
    let requests = (0..vsis).map(|number| {
        let placement = placements[number % placements.len()].clone();
        let mut request = request(&format!("v{number}"), &ids, placement);
        request.vsi.pool = Some(format!("pool-{}", number % 8));
        request
    });
    let requests: Vec<_> = requests.collect();
    let begun = processor_time();
    let mut board = PlacementBoard::new(all);
    let decisions = requests
        .iter()
        .map(|request| board.choose(request).unwrap());
    let decisions = decisions.collect();
    (decisions, processor_time().saturating_sub(begun))
}

/// The CPU time of this thread, so that other processes do not count.
fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

#[test]
fn the_same_hosts_and_requests_give_the_same_choices() {
    let (first, _) = many(500, 40);
    let (second, _) = many(500, 40);
    assert_eq!(first, second);
    let hosts: BTreeSet<_> = first.iter().map(|decision| &decision.host).collect();
    assert!(hosts.len() > 20, "{hosts:?}");
}

/// The aim is 10,000 requests on 200 hosts in less than a second of an optimised build, which
/// `tests/bench/run placement` measures. This test checks only the growth.
#[test]
fn ten_times_the_vsis_take_about_ten_times_as_long() {
    let fastest = |vsis: usize| (0..3).map(|_| many(vsis, 50).1).min().unwrap();
    let (few, ten_times) = (fastest(200), fastest(2000));
    assert!(ten_times < few * 30, "{few:?} {ten_times:?}");
}
