//! The console logs of guests, and how much of them a status shows.

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow};

/// The longest description, in bytes.
const LONGEST: usize = 16 * 1024;

#[test]
fn defect_27_a_status_holds_the_end_of_a_long_console_once() {
    let vsiflow = Vsiflow::simulated();
    let mut running = vsiflow.start_apply(Vsi::named("web"), &["--wait"]);
    assert!(running.reaches("web: start_domain", 60));
    running.kill();
    let line = "lab: a word of a guest that talks a lot ".repeat(4);
    vsiflow.change_sim(|state| {
        let domains = state["domains"].as_object_mut().unwrap();
        let live = &mut domains.values_mut().next().unwrap()["live"];
        let started = live["started"].as_u64().unwrap();
        let lines = live["lines"].as_array_mut().unwrap();
        let last = lines.pop().unwrap();
        let noise = (0..20_000).map(|n| json!([started + 1300, format!("{n:05} {line}")]));
        lines.extend(noise);
        lines.push(last);
    });
    vsiflow.run(&["resume", "web"]).exits(0);
    let written = vsiflow.run(&["logs", "web"]).exits(0).stdout;
    // The host has rotated the log: the older half is in another file.
    assert!(written.len() > 1_000_000, "{}", written.len());
    let shown = vsiflow.vsi("web");
    let description = shown["status"]["description"].as_str().unwrap();
    assert!(description.len() <= LONGEST, "{}", description.len());
    assert!(description.contains("HPL10001I"), "{description}");
    let all = shown.to_string();
    assert!(all.len() < LONGEST + 8 * 1024, "{}", all.len());
    assert_eq!(all.matches("19999 lab:").count(), 1, "held twice");
    let listed = vsiflow.run(&["get", "-o", "json"]).exits(0).json();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_ne!(shown["status"]["phase"], Value::Null);
}
