//! A snapshot of a VSI's disks by an administrator or a backup program: libvirt puts a layer over
//! each disk, into which the guest then writes.

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted};

#[test]
fn lab_a_guest_with_a_snapshot_is_not_pointed_back_at_the_disks_below_it() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-snap.qcow2"), Vsiflow::of_documents());
    let vsi = || Vsi::named("t-snap").image(image.url());
    let with_disk = || vsi().disk("t-snap-data", "64Mi");
    let _gone = Deleted(&vsiflow, "t-snap");
    let documents = |of: Vsi| format!("{}{of}", lab.host());
    vsiflow.apply(documents(with_disk()), &[]).exits(0);
    let uid = lab.domains("default/t-snap").remove(0);
    let disks = || lab.virsh(&["domblklist", &uid]);
    let before = disks();

    let only = "--disk-only --no-metadata --diskspec vdb,snapshot=no";
    let mut words = vec!["snapshot-create-as", &uid, "t-snap"];
    words.extend(only.split(' '));
    lab.virsh(&words);
    assert_eq!(disks().matches("t-snap").count(), 2, "{}", disks());

    let changed = documents(with_disk().cpus(2));
    let refused = vsiflow.apply(&changed, &["--wait"]).exits(4);
    refused.says("error[VSI0210]").says("is a layer over it");
    assert_eq!(disks().matches("t-snap").count(), 2, "{}", disks());
    assert_eq!(lab.virsh(&["domstate", &uid]).trim(), "running");

    let overlays: Vec<_> = ["vda", "vdc"].map(|disk| overlay(&disks(), disk)).into();
    for disk in ["vda", "vdc"] {
        lab.virsh(&["blockcommit", &uid, disk, "--active", "--pivot", "--wait"]);
    }
    assert_eq!(disks(), before);
    for overlay in overlays {
        std::fs::remove_file(overlay).unwrap();
    }
    vsiflow.run(&["retry", "t-snap"]).exits(0);
    assert_eq!(vsiflow.phase("t-snap"), "Running");
    assert!(lab.virsh(&["dumpxml", &uid]).contains(">2</vcpu>"));

    let disk = vsiflow.run(&["get", "disk", "t-snap-data", "-o", "json"]);
    let disk = disk.exits(0).json();
    let volume = disk["metadata"]["uid"].as_str().unwrap();
    vsiflow.run(&["delete", "t-snap", "--wait"]).exits(0);
    // The data disk remains; this test has to delete it.
    lab.virsh(&["vol-delete", "--pool", "images", volume]);
}

/// The file that `virsh domblklist` shows for a disk.
fn overlay(disks: &str, disk: &str) -> String {
    let line = disks.lines().find(|line| line.trim().starts_with(disk));
    let file = line.unwrap().split_whitespace().nth(1);
    file.unwrap().to_owned()
}
