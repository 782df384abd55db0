//! Names on a real host that are not text.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, process::Command};

use vsiflow_tests::{Lab, Vsiflow};

const POOL: &str = "odd-names";

/// A pool of the lab's host that ends with the test.
struct OddPool(tempfile::TempDir);

impl OddPool {
    fn new(lab: &Lab) -> Self {
        let folder = tempfile::tempdir_in("/var/lib/libvirt").unwrap();
        let target = folder.path().to_str().unwrap();
        lab.virsh(&["pool-define-as", POOL, "dir", "--target", target]);
        lab.virsh(&["pool-start", POOL]);
        Self(folder)
    }
}

impl Drop for OddPool {
    fn drop(&mut self) {
        for command in ["pool-destroy", "pool-undefine"] {
            let mut virsh = Command::new("virsh");
            let virsh = virsh.args(["-q", "-c", "qemu:///system", command, POOL]);
            let _ = virsh.output();
        }
    }
}

fn qemu_img(arguments: &[&OsStr]) {
    let mut qemu_img = Command::new("qemu-img");
    let made = qemu_img
        .args(["create", "-q", "-f", "qcow2"])
        .args(arguments)
        .status();
    assert!(made.unwrap().success(), "{qemu_img:?}");
}

fn layer(pool: &Path, name: &[u8]) {
    let (base, over) = (pool.join("guest.qcow2"), pool.join(OsStr::from_bytes(name)));
    let arguments = ["-F", "qcow2", "-b"].map(OsStr::new);
    qemu_img(&[&arguments[..], &[base.as_os_str(), over.as_os_str()]].concat());
}

#[test]
fn lab_a_layer_whose_name_is_no_text_keeps_the_image_below_it() {
    // An unreadable layer stops the deletions of all tests.
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (pool, vsiflow) = (OddPool::new(&lab), Vsiflow::of_documents());
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    qemu_img(&[at("guest.qcow2").as_ref(), "8M".as_ref()]);
    std::fs::write(at("host.yaml"), lab.host().to_string()).unwrap();
    let (image, host) = (at("guest.qcow2"), at("host.yaml"));
    let upload = ["image", "upload", &image, "-f", &host, "--pool", POOL];
    vsiflow.run(&upload).exits(0);
    for (name, shown) in [
        (&b"caf\xe9.qcow2"[..], "odd-names/caf\\xe9.qcow2"),
        // libvirt does not list this one.
        (b"two\nlines", "odd-names/two\\nlines"),
    ] {
        layer(pool.0.path(), name);
        let listed = vsiflow.run(&["host", "inventory", "-f", &host]).exits(0);
        listed.says(shown);
        let dry = vsiflow.run(&["image", "prune", "--dry-run"]).exits(4);
        dry.says("VSI0210").says(shown);
        let refused = vsiflow.run(&["image", "prune"]).exits(4);
        refused.says("VSI0210").says(shown);
        assert!(pool.0.path().join("guest.qcow2").exists());
        std::fs::remove_file(pool.0.path().join(OsStr::from_bytes(name))).unwrap();
    }
    vsiflow.run(&["image", "prune"]).exits(0).says("removed");
    assert!(!pool.0.path().join("guest.qcow2").exists());
}
