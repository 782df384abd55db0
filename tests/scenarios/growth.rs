//! How the journal grows with deleted VSIs, and how their events are archived.

use std::{fs, path::Path};

use vsiflow_tests::{Vsi, Vsiflow};

/// A state directory with one deleted VSI and one that runs.
fn past_and_present() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("gone"), &["--wait"]).exits(0);
    vsiflow.run(&["delete", "gone", "--wait"]).exits(0);
    vsiflow.apply(Vsi::named("here"), &["--wait"]).exits(0);
    vsiflow
}

/// The number of segments in the archive; each has its table beside it.
fn archives(vsiflow: &Vsiflow) -> usize {
    fs::read_dir(vsiflow.state().join("archive")).map_or(0, Iterator::count) / 2
}

#[test]
fn finished_work_is_archived_and_everything_goes_on() {
    let vsiflow = past_and_present();
    let head = vsiflow.run(&["audit", "head"]).exits(0).stdout;
    let before = vsiflow.vsi("here");
    vsiflow
        .run(&["compact"])
        .exits(0)
        .says("nothing to archive: nothing that was recorded is older than 30days");
    vsiflow
        .run(&["compact", "--older-than", "0s", "--dry-run"])
        .exits(0)
        .says("would archive");
    assert_eq!(archives(&vsiflow), 0);
    vsiflow
        .run(&["compact", "--older-than", "0s"])
        .exits(0)
        .says("are archived; they can be read as before");
    assert_eq!(archives(&vsiflow), 1);
    assert_eq!(vsiflow.vsi("here"), before);
    let verified = vsiflow.run(&["audit", "verify", "--head", head.trim()]);
    verified
        .exits(0)
        .says("the head stored elsewhere is part of it");
    vsiflow.run(&["replay", "--verify"]).exits(0);
    vsiflow
        .run(&["history", "gone"])
        .exits(0)
        .says("define_domain");
    vsiflow.run(&["delete", "here", "--wait"]).exits(0);
    vsiflow.apply(Vsi::named("gone"), &["--wait"]).exits(0);
    let export = vsiflow.folder().join("export.jsonl");
    let path = export.to_str().unwrap();
    vsiflow.run(&["audit", "export", path]).exits(0);
    let rebuilt = Vsiflow::simulated();
    rebuilt.run(&["audit", "rebuild", path]).exits(0);
    rebuilt.run(&["audit", "verify"]).exits(0);
}

#[test]
fn a_retention_of_never_archives_nothing() {
    let vsiflow = past_and_present();
    vsiflow
        .run(&["compact", "--retention", "never"])
        .exits(0)
        .says("nothing is archived");
    vsiflow.run(&["compact", "--retention", "soon"]).exits(2);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// Kills this many compactions, each a little later than the one before.
fn kill_compactions(kills: u32) {
    let vsiflow = past_and_present();
    let kept = vsiflow.folder().join("kept");
    copy(&vsiflow.state(), &kept);
    let began = std::time::Instant::now();
    vsiflow.run(&["compact", "--older-than", "0s"]).exits(0);
    let whole = began.elapsed();
    let after = vsiflow.vsi("here");
    for kill in 0..kills {
        fs::remove_dir_all(vsiflow.state()).unwrap();
        copy(&kept, &vsiflow.state());
        let mut command = vsiflow.command(&["compact", "--older-than", "0s"]);
        let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * kill / kills);
        let _ = child.kill();
        child.wait().unwrap();
        vsiflow.run(&["audit", "verify"]).exits(0);
        assert_eq!(vsiflow.vsi("here"), after, "kill {kill}");
        vsiflow.run(&["compact", "--older-than", "0s"]).exits(0);
        vsiflow.run(&["audit", "verify"]).exits(0);
        assert!(
            !vsiflow.state().join("archive.part").exists(),
            "kill {kill}"
        );
    }
}

#[test]
fn a_killed_compaction_is_ended_or_begun_anew_by_the_next_command() {
    kill_compactions(8);
}

/// Kills `VSIFLOW_GROWTH_KILLS` compactions; see `tests/parts/growth`.
#[test]
#[ignore = "takes minutes: tests/run --part growth"]
fn compactions_killed_at_many_instants_lose_nothing() {
    let kills = std::env::var("VSIFLOW_GROWTH_KILLS").ok();
    kill_compactions(kills.and_then(|kills| kills.parse().ok()).unwrap_or(200));
}
