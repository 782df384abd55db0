//! Snapshots with the memory of guests, on the simulated host.

use serde_json::{Value, json};
use vsiflow_tests::{DiskDocument, SIMULATED_IMAGE, Vsiflow};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0ce2";

fn server(name: &str, lines: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n{lines}  guest:\n    type: cloudInit\n    userData: |\n      \
         #cloud-config\n"
    )
}

fn with_disk(lines: &str) -> String {
    let choose = "  diskSelector: {matchLabels: {disks: web}}\n";
    let disk = DiskDocument::named("data").of_vsi("web").uid(UID);
    format!("{}{disk}", server("web", &format!("{choose}{lines}")))
}

fn running(documents: impl ToString) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(documents, &[]).exits(0);
    vsiflow
}

fn snapshot(vsiflow: &Vsiflow, name: &str) -> Value {
    let words = ["get", "snapshot", name, "-o", "json"];
    vsiflow.run(&words).exits(0).json()
}

/// How many volumes of snapshots the host has.
fn files(vsiflow: &Vsiflow) -> usize {
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    let files = volumes.iter().filter(|name| name.starts_with("snapshot-"));
    files.count()
}

/// When the running guest was booted.
fn booted(vsiflow: &Vsiflow) -> Value {
    vsiflow.sim().domain("default/web")["live"]["started"].clone()
}

fn create(vsiflow: &Vsiflow, name: &str) {
    vsiflow
        .run(&["snapshot", "create", "web", name, "--memory"])
        .exits(0)
        .says(&format!("snapshot/{name} is taken"));
}

#[test]
fn a_guest_goes_on_where_it_was_and_boots_where_its_memory_is_left_out() {
    let vsiflow = running(with_disk(""));
    let first = booted(&vsiflow);
    create(&vsiflow, "a");
    assert_eq!(booted(&vsiflow), first, "it was not started again");
    assert_eq!(files(&vsiflow), 3, "two copies, and the memory");
    let taken = snapshot(&vsiflow, "a");
    assert_eq!(taken["spec"]["memory"], true);
    assert!(taken["status"]["memory"]["size"].as_u64().unwrap() > 4096);
    assert_eq!(
        taken["status"]["memory"]["sha256"].as_str().unwrap().len(),
        64
    );
    let memory = taken["status"]["memory"]["volume"].as_str().unwrap();
    vsiflow
        .run(&["describe", "snapshot/a"])
        .exits(0)
        .says(memory);
    vsiflow
        .run(&["snapshot", "restore", "a", "--dry-run"])
        .exits(0)
        .says("present memory of the guest");
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(booted(&vsiflow), first, "it went on");
    vsiflow
        .run(&["history", "web"])
        .exits(0)
        .says("check_memory");
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes", "--disks-only"])
        .exits(0)
        .says("vsi/web is Running");
    assert_ne!(booted(&vsiflow), first, "it booted");
    // A guest that is off is restored running, too.
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes"])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(booted(&vsiflow), first);
    vsiflow.run(&["snapshot", "delete", "a"]).exits(0);
    assert_eq!(files(&vsiflow), 0);
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn memory_that_cannot_be_saved_is_refused_with_the_reason_and_leaves_nothing() {
    let vsiflow = running(with_disk(""));
    let take = |words: &[&str]| {
        let words = [&["snapshot", "create", "web", "--memory"], words].concat();
        vsiflow.run(&words)
    };
    take(&["--quiesce"]).exits(2);
    vsiflow.run(&["stop", "web"]).exits(0);
    take(&[]).exits(4).says("VSI0222").says("it has no memory");
    let documents = "apiVersion: vsiflow.io/v1\nkind: VirtualServerSnapshot\n\
                     metadata: {name: b}\nspec: {virtualServer: web, memory: true}\n";
    vsiflow.apply(documents, &[]).exits(4).says("VSI0222");
    vsiflow.run(&["start", "web"]).exits(0);
    vsiflow.run(&["pause", "web"]).exits(0);
    take(&[]).exits(4).says("unpause");
    vsiflow.run(&["unpause", "web"]).exits(0);
    let both = documents.replace("memory: true", "memory: true, quiesce: true");
    vsiflow.apply(&both, &[]).exits(4).says("leave out");
    vsiflow.run(&["get", "snapshot", "b"]).exits(3);
    let ephemeral = server("short", "  bootDisk: {mode: ephemeral}\n");
    vsiflow.apply(ephemeral, &[]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "short", "--memory"])
        .exits(4)
        .says("lasts for one start");
    assert_eq!(files(&vsiflow), 0);
    vsiflow.apply(documents, &[]).exits(0);
    assert_eq!(snapshot(&vsiflow, "b")["status"]["phase"], "Ready");
    assert_eq!(files(&vsiflow), 3);
}

/// If the memory does not fit the machine, nothing is lost.
#[test]
fn memory_of_another_machine_is_refused_and_the_disks_alone_are_put_back() {
    let vsiflow = running(with_disk(""));
    create(&vsiflow, "a");
    vsiflow
        .apply(with_disk("  machine: {cpus: 3}\n"), &[])
        .exits(0);
    let second = booted(&vsiflow);
    for words in [&["--yes"][..], &["--dry-run"]] {
        let words = [&["snapshot", "restore", "a"], words].concat();
        vsiflow
            .run(&words)
            .exits(4)
            .says("VSI0230")
            .says("--disks-only");
    }
    assert_eq!(booted(&vsiflow), second);
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes", "--disks-only"])
        .exits(0)
        .says("vsi/web is Running");
    // An administrator changed the machine on the host.
    create(&vsiflow, "b");
    vsiflow.change_sim(|sim| {
        let domains = sim["domains"].as_object_mut().unwrap();
        domains.values_mut().next().unwrap()["spec"]["machine"]["cpus"] = 5.into();
    });
    let third = booted(&vsiflow);
    for word in ["--dry-run", "--yes"] {
        vsiflow
            .run(&["snapshot", "restore", "b", word])
            .exits(4)
            .says("VSI0230")
            .says("virtual CPUs");
    }
    assert_eq!(booted(&vsiflow), third, "it runs on");
}

/// A guest would start from a truncated file, and then read memory that does not exist.
#[test]
fn a_file_that_lost_its_tail_is_never_started_from_and_does_not_block_the_disks() {
    let vsiflow = running(with_disk(""));
    create(&vsiflow, "a");
    let first = booted(&vsiflow);
    let taken = snapshot(&vsiflow, "a");
    let memory = taken["status"]["memory"]["volume"].as_str().unwrap();
    let name = memory.rsplit('/').next().unwrap();
    vsiflow.change_sim(|sim| {
        let file = &mut sim["pools"]["images"]["volumes"][name];
        let text = file["content"]["Inline"].as_str().unwrap().to_owned();
        let cut = text.trim_end_matches('=').len() / 8 * 4 + text.len() / 16 * 4;
        file["content"] = json!({"Inline": &text[..cut]});
        file["capacity"] = 0.into();
    });
    for word in ["--dry-run", "--yes"] {
        vsiflow
            .run(&["snapshot", "restore", "a", word])
            .exits(4)
            .says("VSI0231");
    }
    assert_eq!(booted(&vsiflow), first, "it runs on");
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes"])
        .exits(4)
        .says("VSI0740");
    vsiflow
        .run(&["snapshot", "restore", "a", "--yes", "--disks-only"])
        .exits(0)
        .says("vsi/web is Running");
    assert_ne!(booted(&vsiflow), first);
    vsiflow.run(&["snapshot", "delete", "a"]).exits(0);
    assert_eq!(files(&vsiflow), 0);
}

#[test]
fn what_is_made_from_a_snapshot_with_memory_has_its_disks_alone() {
    let vsiflow = running(with_disk(""));
    create(&vsiflow, "a");
    let first = booted(&vsiflow);
    vsiflow
        .run(&["create", "other", "--from", "snapshot/a"])
        .exits(0)
        .says("vsi/other is Running");
    let other = vsiflow.sim().domain("default/other")["live"]["started"].clone();
    assert_ne!(other, first, "it booted");
    assert_eq!(booted(&vsiflow), first);
    let named = server("third", "");
    let taken = snapshot(&vsiflow, "a");
    let memory = taken["status"]["memory"]["volume"].as_str().unwrap();
    let volume = memory.rsplit('/').next().unwrap();
    let reference = format!(
        "---\napiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDiskRef\n\
         metadata: {{name: stolen, labels: {{disks: third}}}}\n\
         spec: {{volumeName: {volume}, storagePool: images}}\n"
    );
    let choosing = named.replace(
        "  guest:",
        "  diskSelector: {matchLabels: {disks: third}}\n  guest:",
    );
    vsiflow
        .apply(format!("{choosing}{reference}"), &[])
        .exits(4)
        .says("VSI0219");
}
