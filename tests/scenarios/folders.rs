//! `serve --dir`: a daemon that applies a folder of documents, or the commit of a Git work tree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_tests::{Running, Vsi, Vsiflow, until};

/// A state directory and a folder of documents.
struct WatchedFolder {
    vsiflow: Vsiflow,
    folder: PathBuf,
}

impl WatchedFolder {
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
    let site = WatchedFolder::new();
    site.write("a.yaml", Vsi::named("a"));
    let mut daemon = site.serve(&[]);
    site.until_phase("a", "Running", 60);
    site.write("b.yaml", Vsi::named("b"));
    site.until_phase("b", "Running", 60);
    site.write("a.yaml", Vsi::named("a").memory("1Gi"));
    assert!(daemon.reaches("vsi/a configured", 30));
    let history = site.vsiflow.run(&["history", "b", "--events"]).exits(0);
    history.says("its files of").says("site");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_removed_document_is_only_named_without_prune() {
    let site = WatchedFolder::new();
    site.write("a.yaml", Vsi::named("a"));
    site.write("b.yaml", Vsi::named("b"));
    let mut daemon = site.serve(&[]);
    site.until_phase("b", "Running", 60);
    site.remove("b.yaml");
    assert!(daemon.reaches("vsi/b: no document in", 60));
    assert_eq!(site.vsiflow.phase("b"), "Running");
    daemon.kill();
}

#[test]
fn a_removed_document_deletes_after_ten_seconds_and_never_more_than_is_permitted() {
    let site = WatchedFolder::new();
    for name in ["a", "b", "c", "d"] {
        site.write(&format!("{name}.yaml"), Vsi::named(name));
    }
    let mut daemon = site.serve(&["--prune=1"]);
    for name in ["a", "b", "c", "d"] {
        site.until_phase(name, "Running", 60);
    }
    let begun = std::time::Instant::now();
    site.remove("a.yaml");
    site.until_gone("a", 60);
    let took = begun.elapsed();
    assert!(took.as_secs() >= 10, "{took:?}");
    site.remove("b.yaml");
    site.remove("c.yaml");
    assert!(daemon.reaches("2 would go and --prune=1 permits 1", 60));
    assert_eq!(site.vsiflow.phase("b"), "Running");
    assert_eq!(site.vsiflow.phase("c"), "Running");
    daemon.kill();
}

#[test]
fn a_broken_file_holds_back_itself_alone_and_deletes_nothing_of_it() {
    let site = WatchedFolder::new();
    site.write("a.yaml", Vsi::named("a"));
    site.write("b.yaml", Vsi::named("b"));
    let mut daemon = site.serve(&["--prune=9"]);
    site.until_phase("a", "Running", 60);
    site.until_phase("b", "Running", 60);
    site.write("a.yaml", "kind: [");
    site.remove("b.yaml");
    site.write("c.yaml", Vsi::named("c"));
    assert!(daemon.reaches("a.yaml", 30));
    site.until_phase("c", "Running", 60);
    site.until_gone("b", 60);
    assert_eq!(site.vsiflow.phase("a"), "Running");
    site.write("a.yaml", Vsi::named("a"));
    assert!(daemon.reaches("everything in it fits again", 30));
    assert_eq!(site.vsiflow.phase("a"), "Running");
    daemon.kill();
}

#[test]
fn a_file_that_was_never_read_whole_keeps_anything_from_being_deleted() {
    let site = WatchedFolder::new();
    site.write("a.yaml", Vsi::named("a"));
    site.write("b.yaml", Vsi::named("b"));
    let daemon = site.serve(&["--prune=9"]);
    site.until_phase("b", "Running", 60);
    daemon.terminate();
    daemon.end(30).exits(0);
    site.write("b.yaml", "kind: [");
    let mut restarted = site.serve(&["--prune=9"]);
    assert!(restarted.reaches("a file that was never read whole may hold it", 60));
    assert_eq!(site.vsiflow.phase("b"), "Running");
    restarted.kill();
}

#[test]
fn a_folder_that_is_empty_or_away_deletes_nothing() {
    let site = WatchedFolder::new();
    site.write("a.yaml", Vsi::named("a"));
    let mut daemon = site.serve(&["--prune=9"]);
    site.until_phase("a", "Running", 60);
    let away = site.vsiflow.folder().join("away");
    fs::rename(&site.folder, &away).unwrap();
    assert!(daemon.reaches("cannot be read", 30));
    fs::create_dir(&site.folder).unwrap();
    assert!(daemon.reaches("holds no document", 30));
    let empty = std::time::Instant::now();
    until("it was empty for long enough", 40, || {
        (empty.elapsed().as_secs() > 14).then_some(())
    });
    assert_eq!(site.vsiflow.phase("a"), "Running");
    fs::remove_dir(&site.folder).unwrap();
    fs::rename(&away, &site.folder).unwrap();
    site.write("b.yaml", Vsi::named("b"));
    site.until_phase("b", "Running", 60);
    assert_eq!(site.vsiflow.phase("a"), "Running");
    daemon.kill();
}

#[test]
fn one_document_that_is_refused_holds_up_no_other() {
    let site = WatchedFolder::new();
    site.write("a.yaml", Vsi::named("a"));
    let mut daemon = site.serve(&[]);
    site.until_phase("a", "Running", 60);
    // An existing VSI cannot move to another pool.
    site.write("a.yaml", Vsi::named("a").pool("elsewhere"));
    site.write("b.yaml", Vsi::named("b"));
    site.until_phase("b", "Running", 60);
    assert!(daemon.reaches("vsi/a", 30));
    daemon.kill();
}

#[test]
fn of_a_work_tree_the_commit_counts_and_never_the_tree_in_motion() {
    let site = WatchedFolder::new();
    git(&site.folder, &["init", "-q"]);
    site.write("vms/a.yaml", Vsi::named("a"));
    site.write("vms/b.yaml", Vsi::named("b"));
    commit(&site.folder);
    site.write("vms/c.yaml", Vsi::named("c"));
    site.remove("vms/b.yaml");
    let mut daemon = site.serve(&["--recursive", "--prune=1"]);
    site.until_phase("a", "Running", 60);
    // `b` is in the commit, although it is not in the work tree.
    site.until_phase("b", "Running", 60);
    site.vsiflow.run(&["get", "vsi", "c"]).exits(3);
    commit(&site.folder);
    site.until_there("c");
    site.until_gone("b", 60);
    let history = site.vsiflow.run(&["history", "c", "--events"]).exits(0);
    history.says("commit ");
    // A commit without any document prunes nothing.
    git(&site.folder, &["rm", "-rq", "vms"]);
    site.write("README.md", "nothing");
    commit(&site.folder);
    site.until_phase("c", "Running", 60);
    assert!(daemon.reaches("holds no document", 30));
    assert_eq!(site.vsiflow.phase("a"), "Running");
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
    let site = WatchedFolder::new();
    git(&site.folder, &["init", "-q"]);
    site.write("a.yaml", Vsi::named("a"));
    let mut daemon = site.serve(&[]);
    assert!(daemon.reaches("no commit", 30));
    site.vsiflow.run(&["get", "vsi", "a"]).exits(3);
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
