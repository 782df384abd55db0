//! A boot disk is put back to a snapshot beside the present one, which the guest has until the definition is switched.

use serde_json::json;
use vsiflow_tests::{DiskDocument, SIMULATED_IMAGE, Vsiflow};

/// What the guest wrote to its boot disk since the snapshot, as the simulated host stores it.
const WRITTEN: &str = "d3JpdHRlbiBzaW5jZSB0aGVu";

const RESTORE: [&str; 4] = ["snapshot", "restore", "first", "--yes"];

fn server(more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: cloudInit}}\n  bootDisk: {{mode: copy}}\n  \
         ready: {{within: 1m, all: [{{tcp: 22}}]}}\n{more}"
    )
}

/// A server that runs, with a snapshot `first`, and that has written to its boot disk since.
fn with_snapshot(more: &str) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(more), &[]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(0);
    vsiflow.run(&["start", "web"]).exits(0);
    let boot = vsiflow.sim().boot_disk("default/web");
    vsiflow.change_sim(|sim| {
        sim["pools"]["images"]["volumes"][&boot]["content"] = json!({"Inline": WRITTEN});
    });
    vsiflow
}

fn is_kept(vsiflow: &Vsiflow) -> bool {
    let sim = vsiflow.sim();
    sim.volume(&sim.boot_disk("default/web"))["content"]["Inline"] == WRITTEN
}

fn boot_disks(vsiflow: &Vsiflow) -> usize {
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    volumes
        .iter()
        .filter(|name| name.starts_with("boot-"))
        .count()
}

fn set_room(vsiflow: &Vsiflow, bytes: u64) {
    vsiflow.change_sim(|sim| sim["pools"]["images"]["capacity"] = bytes.into());
}

#[test]
fn a_restoration_that_is_cancelled_before_the_switch_loses_nothing() {
    let vsiflow = with_snapshot("");
    let before = vsiflow.sim().domain("default/web").clone();
    set_room(&vsiflow, 1);
    vsiflow
        .run(&["snapshot", "restore", "first", "--dry-run"])
        .exits(4)
        .says("beside")
        .says("--in-place");
    vsiflow
        .run(&[&RESTORE[..], &["--timeout", "5s"]].concat())
        .exits(4)
        .says("--in-place");
    let now = vsiflow.sim().domain("default/web").clone();
    assert_eq!(now["state"], before["state"], "the guest runs on");
    assert!(is_kept(&vsiflow));
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&["restart", "web"]).exits(0);
    assert!(is_kept(&vsiflow));

    set_room(&vsiflow, 1 << 40);
    let old = vsiflow.sim().boot_disk("default/web");
    vsiflow.run(&RESTORE).exits(0).says("Running");
    assert!(!is_kept(&vsiflow));
    assert_ne!(vsiflow.sim().boot_disk("default/web"), old);
    assert_eq!(boot_disks(&vsiflow), 1);
    vsiflow.run(&RESTORE).exits(0);
    assert_eq!(boot_disks(&vsiflow), 1);
    vsiflow.run(&["snapshot", "delete", "first"]).exits(0);
    vsiflow.run(&["restart", "web"]).exits(0);
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_restoration_without_room_for_both_is_ordered_again_in_place() {
    let vsiflow = with_snapshot("");
    let old = vsiflow.sim().boot_disk("default/web");
    set_room(&vsiflow, 1);
    vsiflow.run(&RESTORE).exits(4).says("--in-place");
    vsiflow.run(&RESTORE).exits(4).says("VSI0740");
    assert!(is_kept(&vsiflow));
    // There is room for one now, and the remedy works as it is written.
    set_room(&vsiflow, 1 << 40);
    let restore = [&RESTORE[..], &["--in-place"]].concat();
    vsiflow.run(&restore).exits(0).says("Running");
    assert!(!is_kept(&vsiflow));
    assert_eq!(vsiflow.sim().boot_disk("default/web"), old);
    let history = vsiflow.run(&["history", "web", "--events"]).exits(0);
    assert!(history.stdout.contains("restore_in_place"), "{history:#?}");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_boot_disk_is_not_made_anew_while_data_disks_wait_to_be_restored() {
    let vsiflow = with_data_disk();
    let old = vsiflow.sim().boot_disk("default/web");
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow.run(&RESTORE).says("VSI0016");
    let rebuild = ["rebuild", "web", "--yes"];
    vsiflow.run(&rebuild).exits(4).says("VSI0740");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    assert!(!is_kept(&vsiflow));
    assert_ne!(vsiflow.sim().boot_disk("default/web"), old);
}

const DISK: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c3d";

fn with_data_disk() -> Vsiflow {
    with_snapshot(&format!(
        "  diskSelector: {{matchLabels: {{disks: web}}}}\n{}",
        DiskDocument::named("data")
            .uid(DISK)
            .with("deletionPolicy: Delete")
    ))
}

/// The volumes of the data disk.
fn data_disks(vsiflow: &Vsiflow) -> Vec<String> {
    let sim = vsiflow.sim();
    let volumes = sim.all_volumes().into_iter();
    let its = volumes.filter(|name| name.starts_with(DISK));
    its.map(str::to_owned).collect()
}

#[test]
fn data_disks_are_restored_beside_the_present_ones_and_all_are_switched_at_once() {
    let vsiflow = with_data_disk();
    let old = vsiflow.sim().boot_disk("default/web");
    set_room(&vsiflow, 1);
    vsiflow
        .run(&["snapshot", "restore", "first", "--dry-run"])
        .exits(4)
        .says("beside")
        .says("--in-place");
    vsiflow.run(&RESTORE).exits(4).says("--in-place");
    assert_eq!(vsiflow.sim().domain("default/web")["state"], "Running");
    assert_eq!(data_disks(&vsiflow), [DISK]);
    vsiflow.run(&["cancel", "web"]).exits(0);

    set_room(&vsiflow, 1 << 40);
    vsiflow.run(&["restart", "web"]).exits(0);
    assert_eq!(data_disks(&vsiflow), [DISK]);
    vsiflow.run(&RESTORE).exits(0).says("Running");
    assert!(!is_kept(&vsiflow));
    assert_ne!(vsiflow.sim().boot_disk("default/web"), old);
    assert_eq!(data_disks(&vsiflow), [format!("{DISK}-1")]);
    let disk = vsiflow.run(&["get", "disk", "data", "-o", "json"]).exits(0);
    assert!(disk.stdout.contains(&format!("{DISK}-1")), "{disk:#?}");
    vsiflow.run(&RESTORE).exits(0);
    assert_eq!(data_disks(&vsiflow), [format!("{DISK}-2")]);
    // Whoever works on the disk later works on the volume that it is then.
    vsiflow.run(&["restart", "web"]).exits(0);
    let another = ["snapshot", "create", "web", "second"];
    vsiflow.run(&another).exits(0);
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    vsiflow.run(&["delete", "disk/data", "--wait"]).exits(0);
    assert_eq!(data_disks(&vsiflow), Vec::<String>::new());
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn data_disks_are_restored_in_place_only_where_that_is_ordered() {
    let vsiflow = with_data_disk();
    let old = vsiflow.sim().boot_disk("default/web");
    let restore = [&RESTORE[..], &["--in-place"]].concat();
    vsiflow.run(&restore).exits(0).says("Running");
    assert!(!is_kept(&vsiflow));
    assert_eq!(vsiflow.sim().boot_disk("default/web"), old);
    assert_eq!(data_disks(&vsiflow), [DISK]);
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn another_journal_makes_no_empty_disk_beside_one_that_was_restored_and_kept() {
    let vsiflow = with_data_disk();
    vsiflow.run(&RESTORE).exits(0);
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    vsiflow.run(&["delete", "disk/data", "--orphan"]).exits(0);
    vsiflow.forget_journal();
    let disk = DiskDocument::named("data").uid(DISK);
    let applied = vsiflow.apply(disk, &[]);
    applied.exits(4).says("VSI0207").says(&format!("{DISK}-1"));
    assert_eq!(data_disks(&vsiflow), [format!("{DISK}-1")]);
}

#[test]
fn a_journal_that_has_forgotten_a_restoration_makes_no_empty_disk_beside_the_restored_one() {
    let vsiflow = with_data_disk();
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.run(&RESTORE).exits(0);
    vsiflow.restore("kept.backup");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    let restart = ["restart", "web", "--timeout", "5s"];
    assert_ne!(vsiflow.run(&restart).code, Some(0));
    assert_eq!(data_disks(&vsiflow), [format!("{DISK}-1")]);
}

#[test]
fn a_damaged_copy_is_refused_while_the_guest_runs() {
    let vsiflow = with_snapshot("");
    let host = vsiflow.sim();
    let mut copies = host.volumes().into_iter();
    let copy = copies.find(|name| name.starts_with("snapshot-")).unwrap();
    vsiflow.change_sim(|sim| {
        sim["pools"]["images"]["volumes"][&copy]["content"] = json!({"Inline": WRITTEN});
    });
    vsiflow.run(&RESTORE).exits(4).says("VSI0235");
    assert_eq!(vsiflow.sim().domain("default/web")["state"], "Running");
    assert!(is_kept(&vsiflow));
    assert_eq!(boot_disks(&vsiflow), 1);
    // Somebody who knows better restores it as it is.
    let as_it_is = ["snapshot", "restore", "first", "--unverified", "--yes"];
    vsiflow.run(&as_it_is).exits(0);
    let restored = vsiflow.sim();
    let content = &restored.volume(&restored.boot_disk("default/web"))["content"]["Inline"];
    assert_eq!(*content, WRITTEN);
}
