//! An older copy of the state directory is put back while VSIs have moved on.

use std::{fs, path::Path};

use vsiflow_tests::{Vsi, Vsiflow};

/// Copies a state directory except the simulated host, which has the real state.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            if entry.file_name() != "sim" {
                copy(&path, &copied);
            }
        } else if path.is_file() {
            fs::copy(path, copied).unwrap();
        }
    }
}

/// Restores a copy of everything except the simulated host.
fn put_back(copied: &Path, state: &Path) {
    for entry in fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        } else if !path.ends_with("sim") {
            fs::remove_dir_all(path).unwrap();
        }
    }
    copy(copied, state);
}

#[test]
fn an_old_copy_of_the_journal_touches_nothing_and_says_so() {
    let vsiflow = Vsiflow::simulated();
    let copied = vsiflow.folder().join("copied");
    vsiflow.apply(Vsi::named("one"), &[]).exits(0);
    copy(&vsiflow.state(), &copied);
    vsiflow.apply(Vsi::named("two"), &[]).exits(0);
    let before = vsiflow.sim();
    put_back(&copied, &vsiflow.state());

    vsiflow
        .run(&["delete", "one", "--wait"])
        .exits(4)
        .says("VSI0211");
    vsiflow.run(&["resume", "--all"]).exits(4);
    let after = vsiflow.sim();
    assert_eq!(after.volumes(), before.volumes());
    assert_eq!(after.domains(), before.domains());
    let shown = vsiflow.vsi("one");
    let behind = shown["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|condition| condition["type"] == "JournalBehind")
        .unwrap();
    assert_eq!(behind["status"], "True");
    // The VSI that the newer journal created is adopted; then the journal is no longer behind.
    vsiflow.run(&["adopt", "default/two"]).exits(0);
    assert_eq!(vsiflow.phase("two"), "Running");
    vsiflow.run(&["retry", "one"]).exits(0);
    assert_eq!(vsiflow.sim().domains(), ["default/two"]);
}

#[test]
fn an_old_copy_from_the_middle_of_a_run_makes_no_disk_anew() {
    let vsiflow = Vsiflow::simulated();
    let copied = vsiflow.folder().join("copied");
    let mut running = vsiflow.start_apply(Vsi::named("one"), &["--wait"]);
    assert!(running.reaches("write_cidata", 30));
    running.kill();
    copy(&vsiflow.state(), &copied);
    vsiflow.run(&["resume", "one"]).exits(0);
    let boot = vsiflow.sim().content("boot-");
    put_back(&copied, &vsiflow.state());

    vsiflow.run(&["resume", "one"]).exits(4).says("VSI0211");
    assert!(vsiflow.sim().content("boot-") == boot);
    vsiflow.sim().assert_one_vsi("default/one");
    vsiflow
        .run(&["adopt", "default/one"])
        .exits(0)
        .says("vsi/one is adopted");
    assert_eq!(vsiflow.phase("one"), "Running");
    assert!(vsiflow.sim().content("boot-") == boot);
    let document = vsiflow.write("one.yaml", &Vsi::named("one").to_string());
    let plan = ["plan", "-f", document.to_str().unwrap()];
    vsiflow.run(&plan).exits(0);
}
