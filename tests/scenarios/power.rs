//! Power state, set by the document and by commands.

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow};

fn running(vsi: Vsi) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(vsi, &[]).exits(0);
    vsiflow
}

fn domain(vsiflow: &Vsiflow) -> (String, bool) {
    let sim = vsiflow.sim();
    let domain = sim.domain("default/web");
    let state = domain["state"].as_str().unwrap().to_owned();
    (state, domain["spec"]["autostart"].as_bool().unwrap())
}

#[test]
fn a_vsi_is_stopped_and_started_by_command_and_stays_so() {
    let vsiflow = running(Vsi::named("web"));
    vsiflow
        .run(&["stop", "web", "--reason", "maintenance"])
        .exits(0)
        .says("vsi/web is Stopped");
    // The host shows the same.
    vsiflow.run(&["get", "--refresh"]).exits(0).says("Stopped");
    assert!(!domain(&vsiflow).1, "it would come up with its host");
    let stopped = vsiflow.vsi("web");
    assert_eq!(stopped["spec"]["powerState"], "Stopped");
    assert_eq!(stopped["status"]["status"], 0);
    assert_eq!(stopped["status"]["ipAddresses"], serde_json::json!([]));
    // The document says nothing new.
    vsiflow
        .apply(Vsi::named("web"), &[])
        .exits(0)
        .says("unchanged")
        .says("vsi/web is Stopped");
    vsiflow
        .run(&["start", "web"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(domain(&vsiflow), ("Running".to_owned(), true));
    let history = vsiflow.history("web");
    let reasons = history.iter().filter(|e| e.text("reason") == "maintenance");
    assert_eq!(reasons.count(), 1);
}

#[test]
fn a_vsi_is_paused_and_goes_on() {
    let vsiflow = running(Vsi::named("web"));
    vsiflow
        .run(&["pause", "web"])
        .exits(0)
        .says("vsi/web is Paused");
    assert_eq!(domain(&vsiflow).0, "Paused");
    vsiflow
        .run(&["unpause", "vsi/web"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(domain(&vsiflow).0, "Running");
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow.run(&["pause", "web"]).exits(4).says("VSI0705");
    vsiflow.run(&["start", "nobody"]).exits(3);
}

#[test]
fn a_restart_boots_the_guest_anew_on_its_old_disk() {
    let vsiflow = running(Vsi::named("web"));
    let boots = || {
        let log = vsiflow.run(&["logs", "web"]).exits(0).stdout;
        log.matches("HPL10001I").count()
    };
    let before = boots();
    vsiflow
        .run(&["restart", "web"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(boots(), before + 1);
    let clones = vsiflow.history("web");
    let clones = clones.iter().filter(|e| e.step() == "clone_boot_disk");
    assert_eq!(clones.filter(|e| e.kind() == "step_succeeded").count(), 1);
}

#[test]
fn a_guest_that_does_not_listen_is_ended_after_its_time() {
    let vsiflow = running(Vsi::named("web").doing("lab-deaf"));
    vsiflow.run(&["stop", "web", "--timeout", "1s"]).exits(0);
    let how = |of: &Vsiflow| {
        let history = of.history("web");
        let stopped = history.iter().rev();
        let mut stopped = stopped.filter(|e| e.step() == "stop_domain");
        let stopped = stopped.find(|e| e.kind() == "step_succeeded").unwrap();
        stopped.0["durationMs"].as_u64().unwrap()
    };
    assert!(how(&vsiflow) >= 1_000);
    vsiflow.run(&["start", "web"]).exits(0);
    vsiflow
        .run(&["stop", "web", "--force"])
        .exits(0)
        .says("Stopped");
    assert!(how(&vsiflow) < 1_000);
}

#[test]
fn a_document_says_whether_a_vsi_runs() {
    let vsiflow = running(Vsi::named("web").with("powerState: Stopped"));
    assert_eq!(vsiflow.phase("web"), "Stopped");
    assert_eq!(domain(&vsiflow), ("ShutOff".to_owned(), false));
    vsiflow
        .apply(Vsi::named("web").with("powerState: Running"), &[])
        .exits(0)
        .says("vsi/web is Running");
    vsiflow
        .apply(Vsi::named("web").with("powerState: Paused"), &[])
        .exits(0)
        .says("vsi/web is Paused");
    assert_eq!(domain(&vsiflow), ("Paused".to_owned(), true));
}

#[test]
fn a_change_of_a_stopped_vsi_leaves_it_stopped() {
    let vsiflow = running(Vsi::named("web"));
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
        .apply(Vsi::named("web").cpus(2), &[])
        .exits(0)
        .says("vsi/web is Stopped");
    assert_eq!(domain(&vsiflow), ("ShutOff".to_owned(), false));
    vsiflow
        .run(&["start", "web"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(
        vsiflow.sim().domain("default/web")["spec"]["machine"]["cpus"],
        2
    );
}

#[test]
fn defect_07_a_guest_that_does_not_shut_down_is_ended_and_deleted() {
    let vsiflow = running(Vsi::named("web").doing("lab-deaf"));
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    assert!(vsiflow.sim().domains().is_empty());
}

/// Makes the host answer no call.
fn dead(vsiflow: &Vsiflow) {
    let calls = [
        "facts", "domain", "domains", "shutdown", "start", "suspend", "resume",
    ];
    let broken: Value = calls
        .map(|call| (call, "Unreachable"))
        .into_iter()
        .collect();
    vsiflow.change_sim(|state| state["broken"] = broken);
}

#[test]
fn a_power_command_gives_up_waiting_when_told_to_and_says_what_for() {
    let vsiflow = running(Vsi::named("web"));
    dead(&vsiflow);
    for (command, bound) in [
        ("stop", "--wait-timeout"),
        ("restart", "--wait-timeout"),
        ("pause", "--timeout"),
        ("unpause", "--wait-timeout"),
    ] {
        vsiflow
            .run(&[command, "web", bound, "2s"])
            .exits(5)
            .says("not decided after 2s")
            .says("VSI0101")
            .says("vsiflow resume web");
    }
    vsiflow
        .run(&["host", "drain", "sim", "--stop", "--wait-timeout", "2s"])
        .exits(5)
        .says("VSI0101");
    vsiflow.change_sim(|state| state["broken"] = json!({}));
    vsiflow
        .run(&["resume", "web"])
        .exits(0)
        .says("vsi/web is settled");
    vsiflow
        .run(&["host", "uncordon", "sim", "--start", "--timeout", "60s"])
        .exits(0)
        .says("vsi/web is Running");
}

#[test]
fn whoever_waits_for_a_dead_host_is_reminded_of_it() {
    let vsiflow = running(Vsi::named("web"));
    dead(&vsiflow);
    let mut stopping = vsiflow.start(&["stop", "web"]);
    assert!(stopping.reaches("web: still waits: VSI0101", 60));
    stopping.terminate();
    stopping.end(30).exits(130).says("vsiflow resume web");
}

#[test]
fn whoever_waits_behind_a_boot_that_hangs_is_told_so() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .apply(Vsi::named("web").doing("lab-hang"), &[])
        .exits(0);
    vsiflow.until_phase("web", "Booting", 30);
    vsiflow
        .run(&["stop", "web", "--wait-timeout", "12s"])
        .exits(5)
        .says("web: still waits: step monitor_console is running");
    vsiflow
        .run(&["stop", "web", "--force", "--wait"])
        .exits(0)
        .says("vsi/web is Stopped");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_guests_time_is_given_as_virtctl_takes_it() {
    let vsiflow = running(Vsi::named("web").doing("lab-deaf"));
    let begun = std::time::Instant::now();
    vsiflow
        .run(&["stop", "web", "--grace-period", "1"])
        .exits(0)
        .says("vsi/web is Stopped");
    assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
    vsiflow
        .run(&["stop", "web", "--grace-period", "1s", "--force"])
        .exits(2);
}

#[test]
fn through_a_daemon_a_power_command_returns_once_it_is_recorded() {
    let vsiflow = running(Vsi::named("web"));
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .run(&["stop", "web"])
        .exits(0)
        .says("vsi/web is to be off");
    vsiflow.until_phase("web", "Stopped", 60);
    vsiflow
        .run(&["start", "web", "--wait"])
        .exits(0)
        .says("vsi/web is Running");
    vsiflow
        .run(&["delete", "web"])
        .exits(0)
        .says("vsi/web will be deleted");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn what_one_vsi_cannot_do_keeps_no_other_from_it() {
    let vsiflow = Vsiflow::simulated();
    for name in ["a", "off", "z"] {
        vsiflow.apply(Vsi::named(name), &["--wait"]).exits(0);
    }
    vsiflow.run(&["stop", "off", "--wait"]).exits(0);
    let paused = vsiflow.run(&["pause", "a", "off", "z", "--wait"]);
    paused.exits(4).says("VSI0705").says("vsi/default/off");
    for (name, phase) in [("a", "Paused"), ("off", "Stopped"), ("z", "Paused")] {
        assert_eq!(vsiflow.vsi(name)["status"]["phase"], phase, "{name}");
    }
    vsiflow.run(&["pause", "off"]).exits(4).says("VSI0705");
}
