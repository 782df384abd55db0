//! Hosts under maintenance: check, cordon, drain, and the global pause.

use serde_json::Value;
use vsiflow_tests::{Vsi, Vsiflow};

const HOST: &str = "sim";

fn host(vsiflow: &Vsiflow) -> Value {
    let ran = vsiflow.run(&["get", "host", HOST, "-o", "json"]);
    ran.exits(0).json()["status"].clone()
}

fn reasons(vsiflow: &Vsiflow, of: &str) -> Vec<(String, String)> {
    let history = vsiflow.run(&["history", of, "-o", "json"]).exits(0).stdout;
    let lines = history.lines().map(serde_json::from_str::<Value>);
    let lines = lines.map(|line| line.unwrap());
    let changed = lines.filter(|line| line["type"] == "state_changed");
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    changed
        .map(|line| (text(&line, "actor"), text(&line, "reason")))
        .collect()
}

#[test]
fn a_cordoned_host_takes_nothing_new_and_what_is_there_goes_on() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("old"), &[]).exits(0);
    vsiflow
        .run(&["host", "cordon", HOST, "--reason", "new memory"])
        .exits(0)
        .says("host/sim cordoned");
    assert!(
        vsiflow
            .run(&["get", "host"])
            .exits(0)
            .stdout
            .contains("SchedulingDisabled")
    );
    assert_eq!(host(&vsiflow)["cordoned"], "new memory");
    vsiflow
        .apply(Vsi::named("new"), &[])
        .exits(4)
        .says("VSI0215")
        .says("the host is cordoned: new memory")
        .says("vsiflow host uncordon");
    assert_eq!(vsiflow.phase("new"), "Blocked");
    vsiflow.apply(Vsi::named("old").cpus(3), &[]).exits(0);
    vsiflow
        .run(&["restart", "old"])
        .exits(0)
        .says("old is Running");
    vsiflow.run(&["stop", "old"]).exits(0);
    vsiflow.run(&["start", "old"]).exits(4).says("VSI0215");

    vsiflow
        .run(&["host", "uncordon", HOST, "--reason", "done"])
        .exits(0)
        .says("vsi/new is Running");
    vsiflow
        .run(&["start", "old"])
        .exits(0)
        .says("old is Running");
    let history = reasons(&vsiflow, "host/sim");
    let why: Vec<_> = history.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(why, ["new memory", "done"]);
    assert!(
        history.iter().all(|(actor, _)| !actor.is_empty()),
        "{history:?}"
    );
}

#[test]
fn a_drained_host_is_empty_and_gets_back_what_ran_there() {
    let vsiflow = Vsiflow::simulated();
    for name in ["a", "b", "off"] {
        vsiflow.apply(Vsi::named(name), &[]).exits(0);
    }
    vsiflow.run(&["stop", "off"]).exits(0);
    vsiflow
        .run(&["host", "drain", HOST])
        .exits(2)
        .says("--stop");
    vsiflow
        .run(&["host", "drain", HOST, "--stop", "--reason", "new firmware"])
        .exits(0)
        .says("vsi/a is Stopped")
        .says("vsi/b is Stopped");
    // The same after a scan of the host.
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let sim = vsiflow.sim();
    for name in ["a", "b", "off"] {
        let domain = sim.domain(&format!("default/{name}"));
        assert_eq!(vsiflow.phase(name), "Stopped");
        assert_eq!(
            domain["spec"]["autostart"], false,
            "the guest would start with its host"
        );
    }
    // The document still says that it runs, but applying it again does not start it.
    vsiflow
        .apply(Vsi::named("a"), &[])
        .exits(0)
        .says("a is Stopped");
    vsiflow
        .run(&["host", "uncordon", HOST, "--start"])
        .exits(0)
        .says("vsi/a is Running")
        .says("vsi/b is Running");
    assert_eq!(vsiflow.phase("off"), "Stopped");
    assert_eq!(host(&vsiflow)["cordoned"], Value::Null);
}

#[test]
fn what_is_stopped_by_hand_after_a_drain_stays_off() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("a"), &[]).exits(0);
    vsiflow.run(&["host", "drain", HOST, "--stop"]).exits(0);
    vsiflow.run(&["stop", "a"]).exits(0);
    vsiflow.run(&["host", "uncordon", HOST, "--start"]).exits(0);
    assert_eq!(vsiflow.phase("a"), "Stopped");
}

#[test]
fn a_host_that_is_not_known_is_not_cordoned() {
    let vsiflow = Vsiflow::simulated();
    for words in [&["cordon"][..], &["uncordon"], &["drain", "--stop"]] {
        let command = [&["host"], words, &["nobody"]].concat();
        vsiflow.run(&command).exits(3).says("nobody");
    }
}

#[test]
fn while_everything_is_paused_desired_states_are_recorded_and_no_host_is_touched() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("stays"), &[]).exits(0);
    let before = vsiflow.sim();
    vsiflow
        .run(&["pause", "--all", "--reason", "audit week"])
        .exits(0)
        .says("unpause --all");
    vsiflow
        .apply(Vsi::named("new"), &[])
        .exits(4)
        .says("VSI0016")
        .says("everything is paused: audit week");
    vsiflow
        .run(&["delete", "stays", "--wait"])
        .exits(4)
        .says("VSI0016");
    vsiflow
        .run(&["get"])
        .exits(0)
        .says("everything is paused: audit week");
    let after = vsiflow.sim();
    assert_eq!(
        (after.volumes(), after.domains()),
        (before.volumes(), before.domains())
    );
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume"]).exits(0);
    vsiflow.run(&["get", "stays"]).exits(3);
    assert_eq!(vsiflow.phase("new"), "Running");
    assert_eq!(reasons(&vsiflow, "engine/brake").len(), 2);
}

#[test]
fn a_daemon_that_is_paused_stays_so_when_it_is_started_again() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow.apply(Vsi::named("later"), &[]).exits(0);
    daemon.terminate();
    daemon.end(30).exits(0);

    let restarted = vsiflow.serve(&[]);
    vsiflow
        .apply(Vsi::named("later"), &["--wait"])
        .exits(4)
        .says("everything is paused");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.until_phase("later", "Running", 60);
    restarted.terminate();
    restarted.end(30).exits(0);
}

#[test]
fn a_host_is_judged_by_the_guests_that_are_known_there() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.run(&["host", "check"]).exits(0).says("s390x on");
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow.change_sim(|sim| sim["guests"] = serde_json::json!([]));
    vsiflow
        .run(&["host", "check"])
        .exits(1)
        .says("the host cannot run s390x guests");
}

#[test]
fn a_host_is_checked_with_what_is_to_be_mended() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .run(&["host", "check"])
        .exits(0)
        .says("Ok")
        .says("pool images");
    let checks = vsiflow
        .run(&["host", "check", "-o", "json"])
        .exits(0)
        .json();
    let named = |name: &str| {
        let all = checks["items"].as_array().unwrap().iter();
        all.clone()
            .find(|item| item["metadata"]["name"] == name)
            .cloned()
    };
    assert_eq!(named("connection").unwrap()["status"]["result"], "Ok");
    vsiflow
        .run(&["host", "check", "--network", "nowhere"])
        .exits(1)
        .says("network nowhere")
        .says("Define the network");
    vsiflow
        .run(&["host", "check", "--arch", "vax"])
        .exits(1)
        .says("the host cannot run vax guests");
    // A host for other guests is not checked for what only s390x guests need.
    let ran = vsiflow.run(&["host", "check", "--arch", "x86_64"]).exits(0);
    assert!(!ran.stdout.contains("secure execution"), "{}", ran.stdout);
    vsiflow
        .run(&["host", "check", "--arch", "x86_64", "--arch", "s390x"])
        .exits(0)
        .says("guests x86_64")
        .says("guests s390x")
        .says("secure execution");
    let elsewhere = Vsiflow::of_documents();
    elsewhere
        .run(&["--host", "unix:/nowhere/libvirt-sock", "host", "check"])
        .exits(1)
        .says("Failed")
        .says("connection")
        .says("Start libvirtd");
}

#[test]
fn the_history_of_a_host_names_commands_without_a_reason() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    for word in ["cordon", "uncordon"] {
        vsiflow.run(&["host", word, HOST]).exits(0);
    }
    vsiflow
        .run(&["history", "host/sim"])
        .exits(0)
        .says("found Cordoned")
        .says("found Schedulable");
}
