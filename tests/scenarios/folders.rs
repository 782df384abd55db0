//! `serve --dir`: a daemon that keeps to a folder of documents, or to the commit of a work tree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_tests::{Running, Vsi, Vsiflow, until};

/// A vsiflow with a folder of documents.
struct Kept {
    vsiflow: Vsiflow,
    folder: PathBuf,
}

impl Kept {
    fn new() -> Self {
        let vsiflow = Vsiflow::simulated();
        let folder = vsiflow.folder().join("site");
        fs::create_dir(&folder).unwrap();
        Self { vsiflow, folder }
    }

    fn write(&self, name: &str, text: impl ToString) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.to_string()).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.join(name)).unwrap();
    }

    fn serve(&self, more: &[&str]) -> Running {
        let folder = self.folder.to_str().unwrap();
        self.vsiflow.serve(&[&["--dir", folder], more].concat())
    }

    fn until_gone(&self, name: &str, seconds: u64) {
        until(&format!("{name} is gone"), seconds, || {
            let ran = self.vsiflow.run(&["get", "vsi", name]);
            (ran.code == Some(3)).then_some(())
        });
    }

    fn until_phase(&self, name: &str, phase: &str, seconds: u64) {
        self.until_there(name);
        self.vsiflow.until_phase(name, phase, seconds);
    }

    fn until_there(&self, name: &str) {
        until(&format!("{name} is there"), 30, || {
            let ran = self.vsiflow.run(&["get", "vsi", name]);
            (ran.code == Some(0)).then_some(())
        });
    }
}

fn git(folder: &Path, arguments: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(folder);
    git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]);
    git.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let ran = git.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

fn commit(folder: &Path) {
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-q", "-m", "change", "--allow-empty"]);
}

#[test]
fn what_is_added_to_a_folder_or_changed_in_it_is_applied_by_itself() {
    let kept = Kept::new();
    kept.write("a.yaml", Vsi::named("a"));
    let mut daemon = kept.serve(&[]);
    kept.until_phase("a", "Running", 60);
    kept.write("b.yaml", Vsi::named("b"));
    kept.until_phase("b", "Running", 60);
    kept.write("a.yaml", Vsi::named("a").memory("1Gi"));
    assert!(daemon.reaches("vsi/a configured", 30));
    let history = kept.vsiflow.run(&["history", "b", "--events"]).exits(0);
    history.says("its files of").says("site");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_removed_document_is_only_named_without_prune() {
    let kept = Kept::new();
    kept.write("a.yaml", Vsi::named("a"));
    kept.write("b.yaml", Vsi::named("b"));
    let mut daemon = kept.serve(&[]);
    kept.until_phase("b", "Running", 60);
    kept.remove("b.yaml");
    assert!(daemon.reaches("vsi/b: no document in", 60));
    assert_eq!(kept.vsiflow.phase("b"), "Running");
    daemon.kill();
}

#[test]
fn a_removed_document_deletes_after_ten_seconds_and_never_more_than_is_permitted() {
    let kept = Kept::new();
    for name in ["a", "b", "c", "d"] {
        kept.write(&format!("{name}.yaml"), Vsi::named(name));
    }
    let mut daemon = kept.serve(&["--prune=1"]);
    for name in ["a", "b", "c", "d"] {
        kept.until_phase(name, "Running", 60);
    }
    let begun = std::time::Instant::now();
    kept.remove("a.yaml");
    kept.until_gone("a", 60);
    let took = begun.elapsed();
    assert!(took.as_secs() >= 10, "{took:?}");
    kept.remove("b.yaml");
    kept.remove("c.yaml");
    assert!(daemon.reaches("2 would go and --prune=1 permits 1", 60));
    assert_eq!(kept.vsiflow.phase("b"), "Running");
    assert_eq!(kept.vsiflow.phase("c"), "Running");
    daemon.kill();
}

#[test]
fn a_broken_file_holds_back_itself_alone_and_deletes_nothing_of_it() {
    let kept = Kept::new();
    kept.write("a.yaml", Vsi::named("a"));
    kept.write("b.yaml", Vsi::named("b"));
    let mut daemon = kept.serve(&["--prune=9"]);
    kept.until_phase("a", "Running", 60);
    kept.until_phase("b", "Running", 60);
    kept.write("a.yaml", "kind: [");
    kept.remove("b.yaml");
    kept.write("c.yaml", Vsi::named("c"));
    assert!(daemon.reaches("a.yaml", 30));
    kept.until_phase("c", "Running", 60);
    kept.until_gone("b", 60);
    assert_eq!(kept.vsiflow.phase("a"), "Running");
    kept.write("a.yaml", Vsi::named("a"));
    assert!(daemon.reaches("everything in it fits again", 30));
    assert_eq!(kept.vsiflow.phase("a"), "Running");
    daemon.kill();
}

#[test]
fn a_file_that_was_never_read_whole_keeps_anything_from_being_deleted() {
    let kept = Kept::new();
    kept.write("a.yaml", Vsi::named("a"));
    kept.write("b.yaml", Vsi::named("b"));
    let daemon = kept.serve(&["--prune=9"]);
    kept.until_phase("b", "Running", 60);
    daemon.terminate();
    daemon.end(30).exits(0);
    kept.write("b.yaml", "kind: [");
    let mut restarted = kept.serve(&["--prune=9"]);
    assert!(restarted.reaches("a file that was never read whole may hold it", 60));
    assert_eq!(kept.vsiflow.phase("b"), "Running");
    restarted.kill();
}

#[test]
fn a_folder_that_is_empty_or_away_deletes_nothing() {
    let kept = Kept::new();
    kept.write("a.yaml", Vsi::named("a"));
    let mut daemon = kept.serve(&["--prune=9"]);
    kept.until_phase("a", "Running", 60);
    let away = kept.vsiflow.folder().join("away");
    fs::rename(&kept.folder, &away).unwrap();
    assert!(daemon.reaches("cannot be read", 30));
    fs::create_dir(&kept.folder).unwrap();
    assert!(daemon.reaches("holds no document", 30));
    let empty = std::time::Instant::now();
    until("it was empty for long enough", 40, || {
        (empty.elapsed().as_secs() > 14).then_some(())
    });
    assert_eq!(kept.vsiflow.phase("a"), "Running");
    fs::remove_dir(&kept.folder).unwrap();
    fs::rename(&away, &kept.folder).unwrap();
    kept.write("b.yaml", Vsi::named("b"));
    kept.until_phase("b", "Running", 60);
    assert_eq!(kept.vsiflow.phase("a"), "Running");
    daemon.kill();
}

#[test]
fn one_document_that_is_refused_holds_up_no_other() {
    let kept = Kept::new();
    kept.write("a.yaml", Vsi::named("a"));
    let mut daemon = kept.serve(&[]);
    kept.until_phase("a", "Running", 60);
    // A VSI that stands cannot move to another pool.
    kept.write("a.yaml", Vsi::named("a").pool("elsewhere"));
    kept.write("b.yaml", Vsi::named("b"));
    kept.until_phase("b", "Running", 60);
    assert!(daemon.reaches("vsi/a", 30));
    daemon.kill();
}

#[test]
fn of_a_work_tree_the_commit_counts_and_never_the_tree_in_motion() {
    let kept = Kept::new();
    git(&kept.folder, &["init", "-q"]);
    kept.write("vms/a.yaml", Vsi::named("a"));
    kept.write("vms/b.yaml", Vsi::named("b"));
    commit(&kept.folder);
    kept.write("vms/c.yaml", Vsi::named("c"));
    kept.remove("vms/b.yaml");
    let mut daemon = kept.serve(&["--recursive", "--prune=1"]);
    kept.until_phase("a", "Running", 60);
    // Not in the tree, and in the commit.
    kept.until_phase("b", "Running", 60);
    kept.vsiflow.run(&["get", "vsi", "c"]).exits(3);
    commit(&kept.folder);
    kept.until_there("c");
    kept.until_gone("b", 60);
    let history = kept.vsiflow.run(&["history", "c", "--events"]).exits(0);
    history.says("commit ");
    // A commit without any document says nothing of what was there.
    git(&kept.folder, &["rm", "-rq", "vms"]);
    kept.write("README.md", "nothing");
    commit(&kept.folder);
    kept.until_phase("c", "Running", 60);
    assert!(daemon.reaches("holds no document", 30));
    assert_eq!(kept.vsiflow.phase("a"), "Running");
    assert!(
        !daemon.error_output().contains("vsi/a is pruned"),
        "{}",
        daemon.error_output()
    );
    daemon.interrupt();
    daemon.end(30).exits(0);
}

#[test]
fn a_work_tree_without_a_commit_is_told_and_applies_nothing() {
    let kept = Kept::new();
    git(&kept.folder, &["init", "-q"]);
    kept.write("a.yaml", Vsi::named("a"));
    let mut daemon = kept.serve(&[]);
    assert!(daemon.reaches("no commit", 30));
    kept.vsiflow.run(&["get", "vsi", "a"]).exits(3);
    daemon.kill();
}

#[test]
fn prune_without_a_folder_and_a_folder_beside_a_cluster_are_refused() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.run(&["serve", "--prune=1"]).exits(2).says("--dir");
    vsiflow
        .run(&["serve", "--kube", "--dir", "."])
        .exits(2)
        .says("--kube");
}
