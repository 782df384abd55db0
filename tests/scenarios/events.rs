//! What happened last, to everything.

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
        let told = vsiflow.run(&words).exits(0).stdout;
        let lines = told.lines().map(|line| serde_json::from_str(line).unwrap());
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
