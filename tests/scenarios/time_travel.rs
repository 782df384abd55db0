//! The fleet at an earlier moment of the journal, by the command line and over HTTP.

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow, http};

/// The offset of the newest event of a VSI.
fn newest(vsiflow: &Vsiflow, name: &str) -> u64 {
    let history = vsiflow.history(name);
    history
        .iter()
        .map(|event| event.0["offset"].as_u64().unwrap())
        .max()
        .unwrap()
}

fn listed(vsiflow: &Vsiflow, more: &[&str]) -> Value {
    let ran = vsiflow.run(&[&["get", "-o", "json"], more].concat());
    ran.exits(0).json()
}

/// A fleet whose VSI ran, was stopped, and then got a neighbour. Returns the offset at which it
/// ran, and its list then.
fn changed_fleet() -> (Vsiflow, u64, Value) {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let (then, ran) = (newest(&vsiflow, "web"), listed(&vsiflow, &[]));
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    vsiflow.apply(Vsi::named("later"), &["--wait"]).exits(0);
    (vsiflow, then, ran)
}

#[test]
fn a_list_as_of_an_offset_is_the_list_that_was_shown_then() {
    let (vsiflow, then, ran) = changed_fleet();
    let at = then.to_string();
    assert_eq!(listed(&vsiflow, &["--at", &at]), ran);
    assert_eq!(listed(&vsiflow, &[])["items"].as_array().unwrap().len(), 2);
    let table = vsiflow.run(&["get", "--at", &at]).exits(0);
    table.says("Running").says(&format!("as of offset {then}"));
    vsiflow.run(&["get", "later", "--at", &at]).exits(3);
    let first = vsiflow.run(&["describe", "web", "--at", "12"]).exits(0);
    assert!(!first.stdout.contains("run_closed"), "{}", first.stdout);
    for kind in ["image", "host", "run", "disk"] {
        vsiflow.run(&["get", kind, "--at", &at]).exits(0);
    }
    // The journal does not record what a host showed then.
    let networks = vsiflow.run(&["get", "network", "--at", &at, "-o", "json"]);
    assert_eq!(
        networks.exits(0).json()["items"][0]["status"]["phase"],
        "Unknown"
    );
}

#[test]
fn a_time_is_the_newest_event_that_was_recorded_by_then() {
    let (vsiflow, then, ran) = changed_fleet();
    let history = vsiflow.history("web");
    let event = history
        .iter()
        .find(|event| event.0["offset"].as_u64().unwrap() == then)
        .unwrap();
    let table = listed(&vsiflow, &["--at", event.text("time")]);
    assert_eq!(table["items"][0]["status"]["phase"], "Running");
    assert_eq!(table["items"][0]["metadata"], ran["items"][0]["metadata"]);
}

#[test]
fn a_moment_of_the_future_or_before_the_journal_is_refused_with_a_remedy() {
    let (vsiflow, ..) = changed_fleet();
    for future in ["1000000", "2999-01-01T00:00:00Z"] {
        let refused = vsiflow.run(&["get", "--at", future]).exits(3);
        refused.says("VSI0024").says("offset");
    }
    let before = vsiflow.run(&["get", "--at", "1999-01-01T00:00:00Z"]);
    before.exits(3).says("VSI0026").says("it begins at");
    vsiflow
        .run(&["get", "--at", "yesterday"])
        .exits(2)
        .says("with its zone");
    vsiflow.run(&["get", "--at", "0", "--watch"]).exits(2);
    let empty = Vsiflow::simulated();
    assert_ne!(empty.run(&["get", "--at", "0"]).code, Some(0));
}

#[test]
fn what_differs_between_two_moments_is_named_field_by_field() {
    let (vsiflow, then, _) = changed_fleet();
    let at = then.to_string();
    let text = vsiflow.run(&["diff", "web", "--at", &at]).exits(0);
    text.says("- status.phase: \"Running\"")
        .says("+ status.phase: \"Stopped\"")
        .says("- spec.powerState: \"Running\"");
    let none = vsiflow.run(&["diff", "web", "--at", &at, "--at", &at]);
    assert_eq!(none.exits(0).stdout, "");
    let made = vsiflow
        .run(&["diff", "later", "--at", &at, "-o", "json"])
        .exits(0)
        .json();
    let paths = made["differences"].as_array().unwrap().iter();
    let paths: Vec<_> = paths.map(|one| one["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["apiVersion", "kind", "metadata", "spec", "status"]);
    vsiflow
        .run(&["diff", "nobody", "--at", &at])
        .exits(3)
        .says("VSI0703");
    vsiflow
        .run(&["diff", "web", "--at", "0", "--at", "1", "--at", "2"])
        .exits(2);
}

#[test]
fn a_daemon_answers_for_any_moment_and_nothing_is_recorded_by_it() {
    let (vsiflow, then, ran) = changed_fleet();
    let _daemon = vsiflow.serve(&[]);
    let socket = vsiflow.state().join("vsiflow.sock");
    let get = |path: &str| http::get(&socket, path);
    let end = || vsiflow.history("web").len();
    let recorded = end();
    let items = get(&format!("/v1/virtualservers?at={then}")).is(200).json()["items"].clone();
    assert_eq!(items, ran["items"]);
    assert_eq!(listed(&vsiflow, &["--at", &then.to_string()]), ran);
    let web = "/v1/namespaces/default/virtualservers/web";
    assert_eq!(
        get(&format!("{web}?at={then}")).is(200).json(),
        ran["items"][0]
    );
    for kind in ["hosts", "images", "runs", "datadisks", "pause"] {
        _ = get(&format!("/v1/{kind}?at={then}")).is(200);
    }
    let changes = get(&format!("{web}/diff?from={then}")).is(200).json();
    let phase = json!({"path": "status.phase", "before": "Running", "after": "Stopped"});
    assert!(
        changes["differences"].as_array().unwrap().contains(&phase),
        "{changes}"
    );
    get("/v1/virtualservers?at=1000000")
        .is(404)
        .is_problem("VSI0024");
    get(&format!("{web}/diff?from=0&to=1000000"))
        .is(404)
        .is_problem("VSI0024");
    get("/v1/virtualservers?at=1999-01-01T00:00:00Z")
        .is(404)
        .is_problem("VSI0026");
    get("/v1/virtualservers?at=soon")
        .is(400)
        .is_problem("VSI0022");
    assert_eq!(end(), recorded);
}
