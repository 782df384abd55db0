//! The state directory: one process uses it at a time, and a failing process never damages it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use vsiflow_tests::{Vsi, Vsiflow, until};

/// Every file below a folder except the lock, which names its last holder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if !path.ends_with("LOCK") {
            let bytes = fs::read(&path).unwrap();
            all.insert(path, bytes);
        }
    }
    all
}

#[track_caller]
fn assert_unchanged(before: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    let now = files(folder);
    for (path, bytes) in before {
        assert!(
            now.get(path) == Some(bytes),
            "{} was changed or removed",
            path.display()
        );
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_is_first() {
    let vsiflow = Vsiflow::simulated();
    let mut first = vsiflow.start_apply(Vsi::named("busy").doing("lab-hang"), &["--wait"]);
    assert!(first.reaches("start_domain", 30), "it ended early");
    let late = "http://images.lab.test:8080/late.qcow2";
    vsiflow
        .run(&["image", "upload", late])
        .exits(1)
        .says("error[VSI0002]")
        .says(&format!("process {}", first.pid()))
        .says("apply -f")
        .says("does not stay");
    first.kill();
    vsiflow.run(&["get"]).exits(0).says("busy");
    let images = vsiflow.run(&["get", "image"]).exits(0);
    images.keeps_quiet_about("late");
}

#[test]
fn the_first_process_applies_for_others_and_these_go_on_when_it_ends() {
    let vsiflow = Vsiflow::simulated();
    let mut first = vsiflow.start_apply(Vsi::named("busy").doing("lab-hang"), &["--wait"]);
    assert!(first.reaches("start_domain", 30), "it ended early");
    let file = vsiflow.write("second.yaml", &Vsi::named("second").to_string());
    vsiflow
        .run(&["plan", "-f", file.to_str().unwrap()])
        .exits(1)
        .says("vsi/second will be created");
    let applied = vsiflow.apply(Vsi::named("second"), &["--wait"]);
    applied.exits(0).says("vsi/second is Running");
    assert!(!first.has_ended());
    let mut third = vsiflow.start_apply(Vsi::named("third").doing("lab-hang"), &["--wait"]);
    assert!(third.reaches("start_domain", 30), "it ended early");
    first.kill();
    vsiflow
        .run(&["delete", "third", "--wait"])
        .exits(0)
        .says("deleted");
    until("the end of the third", 60, || {
        third.has_ended().then_some(())
    });
    vsiflow.run(&["get", "busy"]).exits(0);
}

#[test]
fn the_first_process_answers_for_others_that_ask() {
    let vsiflow = Vsiflow::simulated();
    let mut first = vsiflow.start_apply(Vsi::named("asked").doing("lab-hang"), &["--wait"]);
    assert!(first.reaches("start_domain", 30), "it ended early");
    vsiflow.run(&["get", "-o", "json"]).exits(0).says("Booting");
    vsiflow
        .run(&["history", "asked"])
        .exits(0)
        .says("start_domain");
    vsiflow.run(&["get", "vsi", "nobody"]).exits(3);
    vsiflow
        .run(&["delete", "asked", "--wait"])
        .exits(0)
        .says("deleted");
    until("the end of the first", 30, || {
        first.has_ended().then_some(())
    });
    assert_eq!(vsiflow.sim().volumes(), ["hpcr-guest.qcow2"]);
}

#[test]
fn a_state_of_a_newer_version_is_refused_and_left_alone() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("newer"), &[]).exits(0);
    let format = vsiflow.state().join("FORMAT");
    let old = fs::read_to_string(&format).unwrap();
    assert!(old.contains("\"format\": 3"), "{old}");
    fs::write(&format, old.replace("\"format\": 3", "\"format\": 99")).unwrap();
    let before = files(&vsiflow.state());
    for command in [&["get"][..], &["resume"], &["delete", "newer"]] {
        vsiflow
            .run(command)
            .exits(1)
            .says("error[VSI0003]")
            .says("99");
    }
    vsiflow
        .apply(Vsi::named("other"), &[])
        .exits(1)
        .says("error[VSI0003]");
    assert_unchanged(&before, &vsiflow.state());

    fs::write(&format, old).unwrap();
    vsiflow.run(&["get"]).exits(0).says("newer");
}

#[test]
fn a_damaged_record_is_reported_and_nothing_is_lost_or_overwritten() {
    let vsiflow = Vsiflow::simulated();
    for name in ["one", "two", "three"] {
        vsiflow.apply(Vsi::named(name), &[]).exits(0);
    }
    let whole = vsiflow
        .run(&["history", "one", "-o", "json"])
        .exits(0)
        .stdout;
    let journal = vsiflow.state().join("log");
    let segment = journal.join("00000000000000000000");
    let good = files(&journal);
    let data = &good[&segment];
    let used: Vec<_> = (0..data.len()).filter(|at| data[*at] != 0).collect();
    for part in 0..20 {
        let mut damaged = data.clone();
        let at = used[used.len() * part / 20];
        damaged[at] ^= 1;
        restore(&journal, &good);
        fs::write(&segment, damaged).unwrap();
        let before = files(&journal);
        let ran = vsiflow.run(&["history", "one", "-o", "json"]);
        assert_unchanged(&before, &journal);
        // A file without the header of a segment is not accepted as a log.
        if ran.stderr.contains("VSI0004") {
            ran.exits(1);
            continue;
        }
        if !ran.stderr.contains("are missing") {
            ran.exits(0);
            let again = vsiflow.run(&["history", "one", "-o", "json"]);
            assert_eq!(again.stdout, whole, "events were lost by byte {at}");
            continue;
        }
        // Intact events are shown, and missing ones are named.
        let ran = ran.says("log/").says("journal repair");
        if !ran.stderr.contains("it is unknown whether") {
            ran.exits(0);
        }
        vsiflow
            .apply(Vsi::named("four"), &[])
            .exits(1)
            .says("error[VSI0004]")
            .says("/log");
        assert_unchanged(&before, &journal);
    }
}

/// Makes a folder contain exactly these files.
fn restore(folder: &Path, good: &BTreeMap<PathBuf, Vec<u8>>) {
    for path in files(folder).keys() {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in good {
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_journal_that_is_gone_is_not_made_anew() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("lost"), &[]).exits(0);
    fs::remove_dir_all(vsiflow.state().join("log")).unwrap();
    vsiflow.run(&["get"]).exits(1).says("error[VSI0004]");
    assert!(!vsiflow.state().join("log").exists());
}

#[test]
fn a_folder_of_something_else_is_never_made_a_state_directory() {
    let vsiflow = Vsiflow::simulated();
    fs::create_dir(vsiflow.state()).unwrap();
    let thesis = vsiflow.state().join("thesis.txt");
    fs::write(&thesis, "years of work").unwrap();
    vsiflow
        .apply(Vsi::named("a"), &[])
        .exits(1)
        .says("error[VSI0004]")
        .says("thesis.txt");
    assert_eq!(fs::read_to_string(thesis).unwrap(), "years of work");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let vsiflow = Vsiflow::simulated();
    // Even root cannot make a folder below a file.
    vsiflow.write("state", "a file");
    vsiflow
        .apply(Vsi::named("a"), &[])
        .exits(1)
        .says("error[VSI0006]")
        .says(vsiflow.state().to_str().unwrap());
}
