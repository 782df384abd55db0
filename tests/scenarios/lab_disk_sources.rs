//! Data disks with a source (image, disk or snapshot), on a real host.

use std::process::Command;

use vsiflow_tests::{DiskDocument, Lab, Vsi, Vsiflow, lab::Deleted, until};

fn ran(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The path of a volume on the host, which is this machine.
fn path(lab: &Lab, volume: &str) -> String {
    let path = lab.virsh(&["vol-path", "--pool", "images", volume]);
    path.trim().to_owned()
}

/// Makes a qcow2 image of a file system with one file and `mib` MiB of data; returns its URL.
fn image(vsiflow: &Vsiflow, name: &str, mib: u64) -> String {
    let folder = vsiflow.folder();
    let (raw, content) = (folder.join("raw"), folder.join("content"));
    std::fs::write(&content, "what the image holds").unwrap();
    let file = folder.join(name);
    let [raw, content, file] = [&raw, &content, &file].map(|path| path.to_str().unwrap());
    ran("truncate", &["-s", "256M", raw]);
    ran("mke2fs", &["-q", "-F", "-t", "ext4", raw]);
    let write = format!("write {content} /content");
    ran("debugfs", &["-w", "-R", &write, raw]);
    if mib > 0 {
        let of = format!("of={content}");
        let count = format!("count={mib}");
        ran("dd", &["if=/dev/urandom", &of, "bs=1M", &count]);
        let write_random = format!("write {content} /random");
        ran("debugfs", &["-w", "-R", &write_random, raw]);
    }
    ran(
        "qemu-img",
        &["convert", "-f", "raw", "-O", "qcow2", raw, file],
    );
    format!("file://{file}")
}

fn uid(vsiflow: &Vsiflow, disk: &str) -> String {
    let found = vsiflow.run(&["get", "disk", disk, "-o", "json"]);
    let found = found.exits(0).json();
    assert_eq!(found["status"]["phase"], "Ready", "{found}");
    found["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// The content of the file system in a disk, and the disk's size.
fn holds(vsiflow: &Vsiflow, disk: &str) -> (String, u64) {
    let raw = vsiflow.folder().join("seen");
    let raw = raw.to_str().unwrap();
    ran(
        "qemu-img",
        &["convert", "-U", "-f", "qcow2", "-O", "raw", disk, raw],
    );
    ran("e2fsck", &["-fn", raw]);
    let content = ran("debugfs", &["-R", "cat /content", raw]);
    (content, std::fs::metadata(raw).unwrap().len())
}

fn gone(lab: &Lab, vsiflow: &Vsiflow, disk: &str, uid: &str) {
    let name = format!("disk/{disk}");
    vsiflow.run(&["delete", &name, "--wait"]).exits(0);
    let left = lab.volumes("images");
    assert!(!left.iter().any(|volume| volume.contains(uid)), "{left:?}");
}

fn disk(name: &str, source: &str) -> DiskDocument {
    let disk = DiskDocument::named(name)
        .size("1Gi")
        .with("deletionPolicy: Delete");
    disk.with(&format!("source: {source}"))
}

#[test]
fn lab_data_disks_are_filled_from_an_image_another_disk_and_a_snapshot() {
    let Some(lab) = Lab::enter() else { return };
    let (boot, vsiflow) = (lab.image("t-source.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-source");
    let url = image(&vsiflow, "t-source-data.qcow2", 0);
    let first = disk("t-source-a", &format!("{{imageURL: \"{url}\"}}")).of_vsi("t-source");
    let vsi = Vsi::named("t-source").image(boot.url()).choosing_disks();
    vsiflow
        .apply(format!("{}{vsi}{first}", lab.host()), &[])
        .exits(0);
    let a = uid(&vsiflow, "t-source-a");
    let content = ("what the image holds".to_owned(), 1 << 30);
    let text = vsiflow.run(&["history", "disk/t-source-a"]).exits(0);
    text.says("check_source")
        .says("fill_from_image")
        .says("grow_volume");

    // The running guest has it.
    let source = "{disk: t-source-a}";
    let copy = disk("t-source-b", source).of_vsi("nobody");
    let copy = format!("{}{copy}", lab.host());
    vsiflow
        .apply(&copy, &["--timeout", "20s"])
        .exits(4)
        .says("VSI0228");
    vsiflow.run(&["stop", "t-source", "--force"]).exits(0);
    vsiflow.run(&["retry", "t-source-b"]);
    vsiflow.apply(&copy, &[]).exits(0);
    let b = uid(&vsiflow, "t-source-b");
    assert_eq!(holds(&vsiflow, &path(&lab, &a)), content);
    assert_eq!(holds(&vsiflow, &path(&lab, &b)), content);

    vsiflow
        .run(&["snapshot", "create", "t-source", "t-source-s"])
        .exits(0);
    let of_snapshot = disk(
        "t-source-c",
        "{snapshot: {name: t-source-s, disk: t-source-a}}",
    );
    let of_snapshot = of_snapshot.of_vsi("nobody");
    vsiflow
        .apply(format!("{}{of_snapshot}", lab.host()), &[])
        .exits(0);
    let c = uid(&vsiflow, "t-source-c");
    assert_eq!(holds(&vsiflow, &path(&lab, &c)), content);

    let small = disk("t-source-d", &format!("{{imageURL: \"{url}\"}}")).size("128Mi");
    let small = vsiflow.apply(format!("{}{small}", lab.host()), &[]);
    small.exits(4).says("VSI0227");
    let d = vsiflow.run(&["get", "disk", "t-source-d", "-o", "json"]);
    let d = d.exits(0).json()["metadata"]["uid"].clone();
    let d = d.as_str().unwrap();
    let made = lab.volumes("images");
    assert!(!made.iter().any(|name| name.contains(d)), "{made:?}");

    vsiflow.run(&["snapshot", "delete", "t-source-s"]).exits(0);
    vsiflow.run(&["delete", "t-source", "--wait"]).exits(0);
    for (name, uid) in [("t-source-a", &a), ("t-source-b", &b), ("t-source-c", &c)] {
        gone(&lab, &vsiflow, name, uid);
    }
    vsiflow
        .run(&["delete", "disk/t-source-d", "--wait"])
        .exits(0);
    vsiflow.run(&["image", "prune"]).exits(0);
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

/// vsiflow is killed while it sends the image, and again while the host copies it. The disk is
/// complete at the end. Data that was written once the disk was marked complete is never
/// overwritten.
#[test]
fn lab_a_disk_that_was_being_filled_when_vsiflow_was_killed_is_whole_in_the_end() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let url = image(&vsiflow, "t-kill-data.qcow2", 160);
    let disk = disk("t-kill", &format!("{{imageURL: \"{url}\"}}")).of_vsi("nobody");
    let documents = format!("{}{disk}", lab.host());
    for step in ["upload_chunks", "fill_from_image"] {
        let mut running = vsiflow.start_apply(&documents, &["--wait"]);
        assert!(running.reaches(&format!(": {step} "), 60), "{step}");
        running.kill();
    }
    vsiflow.run(&["resume", "--all"]).exits(0);
    let uid = uid(&vsiflow, "t-kill");
    let file = path(&lab, &uid);
    assert_eq!(holds(&vsiflow, &file).0, "what the image holds");
    // Data is written into the disk, and nothing overwrites it.
    ran(
        "qemu-io",
        &["-f", "qcow2", "-c", "write -P 0x5a 200M 64k", &file],
    );
    vsiflow.apply(&documents, &[]).exits(0);
    vsiflow.run(&["retry", "--all"]);
    vsiflow.run(&["resume", "--all"]);
    ran(
        "qemu-io",
        &["-f", "qcow2", "-c", "read -P 0x5a 200M 64k", &file],
    );
    gone(&lab, &vsiflow, "t-kill", &uid);
    vsiflow.run(&["image", "prune"]).exits(0);
}

/// The export is interrupted and resumed: the file equals the disk, and can be imported again.
#[test]
fn lab_a_disk_is_exported_resumed_after_a_kill_and_imported() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let url = image(&vsiflow, "t-out-data.qcow2", 160);
    let first = disk("t-out", &format!("{{imageURL: \"{url}\"}}")).of_vsi("nobody");
    vsiflow
        .apply(format!("{}{first}", lab.host()), &[])
        .exits(0);
    let out = uid(&vsiflow, "t-out");
    let file = vsiflow.folder().join("out.qcow2");
    let part = vsiflow.folder().join("out.qcow2.part");
    let name = file.to_str().unwrap();
    let mut running = vsiflow.start(&["disk", "export", "t-out", name]);
    until("a part of the file exists", 60, || {
        let length = std::fs::metadata(&part).map(|part| part.len());
        (running.has_ended() || length.is_ok_and(|length| length > 0)).then_some(())
    });
    running.kill();
    if !file.exists() {
        let length = std::fs::metadata(&part).unwrap().len();
        assert!(length > 0);
        vsiflow
            .run(&["disk", "export", "t-out", name])
            .exits(0)
            .says("sha256:");
    }
    assert!(!part.exists());
    let there = path(&lab, &out);
    assert_eq!(
        ran("sha256sum", &[name])[..64],
        ran("sha256sum", &[&there])[..64]
    );
    let host = vsiflow.write("host.yaml", &lab.host().to_string());
    let host = host.to_str().unwrap();
    vsiflow
        .run(&["disk", "import", "t-in", name, "-f", host, "--size", "2Gi"])
        .exits(0);
    let brought = uid(&vsiflow, "t-in");
    let content = holds(&vsiflow, &path(&lab, &brought));
    assert_eq!(content, ("what the image holds".to_owned(), 2 << 30));
    gone(&lab, &vsiflow, "t-out", &out);
    vsiflow.run(&["delete", "disk/t-in", "--wait"]).exits(0);
    for brought_name in [brought.clone(), format!(".{brought}.vsiflow")] {
        lab.virsh(&["vol-delete", "--pool", "images", &brought_name]);
    }
    vsiflow.run(&["image", "prune"]).exits(0);
}
