//! What a guest wrote is destroyed only by an order for exactly that, and by one order once.

use serde_json::{Value, json};
use vsiflow_tests::{SIMULATED_IMAGE, Vsi, Vsiflow};

/// What the guest wrote to its boot disk, as the simulated host stores it.
const WRITTEN: &str = "d3JpdHRlbiBieSB0aGUgZ3Vlc3Q=";

/// A probe that the simulated guest never meets.
const NEVER_READY: &str = "ready: {within: 1s, all: [{tcp: 9999}]}";
const READY: &str = "ready: {within: 1m, all: [{tcp: 22}]}";

fn server(ready: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: cloudInit}}\n  {ready}\n"
    )
}

fn boot_disk(vsiflow: &Vsiflow) -> String {
    vsiflow.sim().boot_disk("default/web")
}

/// The guest writes to its boot disk.
fn write(vsiflow: &Vsiflow) {
    let boot = boot_disk(vsiflow);
    vsiflow.change_sim(|sim| {
        sim["pools"]["images"]["volumes"][&boot]["content"] = json!({"Inline": WRITTEN});
    });
}

#[track_caller]
fn assert_kept(vsiflow: &Vsiflow, after: &str) {
    let sim = vsiflow.sim();
    let content = &sim.volume(&boot_disk(vsiflow))["content"]["Inline"];
    assert_eq!(
        content, WRITTEN,
        "what the guest wrote is gone after {after}"
    );
}

/// A server that runs, is used, and never met its probe.
fn never_ready() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(server(NEVER_READY), &[])
        .exits(1)
        .says("VSI0502");
    write(&vsiflow);
    vsiflow
}

/// A server with a snapshot `first`, whose probe is not met any more.
fn with_snapshot() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(0);
    vsiflow.run(&["start", "web"]).exits(0);
    vsiflow.apply(server(NEVER_READY), &[]).exits(0);
    vsiflow
}

#[test]
fn a_server_that_was_never_ready_keeps_its_disk_through_power_commands_and_corrections() {
    let vsiflow = never_ready();
    vsiflow.run(&["stop", "web"]).exits(0).says("Stopped");
    assert_kept(&vsiflow, "stop");
    vsiflow.run(&["start", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "start");
    vsiflow.run(&["restart", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "restart");
    vsiflow.run(&["retry", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "retry");
    vsiflow.apply(server(READY), &[]).exits(0).says("Running");
    assert_kept(&vsiflow, "the corrected probe");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_server_whose_first_runs_are_forgotten_keeps_its_disk() {
    let vsiflow = never_ready();
    vsiflow.run(&["retry", "web"]).exits(1).says("VSI0502");
    vsiflow.run(&["restart", "web"]).exits(1).says("VSI0502");
    vsiflow
        .run(&["compact", "--older-than", "0s"])
        .exits(0)
        .says("are archived");
    vsiflow.run(&["stop", "web"]).exits(0).says("Stopped");
    assert_kept(&vsiflow, "stop");
    vsiflow.apply(server(READY), &[]).exits(0);
    assert_kept(&vsiflow, "a correction");
}

#[test]
fn a_server_that_was_never_ready_is_planned_as_one_that_was() {
    let vsiflow = never_ready();
    let other =
        server(NEVER_READY).replace(SIMULATED_IMAGE, "http://images.lab.test:8080/another.qcow2");
    let file = vsiflow.write("other.yaml", &other);
    vsiflow
        .run(&["plan", "-f", file.to_str().unwrap()])
        .says("rebuild");
    assert_kept(&vsiflow, "plan");
}

#[test]
fn a_restoration_whose_boot_was_slow_is_not_carried_out_again() {
    let vsiflow = with_snapshot();
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes"])
        .exits(1)
        .says("VSI0502");
    write(&vsiflow);
    vsiflow.run(&["retry", "web"]).exits(1);
    assert_kept(&vsiflow, "retry");
    vsiflow.run(&["restart", "web"]).exits(1);
    assert_kept(&vsiflow, "restart");
    vsiflow.run(&["stop", "web"]).exits(0);
    assert_kept(&vsiflow, "stop");
    vsiflow.apply(server(READY), &[]).exits(0);
    assert_kept(&vsiflow, "the corrected probe");
    vsiflow.run(&["start", "web"]).exits(0);
    assert_kept(&vsiflow, "start");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_rebuild_whose_boot_was_slow_is_not_carried_out_again() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.apply(server(NEVER_READY), &[]).exits(0);
    vsiflow
        .run(&["rebuild", "web", "--yes"])
        .exits(1)
        .says("VSI0502");
    write(&vsiflow);
    vsiflow.run(&["stop", "web"]).exits(0);
    assert_kept(&vsiflow, "stop");
    vsiflow.run(&["start", "web"]).exits(1);
    assert_kept(&vsiflow, "start");
}

#[test]
fn a_cancelled_restoration_never_runs_later() {
    let vsiflow = with_snapshot();
    write(&vsiflow);
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes", "--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0);
    assert_kept(&vsiflow, "stop");
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.run(&["start", "web"]).exits(0);
    assert_kept(&vsiflow, "start");
    // Ordered again, it is carried out.
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes"])
        .exits(0);
    let sim = vsiflow.sim();
    assert_ne!(
        sim.volume(&boot_disk(&vsiflow))["content"]["Inline"],
        WRITTEN
    );
}

#[test]
fn an_edit_of_another_field_orders_no_rebuild_that_was_cancelled() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    write(&vsiflow);
    let overlay = |more: &str| server(&format!("{READY}\n  bootDisk: {{mode: overlay}}\n{more}"));
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .apply(overlay(""), &["--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    for policy in ["Automatic", "Manual"] {
        let other = overlay(&format!(
            "  updatePolicy: {policy}\n  machine: {{cpus: 3}}\n"
        ));
        vsiflow
            .apply(&other, &[])
            .exits(4)
            .says("VSI0041")
            .says("vsiflow rebuild");
        let path = vsiflow.write("other.yaml", &other);
        let planned = vsiflow.run(&["plan", "-f", path.to_str().unwrap()]);
        planned.exits(4).says("no order for that is open");
        assert_kept(&vsiflow, policy);
    }
    vsiflow.apply(server(READY), &[]).exits(0);
    assert_kept(&vsiflow, "the document of before");
    // Asked for anew, it is carried out.
    vsiflow.apply(overlay(""), &[]).exits(0);
    assert_ne!(
        vsiflow.sim().volume(&boot_disk(&vsiflow))["content"]["Inline"],
        WRITTEN
    );
}

/// Gives the pool this much room, and returns how much it had.
fn set_room(vsiflow: &Vsiflow, room: Value) -> Value {
    let mut before = Value::Null;
    vsiflow.change_sim(|sim| {
        before = std::mem::replace(&mut sim["pools"]["images"]["capacity"], room);
    });
    before
}

/// A server that runs and has an order for another boot disk, for which there was no room. There is room by now.
fn with_stuck_rebuild() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.apply(server(NEVER_READY), &[]).exits(0);
    let room = set_room(&vsiflow, json!(1));
    vsiflow
        .run(&["rebuild", "web", "--yes"])
        .exits(4)
        .says("VSI0203");
    set_room(&vsiflow, room);
    vsiflow
}

#[test]
fn an_order_for_a_disk_takes_the_place_of_the_one_before() {
    let vsiflow = with_stuck_rebuild();
    vsiflow
        .run(&["rebuild", "web", "--in-place", "--yes"])
        .exits(1)
        .says("VSI0502");
    write(&vsiflow);
    vsiflow.run(&["restart", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "restart");
    vsiflow.run(&["stop", "web"]).exits(0);
    assert_kept(&vsiflow, "stop");
    vsiflow.apply(server(READY), &[]).exits(0);
    assert_kept(&vsiflow, "a correction");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

/// Orders these acts while everything is paused, and lets them begin.
fn order_while_paused(vsiflow: &Vsiflow, acts: [&[&str]; 2]) {
    vsiflow.run(&["pause", "--all"]).exits(0);
    for act in acts {
        let waits = [act, &["--yes", "--timeout", "1s"]].concat();
        vsiflow.run(&waits).exits(4).says("VSI0016");
    }
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["retry", "web"]).exits(1).says("VSI0502");
}

#[test]
fn a_rebuild_in_place_that_is_ordered_twice_is_done_once() {
    let vsiflow = never_ready();
    order_while_paused(&vsiflow, [&["rebuild", "web", "--in-place"]; 2]);
    write(&vsiflow);
    vsiflow.run(&["restart", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "restart");
}

#[test]
fn a_restoration_that_is_ordered_again_with_less_is_done_once() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "first", "--memory"])
        .exits(0);
    vsiflow.apply(server(NEVER_READY), &[]).exits(0);
    let restore = ["snapshot", "restore", "first"];
    let disks_only = ["snapshot", "restore", "first", "--disks-only"];
    order_while_paused(&vsiflow, [&restore, &disks_only]);
    write(&vsiflow);
    vsiflow.run(&["restart", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "restart");
}

#[test]
fn an_edit_before_the_disk_is_made_orders_nothing_once_the_disk_is_of_that_edit() {
    let vsiflow = Vsiflow::simulated();
    let other = server(NEVER_READY).replace(SIMULATED_IMAGE, "http://images.lab.test:8080/o.qcow2");
    vsiflow.run(&["pause", "--all"]).exits(0);
    for document in [&server(NEVER_READY), &other] {
        vsiflow
            .apply(document, &["--timeout", "1s"])
            .exits(4)
            .says("VSI0016");
    }
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["retry", "web"]).exits(1).says("VSI0502");
    vsiflow
        .run(&["rebuild", "web", "--in-place", "--yes"])
        .exits(1)
        .says("VSI0502");
    write(&vsiflow);
    vsiflow.run(&["restart", "web"]).exits(1).says("VSI0502");
    assert_kept(&vsiflow, "restart");
}

#[test]
fn a_power_command_takes_up_no_replacement_that_is_stuck() {
    let vsiflow = with_stuck_rebuild();
    write(&vsiflow);
    for command in ["stop", "restart", "start"] {
        vsiflow
            .run(&[command, "web"])
            .exits(4)
            .says("VSI0041")
            .says("vsiflow cancel default/web");
        assert_kept(&vsiflow, command);
    }
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0).says("Stopped");
    assert_kept(&vsiflow, "stop");
}

#[test]
fn a_drained_host_takes_up_no_replacement_that_is_stuck() {
    let vsiflow = with_stuck_rebuild();
    write(&vsiflow);
    let drain = ["host", "drain", "sim", "--stop"];
    vsiflow
        .run(&drain)
        .exits(4)
        .says("VSI0041")
        .says("vsiflow cancel default/web");
    assert_kept(&vsiflow, "a drain");
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&drain).exits(0);
    assert_kept(&vsiflow, "a drain");
    vsiflow
        .run(&["host", "uncordon", "sim", "--start"])
        .exits(1);
    assert_kept(&vsiflow, "its end");
}

/// Orders a deletion while everything is paused.
fn delete_later(vsiflow: &Vsiflow, object: &str) {
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .run(&["delete", object, "--wait", "--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
}

#[test]
fn a_cancelled_deletion_never_happens_later() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    write(&vsiflow);
    delete_later(&vsiflow, "web");
    vsiflow
        .run(&["cancel", "web"])
        .exits(0)
        .says("is not done any more");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "web"]).exits(4).says("VSI0041");
    vsiflow.run(&["retry", "web"]).exits(4).says("VSI0041");
    assert_kept(&vsiflow, "cancel");
    assert_eq!(vsiflow.sim().domain("default/web")["state"], "Running");
    // Ordered again, it is carried out.
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    assert_eq!(vsiflow.sim().volumes(), ["hpcr-guest.qcow2"]);
    let history = vsiflow.run(&["history", "web", "--events"]).exits(0);
    history
        .says("delete of images/boot-")
        .says("ordered by unix:");
}

#[test]
fn a_deletion_is_not_carried_out_by_a_journal_that_was_restored() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    write(&vsiflow);
    delete_later(&vsiflow, "web");
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.restore("kept.backup");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "web"]).exits(4).says("VSI0041");
    assert_kept(&vsiflow, "the restored journal went on");
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
}

fn copies(vsiflow: &Vsiflow) -> Vec<String> {
    let sim = vsiflow.sim();
    let volumes = sim.all_volumes().into_iter();
    let copies = volumes.filter(|name| name.starts_with("snapshot-"));
    copies.map(str::to_owned).collect()
}

#[test]
fn a_snapshot_of_before_the_backup_is_deleted_by_a_journal_that_was_restored() {
    let vsiflow = with_snapshot();
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.restore("kept.backup");
    vsiflow.run(&["snapshot", "delete", "first"]).exits(0);
    assert_eq!(copies(&vsiflow), Vec::<String>::new());
}

#[test]
fn a_file_that_took_the_place_of_a_snapshots_copy_is_not_deleted() {
    let vsiflow = with_snapshot();
    let copy = copies(&vsiflow).remove(0);
    vsiflow.change_sim(|sim| {
        let volume = &mut sim["pools"]["images"]["volumes"][&copy];
        volume["born"] = json!(7_777);
        volume["content"] = json!({"Inline": WRITTEN});
    });
    vsiflow
        .run(&["snapshot", "delete", "first"])
        .exits(4)
        .says("VSI0236");
    assert_eq!(copies(&vsiflow), [copy]);
}

#[test]
fn a_plan_of_an_unchanged_document_says_what_a_cancelled_change_left() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    write(&vsiflow);
    let overlay = server(&format!("{READY}\n  bootDisk: {{mode: overlay}}"));
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .apply(&overlay, &["--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
    let path = vsiflow.write("overlay.yaml", &overlay);
    let plan = ["plan", "-f", path.to_str().unwrap()];
    vsiflow
        .run(&plan)
        .exits(1)
        .says("will be rebuilt")
        .says("is destroyed");
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow
        .run(&plan)
        .exits(4)
        .says("cannot be changed so")
        .says("no order for that is open");
    vsiflow.apply(&overlay, &[]).exits(4).says("unchanged");
    assert_kept(&vsiflow, "the unchanged document");
    vsiflow.run(&["rebuild", "web", "--yes"]).exits(0);
    vsiflow.run(&plan).exits(0).says("No changes");
}

#[test]
fn a_backup_taken_during_a_restoration_does_not_repeat_it() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(0);
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes", "--timeout", "1s"])
        .exits(4)
        .says("VSI0016");
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    write(&vsiflow);
    vsiflow.restore("kept.backup");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]);
    assert_kept(&vsiflow, "the restored journal went on");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_guest_that_reports_a_failed_setup_is_not_started_again_unasked() {
    let vsiflow = Vsiflow::simulated();
    let failing = server("").replace(
        "{type: cloudInit}",
        "{type: cloudInit, userData: \"#cloud-config\\n# lab-fail\\n\"}",
    );
    vsiflow.apply(&failing, &[]).exits(1).says("VSI0506");
    write(&vsiflow);
    let status = &vsiflow.vsi("web")["status"];
    assert!(status["nextTry"].is_null(), "{status:#}");
    vsiflow.run(&["stop", "web"]).exits(0);
    assert_kept(&vsiflow, "stop");
}

#[test]
fn a_server_that_is_named_twice_is_rebuilt_once() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.run(&["rebuild", "web", "default/web"]).exits(0);
    let events = vsiflow.history("web");
    let orders = events.iter().filter(|event| event.kind() == "warranted");
    assert_eq!(orders.count(), 1);
}

#[test]
fn the_history_shows_by_whose_order_a_disk_was_destroyed() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(READY), &[]).exits(0);
    vsiflow.run(&["rebuild", "web", "--yes"]).exits(0);
    let history = vsiflow.run(&["history", "web", "--events"]).exits(0);
    history
        .says("warranted")
        .says("rebuild of images/boot-")
        .says("it is rebuilt because of bootDisk")
        .says("warrant_spent");
    let timeline = vsiflow.run(&["history", "web"]).exits(0);
    timeline
        .says("warrant spent: rebuild of images/boot-")
        .says("ordered by unix:");
    vsiflow.run(&["audit", "verify"]).exits(0);
}

#[test]
fn a_first_boot_that_a_hyper_protect_guest_calls_failed_is_made_anew_by_its_document() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named("web").memory("128Mi"), &["--wait"])
        .exits(1)
        .says("VSI0501");
    write(&vsiflow);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow
        .run(&["history", "web", "--events"])
        .exits(0)
        .says("boot_again of images/boot-");
}

#[test]
fn a_guest_that_runs_on_after_it_called_its_boot_failed_keeps_its_disk() {
    let vsiflow = Vsiflow::simulated();
    let small = Vsi::named("web").memory("128Mi");
    vsiflow.apply(&small, &["--wait"]).exits(1).says("VSI0501");
    write(&vsiflow);
    vsiflow.change_sim(|state| {
        for domain in state["domains"].as_object_mut().unwrap().values_mut() {
            domain["state"] = json!("Running");
            domain["live"]["end"] = Value::Null;
        }
    });
    vsiflow.run(&["start", "web"]).exits(1).says("VSI0507");
    assert_kept(&vsiflow, "start");
    vsiflow.run(&["stop", "web"]).exits(0);
    assert_kept(&vsiflow, "stop");
    vsiflow.run(&["start", "web"]);
    assert_kept(&vsiflow, "the start after a stop");
    vsiflow.run(&["rebuild", "web", "--yes"]);
    let sim = vsiflow.sim();
    let content = &sim.volume(&boot_disk(&vsiflow))["content"]["Inline"];
    assert_ne!(content, WRITTEN);
}
