//! Snapshots that vsiflow takes of guests with a file system, on a real host.

use std::{path::Path, process::Command};

use vsiflow_tests::{DiskDocument, Lab, Vsi, Vsiflow, lab::Deleted, until};

fn ran(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The path of a volume on the host, which is this machine.
pub(super) fn path(lab: &Lab, volume: &str) -> String {
    let path = lab.virsh(&["vol-path", "--pool", "images", volume]);
    path.trim().to_owned()
}

/// Makes an empty file system in a data disk of a VSI that is off.
pub(super) fn format(vsiflow: &Vsiflow, disk: &str) {
    let raw = vsiflow.folder().join("raw");
    let raw = raw.to_str().unwrap();
    ran("truncate", &["-s", "64M", raw]);
    ran("mke2fs", &["-q", "-F", "-t", "ext4", raw]);
    ran(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", raw, disk],
    );
}

/// The numbers in the file system of a disk that is not in use. Asserts that the file system is
/// intact once its journal has been replayed.
pub(super) fn numbers(folder: &Path, disk: &str) -> Vec<u64> {
    let raw = folder.join("seen");
    let raw = raw.to_str().unwrap();
    ran(
        "qemu-img",
        &["convert", "-U", "-f", "qcow2", "-O", "raw", disk, raw],
    );
    // e2fsck exits with 1 after it has replayed the journal.
    let checked = Command::new("e2fsck").args(["-fp", raw]).output().unwrap();
    assert!(checked.status.code() < Some(2), "{checked:?}");
    ran("e2fsck", &["-fn", raw]);
    let text = ran("debugfs", &["-R", "cat /numbers", raw]);
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn last_number(vsiflow: &Vsiflow, name: &str) -> u64 {
    let log = vsiflow.run(&["logs", name, "--tail", "20"]).exits(0);
    let lines = log.stdout.lines().rev();
    let mut numbers = lines.filter_map(|line| line.trim().strip_prefix("lab: wrote "));
    numbers
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

pub(super) fn is_gap_free(numbers: &[u64]) -> bool {
    numbers
        .iter()
        .zip(1..)
        .all(|(number, place)| *number == place)
}

#[test]
fn lab_a_guest_that_is_off_is_put_back_to_its_snapshot() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-still.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-still");
    let documents = format!("{}{}", lab.host(), Vsi::named("t-still").image(image.url()));
    vsiflow.apply(documents, &[]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "t-still"])
        .exits(4)
        .says("VSI0222");
    vsiflow.run(&["stop", "t-still", "--force"]).exits(0);
    let uid = lab.domains("default/t-still").remove(0);
    let boot = |number: &str| path(&lab, &format!("boot-{uid}{number}.qcow2"));
    let first = boot("");
    let write = |pattern: &str| {
        let command = format!("write -P {pattern} 40M 64k");
        ran("qemu-io", &["-f", "qcow2", "-c", &command, &first])
    };
    // qemu-io fails if the pattern is not there.
    let holds = |disk: &str, pattern: &str| {
        let command = format!("read -P {pattern} 40M 64k");
        let mut read = Command::new("qemu-io");
        let read = read.args(["-f", "qcow2", "-c", &command, disk]).output();
        read.unwrap().status.success()
    };
    write("0x11");
    vsiflow
        .run(&["snapshot", "create", "t-still", "t-first"])
        .exits(0);
    write("0x22");
    vsiflow
        .run(&["snapshot", "restore", "t-first", "--yes"])
        .exits(0)
        .says("since snapshot t-first is lost");
    // It is made beside the first one, which goes then.
    let second = boot("-1");
    assert!(holds(&second, "0x11") && !holds(&second, "0x22"));
    assert!(!std::path::Path::new(&first).exists());
    vsiflow.run(&["start", "t-still"]).exits(0).says("Running");
    vsiflow.run(&["delete", "t-still", "--wait"]).exits(0);
    // The snapshot remains after its VSI is deleted.
    let of_snapshot = |name: &String| name.starts_with("snapshot-");
    let mut copies = lab.volumes("images");
    copies.retain(of_snapshot);
    let object = vsiflow.run(&["get", "snapshot", "t-first", "-o", "json"]);
    let object = object.exits(0).json();
    let copy = object["status"]["disks"][0]["copy"].as_str().unwrap();
    assert!(copies.iter().any(|name| copy.ends_with(name)), "{copies:?}");
    vsiflow.run(&["snapshot", "delete", "t-first"]).exits(0);
    assert!(
        !lab.volumes("images")
            .iter()
            .any(|name| copy.ends_with(name))
    );
}

/// A server that writes numbers into its data disk.
pub(super) fn writer(name: &str, image: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{arch: s390x, cpus: 1, memory: 512Mi}}\n  \
         diskSelector: {{matchLabels: {{disks: {name}}}}}\n  guest:\n    type: cloudInit\n    \
         userData: |\n      #cloud-config\n      workload: lab\n      env: lab\n      lab-write: true\n  \
         ready: {{within: 10m, all: [{{console: \"HPL10001I\"}}]}}\n"
    )
}

#[test]
fn lab_a_guest_writes_on_while_a_snapshot_of_its_file_system_is_taken_and_loses_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-live.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-live");
    let disk = DiskDocument::named("t-live-data")
        .of_vsi("t-live")
        .size("64Mi")
        .with("deletionPolicy: Delete");
    let documents = format!("{}{disk}{}", lab.host(), writer("t-live", &image.url()));
    vsiflow.apply(documents, &[]).exits(0);
    vsiflow.run(&["stop", "t-live", "--force"]).exits(0);
    let found = vsiflow.run(&["get", "disk", "t-live-data", "-o", "json"]);
    let found = found.exits(0).json();
    let data = path(&lab, found["metadata"]["uid"].as_str().unwrap());
    format(&vsiflow, &data);
    vsiflow.run(&["start", "t-live"]).exits(0);
    until("the guest writes", 120, || {
        (last_number(&vsiflow, "t-live") > 10).then_some(())
    });

    let uid = lab.domains("default/t-live").remove(0);
    let disks = || lab.virsh(&["domblklist", &uid]);
    let (before, at_least) = (disks(), last_number(&vsiflow, "t-live"));
    vsiflow
        .run(&["snapshot", "create", "t-live", "t-live-first"])
        .exits(0)
        .says("snapshot/t-live-first is taken");
    let at_most = last_number(&vsiflow, "t-live") + 100;
    assert_eq!(disks(), before, "the guest writes into its own disks again");
    assert_eq!(lab.virsh(&["domstate", &uid]).trim(), "running");
    let object = vsiflow.run(&["get", "snapshot", "t-live-first", "-o", "json"]);
    let object = object.exits(0).json();
    assert_eq!(lab.layers_of(&object), [""; 0]);
    let copy = object["status"]["disks"][1]["copy"].as_str().unwrap();
    let copy = path(&lab, copy.rsplit('/').next().unwrap());
    let taken = numbers(vsiflow.folder(), &copy);
    assert!(is_gap_free(&taken), "{taken:?}");
    let last = *taken.last().unwrap();
    assert!(
        (at_least..at_most).contains(&last),
        "{at_least} {last} {at_most}"
    );

    // The guest continued to write, and its disk has all of that.
    until("the guest writes on", 120, || {
        (last_number(&vsiflow, "t-live") > last + 5).then_some(())
    });
    let later = last_number(&vsiflow, "t-live");
    vsiflow.run(&["stop", "t-live", "--force"]).exits(0);
    let written = numbers(vsiflow.folder(), &data);
    assert!(
        is_gap_free(&written) && written.len() as u64 >= later,
        "{written:?}"
    );

    vsiflow
        .run(&["snapshot", "restore", "t-live-first", "--yes"])
        .exits(0);
    let restored = format!("{}-1", found["metadata"]["uid"].as_str().unwrap());
    let restored = path(&lab, &restored);
    assert_eq!(numbers(vsiflow.folder(), &restored), taken);
    vsiflow
        .run(&["snapshot", "delete", "t-live-first"])
        .exits(0);
    vsiflow.run(&["delete", "t-live", "--wait"]).exits(0);
    vsiflow
        .run(&["delete", "disk/t-live-data", "--wait"])
        .exits(0);
}
