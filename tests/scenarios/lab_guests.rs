//! A Debian with cloud-init on a real host (`deploy/lab/image-url debian` builds its image).

use std::{path::Path, process::Command};

use vsiflow_tests::{Lab, Vsiflow, lab::Deleted, until};

const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

/// Whether the lab serves the image: it is built only when it is asked for.
fn is_served() -> bool {
    let head = Command::new("curl").args(["-sfI", IMAGE]).output().unwrap();
    if !head.status.success() {
        println!("skipped: run `deploy/lab/image-url debian` first");
    }
    head.status.success()
}

fn make_key(file: &Path) -> String {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(file)
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(file.with_extension("pub"))
        .unwrap()
        .trim()
        .to_owned()
}

fn ssh(key: &Path, address: &str, command: &str) -> String {
    let ran = Command::new("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-i"])
        .arg(key)
        .arg(format!("debian@{address}"))
        .arg(command)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

fn document(name: &str, key: &str, made: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {IMAGE}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{cpus: 2, memory: 1536Mi}}\n  bootDisk: {{size: 5Gi}}\n  guest:\n    \
         type: cloudInit\n    hostname: {name}-host\n    sshKeys: [\"{key}\"]\n    userData: |\n      \
         #cloud-config\n      write_files: [{{path: /etc/made, content: {made}}}]\n  \
         ready:\n    within: 30m\n    all: [{{cloudInit: {{}}}}, {{tcp: 22}}, {{agent: {{}}}}, {{address: {{}}}}]\n"
    )
}

#[test]
#[ignore = "minutes: tests/run --part guests"]
fn lab_a_debian_guest_is_configured_reached_and_changed() {
    let Some(lab) = Lab::enter() else { return };
    assert!(is_served(), "build the image: deploy/lab/image-url debian");
    let vsiflow = Vsiflow::of_documents();
    let key = vsiflow.folder().join("key");
    let public = make_key(&key);
    let documents = |made: &str| format!("{}{}", lab.host(), document("t-debian", &public, made));
    let _gone = Deleted(&vsiflow, "t-debian");

    vsiflow
        .apply(documents("first"), &["--wait"])
        .exits(0)
        .says("vsi/t-debian is Running");
    let address = || {
        let vsi = vsiflow.vsi("t-debian");
        vsi["status"]["ipAddresses"][0].as_str().unwrap().to_owned()
    };
    assert_eq!(ssh(&key, &address(), "cat /etc/made").trim(), "first");
    assert_eq!(ssh(&key, &address(), "hostname").trim(), "t-debian-host");
    let size = ssh(&key, &address(), "df --output=size -BM / | tail -1");
    let size: u64 = size.trim().trim_end_matches('M').parse().unwrap();
    assert!(size > 4_000, "the boot disk has grown: {size} MiB");
    let uid = vsiflow.vsi("t-debian")["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(lab.virsh(&["domstate", &uid]).trim(), "running");

    vsiflow
        .apply(documents("second"), &["--wait"])
        .exits(0)
        .says("vsi/t-debian is Running");
    assert_eq!(ssh(&key, &address(), "cat /etc/made").trim(), "second");
    vsiflow.run(&["delete", "t-debian", "--wait"]).exits(0);
    until("its domain is gone", 30, || {
        lab.domains("default/t-debian").is_empty().then_some(())
    });
}
