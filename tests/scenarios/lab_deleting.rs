//! Deletions that a real host refuses at first, and carries out later.

use std::{path::PathBuf, process::Command};

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted};

/// The volumes of a VSI in a pool.
fn volumes(lab: &Lab, pool: &str, uid: &str) -> Vec<String> {
    let mut all = lab.volumes(pool);
    all.retain(|name| name.contains(uid));
    all
}

#[test]
fn lab_defect_05_a_deletion_goes_on_once_its_host_is_back() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-finalize.qcow2"), Vsiflow::of_documents());
    let vsi = Vsi::named("t-finalize").image(image.url());
    let _gone = Deleted(&vsiflow, "t-finalize");
    vsiflow
        .apply(format!("{}{vsi}", lab.host()), &["--wait"])
        .exits(0);
    let uid = lab.domains("default/t-finalize").remove(0);
    lab.daemon("libvirtd", "kill");
    let ran = vsiflow.run(&["delete", "t-finalize", "--timeout", "4s"]);
    ran.exits(5)
        .says("VSI0108")
        .keeps_quiet_about("t-finalize deleted");
    assert_eq!(vsiflow.phase("t-finalize"), "Deleting");
    let running = vsiflow.start(&["resume", "t-finalize"]);
    lab.daemon("libvirtd", "start");
    running.end(120).exits(0);
    vsiflow.run(&["get", "vsi", "t-finalize"]).exits(3);
    assert!(lab.domains("default/t-finalize").is_empty());
    assert!(volumes(&lab, "images", &uid).is_empty());
}

/// A file that cannot be deleted until this is dropped.
struct UndeletableFile(PathBuf);

impl UndeletableFile {
    fn new(path: PathBuf) -> Self {
        let mut mount = Command::new("mount");
        let mount = mount.arg("--bind").arg(&path).arg(&path);
        assert!(mount.status().unwrap().success(), "{mount:?}");
        Self(path)
    }
}

impl Drop for UndeletableFile {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn lab_defect_06_no_volume_goes_before_its_domain_is_gone() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-first.qcow2"), Vsiflow::of_documents());
    let vsi = Vsi::named("t-first").image(image.url());
    let _gone = Deleted(&vsiflow, "t-first");
    vsiflow
        .apply(format!("{}{vsi}", lab.host()), &["--wait"])
        .exits(0);
    let uid = lab.domains("default/t-first").remove(0);
    let before = volumes(&lab, "images", &uid);
    assert_eq!(before.len(), 3, "{before:?}");
    let held = UndeletableFile::new(PathBuf::from(format!("/etc/libvirt/qemu/{uid}.xml")));
    vsiflow
        .run(&["delete", "t-first", "--timeout", "15s"])
        .exits(5)
        .says("undefine_domain")
        .says("VSI0110");
    assert_eq!(volumes(&lab, "images", &uid), before);
    assert_eq!(lab.domains("default/t-first"), [uid.as_str()]);
    drop(held);
    vsiflow.run(&["resume", "t-first"]).exits(0);
    assert!(lab.domains("default/t-first").is_empty());
    assert!(volumes(&lab, "images", &uid).is_empty());
}

#[test]
fn lab_defect_07_volumes_of_an_inactive_pool_do_not_count_as_deleted() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-lookup.qcow2"), Vsiflow::of_documents());
    let pool = lab.pool("t-lookup", "64M", true);
    let vsi = Vsi::named("t-lookup").image(image.url()).pool(pool.name());
    let _gone = Deleted(&vsiflow, "t-lookup");
    vsiflow
        .apply(format!("{}{vsi}", lab.host()), &["--wait"])
        .exits(0);
    let uid = lab.domains("default/t-lookup").remove(0);
    // An administrator deactivates the pool while it is in use.
    lab.virsh(&["pool-destroy", pool.name()]);
    vsiflow
        .run(&["delete", "t-lookup", "--wait"])
        .exits(4)
        .says("VSI0202");
    assert_eq!(vsiflow.phase("t-lookup"), "Deleting");
    lab.virsh(&["pool-start", pool.name()]);
    assert_eq!(volumes(&lab, pool.name(), &uid).len(), 3);
    vsiflow.run(&["retry", "t-lookup", "--wait"]).exits(0);
    assert!(volumes(&lab, pool.name(), &uid).is_empty());
}
