//! A Debian guest with cloud-init on a real host (`deploy/lab/image-url debian` builds its image).

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_tests::{DiskDocument, Lab, Vsiflow, lab::Deleted, until};

const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

/// Seconds that a waiting command may take: the timeout of its document, and more.
const PATIENCE_S: u64 = 50 * 60;

/// Whether the lab serves the image; it is built only on request.
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

/// Runs commands in a guest through its host, because no other machine reaches its network.
struct Shell {
    key: PathBuf,
    proxy: String,
}

impl Shell {
    fn through(lab: &Lab, vsiflow: &Vsiflow, key: PathBuf) -> Self {
        let host = lab.host();
        let host_key = vsiflow.write("host-key", &host.key);
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&host_key, mode).unwrap();
        let proxy = format!(
            "ProxyCommand=ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
             -o BatchMode=yes -i {} -p {} -W %h:%p root@{}",
            host_key.display(),
            host.port,
            host.hostname
        );
        Self { key, proxy }
    }

    fn run(&self, address: &str, command: &str) -> String {
        let ran = Command::new("ssh")
            .args(["-o", "StrictHostKeyChecking=no", "-o", &self.proxy])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"])
            .args(["-o", "ConnectTimeout=60", "-i"])
            .arg(&self.key)
            .arg(format!("debian@{address}"))
            .arg(command)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{command}: {errors}");
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }
}

/// A server of that name, with these lines below `spec`.
fn server(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {IMAGE}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{cpus: 2, memory: 1536Mi}}\n{spec}"
    )
}

fn address(vsiflow: &Vsiflow, name: &str) -> String {
    let vsi = vsiflow.vsi(name);
    let addresses = &vsi["status"]["ipAddresses"];
    addresses[0]
        .as_str()
        .unwrap_or_else(|| panic!("{vsi:#}"))
        .to_owned()
}

const STATIC: &str = "192.168.122.77";

fn configured(key: &str, made: &str) -> String {
    format!(
        "diskSelector: {{matchLabels: {{disks: t-debian}}}}\nbootDisk: {{size: 5Gi}}\nguest:\n  \
         type: cloudInit\n  hostname: t-debian-host\n  sshKeys: [\"{key}\"]\n  networkConfig: |\n    \
         version: 2\n    ethernets:\n      nic:\n        match: {{name: \"en*\"}}\n        \
         addresses: [{STATIC}/24]\n        routes: [{{to: default, via: 192.168.122.1}}]\n  userData: |\n    \
         #cloud-config\n    write_files: [{{path: /etc/made, content: {made}}}]\n    \
         fs_setup: [{{device: /dev/disk/by-id/virtio-t-debian-data, filesystem: ext4, label: data, overwrite: false}}]\n    \
         mounts: [[/dev/disk/by-label/data, /data, ext4, \"defaults,nofail\"]]\n    runcmd:\n      \
         - [mkdir, -p, /srv/www]\n      - [sh, -c, \"echo fine >/srv/www/healthz\"]\n      \
         - [systemd-run, python3, -m, http.server, --directory, /srv/www, \"80\"]\nready:\n  within: 40m\n  \
         all: [{{cloudInit: {{}}}}, {{tcp: 22}}, {{agent: {{}}}}, {{address: {{}}}}, \
         {{http: {{port: 80, path: /healthz}}}}, {{console: \"login:\"}}, {{started: {{}}}}]\n"
    )
}

#[test]
#[ignore = "minutes: tests/run --part guests"]
fn lab_a_debian_guest_is_configured_reached_changed_and_rebuilt() {
    let Some(lab) = Lab::enter() else { return };
    assert!(is_served(), "build the image: deploy/lab/image-url debian");
    let vsiflow = Vsiflow::of_documents().patient(PATIENCE_S);
    let key = vsiflow.folder().join("key");
    let public = make_key(&key);
    let shell = Shell::through(&lab, &vsiflow, key);
    let ssh = |command: &str| shell.run(&address(&vsiflow, "t-debian"), command);
    let documents = |made: &str| {
        let disk = DiskDocument::named("t-debian-data")
            .of_vsi("t-debian")
            .size("1Gi")
            .with("deletionPolicy: Delete");
        let server = server("t-debian", &configured(&public, made));
        format!("{}{disk}{server}", lab.host())
    };
    let _gone = Deleted(&vsiflow, "t-debian");

    vsiflow
        .apply(documents("first"), &["--wait"])
        .exits(0)
        .says("vsi/t-debian is Running");
    assert_eq!(
        address(&vsiflow, "t-debian"),
        STATIC,
        "the agent reports the address"
    );
    assert_eq!(ssh("cat /etc/made"), "first");
    assert_eq!(ssh("hostname"), "t-debian-host");
    let size: u64 = ssh("df --output=size -BM / | tail -1")
        .trim_end_matches('M')
        .parse()
        .unwrap();
    assert!(size > 4_000, "the boot disk has grown: {size} MiB");
    ssh("echo kept | sudo tee /data/note /root/note && sync");
    let uid = vsiflow.vsi("t-debian")["metadata"]["uid"].clone();

    vsiflow
        .apply(documents("second"), &["--wait"])
        .exits(0)
        .says("vsi/t-debian is Running");
    assert_eq!(ssh("cat /etc/made"), "second");
    assert_eq!(ssh("sudo cat /root/note"), "kept", "it is the same disk");

    vsiflow.run(&["rebuild", "t-debian", "--wait"]).exits(0);
    assert_eq!(vsiflow.vsi("t-debian")["metadata"]["uid"], uid);
    assert_eq!(ssh("cat /data/note"), "kept", "the data disk stays");
    assert_eq!(ssh("sudo test -e /root/note || echo gone"), "gone");
    vsiflow.run(&["delete", "t-debian", "--wait"]).exits(0);
    until("its domain is gone", 30, || {
        lab.domains("default/t-debian").is_empty().then_some(())
    });
    vsiflow
        .run(&["delete", "disk/t-debian-data", "--wait"])
        .exits(0);
}

#[test]
#[ignore = "minutes: tests/run --part guests"]
fn lab_a_debian_guest_tells_of_user_data_that_failed() {
    let Some(lab) = Lab::enter() else { return };
    assert!(is_served(), "build the image: deploy/lab/image-url debian");
    let vsiflow = Vsiflow::of_documents().patient(PATIENCE_S);
    let spec = "guest:\n  type: cloudInit\n  userData: |\n    #cloud-config\n    \
                runcmd: [[sh, -c, \"exit 3\"], [/nowhere/at/all]]\nready: {within: 40m}\n";
    let _gone = Deleted(&vsiflow, "t-fails");
    vsiflow
        .apply(
            format!("{}{}", lab.host(), server("t-fails", spec)),
            &["--wait"],
        )
        .exits(1)
        .says("VSI0506")
        .says("scripts-user");
}

#[test]
#[ignore = "minutes: tests/run --part guests"]
fn lab_a_debian_guest_on_an_ephemeral_disk_is_fresh_after_a_restart() {
    let Some(lab) = Lab::enter() else { return };
    assert!(is_served(), "build the image: deploy/lab/image-url debian");
    let vsiflow = Vsiflow::of_documents().patient(PATIENCE_S);
    let key = vsiflow.folder().join("key");
    let public = make_key(&key);
    let shell = Shell::through(&lab, &vsiflow, key);
    let ssh = |command: &str| shell.run(&address(&vsiflow, "t-fresh"), command);
    let documents = |probe: &str, within: &str| {
        let spec = format!(
            "bootDisk: {{mode: ephemeral, size: 4Gi}}\nguest:\n  type: cloudInit\n  \
             sshKeys: [\"{public}\"]\n  userData: \"#cloud-config\\nwrite_files: [{{path: /etc/made, content: x}}]\"\n\
             ready: {{within: {within}, all: [{probe}]}}\n"
        );
        format!("{}{}", lab.host(), server("t-fresh", &spec))
    };
    let _gone = Deleted(&vsiflow, "t-fresh");
    let ready = documents("{cloudInit: {}}, {tcp: 22}", "40m");
    vsiflow.apply(&ready, &["--wait"]).exits(0);
    ssh("echo lost | sudo tee /root/note && sync");
    let boot = ssh("cat /proc/sys/kernel/random/boot_id");
    vsiflow.run(&["restart", "t-fresh", "--wait"]).exits(0);
    assert_ne!(ssh("cat /proc/sys/kernel/random/boot_id"), boot);
    assert_eq!(ssh("sudo test -e /root/note || echo gone"), "gone");

    // No server listens on these ports: the message names the checks that fail.
    let never = "{tcp: 81}, {http: {port: 82, path: /}}, {console: never-said}";
    vsiflow.apply(documents(never, "5s"), &["--wait"]).exits(0);
    vsiflow
        .run(&["restart", "t-fresh", "--wait"])
        .exits(1)
        .says("VSI0502")
        .says("tcp 81")
        .says("http :82/")
        .says("never-said");
}

const SMALL: &str = "---
apiVersion: vsiflow.io/v1
kind: VirtualServer
metadata: {name: t-ephemeral}
spec:
  imageURL: http://images.lab.test:8080/hpcr-guest.qcow2
  targetSelector: {matchLabels: {config: lab}}
  machine: {cpus: 1, memory: 512Mi}
  bootDisk: {mode: ephemeral}
  guest:
    type: hyperProtect
    contract: |
      env: a
      workload: b
";

/// What QEMU prints for a command on a disk that no guest uses.
fn on_disk(disk: &str, command: &str) -> String {
    let ran = Command::new("qemu-io")
        .args(["-c", command, disk])
        .output()
        .unwrap();
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn lab_an_ephemeral_boot_disk_is_fresh_at_every_start() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let _gone = Deleted(&vsiflow, "t-ephemeral");
    let document = format!("{}{SMALL}", lab.host());
    vsiflow.apply(document, &["--wait"]).exits(0);
    let vsi = vsiflow.vsi("t-ephemeral");
    let uid = vsi["metadata"]["uid"].as_str().unwrap();
    assert!(
        lab.virsh(&["dominfo", uid]).contains("disable"),
        "no autostart"
    );
    let disk = format!("/var/lib/libvirt/images/boot-{uid}.qcow2");
    vsiflow.run(&["stop", "t-ephemeral", "--wait"]).exits(0);
    on_disk(&disk, "write -P 0xab 1M 64k");
    let read = || on_disk(&disk, "read -P 0xab 1M 64k");
    assert!(!read().contains("failed"), "the data was written");
    vsiflow.run(&["start", "t-ephemeral", "--wait"]).exits(0);
    vsiflow.run(&["get", "--refresh"]).exits(0);
    assert_eq!(vsiflow.phase("t-ephemeral"), "Running", "no drift");
    vsiflow.run(&["stop", "t-ephemeral", "--wait"]).exits(0);
    assert!(read().contains("failed"), "the written data is gone");
}
