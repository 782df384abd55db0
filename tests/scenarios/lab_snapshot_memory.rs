//! The memory of guests on a real host: saved with their disks, and restored.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use vsiflow_tests::{DiskDocument, Lab, Running, Vsiflow, lab::Deleted, until};

use super::lab_snapshot_of_vsi::{format, is_gap_free, numbers, path, writer};

/// A server that counts in its memory alone, and prints the count.
fn counter(name: &str, image: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{arch: s390x, cpus: 1, memory: 512Mi}}\n  guest:\n    type: cloudInit\n    \
         userData: |\n      #cloud-config\n      workload: lab\n      env: lab\n      lab-chatter: 1\n  \
         ready: {{within: 10m, all: [{{console: \"HPL10001I\"}}]}}\n"
    )
}

fn log(vsiflow: &Vsiflow, name: &str) -> String {
    let log = vsiflow.run(&["logs", name, "--tail", "10000"]);
    log.exits(0).stdout.clone()
}

/// How often a guest has booted since its VSI was created.
fn boots(vsiflow: &Vsiflow, name: &str) -> usize {
    log(vsiflow, name).matches("HPL11099I").count()
}

/// The numbers that the guest printed after these words, in order, since its first boot.
fn counted(vsiflow: &Vsiflow, name: &str, words: &str) -> Vec<u64> {
    let log = log(vsiflow, name);
    let numbers = log.lines();
    let numbers = numbers.filter_map(|line| line.trim().strip_prefix(words));
    numbers
        .filter_map(|rest| rest.split(' ').next()?.parse().ok())
        .collect()
}

/// The numbers after the restore. Asserts that the count went back once and skipped nothing since.
fn after_going_back(counts: &[u64]) -> &[u64] {
    let back = counts
        .windows(2)
        .position(|pair| pair[1] < pair[0])
        .unwrap();
    let after = &counts[back + 1..];
    assert!(
        after.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{counts:?}"
    );
    after
}

/// What a guest prints that counts the seconds.
const CHATTER: &str = "lab: chatter ";
/// What a guest prints that writes numbers.
const WROTE: &str = "lab: wrote ";

#[test]
fn lab_a_guest_goes_on_where_it_was_when_its_memory_was_saved() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-memory.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-memory");
    let documents = format!("{}{}", lab.host(), counter("t-memory", &image.url()));
    vsiflow.apply(documents, &[]).exits(0);
    let reaches = |count: u64| {
        until("the guest counts on", 120, || {
            let last = counted(&vsiflow, "t-memory", CHATTER).last().copied();
            last.filter(|last| *last >= count)
        })
    };
    reaches(3);
    let uid = lab.domains("default/t-memory").remove(0);
    let disks = lab.virsh(&["domblklist", &uid]);
    vsiflow
        .run(&["snapshot", "create", "t-memory", "t-mem", "--memory"])
        .exits(0)
        .says("snapshot/t-mem is taken");
    assert_eq!(lab.virsh(&["domblklist", &uid]), disks);
    let saved_at_most = *counted(&vsiflow, "t-memory", CHATTER).last().unwrap() + 2;
    let object = vsiflow.run(&["get", "snapshot", "t-mem", "-o", "json"]);
    let object = object.exits(0).json();
    let memory = object["status"]["memory"]["volume"].as_str().unwrap();
    let memory = path(&lab, memory.rsplit('/').next().unwrap());
    let memory = Path::new(&memory);
    let file = std::fs::metadata(memory).unwrap();
    assert_eq!(object["status"]["memory"]["size"], file.len());
    assert_eq!(
        (file.mode() & 0o777, file.uid()),
        (0o600, 0),
        "root's alone"
    );

    reaches(saved_at_most + 10);
    let before = counted(&vsiflow, "t-memory", CHATTER);
    vsiflow
        .run(&["snapshot", "restore", "t-mem", "--yes"])
        .exits(0)
        .says("vsi/t-memory is Running");
    let counts = until("the guest counts on", 120, || {
        let all = counted(&vsiflow, "t-memory", CHATTER);
        (all.len() >= before.len() + 3).then_some(all)
    });
    // It continues where it was, not at the beginning.
    let next = after_going_back(&counts)[0];
    assert!(next > 0 && next <= saved_at_most, "{counts:?}");
    assert_eq!(boots(&vsiflow, "t-memory"), 1);
    let reason = lab.virsh(&["domstate", "--reason", &uid]);
    assert!(reason.contains("restored"), "{reason}");

    // QEMU would start from a truncated file.
    let whole = std::fs::read(memory).unwrap();
    std::fs::write(memory, &whole[..whole.len() - 1000]).unwrap();
    vsiflow
        .run(&["snapshot", "restore", "t-mem", "--yes"])
        .exits(4)
        .says("VSI0231");
    assert_eq!(lab.virsh(&["domstate", &uid]).trim(), "running");
    std::fs::write(memory, &whole).unwrap();
    vsiflow.run(&["retry", "t-memory"]).exits(0);
    assert_eq!(lab.virsh(&["domstate", &uid]).trim(), "running");
    assert_eq!(boots(&vsiflow, "t-memory"), 1, "it never booted again");

    vsiflow
        .run(&["snapshot", "restore", "t-mem", "--yes", "--disks-only"])
        .exits(0)
        .says("vsi/t-memory is Running");
    assert_eq!(boots(&vsiflow, "t-memory"), 2);
    vsiflow.run(&["snapshot", "delete", "t-mem"]).exits(0);
    assert!(!memory.exists());
    vsiflow.run(&["delete", "t-memory", "--wait"]).exits(0);
}

/// The memory file of a snapshot, once the host has begun to write it; none if the command ended
/// before.
fn begun(vsiflow: &Vsiflow, pool: &Path, snapshot: &str, running: &mut Running) -> Option<PathBuf> {
    let uid = until("the snapshot is recorded", 60, || {
        let found = vsiflow.run(&["get", "snapshot", snapshot, "-o", "json"]);
        let uid = (found.code == Some(0)).then(|| found.json()["metadata"]["uid"].clone());
        uid?.as_str().map(str::to_owned)
    });
    let memory = pool.join(format!("snapshot-{uid}.memory"));
    until("the memory is being saved", 60, || {
        let ended = running.has_ended();
        (ended || memory.exists()).then(|| memory.exists().then(|| memory.clone()))
    })
}

#[test]
fn lab_a_guest_counts_on_whenever_the_process_that_saves_its_memory_is_killed() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-mem-kill.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-mem-kill");
    let documents = format!("{}{}", lab.host(), counter("t-mem-kill", &image.url()));
    vsiflow.apply(documents, &[]).exits(0);
    let base = path(&lab, &image.bases()[0]);
    let pool = Path::new(&base).parent().unwrap();
    for (number, later_ms) in [0, 30, 90, 150].into_iter().enumerate() {
        let name = format!("t-mem-kill-{number}");
        let words = ["snapshot", "create", "t-mem-kill", &name, "--memory"];
        let mut running = vsiflow.start(&words);
        let memory = begun(&vsiflow, pool, &name, &mut running);
        std::thread::sleep(Duration::from_millis(later_ms));
        running.kill();
        vsiflow.run(&["resume"]).exits(0);
        let taken = vsiflow.run(&["get", "snapshot", &name, "-o", "json"]);
        let status = taken.exits(0).json()["status"].clone();
        assert_eq!(status["phase"], "Ready", "{memory:?}: {status:#}");
        let counts = counted(&vsiflow, "t-mem-kill", CHATTER);
        until("the guest counts on", 60, || {
            (counted(&vsiflow, "t-mem-kill", CHATTER).len() > counts.len() + 1).then_some(())
        });
        assert_eq!(boots(&vsiflow, "t-mem-kill"), 1);
    }
    vsiflow
        .run(&["snapshot", "restore", "t-mem-kill-0", "--yes"])
        .exits(0)
        .says("vsi/t-mem-kill is Running");
    assert_eq!(boots(&vsiflow, "t-mem-kill"), 1);
    let all = [0, 1, 2, 3].map(|number| format!("snapshot/t-mem-kill-{number}"));
    let words = all.iter().map(String::as_str);
    let words: Vec<_> = ["delete", "--wait"].into_iter().chain(words).collect();
    vsiflow.run(&words).exits(0);
    let uid = lab.domains("default/t-mem-kill").remove(0);
    vsiflow.run(&["delete", "t-mem-kill", "--wait"]).exits(0);
    let left = lab.volumes("images");
    assert!(!left.iter().any(|volume| volume.contains(&uid)), "{left:?}");
}

/// The file system is cached in the guest's memory: with other bytes on the disk it would be
/// damaged.
#[test]
fn lab_the_disks_that_a_guest_goes_on_with_are_those_of_its_memory() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-mem-fs.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-mem-fs");
    let disk = DiskDocument::named("t-mem-fs-data")
        .of_vsi("t-mem-fs")
        .size("64Mi")
        .with("deletionPolicy: Delete");
    let server = writer("t-mem-fs", &image.url());
    vsiflow
        .apply(format!("{}{disk}{server}", lab.host()), &[])
        .exits(0);
    vsiflow.run(&["stop", "t-mem-fs", "--force"]).exits(0);
    let found = vsiflow.run(&["get", "disk", "t-mem-fs-data", "-o", "json"]);
    let found = found.exits(0).json();
    let data = path(&lab, found["metadata"]["uid"].as_str().unwrap());
    format(&vsiflow, &data);
    vsiflow.run(&["start", "t-mem-fs"]).exits(0);
    let wrote = || counted(&vsiflow, "t-mem-fs", WROTE);
    let reaches = |count: usize| {
        until("the guest writes on", 180, || {
            let all = wrote();
            (all.len() >= count).then_some(all)
        })
    };
    reaches(10);
    let boots_before = boots(&vsiflow, "t-mem-fs");
    vsiflow
        .run(&[
            "snapshot",
            "create",
            "t-mem-fs",
            "t-mem-fs-first",
            "--memory",
        ])
        .exits(0);
    let before = wrote().len();
    let before = reaches(before + 20).len();
    vsiflow
        .run(&["snapshot", "restore", "t-mem-fs-first", "--yes"])
        .exits(0)
        .says("vsi/t-mem-fs is Running");
    let counts = reaches(before + 40);
    let last = *after_going_back(&counts).last().unwrap();
    assert_eq!(boots(&vsiflow, "t-mem-fs"), boots_before);
    vsiflow.run(&["stop", "t-mem-fs", "--force"]).exits(0);
    let written = numbers(vsiflow.folder(), &data);
    assert!(
        is_gap_free(&written) && written.len() as u64 >= last,
        "{written:?}"
    );
    vsiflow
        .run(&["snapshot", "delete", "t-mem-fs-first"])
        .exits(0);
    vsiflow.run(&["delete", "t-mem-fs", "--wait"]).exits(0);
    vsiflow
        .run(&["delete", "disk/t-mem-fs-data", "--wait"])
        .exits(0);
}
