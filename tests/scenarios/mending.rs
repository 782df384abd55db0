//! A damaged journal: what can still be read, what can be recovered, and how it is repaired.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_tests::{Ran, Running, Vsi, Vsiflow};

const SEGMENT: &str = "log/00000000000000000000";

/// Three VSIs, each applied by its own process.
fn fleet() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    for name in ["one", "two", "three"] {
        vsiflow.apply(Vsi::named(name), &[]).exits(0);
    }
    vsiflow
}

/// Every file below a folder except the lock, which names its last holder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if !path.ends_with("LOCK") && !path.ends_with("vsiflow.sock") {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

/// Changes one byte of the log, at this fraction of its used part.
fn damage(vsiflow: &Vsiflow, part: f64) {
    let path = vsiflow.state().join(SEGMENT);
    let mut bytes = fs::read(&path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() as f64;
    let mut at = (used * part) as usize;
    while bytes[at] == 0 {
        at += 1;
    }
    bytes[at] ^= 4;
    fs::write(&path, bytes).unwrap();
}

fn without_index(vsiflow: &Vsiflow) {
    match fs::remove_dir_all(vsiflow.state().join("index")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => {}
    }
}

#[test]
fn what_is_lost_is_named_mended_recorded_and_reported_for_ever() {
    let vsiflow = fleet();
    damage(&vsiflow, 0.4);
    let damaged = files(&vsiflow.state().join("log"));
    vsiflow
        .apply(Vsi::named("late"), &[])
        .exits(1)
        .says("error[VSI0004]")
        .says("journal repair");
    // Without consent, nothing is changed.
    vsiflow
        .run(&["journal", "repair"])
        .exits(4)
        .says(SEGMENT)
        .says("the journal lacks them")
        .says("error[VSI0914]");
    assert_eq!(files(&vsiflow.state().join("log")), damaged);

    let repaired = vsiflow.run(&["journal", "repair", "--yes", "-o", "json"]);
    let status = repaired.exits(0).json()["status"].clone();
    assert_eq!(status["repaired"], true, "{status}");
    assert_eq!(status["statesKnown"], true, "{status}");
    assert_eq!(status["damaged"][0]["file"], SEGMENT);
    let lost = status["damaged"][0]["lost"][0].clone();
    let saved = PathBuf::from(status["kept"][0].as_str().unwrap());
    assert_eq!(
        fs::read(&saved).unwrap(),
        damaged[&vsiflow.state().join(SEGMENT)]
    );

    // The index had the state after the lost events: everything continues.
    for name in ["one", "two", "three"] {
        assert_eq!(vsiflow.phase(name), "Running");
    }
    vsiflow.apply(Vsi::named("late"), &[]).exits(0);
    vsiflow.run(&["delete", "one", "--wait"]).exits(0);
    for _ in 0..2 {
        vsiflow
            .run(&["audit", "verify"])
            .exits(1)
            .says("error[VSI0910]");
    }
    let export = vsiflow.run(&["audit", "export"]).exits(0).stdout;
    assert!(export.contains("\"range_lost\""), "{export}");
    assert!(export.contains(&format!("\"from\":{}", lost["from"])));
    vsiflow
        .run(&["journal", "repair"])
        .exits(0)
        .says("nothing is damaged");
}

#[test]
fn a_backup_brings_back_what_the_log_lost() {
    let vsiflow = fleet();
    let backup = vsiflow.folder().join("backup");
    let backup = backup.to_str().unwrap();
    vsiflow.run(&["backup", backup]).exits(0);
    let export = vsiflow.folder().join("export");
    let export = export.to_str().unwrap();
    vsiflow.run(&["audit", "export", export]).exits(0);
    let whole = vsiflow.history("one");
    for from in [backup, export] {
        without_index(&vsiflow);
        damage(&vsiflow, 0.3);
        damage(&vsiflow, 0.7);
        vsiflow
            .run(&["journal", "repair", "--from", from, "--yes"])
            .exits(0)
            .says("are in the file given");
        vsiflow.run(&["audit", "verify"]).exits(0);
        assert_eq!(vsiflow.history("one").len(), whole.len());
    }
    vsiflow.apply(Vsi::named("late"), &[]).exits(0);
    // Events of another journal are not accepted.
    let other = fleet();
    damage(&other, 0.5);
    other
        .run(&["journal", "repair", "--from", backup, "--yes"])
        .exits(1)
        .says("it is of another journal");
}

/// Without an index the state after the lost events is unknown: vsiflow does not act on their VSI.
#[test]
fn commands_that_read_go_on_past_damage_and_name_what_is_missing() {
    let vsiflow = fleet();
    without_index(&vsiflow);
    damage(&vsiflow, 0.5);
    let before = files(&vsiflow.state());
    let list = vsiflow.run(&["get"]).exits(0);
    let list = list
        .says(SEGMENT)
        .says("are missing")
        .says("journal repair");
    list.says("one").says("three");
    vsiflow
        .run(&["get", "-o", "json"])
        .exits(0)
        .says("\"three\"");
    for name in ["one", "two", "three"] {
        shows_the_rest(&vsiflow, name);
    }
    vsiflow.run(&["audit", "verify"]).exits(1).says("VSI0911");
    vsiflow
        .run(&["audit", "export"])
        .exits(0)
        .says("\"missing\"");
    let document = vsiflow.write("late.yaml", &Vsi::named("late").to_string());
    let document = document.to_str().unwrap();
    vsiflow.run(&["plan", "-f", document]).exits(1).says("late");
    assert_eq!(files(&vsiflow.state()), before, "reading wrote");

    let repaired = vsiflow.run(&["journal", "repair", "-y", "-o", "json"]);
    let status = repaired.exits(0).json()["status"].clone();
    // If only the frame around the events was damaged, the events themselves are intact.
    if status["damaged"][0]["lost"]
        .as_array()
        .is_none_or(Vec::is_empty)
    {
        vsiflow.run(&["audit", "verify"]).exits(0)
    } else {
        vsiflow.run(&["audit", "verify"]).exits(1).says("VSI0910")
    };
}

/// A concerned VSI is shown with what remains, under its UID if its name is lost.
fn shows_the_rest(vsiflow: &Vsiflow, name: &str) {
    let described = vsiflow.run(&["describe", name]);
    let shown = if !described.stderr.contains("it is unknown whether") {
        name.to_owned()
    } else {
        unnamed(vsiflow)
    };
    let described_again = vsiflow.run(&["describe", &shown]).exits(0);
    described_again.says("Conditions:");
    let history = vsiflow.run(&["history", &shown]).exits(0);
    history.says("WHEN");
    let events = vsiflow.run(&["history", &shown, "--events"]).exits(0);
    events.says("state_changed");
}

/// The UID of the VSI whose name is lost; the list shows it as the name.
fn unnamed(vsiflow: &Vsiflow) -> String {
    let list = vsiflow.run(&["get", "-o", "json"]).exits(0).json();
    let items = list["items"].as_array().unwrap();
    let found = items
        .iter()
        .find(|vsi| vsi["metadata"]["name"] == vsi["metadata"]["uid"]);
    found.unwrap()["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Runs vsiflow without permission to write any byte, as on a full disk.
fn on_a_full_disk(vsiflow: &Vsiflow, arguments: &[&str]) -> Ran {
    wrapped(
        vsiflow,
        &["sh", "-c", "trap '' 25; ulimit -f 0; exec \"$@\"", "sh"],
        arguments,
    )
}

/// Runs vsiflow without the right to override file permissions.
fn without_rights(vsiflow: &Vsiflow, arguments: &[&str]) -> Ran {
    wrapped(vsiflow, &["setpriv", "--bounding-set=-all"], arguments)
}

fn wrapped(vsiflow: &Vsiflow, wrapper: &[&str], arguments: &[&str]) -> Ran {
    let inner = vsiflow.command(arguments);
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(inner.get_program());
    command.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(vsiflow.folder());
    Running::start(&mut command).end(60)
}

fn reads(run: impl Fn(&[&str]) -> Ran, document: &str) {
    run(&["get"]).exits(0).says("three");
    run(&["get", "run", "-o", "json"]).exits(0);
    run(&["describe", "one"]).exits(0).says("one");
    run(&["history", "one"]).exits(0).says("asked for");
    run(&["events"]).exits(0).says("desired");
    run(&["logs", "one"]).exits(0);
    run(&["plan", "-f", document]).exits(1).says("late");
    run(&["audit", "verify"]).exits(0);
    run(&["audit", "export"]).exits(0).says("\"head\"");
    run(&["replay", "--verify"]).exits(0);
}

#[test]
fn reading_needs_to_write_nothing_on_a_full_disk() {
    let vsiflow = fleet();
    let document = vsiflow.write("late.yaml", &Vsi::named("late").to_string());
    reads(
        |arguments| on_a_full_disk(&vsiflow, arguments),
        document.to_str().unwrap(),
    );
    fs::remove_file(vsiflow.state().join("LOCK")).unwrap();
    on_a_full_disk(&vsiflow, &["get"]).exits(0).says("three");
    vsiflow.apply(Vsi::named("late"), &[]).exits(0);
}

#[test]
fn reading_needs_to_write_nothing_where_it_may_not() {
    let vsiflow = fleet();
    let document = vsiflow.write("late.yaml", &Vsi::named("late").to_string());
    let mode = |mode: &str| {
        let mut chmod = Command::new("chmod");
        assert!(
            chmod
                .args(["-R", mode])
                .arg(vsiflow.state())
                .status()
                .unwrap()
                .success()
        );
    };
    fs::remove_file(vsiflow.state().join("LOCK")).unwrap();
    mode("a-w");
    let before = files(&vsiflow.state());
    reads(
        |arguments| without_rights(&vsiflow, arguments),
        document.to_str().unwrap(),
    );
    let refused = without_rights(&vsiflow, &["apply", "-f", document.to_str().unwrap()]);
    refused.exits(1).says("error[VSI0006]");
    assert_eq!(files(&vsiflow.state()), before);
    assert!(!vsiflow.state().join("LOCK").exists());
    mode("u+w");
}

#[test]
fn an_index_that_cannot_be_used_is_left_as_it_is_by_who_reads() {
    let vsiflow = fleet();
    let index = vsiflow.state().join("index");
    for path in files(&index).keys() {
        fs::write(path, b"nothing sled ever wrote").unwrap();
    }
    for _ in 0..2 {
        vsiflow.run(&["get"]).exits(0).says("three");
    }
    assert!(!vsiflow.state().join("index.aside").exists());
    vsiflow.apply(Vsi::named("late"), &[]).exits(0);
    vsiflow.run(&["get"]).exits(0).says("late");
}

#[test]
fn a_first_segment_that_is_gone_is_no_archive_that_was_taken_away() {
    let vsiflow = fleet();
    vsiflow.run(&["compact", "--older-than", "0s"]).exits(0);
    vsiflow.apply(Vsi::named("late"), &[]).exits(0);
    without_index(&vsiflow);
    let archive = vsiflow.state().join("archive");
    assert!(!files(&archive).is_empty());
    fs::remove_dir_all(&archive).unwrap();
    let before = files(&vsiflow.state().join("log"));
    vsiflow
        .apply(Vsi::named("later"), &[])
        .exits(1)
        .says("error[VSI0004]")
        .says("the first segment is missing")
        .says("journal repair");
    assert_eq!(files(&vsiflow.state().join("log")), before);
    vsiflow.run(&["get"]).exits(0).says("are missing");
    vsiflow.run(&["journal", "repair", "-y"]).exits(0);
    // It needs an image whose events are lost, and says so.
    vsiflow
        .apply(Vsi::named("later"), &["--timeout", "60s"])
        .exits(4)
        .says("VSI0018")
        .says("image/");
    vsiflow.run(&["audit", "verify"]).exits(1).says("VSI0910");
}

#[test]
fn what_is_no_log_of_this_journal_is_refused_and_nothing_is_changed() {
    let vsiflow = fleet();
    let segment = vsiflow.state().join(SEGMENT);
    let good = fs::read(&segment).unwrap();
    let refused = |words: &str| {
        let before = files(&vsiflow.state());
        let document = Vsi::named("late");
        vsiflow
            .apply(document, &[])
            .exits(1)
            .says("error[VSI0004]")
            .says(words);
        let mut now = files(&vsiflow.state());
        now.retain(|path, _| before.contains_key(path));
        assert_eq!(now, before, "{words}");
    };
    fs::write(&segment, b"").unwrap();
    refused("it is empty");
    // A segment of another journal, first instead of this one's segment, then beside it.
    let other = fleet();
    fs::copy(other.state().join(SEGMENT), &segment).unwrap();
    refused("it is a segment of the journal");
    vsiflow
        .run(&["journal", "repair", "-y"])
        .exits(1)
        .says("it is a segment of the journal");
    fs::write(&segment, &good).unwrap();
    let beside = vsiflow.state().join("log/00000000000000000007");
    fs::copy(other.state().join(SEGMENT), &beside).unwrap();
    refused("it is the segment of offset 0");
    fs::remove_file(&beside).unwrap();
    vsiflow.run(&["get"]).exits(0).says("three");
}

#[test]
fn a_state_directory_that_is_a_file_is_named() {
    let vsiflow = Vsiflow::simulated();
    let file = vsiflow.write("state", "a file");
    for command in [&["get"][..], &["history", "one"], &["resume"]] {
        vsiflow
            .run(command)
            .exits(1)
            .says("error[VSI0006]")
            .says("state");
    }
    vsiflow
        .run(&["journal", "repair"])
        .exits(3)
        .says("error[VSI0907]");
    vsiflow
        .run(&["audit", "verify"])
        .exits(3)
        .says("error[VSI0907]");
    assert_eq!(fs::read_to_string(file).unwrap(), "a file");
}

#[test]
fn who_finds_the_index_being_made_again_waits_and_is_told() {
    let vsiflow = fleet();
    let mut lock: File = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(vsiflow.state().join("LOCK"))
        .unwrap();
    lock.lock().unwrap();
    let holder = "{\"pid\": 4711, \"command\": \"vsiflow serve\", \"since\": \"now\", \
                  \"doing\": \"makes the index again from 9 events of the log\"}\n";
    lock.write_all(holder.as_bytes()).unwrap();
    let mut get = vsiflow.start(&["get"]);
    assert!(get.reaches("waiting: process 4711 makes the index again", 30));
    // Longer than vsiflow waits for a holder that does not rebuild its index.
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(!get.has_ended());
    drop(lock);
    get.end(60).exits(0).says("three");
}

#[test]
fn what_a_daemon_signs_is_checked_by_an_audit() {
    let vsiflow = fleet();
    let key = vsiflow.folder().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|made| made.success()) {
        eprintln!("there is no ssh-keygen here");
        return;
    }
    let (key, public) = (
        key.to_str().unwrap(),
        format!("{}.pub", key.to_str().unwrap()),
    );
    let head = vsiflow
        .run(&["audit", "head", "--sign-key", key])
        .exits(0)
        .stdout;
    let verified = ["audit", "verify", "--head", head.trim(), "--public-key"];
    vsiflow
        .run(&[&verified[..], &[&public]].concat())
        .exits(0)
        .says("is signed and part of it");
    let unsigned = head.split_once(" key=").unwrap().0.to_owned();
    for forged in [unsigned, head.replace("offset=", "offset=1")] {
        let words = [
            "audit",
            "verify",
            "--head",
            forged.trim(),
            "--public-key",
            &public,
        ];
        vsiflow.run(&words).exits(1).says("VSI0905");
    }
    damage(&vsiflow, 0.4);
    vsiflow
        .run(&["journal", "repair", "-y", "--sign-key", key])
        .exits(0)
        .says("the index has the states");
    let report = vsiflow.run(&["audit", "verify", "--public-key", &public]);
    report.exits(1).says("VSI0910").keeps_quiet_about("VSI0905");
    // A file that was signed with another key.
    let other = vsiflow.folder().join("other");
    let other_made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&other)
        .status();
    assert!(other_made.unwrap().success());
    let other = format!("{}.pub", other.to_str().unwrap());
    let by_other_key = vsiflow.run(&["audit", "verify", "--public-key", &other]);
    by_other_key.exits(1).says("VSI0905");
    let daemon = vsiflow.serve(&["--sign-key", key]);
    daemon.kill();
    vsiflow
        .run(&["serve", "--sign-key", &public])
        .exits(2)
        .says("error[VSI0905]");
}
