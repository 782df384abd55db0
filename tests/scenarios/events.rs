//! `events`: the newest events of all entities.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_tests::{Vsi, Vsiflow};

#[test]
fn events_tell_what_happened_last_to_everything() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow.apply(Vsi::named("db"), &["--wait"]).exits(0);
    let events = |more: &[&str]| {
        let words = [&["events", "-o", "json"], more].concat();
        let printed = vsiflow.run(&words).exits(0).stdout;
        let lines = printed
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect::<Vec<Value>>()
    };
    let all = events(&["--tail", "0"]);
    let entities: BTreeSet<_> = all.iter().map(|line| line["entity"].to_string()).collect();
    assert!(
        entities.len() >= 3,
        "two VSIs and their image: {entities:?}"
    );
    let newest = events(&["--tail", "5"]);
    assert_eq!(newest, all[all.len() - 5..]);
    let from = all[all.len() - 5]["offset"].to_string();
    let offsets =
        |lines: &[Value]| -> Vec<_> { lines.iter().map(|line| line["offset"].clone()).collect() };
    let later = events(&["--from-offset", &from]);
    assert_eq!(offsets(&later), offsets(&newest));
    assert!(events(&["--failed"]).is_empty());
    let events_of = events(&["--tail", "2", "--actor", "unix:"]);
    let kinds: Vec<_> = events_of.iter().map(|line| line["type"].clone()).collect();
    assert_eq!(kinds, ["desired", "desired"], "however far back they are");
    vsiflow.run(&["events", "--since", "soon"]).exits(2);
}

#[test]
fn watched_events_come_as_they_are_recorded() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let mut watching = vsiflow.start(&["events", "-w", "--tail", "1", "-o", "json"]);
    assert!(watching.prints("offset", 20));
    vsiflow.apply(Vsi::named("late"), &["--wait"]).exits(0);
    assert!(watching.prints("start_domain", 20));
    watching.interrupt();
    watching.end(10).exits(130);
}

#[test]
fn events_of_several_say_whose_they_are() {
    let vsiflow = Vsiflow::simulated();
    for name in ["web", "db"] {
        vsiflow.apply(Vsi::named(name), &["--wait"]).exits(0);
    }
    let listed = vsiflow.run(&["events"]).exits(0).says("OBJECT");
    listed.says("vsi/web").says("vsi/db");
    let both = vsiflow.run(&["history", "web", "vsi/db", "--events"]);
    both.exits(0).says("OBJECT").says("vsi/web").says("vsi/db");
    let offsets = |words: &[&str]| {
        let printed = vsiflow.run(&[words, &["-o", "json"]].concat()).exits(0);
        let lines = printed.stdout.lines();
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| line["offset"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    let (web, db) = (offsets(&["history", "web"]), offsets(&["history", "db"]));
    let all: BTreeSet<_> = web.iter().chain(&db).copied().collect();
    let by_kind = offsets(&["history", "vsi", "web", "db"]);
    assert_eq!(
        by_kind,
        all.into_iter().collect::<Vec<_>>(),
        "in order, each once"
    );
    assert!(
        !vsiflow
            .run(&["history", "web", "--events"])
            .stdout
            .contains("OBJECT")
    );

    let lines = vsiflow.run(&["history", "web", "db"]).exits(0).stdout;
    let heads: Vec<_> = lines.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(heads, ["web:", "db:"], "{lines}");
    let unknown = vsiflow.run(&["history", "web", "nobody"]).exits(3);
    assert_eq!(unknown.says("nobody").stdout, "");
}

#[test]
fn the_steps_of_the_newest_run_are_drawn_each_above_those_that_wait_for_it() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let lines = |words: &[&str]| -> Vec<String> {
        let drawn = vsiflow.run(words).exits(0).stdout;
        drawn.lines().map(str::to_owned).collect()
    };
    let drawn = lines(&["history", "web", "--graph"]);
    assert!(
        drawn[0].starts_with("provision_vsi   Succeeded"),
        "{drawn:#?}"
    );
    let at = |step: &str| drawn.iter().position(|line| line.contains(step));
    assert!(at("resolve_host") < at("clone_boot_disk"), "{drawn:#?}");
    assert!(at("clone_boot_disk") < at("define_domain"), "{drawn:#?}");
    let steps = drawn.iter().filter(|line| line.contains("Succeeded"));
    assert!(steps.clone().skip(1).all(|line| line.contains("●")));

    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    let of_kind = lines(&["history", "vsi/web", "--graph"]);
    assert!(of_kind[0].starts_with("update_vsi"), "{of_kind:#?}");
    assert!(of_kind[2].contains("stop_domain"), "{of_kind:#?}");
    vsiflow
        .run(&["history", "web", "--graph", "--failed"])
        .exits(2);
    vsiflow
        .run(&["history", "nobody", "--graph"])
        .exits(3)
        .says("VSI0703");
}
