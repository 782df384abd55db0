//! An account without root on a real host: libvirt permits it everything, and the files of guests are not its own.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use vsiflow_tests::{DiskDocument, Lab, Vsi, Vsiflow, lab::Deleted};

const DISK: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cb1";

/// The lab's account without root. Its group may use libvirt's socket.
const ACCOUNT: &str = "lab";

fn make_layer(arguments: &[&str]) {
    let mut make = Command::new("qemu-img");
    let made = make
        .args(["create", "-q", "-f", "qcow2"])
        .args(arguments)
        .status();
    assert!(made.unwrap().success());
}

#[test]
fn lab_files_that_the_account_cannot_read_keep_what_may_lie_below_them() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-account.qcow2"), Vsiflow::of_documents());
    let host = lab.host().to_string();
    let host = host.replace("USER: root", &format!("USER: {ACCOUNT}"));
    let _gone = Deleted(&vsiflow, "t-account");
    let disk = DiskDocument::named("t-account").uid(DISK).size("16Mi");
    let disk = disk.with("deletionPolicy: Delete");
    // QEMU's own files are readable for root alone. Chains of guests that run come from libvirt.
    let vsi = Vsi::named("t-account").image(image.url());
    vsiflow.apply(format!("{host}{vsi}{disk}"), &[]).exits(0);
    let path = lab.virsh(&["vol-path", "--pool", "images", DISK]);
    let layer = vsiflow.folder().join("secret.qcow2");
    let shown = layer.to_str().unwrap();
    make_layer(&["-F", "qcow2", "-b", path.trim(), shown]);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&layer, mode).unwrap();
    let xml = format!(
        "<domain type='qemu'><name>t-secret</name><memory unit='MiB'>64</memory>\
         <os><type arch='s390x'>hvm</type></os><devices><disk type='file' device='disk'>\
         <driver name='qemu' type='qcow2'/><source file='{shown}'/>\
         <target dev='vda' bus='virtio'/></disk></devices></domain>"
    );
    let written = vsiflow.write("secret.xml", &xml);
    lab.virsh(&["define", written.to_str().unwrap()]);
    let refused = vsiflow.run(&["delete", "disk/t-account"]);
    lab.virsh(&["undefine", "t-secret"]);
    refused.exits(4).says("VSI0210").says(shown);
    assert!(lab.volumes("images").contains(&DISK.to_owned()));
    // The guest runs on, and its own files hold nothing up.
    assert_eq!(vsiflow.phase("t-account"), "Running");
    vsiflow.run(&["retry", "disk/t-account"]).exits(0);
    assert!(!lab.volumes("images").contains(&DISK.to_owned()));
    vsiflow.run(&["rebuild", "t-account", "--yes"]).exits(0);
    vsiflow.run(&["delete", "t-account", "--wait"]).exits(0);
}
