//! Guests whose disks an administrator or a backup tool replaced by other files.

use serde_json::Value;
use vsiflow_tests::{DiskDocument, Vsi, Vsiflow};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c2d";
const DISK: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c3d";
const LAYER: &str = "/backup/over.qcow2";

fn documents(cpus: u32) -> String {
    let web = Vsi::named("web").uid(UID).choosing_disks();
    let web = web.to_string().replace("cpus: 1", &format!("cpus: {cpus}"));
    format!("{web}{}", DiskDocument::named("data").uid(DISK))
}

fn running() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(documents(1), &[]).exits(0);
    vsiflow
}

/// Has the guest write into a layer outside of all pools, as `virsh snapshot-create-as --disk-only` does.
fn put_layer_over(vsiflow: &Vsiflow, volume: &str) {
    let below = format!("/var/lib/libvirt/images/{volume}");
    vsiflow.change_sim(|state| {
        let mut layer = state["pools"]["images"]["volumes"][volume].clone();
        (layer["backing"], layer["format"]) = (below.clone().into(), "qcow2".into());
        state["loose"] = serde_json::json!({ LAYER: layer });
    });
    rename(vsiflow, &below, LAYER);
}

fn rename(vsiflow: &Vsiflow, from: &str, to: &str) {
    vsiflow.change_sim(|state| {
        let domain = &mut state["domains"][UID];
        for definition in ["spec", "running"] {
            // A guest that is off has no running definition, and indexing would make one.
            let shape = domain.get_mut(definition);
            let disks = shape.and_then(|shape| shape.get_mut("disks"));
            for disk in disks.and_then(Value::as_array_mut).into_iter().flatten() {
                if disk["path"] == from {
                    disk["path"] = to.into();
                }
            }
        }
    });
}

fn paths(vsiflow: &Vsiflow) -> Vec<Value> {
    let disks = vsiflow.sim().domain("default/web")["spec"]["disks"].clone();
    let disks = disks.as_array().unwrap().iter();
    disks.map(|disk| disk["path"].clone()).collect()
}

#[test]
fn a_guest_on_a_layer_of_a_backup_tool_is_not_put_back_on_the_disk_below() {
    let vsiflow = running();
    let boot = format!("boot-{UID}.qcow2");
    put_layer_over(&vsiflow, &boot);
    let layered = paths(&vsiflow);
    assert!(layered.contains(&Value::from(LAYER)));
    vsiflow
        .apply(documents(3), &[])
        .exits(4)
        .says("VSI0210")
        .says(LAYER);
    assert_eq!(paths(&vsiflow), layered);
    assert_eq!(vsiflow.sim().domain("default/web")["state"], "Running");
    let below = format!("/var/lib/libvirt/images/{boot}");
    rename(&vsiflow, LAYER, &below);
    vsiflow.run(&["retry", "web"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn a_deletion_that_a_foreign_layer_forbids_leaves_the_guest_running() {
    let vsiflow = running();
    let boot = format!("boot-{UID}.qcow2");
    let is_refused = |command: &[&str], layer: &str| {
        let ran = vsiflow.run(command).exits(4);
        ran.says("VSI0210").says(layer);
        let domain = vsiflow.sim().domain("default/web").clone();
        assert_eq!(domain["state"], "Running", "{layer}");
        assert_eq!(domain["live"]["end"], Value::Null, "{layer}");
    };
    // A layer over its boot disk that no domain names.
    vsiflow.change_sim(|state| {
        let pool = &mut state["pools"]["images"];
        let mut layer = pool["volumes"][&boot].clone();
        layer["backing"] = format!("/var/lib/libvirt/images/{boot}").into();
        pool["volumes"]["foreign.qcow2"] = layer;
    });
    is_refused(&["delete", "web"], "foreign.qcow2");
    vsiflow.change_sim(|state| {
        let volumes = state["pools"]["images"]["volumes"].as_object_mut();
        volumes.unwrap().remove("foreign.qcow2");
    });
    // The guest itself writes into a layer over its data disk.
    put_layer_over(&vsiflow, DISK);
    is_refused(&["retry", "web"], LAYER);
    rename(&vsiflow, LAYER, &format!("/var/lib/libvirt/images/{DISK}"));
    vsiflow.run(&["retry", "web"]).exits(0);
    assert!(vsiflow.sim().domains().is_empty());
}

#[test]
fn neither_a_snapshot_nor_an_export_takes_a_disk_that_the_guest_left_behind() {
    let vsiflow = running();
    vsiflow.run(&["stop", "web"]).exits(0);
    let file = vsiflow.folder().join("out.qcow2");
    let export = ["disk", "export", "data", file.to_str().unwrap()];
    put_layer_over(&vsiflow, DISK);
    vsiflow.run(&export).exits(4).says("VSI0228").says(LAYER);
    // A copy to which the host switched the guest.
    vsiflow.change_sim(|state| state["loose"][LAYER]["backing"] = Value::Null);
    vsiflow.run(&export).exits(4).says("VSI0228").says(LAYER);
    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(4)
        .says("VSI0210");
    let below = format!("/var/lib/libvirt/images/{DISK}");
    rename(&vsiflow, LAYER, &below);
    vsiflow.run(&export).exits(0);
    rename(&vsiflow, &below, LAYER);
    vsiflow.run(&["start", "web"]).exits(4).says("VSI0210");
    rename(&vsiflow, LAYER, &below);
    vsiflow.run(&["retry", "web"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn a_domain_is_adopted_only_with_all_disks_that_it_writes_to() {
    let vsiflow = running();
    vsiflow.run(&["delete", "web", "--orphan"]).exits(0);
    vsiflow.change_sim(|state| state["domains"][UID]["mark"] = Value::Null);
    let before = vsiflow.sim().domain("default/web").clone();
    put_layer_over(&vsiflow, DISK);
    vsiflow.change_sim(|state| state["loose"][LAYER]["backing"] = Value::Null);
    vsiflow
        .run(&["adopt", UID])
        .exits(4)
        .says("VSI0233")
        .says(LAYER);
    assert_eq!(vsiflow.sim().domain("default/web")["mark"], Value::Null);
    rename(&vsiflow, LAYER, &format!("/var/lib/libvirt/images/{DISK}"));
    // A disk that is read-only beside the configuration.
    let read_only = |on: bool| {
        vsiflow.change_sim(|state| {
            let domain = &mut state["domains"][UID];
            for definition in ["spec", "running"] {
                let disks = domain[definition]["disks"].as_array_mut().unwrap();
                disks.last_mut().unwrap()["readonly"] = on.into();
            }
        });
    };
    read_only(true);
    vsiflow.run(&["adopt", UID]).exits(4).says("VSI0233");
    read_only(false);
    assert_eq!(vsiflow.sim().domain("default/web")["spec"], before["spec"]);
    vsiflow.run(&["adopt", UID]).exits(0);
}

/// Switches the guest to a copy of a disk outside of all pools, as `virsh blockcopy --pivot` does.
fn move_disk(vsiflow: &Vsiflow, volume: &str) {
    vsiflow.change_sim(|state| {
        let copy = state["pools"]["images"]["volumes"][volume].clone();
        state["loose"] = serde_json::json!({ LAYER: copy });
    });
    rename(vsiflow, &format!("/var/lib/libvirt/images/{volume}"), LAYER);
}

#[test]
fn no_disk_is_restored_while_the_guest_has_another_file_in_the_place_of_one() {
    let boot = format!("boot-{UID}.qcow2");
    for moved in [DISK, &boot] {
        let vsiflow = running();
        vsiflow.run(&["stop", "web"]).exits(0);
        let snapshot = ["snapshot", "create", "web", "first"];
        vsiflow.run(&snapshot).exits(0);
        vsiflow.run(&["start", "web"]).exits(0);
        move_disk(&vsiflow, moved);
        let before = vsiflow.sim().all_volumes().len();
        let restore = ["snapshot", "restore", "first", "--in-place", "--yes"];
        vsiflow.run(&restore).exits(4).says("VSI0210").says(LAYER);
        let sim = vsiflow.sim();
        assert_eq!(sim.domain("default/web")["state"], "Running", "{moved}");
        assert_eq!(sim.all_volumes().len(), before, "{moved}");
        vsiflow.run(&["cancel", "web"]).exits(0);
        assert!(paths(&vsiflow).contains(&Value::from(LAYER)));
    }
}

/// Puts another file in the place of a volume.
fn replace(vsiflow: &Vsiflow, volume: &str) {
    vsiflow.change_sim(|state| {
        state["pools"]["images"]["volumes"][volume]["born"] = 7_777.into();
    });
}

#[test]
fn a_file_in_the_place_of_a_disk_is_no_snapshot_of_it() {
    let boot = format!("boot-{UID}.qcow2");
    for replaced in [DISK, &boot] {
        let vsiflow = running();
        vsiflow.run(&["stop", "web"]).exits(0);
        replace(&vsiflow, replaced);
        let snapshot = ["snapshot", "create", "web", "first"];
        vsiflow.run(&snapshot).exits(4).says("VSI0236");
        vsiflow.run(&["snapshot", "delete", "first"]).exits(0);
        // The file that the guest is started on is its disk from then on.
        vsiflow.run(&["start", "web"]).exits(0);
        vsiflow.run(&["stop", "web"]).exits(0);
        vsiflow.run(&snapshot).exits(0);
    }
}
