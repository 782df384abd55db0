//! Snapshots of VSIs on the simulated host.

use serde_json::Value;
use vsiflow_tests::{DiskDocument, SIMULATED_IMAGE, Vsi, Vsiflow};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0ce1";

fn stopped(documents: impl ToString) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(documents, &[]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
}

fn snapshot(vsiflow: &Vsiflow, name: &str) -> Value {
    let words = ["get", "snapshot", name, "--deleted", "-o", "json"];
    vsiflow.run(&words).exits(0).json()
}

fn copies(vsiflow: &Vsiflow) -> usize {
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    let copies = volumes.iter().filter(|name| name.starts_with("snapshot-"));
    copies.count()
}

fn with_disk() -> String {
    format!(
        "{}{}",
        Vsi::named("web").choosing_disks(),
        DiskDocument::named("data").uid(UID)
    )
}

#[test]
fn a_snapshot_is_taken_shown_restored_and_deleted() {
    let vsiflow = stopped(with_disk());
    vsiflow
        .run(&["snapshot", "create", "web"])
        .exits(0)
        .says("snapshot/web-1 is taken");
    assert_eq!(copies(&vsiflow), 2, "boot disk and data disk");
    vsiflow.run(&["get", "snapshots"]).exits(0).says("web-1");
    let taken = snapshot(&vsiflow, "web-1");
    assert_eq!(taken["kind"], "VirtualServerSnapshot");
    assert_eq!(taken["status"]["phase"], "Ready");
    assert_eq!(taken["status"]["disks"][0]["name"], "boot");
    assert_eq!(taken["status"]["disks"][1]["name"], "disk/data");
    vsiflow
        .run(&["describe", "snapshot/web-1"])
        .exits(0)
        .says("copy_disks");
    // The VSI itself is unchanged.
    assert_eq!(vsiflow.phase("web"), "Stopped");

    let boot = format!(
        "boot-{}.qcow2",
        vsiflow.vsi("web")["metadata"]["uid"].as_str().unwrap()
    );
    let before = vsiflow.sim().volume(&boot)["content"].clone();
    vsiflow.change_sim(|sim| {
        let volumes = &mut sim["pools"]["images"]["volumes"];
        volumes[&boot]["content"] = serde_json::json!({"Inline": "d3JpdHRlbiBsYXRlcg=="});
    });
    vsiflow
        .run(&["snapshot", "restore", "web-1", "--dry-run"])
        .exits(0)
        .says("since snapshot web-1 is lost");
    vsiflow
        .run(&["snapshot", "restore", "web-1"])
        .exits(4)
        .says("VSI0811");
    assert_ne!(
        vsiflow.sim().volume(&boot)["content"],
        before,
        "nobody agreed"
    );
    vsiflow
        .run(&["snapshot", "restore", "web-1", "--yes"])
        .exits(0)
        .says("vsi/web is Stopped");
    let restored = vsiflow.sim().boot_disk("default/web");
    assert_eq!(vsiflow.sim().volume(&restored)["content"], before);
    vsiflow.run(&["start", "web"]).exits(0).says("Running");

    vsiflow.run(&["snapshot", "delete", "web-1"]).exits(0);
    assert_eq!(copies(&vsiflow), 0);
    vsiflow.run(&["get", "snapshot", "web-1"]).exits(3);
    assert_eq!(snapshot(&vsiflow, "web-1")["status"]["phase"], "Deleted");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_disk_that_its_vsi_lost_since_the_snapshot_is_named_as_left_out() {
    let vsiflow = stopped(with_disk());
    vsiflow.run(&["snapshot", "create", "web"]).exits(0);
    let left_out = "disk/data of snapshot/web-1 is not restored";
    let restore = ["snapshot", "restore", "web-1", "--yes"];
    vsiflow.run(&restore).exits(0).keeps_quiet_about(left_out);
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    for option in ["--dry-run", "--yes"] {
        let words = ["snapshot", "restore", "web-1", option];
        vsiflow.run(&words).exits(0).says(left_out);
    }
}

#[test]
fn a_guest_that_runs_comes_up_again_after_it_is_put_back() {
    let vsiflow = stopped(Vsi::named("web"));
    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(0);
    vsiflow.run(&["start", "web"]).exits(0);
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes"])
        .exits(0)
        .says("vsi/web is Running");
}

#[test]
fn what_cannot_be_taken_is_refused_and_leaves_nothing() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(with_disk(), &[]).exits(0);
    // The guest's memory is protected, so a copy of disks in use would not be consistent.
    vsiflow
        .run(&["snapshot", "create", "web"])
        .exits(4)
        .says("VSI0222");
    vsiflow
        .run(&["snapshot", "create", "web", "--memory"])
        .exits(4)
        .says("its memory is protected");
    vsiflow.run(&["stop", "web"]).exits(0);
    for words in [["Name"], ["-a"]] {
        let words = [&["snapshot", "create", "web", "--"], &words[..]].concat();
        vsiflow.run(&words).exits(4).says("VSI0740");
    }
    vsiflow.run(&["snapshot", "create", "web", "a"]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "a"])
        .exits(4)
        .says("VSI0740");
    vsiflow.run(&["delete", "snapshot", "a"]).exits(0);
    vsiflow.run(&["snapshot", "create", "nobody"]).exits(3);
    assert_eq!(copies(&vsiflow), 0);
}

/// Another domain on the host uses the same disk.
#[test]
fn a_disk_that_another_domain_has_is_refused_and_leaves_nothing() {
    let vsiflow = stopped(with_disk());
    vsiflow.change_sim(|sim| {
        let domains = sim["domains"].as_object_mut().unwrap();
        let mut other = domains.values().next().unwrap().clone();
        let uuid = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cff";
        (other["spec"]["uuid"], other["spec"]["name"]) = (uuid.into(), "other".into());
        (other["spec"]["title"], other["mark"]) = ("".into(), Value::Null);
        domains.insert(uuid.to_owned(), other);
    });
    vsiflow
        .run(&["snapshot", "create", "web", "a"])
        .exits(4)
        .says("VSI0221")
        .says("domain other has the disk, too");
    assert_eq!(copies(&vsiflow), 0);
    assert_eq!(vsiflow.phase("web"), "Stopped");
    // Deleting the snapshot leaves the VSI as it was.
    vsiflow.run(&["snapshot", "delete", "a"]).exits(0);
    vsiflow.change_sim(|sim| {
        let domains = sim["domains"].as_object_mut().unwrap();
        domains.retain(|_, domain| domain["spec"]["name"] != "other");
    });
    vsiflow.run(&["start", "web"]).exits(0).says("Running");
}

#[test]
fn a_pool_without_room_leaves_nothing_and_the_snapshot_is_taken_once_there_is_some() {
    let vsiflow = stopped(Vsi::named("web"));
    let mut room = Value::Null;
    vsiflow.change_sim(|sim| {
        let pool = &mut sim["pools"]["images"];
        room = pool["capacity"].take();
        pool["capacity"] = 1.into();
    });
    vsiflow
        .run(&["snapshot", "create", "web", "a"])
        .exits(4)
        .says("VSI0203");
    assert_eq!(copies(&vsiflow), 0);
    vsiflow.change_sim(|sim| sim["pools"]["images"]["capacity"] = room.clone());
    vsiflow.run(&["retry", "web"]).exits(0);
    assert_eq!(snapshot(&vsiflow, "a")["status"]["phase"], "Ready");
}

/// Another change of the VSI does not wait for a blocked snapshot.
#[test]
fn a_snapshot_that_is_stuck_is_given_up_for_a_start() {
    let vsiflow = stopped(Vsi::named("web"));
    vsiflow.change_sim(|sim| sim["pools"]["images"]["capacity"] = 1.into());
    vsiflow.run(&["snapshot", "create", "web", "a"]).exits(4);
    vsiflow.run(&["start", "web"]).exits(0).says("Running");
    let taken = snapshot(&vsiflow, "a");
    assert_eq!(taken["status"]["phase"], "Failed");
    vsiflow.run(&["snapshot", "restore", "a", "--yes"]).exits(4);
    vsiflow.run(&["snapshot", "delete", "a"]).exits(0);
    assert_eq!(copies(&vsiflow), 0);
}

/// A guest whose memory is not protected continues while its disks are copied.
#[test]
fn a_guest_that_runs_is_copied_without_a_pause_and_writes_into_its_own_disk_again() {
    let vsiflow = Vsiflow::simulated();
    let document = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest:\n    type: cloudInit\n    userData: |\n      #cloud-config\n"
    );
    vsiflow.apply(&document, &[]).exits(0);
    let boots = |of: &Vsiflow| of.sim().domain("default/web")["live"]["started"].clone();
    let (before, disks) = (
        boots(&vsiflow),
        vsiflow.sim().domain("default/web")["spec"].clone(),
    );
    vsiflow
        .run(&["snapshot", "create", "web", "--quiesce"])
        .exits(0)
        .says("snapshot/web-1 is taken");
    assert_eq!(boots(&vsiflow), before, "it was not started again");
    assert_eq!(
        vsiflow.sim().domain("default/web")["spec"]["disks"],
        disks["disks"]
    );
    assert_eq!(copies(&vsiflow), 1, "no layer is left");
    assert_eq!(vsiflow.phase("web"), "Running");
    vsiflow
        .run(&["history", "snapshot/web-1"])
        .exits(0)
        .says("copy_disks")
        .says("merge_layers");
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    assert_eq!(copies(&vsiflow), 1, "it outlives its VSI");
    vsiflow.run(&["snapshot", "delete", "web-1"]).exits(0);
    assert_eq!(copies(&vsiflow), 0);
}

#[test]
fn a_daemon_answers_for_snapshots() {
    let vsiflow = stopped(Vsi::named("web"));
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .run(&["snapshot", "create", "web", "a", "--wait"])
        .exits(0);
    vsiflow.run(&["get", "snapshots"]).exits(0).says("Ready");
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes", "--wait"])
        .exits(0);
    vsiflow.run(&["snapshot", "delete", "a", "--wait"]).exits(0);
    drop(daemon);
}

#[test]
fn a_document_takes_its_snapshot_once() {
    let vsiflow = stopped(Vsi::named("web"));
    let document = "apiVersion: vsiflow.io/v1\nkind: VirtualServerSnapshot\n\
                    metadata: {name: first}\nspec: {virtualServer: web}\n";
    vsiflow
        .apply(document, &["--dry-run"])
        .exits(0)
        .says("snapshot/first created");
    vsiflow.run(&["get", "snapshot", "first"]).exits(3);
    vsiflow
        .apply(document, &[])
        .exits(0)
        .says("snapshot/first created");
    assert_eq!(snapshot(&vsiflow, "first")["status"]["phase"], "Ready");
    vsiflow
        .apply(document, &[])
        .exits(0)
        .says("snapshot/first unchanged");
    assert_eq!(copies(&vsiflow), 1);
    let with_change = format!(
        "{}---\n{}",
        Vsi::named("web").cpus(3),
        document.replace("first", "second")
    );
    vsiflow.apply(with_change, &[]).exits(4).says("VSI0740");
    let misspelt = document.replace("virtualServer:", "virtualserver:");
    vsiflow.apply(misspelt, &[]).exits(2).says("virtualServer");
}

#[test]
fn a_vsi_is_cloned_with_its_data_disks() {
    let vsiflow = stopped(with_disk());
    vsiflow
        .run(&["clone", "web", "twin", "--wait"])
        .exits(0)
        .says("vsi/twin is Running");
    assert_eq!(copies(&vsiflow), 0, "its snapshot was deleted again");
    let (web, twin) = (vsiflow.vsi("web"), vsiflow.vsi("twin"));
    assert_ne!(web["metadata"]["uid"], twin["metadata"]["uid"]);
    let disk = vsiflow.run(&["get", "disk", "twin-data", "-o", "json"]);
    let disk = disk.exits(0).json();
    assert_ne!(disk["metadata"]["uid"], UID);
    assert_eq!(disk["status"]["usedBy"][0], "twin");
    vsiflow
        .run(&["history", "disk/twin-data"])
        .exits(0)
        .says("fill_volume");
    vsiflow
        .run(&["clone", "web", "twin"])
        .exits(4)
        .says("a VSI of this name exists");
    let untaken = vsiflow.run(&["snapshot", "delete", "web-to-twin"]);
    untaken.exits(3).says("VSI0703");

    vsiflow.run(&["snapshot", "create", "web", "a"]).exits(0);
    vsiflow
        .run(&["create", "third", "--from", "snapshot/a"])
        .exits(0)
        .says("vsi/third is Running");
    vsiflow.run(&["snapshot", "delete", "a"]).exits(0);
    for name in ["web", "twin", "third"] {
        vsiflow.run(&["delete", name, "--wait"]).exits(0);
    }
    vsiflow.run(&["replay", "--verify"]).exits(0);
}
