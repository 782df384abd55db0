//! Commands that have something done with objects, whoever has the journal.

use serde_json::{Value, json};
use vsiflow_tests::{
    Running, SIMULATED_IMAGE, Vsi, Vsiflow,
    http::{self, HttpAnswer},
};

fn serving() -> (Vsiflow, Running) {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    for name in ["web", "db"] {
        vsiflow.apply(Vsi::named(name), &["--wait"]).exits(0);
    }
    (vsiflow, daemon)
}

fn act(vsiflow: &Vsiflow, request: &Value) -> HttpAnswer {
    http::post(&vsiflow.state().join("vsiflow.sock"), "/v1/act", request)
}

#[test]
fn a_request_names_several_objects_and_does_nothing_if_one_is_unknown() {
    let (vsiflow, _daemon) = serving();
    let unknown = json!({"act": "stop", "names": ["web", "nobody"]});
    act(&vsiflow, &unknown).is(404).is_problem("VSI0703");
    let disk = json!({"act": "pause", "names": ["web"], "force": true});
    act(&vsiflow, &disk).is(422).is_problem("VSI0022");
    assert_eq!(vsiflow.phase("web"), "Running");
    let both = json!({"act": "stop", "names": ["vsi/web", "default/db"], "reason": "tonight"});
    let answer = act(&vsiflow, &both).is(200).json();
    assert_eq!(answer["stays"], true);
    let objects = answer["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 2);
    let awaited = objects.iter().map(|object| {
        assert_eq!(object["effect"], "recorded");
        json!({"kind": object["kind"], "uid": object["uid"]})
    });
    let awaited = json!({"objects": awaited.collect::<Vec<_>>(), "waitSeconds": 20});
    let socket = vsiflow.state().join("vsiflow.sock");
    let outcomes = http::post(&socket, "/v1/outcomes", &awaited).is(200).json();
    for outcome in outcomes["outcomes"].as_array().unwrap() {
        assert_eq!(
            (&outcome["outcome"], &outcome["phase"]),
            (&json!("Reached"), &json!("Stopped"))
        );
    }
    let refused = act(&vsiflow, &json!({"act": "pause", "names": ["web"]}))
        .is(200)
        .json();
    assert_eq!(refused["objects"][0]["effect"], "refused");
    assert_eq!(refused["objects"][0]["problem"]["code"], "VSI0705");
    assert!(
        vsiflow
            .run(&["history", "web"])
            .exits(0)
            .stdout
            .contains("tonight")
    );
}

/// A pool with the name of a VSI.
#[test]
fn the_power_state_of_what_has_none_is_that_of_no_vsi() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let pool = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: 0\n  \
         template:\n    spec: {{imageURL: \"{SIMULATED_IMAGE}\", guest: {{type: none}}}}\n"
    );
    vsiflow.apply(pool, &["--wait"]).exits(0);
    for command in [
        "stop pool/web",
        "cancel quota/web",
        "retry host/web",
        "approve disk/web",
    ] {
        let words: Vec<_> = command.split(' ').collect();
        vsiflow.run(&words).exits(2).says("VSI0801");
    }
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn what_waits_for_approval_is_approved_by_its_labels() {
    let vsiflow = Vsiflow::simulated();
    let server = |cpus: u32| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n  \
             imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  updatePolicy: Manual\n  machine: {{cpus: {cpus}}}\n"
        )
    };
    vsiflow.apply(server(1), &["--wait"]).exits(0);
    vsiflow.apply(server(2), &[]).says("waits for approval");
    vsiflow
        .run(&["approve", "-l", "app=db"])
        .exits(0)
        .says("No VSIs found");
    assert_eq!(vsiflow.vsi("web")["spec"]["machine"]["cpus"], 1);
    vsiflow
        .run(&["approve", "-l", "app=web", "--wait"])
        .exits(0);
    assert_eq!(vsiflow.vsi("web")["spec"]["machine"]["cpus"], 2);
}

/// The daemon ends while a command waits for a guest that never says what it is to say.
#[test]
fn a_command_that_waits_continues_with_the_work_of_a_daemon_that_ended() {
    let vsiflow = Vsiflow::simulated();
    let server = |ready: &str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  imageURL: {SIMULATED_IMAGE}\n  \
             guest: {{type: none}}\n  machine: {{cpus: 1}}\n{ready}"
        )
    };
    let daemon = vsiflow.serve(&[]);
    vsiflow.apply(server(""), &["--wait"]).exits(0);
    let never = "  ready: {within: 20h, all: [{console: never}]}\n";
    vsiflow.apply(server(never), &["--wait"]).exits(0);
    let waiting = vsiflow.start(&["restart", "web", "--wait"]);
    vsiflow.until_phase("web", "Booting", 60);
    daemon.terminate();
    daemon.end(30).exits(0);
    vsiflow.run(&["cancel", "web"]).exits(0).says("cancelled");
    waiting.end(60).exits(4).says("vsi/web was cancelled");
    let history = vsiflow.run(&["history", "web", "--events"]).exits(0).stdout;
    let restarts = history
        .lines()
        .filter(|line| line.contains("stop_domain") && line.contains("step_succeeded"));
    assert_eq!(restarts.count(), 1, "{history}");
}

fn post(vsiflow: &Vsiflow, path: &str, request: &Value) -> HttpAnswer {
    http::post(&vsiflow.state().join("vsiflow.sock"), path, request)
}

#[test]
fn what_was_agreed_to_is_deleted_and_nothing_that_got_its_name() {
    let (vsiflow, _daemon) = serving();
    let uid = vsiflow.vsi("web")["metadata"]["uid"].clone();
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let agreed = json!({"objects": [{"name": "db"}, {"name": "web", "uid": uid}]});
    let another = post(&vsiflow, "/v1/delete", &agreed).is(409);
    another.is_problem("VSI0811");
    let rebuilt = json!({"vsis": [{"name": "db"}, {"name": "web", "uid": uid}]});
    let another_to_rebuild = post(&vsiflow, "/v1/rebuild", &rebuilt).is(409);
    another_to_rebuild.is_problem("VSI0811");
    let unknown = json!({"objects": [{"name": "db"}, {"name": "nobody"}]});
    let refused = post(&vsiflow, "/v1/delete", &unknown).is(404);
    refused.is_problem("VSI0703");
    for name in ["web", "db"] {
        assert_eq!(vsiflow.phase(name), "Running");
        let history = vsiflow.run(&["history", name, "--events"]).exits(0).stdout;
        assert!(!history.contains("delete_domain"), "{history}");
    }
    let unknown_ignored = json!({
        "objects": [{"name": "db"}, {"name": "nobody"}],
        "ignoreNotFound": true,
        "reason": "moved away",
    });
    let answer = post(&vsiflow, "/v1/delete", &unknown_ignored)
        .is(200)
        .json();
    assert_eq!(answer["objects"].as_array().unwrap().len(), 1);
    assert_eq!(answer["objects"][0]["effect"], "recorded");
    vsiflow.run(&["wait", "db", "--for", "delete"]).exits(0);
}

/// A VSI in a namespace with the name of a kind.
#[test]
fn whoever_names_a_host_deletes_no_vsi() {
    let vsiflow = Vsiflow::simulated();
    let server = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web, namespace: host}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n"
    );
    vsiflow.apply(server, &["--wait"]).exits(0);
    for words in [&["delete", "host/web"][..], &["delete", "host", "web"]] {
        vsiflow.run(words).exits(2).says("VSI0810");
    }
    vsiflow
        .run(&["rebuild", "host/web"])
        .exits(2)
        .says("VSI0810");
    vsiflow
        .run(&["get", "web", "-n", "host"])
        .exits(0)
        .says("Running");
    vsiflow
        .run(&["delete", "vsi/host/web"])
        .exits(0)
        .says("vsi/host/web deleted");
}

#[test]
fn a_rebuild_answers_what_is_lost_and_what_stays() {
    let (vsiflow, _daemon) = serving();
    let disk = json!({"vsis": [{"name": "disk/web"}]});
    post(&vsiflow, "/v1/rebuild", &disk)
        .is(422)
        .is_problem("VSI0810");
    let both = json!({"vsis": [{"name": "web"}, {"name": "vsi/db"}], "reason": "new image"});
    let answer = post(&vsiflow, "/v1/rebuild", &both).is(200).json();
    let objects = answer["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 2);
    for object in objects {
        assert_eq!(object["effect"], "recorded");
        let lost = object["plan"]["destroys"][0]["object"].as_str().unwrap();
        assert!(lost.contains("boot disk"), "{object:#}");
    }
}
