//! Deletions that fail on the host: they are never reported as done, and no object is deleted out of order.

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow};

/// A running VSI on a host that then refuses these calls.
fn broken(calls: &[&str], fault: &str) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    vsiflow.change_sim(|state| {
        for call in calls {
            state["broken"][call] = fault.into();
        }
    });
    vsiflow
}

fn repair(vsiflow: &Vsiflow) {
    vsiflow.change_sim(|state| state["broken"] = json!({}));
}

/// Asserts that `resume` finishes the deletion once the host works again.
#[track_caller]
fn resumes(vsiflow: &Vsiflow) {
    vsiflow.run(&["resume", "web"]).exits(0);
    vsiflow.run(&["get", "vsi", "web"]).exits(3);
    let sim = vsiflow.sim();
    assert_eq!(sim.volumes(), ["hpcr-guest.qcow2"]);
    assert!(sim.domains().is_empty());
}

fn volumes(vsiflow: &Vsiflow) -> Vec<String> {
    let sim = vsiflow.sim();
    sim.volumes().into_iter().map(str::to_owned).collect()
}

#[test]
fn defect_05_a_deletion_that_fails_is_never_called_done() {
    let vsiflow = broken(&["undefine"], "Timeout");
    let ran = vsiflow.run(&["delete", "web", "--timeout", "4s"]).exits(5);
    ran.says("VSI0102").keeps_quiet_about("vsi/web deleted");
    let going = vsiflow.vsi("web");
    assert_eq!(going["status"]["phase"], "Deleting", "{going:#}");
    let ready = &going["status"]["conditions"][0];
    assert_eq!(ready["status"], "False");
    let why = ready["message"].as_str().unwrap();
    assert!(why.contains("host sim"), "{why}");
    vsiflow.run(&["get"]).exits(0).says("web").says("Deleting");
    repair(&vsiflow);
    resumes(&vsiflow);
}

#[test]
fn defect_06_no_volume_goes_before_its_domain_is_gone() {
    for calls in [&["destroy", "shutdown"][..], &["undefine"]] {
        let vsiflow = broken(calls, "Unreachable");
        let before = volumes(&vsiflow);
        vsiflow.run(&["delete", "web", "--timeout", "3s"]).exits(5);
        assert_eq!(volumes(&vsiflow), before, "{calls:?}");
        assert_eq!(vsiflow.sim().domains(), ["default/web"]);
        repair(&vsiflow);
        resumes(&vsiflow);
    }
}

#[test]
fn defect_07_what_cannot_be_looked_up_does_not_count_as_deleted() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    let before = volumes(&vsiflow);
    let pool = |active: bool| {
        vsiflow.change_sim(|state| state["pools"]["images"]["active"] = Value::from(active));
    };
    pool(false);
    vsiflow.run(&["delete", "web"]).exits(4).says("VSI0202");
    assert_eq!(vsiflow.phase("web"), "Deleting");
    assert_eq!(volumes(&vsiflow).len(), before.len());
    pool(true);
    vsiflow.change_sim(|state| state["broken"] = json!({"volume": "Timeout"}));
    vsiflow.run(&["retry", "web", "--timeout", "3s"]).exits(5);
    assert_eq!(vsiflow.phase("web"), "Deleting");
    repair(&vsiflow);
    resumes(&vsiflow);
}

#[test]
fn a_retained_vsi_is_forgotten_and_everything_stays_on_its_host() {
    let vsiflow = Vsiflow::simulated();
    let document = |policy: &str| Vsi::named("web").with(&format!("deletionPolicy: {policy}"));
    vsiflow.apply(document("Retain"), &["--wait"]).exits(0);
    let before = volumes(&vsiflow);
    vsiflow
        .run(&["delete", "web", "--wait"])
        .exits(0)
        .says("its boot disk and everything else stay on host sim")
        .says("vsi/web is forgotten; its host was not touched")
        .keeps_quiet_about("vsi/web deleted");
    vsiflow.run(&["get", "vsi", "web"]).exits(3);
    assert_eq!(volumes(&vsiflow), before);
    let sim = vsiflow.sim();
    assert!(
        !sim.domain("default/web")["live"].is_null(),
        "its guest runs on"
    );

    // To delete it all the same, its policy changes first.
    let other = |policy: &str| Vsi::named("db").with(&format!("deletionPolicy: {policy}"));
    vsiflow.apply(other("Retain"), &["--wait"]).exits(0);
    vsiflow.apply(other("Delete"), &["--wait"]).exits(0);
    // The document that names the objects to delete counts, too.
    let file = vsiflow.write("db.yaml", &other("Retain").to_string());
    let file = file.to_str().unwrap();
    vsiflow
        .run(&["delete", "-f", file, "--wait"])
        .exits(0)
        .says("vsi/db is forgotten");
    assert_eq!(vsiflow.sim().domains().len(), 2);
    vsiflow
        .apply(
            Vsi::named("api").with("deletionPolicy: Retain"),
            &["--wait"],
        )
        .exits(0);
    vsiflow.apply(Vsi::named("api"), &["--wait"]).exits(0);
    vsiflow
        .run(&["delete", "api", "--wait"])
        .exits(0)
        .says("vsi/api deleted");
    assert_eq!(vsiflow.sim().domains().len(), 2);
}

#[test]
fn a_promise_to_retain_holds_before_it_is_approved() {
    let vsiflow = Vsiflow::simulated();
    let document = |cpus| Vsi::named("web").with("updatePolicy: Manual").cpus(cpus);
    vsiflow.apply(document(1), &["--wait"]).exits(0);
    let retained = document(3).with("deletionPolicy: Retain");
    vsiflow.apply(retained, &[]).exits(4);
    vsiflow
        .run(&["delete", "web", "--wait"])
        .exits(0)
        .says("vsi/web is forgotten");
    assert_eq!(vsiflow.sim().domains(), ["default/web"]);
}
