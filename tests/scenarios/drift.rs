//! Drift: changes on a host that were made without vsiflow. They are found and reported, undone only if that
//! is requested, and never answered by deletions.

use serde_json::Value;
use vsiflow_tests::{Vsi, Vsiflow};

fn running(vsi: Vsi) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(vsi, &[]).exits(0);
    vsiflow
}

/// Changes the one domain by hand.
fn by_hand(vsiflow: &Vsiflow, change: impl FnOnce(&mut Value)) {
    vsiflow.change_sim(|state| {
        let domains = state["domains"].as_object_mut().unwrap();
        change(domains.values_mut().next().unwrap());
    });
}

fn off(domain: &mut Value) {
    domain["state"] = "ShutOff".into();
    (domain["live"], domain["running"]) = (Value::Null, Value::Null);
}

/// Scans the host, and returns the VSI's phase and its drift.
fn looked(vsiflow: &Vsiflow) -> (String, String) {
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let vsi = vsiflow.vsi("web");
    let conditions = vsi["status"]["conditions"].as_array().unwrap().clone();
    let drift = conditions.into_iter().find(|c| c["type"] == "Drift");
    let drift = drift.map(|c| c["message"].as_str().unwrap().to_owned());
    let phase = vsi["status"]["phase"].as_str().unwrap().to_owned();
    (phase, drift.unwrap_or_default())
}

fn runs(vsiflow: &Vsiflow) -> usize {
    let history = vsiflow.history("web");
    history.iter().filter(|e| e.kind() == "run_opened").count()
}

#[test]
fn defect_03_a_shutdown_by_an_administrator_is_told_and_nothing_is_destroyed() {
    let vsiflow = running(Vsi::named("web"));
    let (volumes, before) = (vsiflow.sim().volumes().len(), runs(&vsiflow));
    by_hand(&vsiflow, off);
    let (phase, drift) = looked(&vsiflow);
    assert_eq!(
        (phase.as_str(), drift.as_str()),
        ("Failed", "power: expected running, found shut off")
    );
    assert_eq!(
        (vsiflow.sim().volumes().len(), runs(&vsiflow)),
        (volumes, before)
    );
    vsiflow
        .apply(Vsi::named("web"), &[])
        .exits(0)
        .says("unchanged");
    assert_eq!(runs(&vsiflow), before);
    // A command starts it again.
    vsiflow
        .run(&["start", "web"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(looked(&vsiflow), ("Running".to_owned(), String::new()));
}

#[test]
fn defect_03_a_suspend_by_an_administrator_is_told_and_passes_by_itself() {
    let vsiflow = running(Vsi::named("web"));
    by_hand(&vsiflow, |domain| domain["state"] = "Paused".into());
    let (phase, drift) = looked(&vsiflow);
    assert_eq!(
        (phase.as_str(), drift.as_str()),
        ("Failed", "power: expected running, found paused")
    );
    let length = vsiflow.history("web").len();
    // Drift that is already recorded is not recorded again.
    looked(&vsiflow);
    assert_eq!(vsiflow.history("web").len(), length);
    by_hand(&vsiflow, |domain| domain["state"] = "Running".into());
    assert_eq!(looked(&vsiflow), ("Running".to_owned(), String::new()));
}

#[test]
fn defect_18_a_domain_without_metadata_is_told_and_never_touched() {
    let vsiflow = running(Vsi::named("web"));
    let bare = |domain: &mut Value| {
        domain["mark"] = Value::Null;
        domain["spec"]["title"] = "".into();
    };
    // Adds a foreign domain, which has no mark either.
    vsiflow.change_sim(|state| {
        let domains = state["domains"].as_object_mut().unwrap();
        let mut stranger = domains.values().next().unwrap().clone();
        let uuid = "5a0de1a6-5c42-4f0e-9f64-0b5f6b1d2c3e";
        (stranger["spec"]["uuid"], stranger["spec"]["name"]) = (uuid.into(), "stranger".into());
        stranger["spec"]["disks"] = serde_json::json!([]);
        bare(&mut stranger);
        off(&mut stranger);
        domains.values_mut().for_each(bare);
        domains.insert(uuid.to_owned(), stranger);
    });
    let unmarked = "mark: expected this journal's, found no mark of vsiflow";
    // The guest still runs.
    assert_eq!(
        looked(&vsiflow),
        ("Degraded".to_owned(), unmarked.to_owned())
    );
    let listed = vsiflow.run(&["host", "inventory"]).exits(0);
    listed.says("stranger").says("Foreign");
    // Without the mark the owner is unknown, so the domain and its volumes are not deleted.
    let before = vsiflow.sim().volumes().len();
    vsiflow.run(&["delete", "web"]).exits(4).says("VSI0207");
    assert_eq!(vsiflow.sim().volumes().len(), before);
    assert_eq!(vsiflow.sim().domains().len(), 2);
    // New VSIs can run beside them.
    vsiflow.apply(Vsi::named("new"), &[]).exits(0);
}

#[test]
fn an_edited_definition_is_told_with_what_was_expected_and_what_is() {
    let vsiflow = running(Vsi::named("web"));
    by_hand(&vsiflow, |domain| {
        domain["spec"]["machine"]["cpus"] = 8.into()
    });
    let (phase, drift) = looked(&vsiflow);
    assert_eq!(
        (phase.as_str(), drift.as_str()),
        ("Degraded", "cpus: expected 1, found 8")
    );
    vsiflow
        .run(&["describe", "web"])
        .exits(0)
        .says("expected 1, found 8");
}

#[test]
fn a_detached_disk_and_a_deleted_boot_volume_are_told() {
    let vsiflow = running(Vsi::named("web").disk("data", "1Gi"));
    by_hand(&vsiflow, |domain| {
        domain["running"]["disks"].as_array_mut().unwrap().pop();
    });
    let (phase, drift) = looked(&vsiflow);
    assert_eq!(phase, "Degraded");
    assert!(drift.starts_with("running disk vdc: expected "), "{drift}");
    vsiflow.change_sim(|state| {
        let volumes = state["pools"]["images"]["volumes"].as_object_mut().unwrap();
        volumes.retain(|name, _| !name.starts_with("boot-"));
    });
    let (_, drift_after) = looked(&vsiflow);
    assert!(
        drift_after.contains("boot disk: expected images/boot-"),
        "{drift_after}"
    );
}

/// Runs `resume --watch` until it prints these words.
fn watch_until(vsiflow: &Vsiflow, words: &str) {
    let mut watching = vsiflow.start(&["resume", "--watch", "--every", "1s"]);
    assert!(watching.prints(words, 60), "never says {words}");
    // Wait until the restored guest runs.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while vsiflow.phase("web") != "Running" && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    watching.interrupt();
    watching.end(30).exits(130);
}

#[test]
fn what_was_changed_is_restored_where_the_document_asks_for_it() {
    let vsiflow = running(Vsi::named("web").with("onDrift: Restore"));
    let clones = |of: &Vsiflow| {
        let history = of.history("web");
        history
            .iter()
            .filter(|e| e.step() == "clone_boot_disk")
            .count()
    };
    let before = clones(&vsiflow);
    by_hand(&vsiflow, |domain| {
        off(domain);
        domain["spec"]["machine"]["cpus"] = 8.into();
    });
    watch_until(&vsiflow, "vsi/web is restored");
    let sim = vsiflow.sim();
    let domain = sim.domain("default/web");
    assert_eq!(
        (&domain["state"], &domain["spec"]["machine"]["cpus"]),
        (&"Running".into(), &1.into())
    );
    assert_eq!(clones(&vsiflow), before, "nothing is made anew");
}

#[test]
fn a_definition_that_was_removed_is_restored_on_its_old_disks() {
    let vsiflow = running(Vsi::named("web").with("onDrift: Restore"));
    vsiflow.change_sim(|state| state["domains"] = serde_json::json!({}));
    watch_until(&vsiflow, "vsi/web is restored");
    vsiflow.sim().assert_one_vsi("default/web");
}

#[test]
fn after_a_restart_of_the_host_what_is_to_run_is_started_again_and_that_is_no_drift() {
    let vsiflow = running(Vsi::named("web"));
    vsiflow
        .apply(Vsi::named("off").with("powerState: Stopped"), &[])
        .exits(0);
    vsiflow.change_sim(|state| {
        state["boots"] = 2.into();
        for domain in state["domains"].as_object_mut().unwrap().values_mut() {
            off(domain);
        }
    });
    // A command that only reads does not act on drift.
    let (_, drift) = looked(&vsiflow);
    assert_eq!(drift, "");
    watch_until(&vsiflow, "vsi/web is started again");
    assert_eq!(vsiflow.sim().domain("default/web")["state"], "Running");
    assert_eq!(vsiflow.sim().domain("default/off")["state"], "ShutOff");
    let history = vsiflow.history("web");
    assert!(!history.iter().any(|e| e.0.to_string().contains("drift: ")));
}
