//! A guest that an administrator saved with its memory (`virsh managedsave`), as hosts may do with
//! all guests before they restart.

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted};

#[test]
fn lab_a_guest_saved_with_its_memory_is_taken_up_and_given_no_other_parts() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-saved.qcow2"), Vsiflow::of_documents());
    let vsi = || Vsi::named("t-saved").image(image.url());
    let _gone = Deleted(&vsiflow, "t-saved");
    vsiflow
        .apply(format!("{}{}", lab.host(), vsi()), &[])
        .exits(0);
    let uid = lab.domains("default/t-saved").remove(0);
    let state = || lab.virsh(&["domstate", "--reason", &uid]);

    lab.virsh(&["managedsave", &uid]);
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let conditions = vsiflow.vsi("t-saved")["status"]["conditions"].to_string();
    assert!(
        conditions.contains("found shut off (saved)"),
        "{conditions}"
    );
    // It boots nothing, so that the test need not wait for a boot.
    let started = vsiflow.run(&["start", "t-saved"]).exits(0);
    assert!(
        started
            .says("is Running")
            .stderr
            .contains("monitor_console")
    );
    assert!(state().contains("running (restored)"), "{}", state());

    // A change that needs a restart would leave memory that refers to devices it does not know.
    lab.virsh(&["managedsave", &uid]);
    let changed = format!("{}{}", lab.host(), vsi().cpus(2));
    let refused = vsiflow.apply(&changed, &["--wait"]).exits(4);
    refused
        .says("error[VSI0216]")
        .says("virsh managedsave-remove");
    assert!(state().contains("shut off (saved)"), "{}", state());
    lab.virsh(&["start", &uid]);
    vsiflow.run(&["retry", "t-saved"]).exits(0);
    assert_eq!(vsiflow.phase("t-saved"), "Running");
    assert!(lab.virsh(&["dumpxml", &uid]).contains(">2</vcpu>"));
}
