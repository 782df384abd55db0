//! A killed process leaves the states of one of its batches.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use super::*;

const DIR: &str = "VSIFLOW_TEST_INDEX";
const ROUNDS: Offset = 400;

/// The process that is killed: it updates the same entities repeatedly, and reports the last update
/// that it wrote.
#[test]
#[ignore = "is started by the test below"]
fn a_process_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let index = open::to_write(&dir, facts(), WritePermit::always(), pace()).index;
    index.publish(all(&fleet(40)));
    for as_of in 1_000..1_000 + ROUNDS {
        index.publish(update(as_of, 0..40));
        std::thread::sleep(Duration::from_micros(500));
        println!("published {as_of}");
    }
    std::process::abort();
}

fn run_until(dir: &std::path::Path, round: Offset) {
    let name = "journal::index::tests::kill::a_process_that_writes_until_it_is_killed";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let expected = format!("published {}", 1_000 + round);
    let seen = lines
        .map_while(Result::ok)
        .any(|line| line.contains(&expected));
    assert!(seen || round >= ROUNDS, "the child never came to {round}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_kill_leaves_the_states_of_one_update() {
    for round in [0, 3, 60, 250, ROUNDS] {
        let place = IndexPlace::new();
        run_until(&place.dir, round);
        let opened = place.open();
        let Some(found) = opened.states else {
            let few = matches!(opened.rebuilt, None | Some(Unusable::Unfinished));
            assert!(few && round < 60, "{:?}", opened.rebuilt);
            continue;
        };
        let mut written = fleet(40);
        if found.as_of >= 1_000 {
            written = after(written, &update(found.as_of, 0..40));
        }
        assert_same(&found, &written);
    }
}

#[test]
fn an_index_that_is_never_closed_is_found_as_far_as_it_was_written() {
    let place = IndexPlace::new();
    let written = place.fill(20);
    let copy = IndexPlace::new();
    let opened = place.open();
    copy_dir(&place.dir, &copy.dir);
    std::mem::forget(opened);
    assert_same(&copy.open().states.unwrap(), &written);
}

pub(super) fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
