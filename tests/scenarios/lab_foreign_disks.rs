//! Disks that an administrator or a backup program replaced by other files, on a real host: layers and copies outside
//! of all pools, and jobs of others.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_tests::{DiskDocument, Lab, Vsi, Vsiflow, lab::Deleted};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0ca1";
const DISK: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0ca2";

/// A guest with a data disk.
struct Guest<'a> {
    lab: &'a Lab,
    vsiflow: &'a Vsiflow,
    image: String,
}

impl Guest<'_> {
    fn documents(&self, cpus: u32) -> String {
        let vsi = Vsi::named("t-left").uid(UID).image(self.image.clone());
        let vsi = vsi.choosing_disks().cpus(cpus);
        let disk = DiskDocument::named("t-left").uid(DISK).of_vsi("t-left");
        let disk = disk.size("16Mi");
        format!("{}{vsi}{disk}", self.lab.host())
    }

    /// The file that the guest writes to as its data disk.
    fn file(&self) -> PathBuf {
        let disks = self.lab.virsh(&["domblklist", UID]);
        let mut files = disks.lines().filter_map(|line| {
            let (target, file) = line.trim().split_once(char::is_whitespace)?;
            (target == self.target()).then(|| file.trim().into())
        });
        files.next().unwrap()
    }

    /// The name of the data disk in the guest's definition.
    fn target(&self) -> &'static str {
        "vdc"
    }

    /// No document and no snapshot takes the volume that the guest left behind.
    #[track_caller]
    fn is_left_on(&self, file: &Path) {
        let shown = file.to_str().unwrap();
        self.vsiflow
            .apply(self.documents(2), &["--wait"])
            .exits(4)
            .says("error[VSI0210]")
            .says(shown);
        let snapshot = ["snapshot", "create", "t-left", "t-left-shot"];
        self.vsiflow.run(&snapshot).exits(4);
        assert_eq!(self.file(), file);
        let state = self.lab.virsh(&["domstate", UID]);
        assert_eq!(state.trim(), "running");
    }

    /// The definition of before is taken for the desired one again.
    #[track_caller]
    fn is_as_it_was(&self) {
        self.vsiflow.apply(self.documents(1), &[]).exits(0);
        assert_eq!(self.vsiflow.phase("t-left"), "Running");
    }
}

#[test]
fn lab_a_guest_that_writes_to_another_file_is_left_on_it() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-left.qcow2"), Vsiflow::of_documents());
    let guest = Guest {
        lab: &lab,
        vsiflow: &vsiflow,
        image: image.url(),
    };
    let _gone = Deleted(&vsiflow, "t-left");
    vsiflow.apply(guest.documents(1), &[]).exits(0);
    let before = guest.file();
    let (shown, target) = (before.to_str().unwrap(), guest.target());

    // A layer, as of a backup program.
    let layer = vsiflow.folder().join("over.qcow2");
    let of_disk = format!("{target},file={}", layer.display());
    lab.virsh(&[
        "snapshot-create-as",
        UID,
        "t-left",
        "--disk-only",
        "--no-metadata",
        "--diskspec",
        "vda,snapshot=no",
        "--diskspec",
        "vdb,snapshot=no",
        "--diskspec",
        &of_disk,
    ]);
    guest.is_left_on(&layer);
    lab.virsh(&["blockcommit", UID, target, "--active", "--pivot", "--wait"]);
    guest.is_as_it_was();

    // A copy to which the host switched the guest.
    let copy = vsiflow.folder().join("copy.qcow2");
    block_copy(&lab, target, copy.to_str().unwrap(), &["--pivot"]);
    guest.is_left_on(&copy);
    lab.virsh(&["destroy", UID]);
    let out = vsiflow.folder().join("out");
    let export = ["disk", "export", "t-left", out.to_str().unwrap()];
    let refused = vsiflow.run(&export).exits(4);
    refused.says("error[VSI0228]").says(copy.to_str().unwrap());
    let start = vsiflow.run(&["start", "t-left"]).exits(4);
    start.says("error[VSI0210]").says(copy.to_str().unwrap());
    lab.virsh(&["start", UID]);
    block_copy(&lab, target, shown, &["--reuse-external", "--pivot"]);
    guest.is_as_it_was();

    // A copy that is not switched to: whoever began it ends it.
    block_copy(&lab, target, copy.to_str().unwrap(), &["--reuse-external"]);
    let snapshot = ["snapshot", "create", "t-left", "t-left-shot"];
    vsiflow.run(&snapshot).exits(4);
    let job = lab.virsh(&["blockjob", UID, target, "--info", "--raw"]);
    assert!(job.contains("Block Copy"), "{job}");
    assert_eq!(guest.file(), before);
    lab.virsh(&["blockjob", UID, target, "--abort"]);
    guest.is_as_it_was();
    vsiflow.run(&["delete", "t-left", "--wait"]).exits(0);
    lab.virsh(&["vol-delete", "--pool", "images", DISK]);
}

fn block_copy(lab: &Lab, target: &str, to: &str, how: &[&str]) {
    let mut words = vec!["blockcopy", UID, target, "--dest", to, "--wait"];
    words.push("--transient-job");
    words.extend(how);
    lab.virsh(&words);
}

/// A loop device over a file, which goes with it.
struct LoopDevice(String);

impl LoopDevice {
    fn over(file: &Path) -> Self {
        let mut attach = Command::new("losetup");
        let attached = attach
            .args(["--find", "--show"])
            .arg(file)
            .output()
            .unwrap();
        assert!(attached.status.success(), "{attached:?}");
        let device = String::from_utf8(attached.stdout).unwrap();
        Self(device.trim().to_owned())
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn lab_a_layer_on_a_block_device_keeps_what_lies_below_it() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let uid = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0ca3";
    let disk = DiskDocument::named("t-block").uid(uid).size("16Mi");
    let disk = disk.with("deletionPolicy: Delete");
    vsiflow.apply(format!("{}{disk}", lab.host()), &[]).exits(0);
    let path = lab.virsh(&["vol-path", "--pool", "images", uid]);
    let file = vsiflow.folder().join("block");
    std::fs::File::create(&file)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    let device = LoopDevice::over(&file);
    let mut layer = Command::new("qemu-img");
    let layer = layer.args([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        path.trim(),
    ]);
    assert!(layer.arg(&device.0).arg("16M").status().unwrap().success());
    let xml = format!(
        "<domain type='qemu'><name>t-block</name><memory unit='MiB'>64</memory>\
         <os><type arch='s390x'>hvm</type></os><devices><disk type='block' device='disk'>\
         <driver name='qemu' type='qcow2'/><source dev='{}'/>\
         <target dev='vda' bus='virtio'/></disk></devices></domain>",
        device.0
    );
    let written = vsiflow.write("block.xml", &xml);
    lab.virsh(&["define", written.to_str().unwrap()]);
    let refused = vsiflow.run(&["delete", "disk/t-block"]);
    lab.virsh(&["undefine", "t-block"]);
    refused.exits(4).says("VSI0210").says(&device.0);
    assert!(lab.volumes("images").contains(&uid.to_owned()));
    drop(device);
    vsiflow.run(&["retry", "disk/t-block"]).exits(0);
    assert!(!lab.volumes("images").contains(&uid.to_owned()));
}
