//! Changes, power and drift of a VSI on a real host.

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted};

fn phase_after_a_scan(vsiflow: &Vsiflow, name: &str) -> (String, String) {
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let vsi = vsiflow.vsi(name);
    let phase = vsi["status"]["phase"].as_str().unwrap().to_owned();
    (phase, vsi["status"]["conditions"].to_string())
}

#[test]
fn lab_power_commands_reach_the_real_guest() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-power.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-power").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-power");
    vsiflow.apply(&documents, &[]).exits(0);
    let uid = lab.domains("default/t-power").remove(0);
    let state = || lab.virsh(&["domstate", &uid]).trim().to_owned();
    let autostart = || {
        let info = lab.virsh(&["dominfo", &uid]);
        info.contains("Autostart:      enable")
    };
    assert!(autostart());

    vsiflow
        .run(&["pause", "t-power"])
        .exits(0)
        .says("is Paused");
    assert_eq!(state(), "paused");
    vsiflow
        .run(&["unpause", "t-power"])
        .exits(0)
        .says("is Running");
    assert_eq!(state(), "running");
    vsiflow
        .run(&["stop", "t-power"])
        .exits(0)
        .says("is Stopped");
    assert_eq!((state().as_str(), autostart()), ("shut off", false));
    vsiflow
        .run(&["start", "t-power"])
        .exits(0)
        .says("is Running");
    assert_eq!((state().as_str(), autostart()), ("running", true));
    vsiflow
        .run(&["restart", "t-power", "--force"])
        .exits(0)
        .says("is Running");
    assert_eq!(state(), "running");

    // A manual change is reported and not undone.
    assert_eq!(phase_after_a_scan(&vsiflow, "t-power").0, "Running");
    lab.virsh(&["destroy", &uid]);
    let (phase, conditions) = phase_after_a_scan(&vsiflow, "t-power");
    assert_eq!(phase, "Failed");
    assert!(
        conditions.contains("power: expected running, found shut off"),
        "{conditions}"
    );
    assert_eq!(state(), "shut off");
}

#[test]
fn lab_a_rebuild_keeps_identity_and_data_and_shows_no_drift() {
    let Some(lab) = Lab::enter() else { return };
    let image = lab.image("t-rebuild.qcow2");
    let vsiflow = Vsiflow::of_documents();
    let vsi = || {
        Vsi::named("t-rebuild")
            .image(image.url())
            .disk("t-rebuild-data", "64Mi")
    };
    let documents = |of: Vsi| format!("{}{of}", lab.host());
    let _gone = Deleted(&vsiflow, "t-rebuild");
    vsiflow.apply(documents(vsi()), &[]).exits(0);
    let before = lab.domains("default/t-rebuild");
    let mac = |xml: &str| {
        let at = xml.find("<mac address=").unwrap();
        xml[at..at + 40].to_owned()
    };
    let mac_before = mac(&lab.virsh(&["dumpxml", &before[0]]));
    assert_eq!(phase_after_a_scan(&vsiflow, "t-rebuild").0, "Running");

    let newer = vsi().doing("another contract").cpus(2);
    vsiflow
        .apply(documents(newer), &["--wait"])
        .exits(0)
        .says("t-rebuild is Running");
    assert_eq!(lab.domains("default/t-rebuild"), before);
    let xml = lab.virsh(&["dumpxml", &before[0]]);
    assert_eq!(mac(&xml), mac_before);
    assert!(xml.contains(">2</vcpu>"), "{xml}");
    let (phase, conditions) = phase_after_a_scan(&vsiflow, "t-rebuild");
    assert_eq!(phase, "Running", "{conditions}");

    // The disk grows while the guest runs.
    let grown = Vsi::named("t-rebuild")
        .image(image.url())
        .disk("t-rebuild-data", "128Mi")
        .doing("another contract")
        .cpus(2);
    vsiflow.apply(documents(grown), &[]).exits(0);
    let info = lab.virsh(&["domblkinfo", &before[0], "vdc"]);
    assert!(info.contains("134217728"), "{info}");
    lab.virsh(&["setvcpus", &before[0], "1", "--config"]);
    let (later_phase, later_conditions) = phase_after_a_scan(&vsiflow, "t-rebuild");
    assert_eq!(later_phase, "Degraded", "{later_conditions}");

    let disk = vsiflow.run(&["get", "disk", "t-rebuild-data", "-o", "json"]);
    let disk = disk.exits(0).json();
    let volume = disk["metadata"]["uid"].as_str().unwrap();
    vsiflow.run(&["delete", "t-rebuild", "--wait"]).exits(0);
    // The data disk remains; this test has to delete it.
    lab.virsh(&["vol-delete", "--pool", "images", volume]);
}
