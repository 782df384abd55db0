//! Deletions that a pool takes back: it has the member again, and nothing was taken away yet.

use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, Vsiflow};

fn pool(replicas: u32, policy: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: db}}\nspec:\n  replicas: {replicas}\n  \
         diskTemplates:\n  - metadata: {{name: data}}\n    spec: {{size: 1Gi, deletionPolicy: {policy}}}\n  \
         template:\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 512Mi}}\n"
    )
}

/// A pool of two with a data disk each.
fn with_pool() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(pool(2, "Delete"), &["--wait"]).exits(0);
    vsiflow
}

/// When each volume of the guest db-1 was made.
fn births(vsiflow: &Vsiflow) -> Vec<Value> {
    let sim = vsiflow.sim();
    let disks = &sim.domain("default/db-1")["spec"]["disks"];
    let paths = disks.as_array().unwrap().iter();
    let names = paths.map(|disk| disk["path"].as_str().unwrap().rsplit('/').next().unwrap());
    names.map(|name| sim.volume(name)["born"].clone()).collect()
}

/// Everything is paused, and the pool has one member by the newest wish.
fn scaled_down_while_paused() -> Vsiflow {
    let vsiflow = with_pool();
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .run(&["scale", "pool/db", "--replicas", "1", "--timeout", "2s"])
        .says("VSI0016");
    assert_eq!(vsiflow.phase("db-1"), "Deleting");
    vsiflow
}

fn goes_on(vsiflow: &Vsiflow) {
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    vsiflow.until_phase("db-1", "Running", 30);
}

#[test]
fn a_member_that_its_pool_has_again_before_anything_is_taken_away_stays_with_its_disks() {
    let vsiflow = scaled_down_while_paused();
    let before = births(&vsiflow);
    vsiflow
        .run(&["scale", "pool/db", "--replicas", "2", "--timeout", "2s"])
        .says("VSI0016");
    goes_on(&vsiflow);
    assert_eq!(births(&vsiflow), before);
    vsiflow.apply(pool(2, "Delete"), &["--wait"]).exits(0);
    assert_eq!(births(&vsiflow), before);
}

#[test]
fn a_member_whose_deletion_was_cancelled_is_a_member_again() {
    let vsiflow = scaled_down_while_paused();
    let before = births(&vsiflow);
    vsiflow.run(&["cancel", "db-1"]).exits(0);
    vsiflow
        .run(&["scale", "pool/db", "--replicas", "2", "--timeout", "2s"])
        .says("VSI0016");
    goes_on(&vsiflow);
    assert_eq!(births(&vsiflow), before);
}

#[test]
fn a_member_that_somebody_deletes_is_made_anew_whatever_its_pool_ordered() {
    let vsiflow = scaled_down_while_paused();
    let before = births(&vsiflow);
    vsiflow
        .run(&["delete", "db-1", "--timeout", "2s"])
        .says("VSI0016");
    vsiflow
        .run(&["scale", "pool/db", "--replicas", "2", "--timeout", "2s"])
        .says("VSI0016");
    goes_on(&vsiflow);
    let after = births(&vsiflow);
    assert_ne!(after.first(), before.first(), "the boot disk");
}

#[test]
fn a_member_that_a_document_has_again_and_retains_keeps_its_disks() {
    let vsiflow = scaled_down_while_paused();
    let before = births(&vsiflow);
    vsiflow
        .apply(pool(2, "Retain"), &["--wait", "--timeout", "2s"])
        .exits(5);
    goes_on(&vsiflow);
    assert_eq!(births(&vsiflow), before);
}

/// A group of one pool like that of [`pool`], whose members are db-0 and db-1.
fn group() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: db}}\nspec:\n  waves:\n  - name: all\n    \
         pools:\n    - name: it\n      replicas: 2\n      \
         diskTemplates: [{{metadata: {{name: data}}, spec: {{size: 1Gi, deletionPolicy: Delete}}}}]\n      \
         template: {{spec: {{imageURL: \"{SIMULATED_IMAGE}\", guest: {{type: none}}}}}}\n"
    )
}

#[test]
fn a_pool_or_a_group_whose_deletion_is_cancelled_before_it_begins_keeps_everything() {
    let vsiflow = with_pool();
    vsiflow.apply(group(), &["--wait"]).exits(0);
    let volumes = || vsiflow.sim().volumes().len();
    let (before, count) = (births(&vsiflow), volumes());
    vsiflow.run(&["pause", "--all"]).exits(0);
    for object in ["pool/db", "group/db"] {
        let cancel = ["cancel", object];
        vsiflow
            .run(&cancel)
            .exits(0)
            .says("it is not being deleted");
        vsiflow
            .run(&["delete", object, "--timeout", "2s"])
            .says("VSI0016");
        vsiflow.run(&cancel).exits(0).says("is taken back");
    }
    // A group's pool goes with its group.
    vsiflow
        .run(&["cancel", "pool/db-it"])
        .exits(4)
        .says("VSI0730");
    goes_on(&vsiflow);
    vsiflow
        .apply(pool(2, "Delete"), &["--wait"])
        .exits(0)
        .says("unchanged");
    vsiflow
        .apply(group(), &["--wait"])
        .exits(0)
        .says("unchanged");
    assert_eq!((births(&vsiflow), volumes()), (before, count));
}

#[test]
fn pools_whose_members_wait_for_the_global_pause_are_not_degraded() {
    let vsiflow = scaled_down_while_paused();
    let pool = vsiflow
        .run(&["get", "pool/db", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(pool["status"]["phase"], "Progressing");
    let message = pool["status"]["message"].as_str().unwrap();
    assert!(message.contains("VSI0016"), "{message}");
}

#[test]
fn a_plan_refuses_to_change_what_is_being_deleted() {
    let vsiflow = with_pool();
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .run(&["delete", "pool/db", "--timeout", "2s"])
        .says("VSI0016");
    let document = vsiflow.write("db.yaml", &pool(2, "Delete"));
    vsiflow
        .run(&["plan", "-f", document.to_str().unwrap()])
        .exits(4)
        .says("it is being deleted");
}

const OTHER_IMAGE: &str = "http://images.test/other.qcow2";

fn server(image: &str, more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  imageURL: {image}\n  \
         guest: {{type: none}}\n{more}"
    )
}

/// A change that was ordered and not begun; the next document takes it back, and asks for another one, which waits.
#[test]
fn what_the_newest_document_takes_back_is_not_done_while_that_waits_for_approval() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(server(SIMULATED_IMAGE, ""), &["--wait"])
        .exits(0);
    let boot_disk = vsiflow.sim().boot_disk("default/web");
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .apply(server(OTHER_IMAGE, ""), &["--timeout", "30s"])
        .says("VSI0016");
    let waits = "  updatePolicy: Manual\n  machine: {cpus: 3}\n";
    vsiflow
        .apply(server(SIMULATED_IMAGE, waits), &["--timeout", "30s"])
        .says("waits for approval");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).says("VSI0041");
    assert_eq!(vsiflow.sim().boot_disk("default/web"), boot_disk);
    vsiflow.run(&["approve", "web", "--wait"]).exits(0);
    assert_eq!(vsiflow.sim().boot_disk("default/web"), boot_disk);
    assert_eq!(vsiflow.vsi("web")["spec"]["machine"]["cpus"], 3);
}

/// The same while the run of that change is open, and its guest still as it was.
#[test]
fn a_run_that_has_not_begun_with_its_guest_gives_up_what_is_taken_back() {
    let vsiflow = Vsiflow::simulated();
    let copied = "  bootDisk: {mode: copy}\n";
    vsiflow
        .apply(server(SIMULATED_IMAGE, copied), &["--wait"])
        .exits(0);
    let boot_disk = vsiflow.sim().boot_disk("default/web");
    let mut capacity = Value::Null;
    vsiflow.change_sim(|sim| {
        capacity = std::mem::replace(&mut sim["pools"]["images"]["capacity"], 1.into())
    });
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .apply(server(OTHER_IMAGE, copied), &["--wait", "--timeout", "3s"])
        .exits(4);
    let waits = format!("{copied}  updatePolicy: Manual\n  machine: {{cpus: 3}}\n");
    vsiflow
        .apply(server(SIMULATED_IMAGE, &waits), &[])
        .says("waits for approval");
    vsiflow.change_sim(|sim| sim["pools"]["images"]["capacity"] = capacity);
    vsiflow.run(&["retry", "web", "--wait"]).says("VSI0041");
    assert_eq!(vsiflow.sim().boot_disk("default/web"), boot_disk);
    vsiflow.run(&["approve", "web", "--wait"]).exits(0);
    assert_eq!(vsiflow.sim().boot_disk("default/web"), boot_disk);
    assert_eq!(vsiflow.vsi("web")["spec"]["machine"]["cpus"], 3);
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_rollout_that_the_newest_document_takes_back_stops_while_that_waits_for_approval() {
    let vsiflow = Vsiflow::simulated();
    let of_image = |image: &str, more: &str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: db}}\nspec:\n  replicas: 3\n{more}  \
             template:\n    spec: {{imageURL: \"{image}\", guest: {{type: none}}}}\n"
        )
    };
    vsiflow
        .apply(of_image(SIMULATED_IMAGE, ""), &["--wait"])
        .exits(0);
    let disks = || ["db-0", "db-1"].map(|name| vsiflow.sim().boot_disk(&format!("default/{name}")));
    let before = disks();
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .apply(of_image(OTHER_IMAGE, ""), &["--timeout", "30s"])
        .says("VSI0016");
    vsiflow
        .apply(
            of_image(SIMULATED_IMAGE, "  updatePolicy: Manual\n"),
            &["--timeout", "30s"],
        )
        .says("waits for approval");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]);
    assert_eq!(disks(), before, "nothing was in work there");
}
