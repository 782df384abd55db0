//! Failed boots: how they are reported and tried again, and where their logs are stored.

use vsiflow_tests::{Vsi, Vsiflow};

fn too_little_memory(name: &str) -> Vsi {
    Vsi::named(name).memory("128Mi")
}

#[test]
fn defect_04_a_failed_boot_is_never_ready_and_says_why_and_where_its_evidence_is() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(too_little_memory("small"), &["--wait"])
        .exits(1)
        .says("error[VSI0501]")
        .says("HPL11003E")
        .says("less memory than it needs")
        .says("4 GiB");
    let status = &vsiflow.vsi("small")["status"];
    assert_eq!(
        (&status["phase"], &status["status"]),
        (&"Failed".into(), &2.into())
    );
    let ready = &status["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"]),
        (&"Ready".into(), &"False".into())
    );
    assert!(
        status["description"].as_str().unwrap().contains("4 GiB"),
        "{status}"
    );
    assert_eq!(status["evidence"][0]["where"], "host");
    assert!(
        status["evidence"][0]["console"]
            .as_str()
            .unwrap()
            .starts_with("images/console-")
    );
    vsiflow
        .run(&["describe", "small"])
        .exits(0)
        .says("Evidence:")
        .says("on host");
    vsiflow.run(&["logs", "small"]).exits(0).says("HPL11003E");
    vsiflow.run(&["logs", "small", "--failed"]).exits(3);
}

#[test]
fn the_next_try_keeps_the_evidence_of_the_last() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(too_little_memory("again"), &["--wait"])
        .exits(1);
    vsiflow.apply(Vsi::named("again"), &["--wait"]).exits(0);
    vsiflow
        .run(&["describe", "again"])
        .exits(0)
        .says("stored by run");
    vsiflow
        .run(&["logs", "again", "--failed"])
        .exits(0)
        .says("HPL11003E");
    vsiflow
        .run(&["logs", "again", "--failed", "--definition"])
        .exits(0)
        .says("default/again");
    let last = vsiflow
        .run(&["logs", "again", "--failed", "--tail", "1"])
        .exits(0);
    assert_eq!(last.stdout.lines().count(), 1, "{last:#?}");
}

#[test]
fn a_deletion_keeps_the_evidence_of_the_last_boot() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(too_little_memory("gone"), &["--wait"])
        .exits(1);
    vsiflow.run(&["delete", "gone", "--wait"]).exits(0);
    assert!(vsiflow.sim().domains().is_empty());
    vsiflow
        .run(&["logs", "gone", "--failed"])
        .exits(0)
        .says("HPL11003E");
}

#[test]
fn a_failed_boot_is_tried_again_by_whoever_stays() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(too_little_memory("stays"), &["--wait"])
        .exits(1)
        .says("the next try is due in 10 s")
        .says("vsiflow resume stays");
    let status = &vsiflow.vsi("stays")["status"];
    assert_eq!(status["failedBoots"], 1, "{status:#}");
    assert!(status["nextTry"].is_string(), "{status:#}");
    // No process has run since. This command continues the wait for the rest of its time.
    vsiflow
        .run(&["resume", "stays", "--timeout", "14s"])
        .exits(5)
        .says("the next try is due in 20 s")
        .says("HPL11003E");
    let restarted_status = &vsiflow.vsi("stays")["status"];
    assert_eq!(restarted_status["failedBoots"], 2, "{restarted_status:#}");
    vsiflow
        .run(&["describe", "stays"])
        .exits(0)
        .says("2 of at most 5; the next try is due at");
    vsiflow
        .run(&["retry", "stays"])
        .exits(1)
        .says("due in 10 s");
    vsiflow.apply(Vsi::named("stays"), &["--wait"]).exits(0);
    let running_status = &vsiflow.vsi("stays")["status"];
    assert_eq!(running_status["phase"], "Running");
    assert!(running_status["nextTry"].is_null() && running_status["failedBoots"].is_null());
    vsiflow.run(&["replay", "--verify"]).exits(0);
}
