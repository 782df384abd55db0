//! `apply --prune` deletes an object only if its document was removed from the applied directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use vsiflow_tests::{DiskDocument, Lab, Ran, Running, SIMULATED_IMAGE, Vsi, Vsiflow};

/// A directory of documents.
struct DocumentFolder {
    vsiflow: Vsiflow,
    folder: PathBuf,
}

impl DocumentFolder {
    fn new() -> Self {
        let vsiflow = Vsiflow::simulated();
        let folder = vsiflow.folder().join("documents");
        fs::create_dir(&folder).unwrap();
        Self { vsiflow, folder }
    }

    fn put(&self, name: &str, text: impl ToString) -> &Self {
        fs::write(self.file(name), text.to_string()).unwrap();
        self
    }

    fn vsis(&self, names: &[&str]) -> &Self {
        for name in names {
            self.put(name, Vsi::named(name));
        }
        self
    }

    fn remove(&self, names: &[&str]) {
        names
            .iter()
            .for_each(|name| fs::remove_file(self.file(name)).unwrap());
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }

    fn apply(&self, more: &[&str]) -> Ran {
        self.apply_from(&self.folder, more)
    }

    fn apply_from(&self, folder: &Path, more: &[&str]) -> Ran {
        let apply = ["apply", "--wait", "-f", folder.to_str().unwrap()];
        self.vsiflow.run(&[&apply[..], more].concat())
    }

    /// The names of all VSIs and disks.
    fn names(&self) -> String {
        let vsis = self.vsiflow.run(&["get", "vsi", "-o", "name"]).exits(0);
        let disks = self.vsiflow.run(&["get", "disk", "-o", "name"]).exits(0);
        let all = format!("{}{}", vsis.stdout, disks.stdout);
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[test]
fn a_data_disk_without_a_document_stays_as_long_as_a_vsi_with_one_has_it() {
    let documents = DocumentFolder::new();
    let web = Vsi::named("web").choosing_disks();
    documents
        .put("web", &web)
        .put("data", DiskDocument::named("data"));
    documents.apply(&[]).exits(0);
    documents.remove(&["data"]);
    let pruned = documents.apply(&["--prune"]).exits(0);
    pruned.says("there is no document of");
    assert_eq!(documents.names(), "vsi/web disk/data");
    documents.remove(&["web"]);
    documents.put("other", Vsi::named("other"));
    let both = ["--prune", "--prune-limit", "2"];
    documents.apply(&both).exits(0).says("disk/data is pruned");
    assert_eq!(documents.names(), "vsi/other");
}

#[test]
fn a_document_that_is_gone_deletes_only_where_that_is_asked_for() {
    let documents = DocumentFolder::new();
    documents.vsis(&["a", "b", "c"]).apply(&[]).exits(0);
    documents.remove(&["b"]);
    documents.apply(&[]).exits(0);
    assert_eq!(documents.names(), "vsi/a vsi/b vsi/c");
    documents
        .apply(&["--prune", "--dry-run"])
        .exits(0)
        .says("vsi/b would be deleted (dry run)");
    let dry = ["--prune", "--dry-run", "-o", "json"];
    let items = documents.apply(&dry).exits(0).json()["items"].clone();
    assert_eq!(
        (&items[2]["metadata"]["name"], &items[2]["change"]),
        (&json!("b"), &json!("pruned"))
    );
    assert_eq!(documents.names(), "vsi/a vsi/b vsi/c");
    documents
        .apply(&["--prune"])
        .exits(0)
        .says("vsi/b is pruned")
        .says("vsi/b deleted");
    assert_eq!(documents.names(), "vsi/a vsi/c");
    documents.vsiflow.run(&["replay", "--verify"]).exits(0);
    documents.vsiflow.run(&["audit", "verify"]).exits(0);
    documents
        .vsiflow
        .sim()
        .assert_vsis(&["default/a", "default/c"]);
    documents
        .apply(&["--prune"])
        .exits(0)
        .keeps_quiet_about("pruned");
}

#[test]
fn a_retained_vsi_without_a_document_is_forgotten() {
    let documents = DocumentFolder::new();
    let web = Vsi::named("web").with("deletionPolicy: Retain");
    documents.put("web", &web).vsis(&["a"]).apply(&[]).exits(0);
    documents.remove(&["web"]);
    documents
        .apply(&["--prune", "--dry-run"])
        .exits(0)
        .says("vsi/web would be deleted; everything on its host stays (dry run)");
    documents
        .apply(&["--prune"])
        .exits(0)
        .says("everything else stay on host")
        .says("vsi/web is forgotten");
    assert_eq!(documents.names(), "vsi/a");
    documents
        .vsiflow
        .sim()
        .assert_vsis(&["default/a", "default/web"]);
}

#[test]
fn more_than_the_limit_is_refused_before_anything_is_done() {
    let documents = DocumentFolder::new();
    documents
        .vsis(&["a", "b", "c", "d", "e"])
        .apply(&[])
        .exits(0);
    documents.remove(&["b", "c", "d", "e"]);
    documents.vsis(&["f"]);
    documents
        .apply(&["--prune"])
        .exits(4)
        .says("VSI0709")
        .says("vsi/b, vsi/c, vsi/d, vsi/e")
        .says("--prune-limit 4");
    assert_eq!(
        documents.names(),
        "vsi/a vsi/b vsi/c vsi/d vsi/e",
        "and nothing applied"
    );
    documents.apply(&["--prune", "--prune-limit", "0"]).exits(4);
    documents.apply(&["--prune", "--prune-limit", "4"]).exits(0);
    assert_eq!(documents.names(), "vsi/a vsi/f");
}

#[test]
fn what_came_from_elsewhere_is_never_pruned() {
    let documents = DocumentFolder::new();
    documents.vsis(&["a", "b", "moved"]).apply(&[]).exits(0);
    documents.vsiflow.apply(Vsi::named("alone"), &[]).exits(0);
    let other = documents.vsiflow.folder().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("o.yaml"), Vsi::named("of-other").to_string()).unwrap();
    documents.apply_from(&other, &[]).exits(0);
    // Its document has moved to another directory.
    fs::rename(documents.file("moved"), other.join("moved.yaml")).unwrap();
    documents.apply_from(&other, &[]).exits(0);
    // This one was last applied from its file alone.
    let file = documents.file("b");
    let alone = ["apply", "-f", file.to_str().unwrap()];
    documents.vsiflow.run(&alone).exits(0);
    documents.remove(&["b"]);
    documents
        .apply(&["--prune", "--prune-limit", "9"])
        .exits(0)
        .keeps_quiet_about("pruned");
    let all = "vsi/a vsi/alone vsi/b vsi/moved vsi/of-other";
    assert_eq!(documents.names(), all);
}

#[test]
fn a_directory_that_says_nothing_deletes_nothing() {
    let documents = DocumentFolder::new();
    documents.vsis(&["a"]).apply(&[]).exits(0);
    let prune = ["--prune", "--prune-limit", "9"];
    documents.remove(&["a"]);
    documents.apply(&prune).exits(2).says("VSI0610");
    documents.put("notes", "# nothing\n");
    documents.apply(&prune).exits(2).says("VSI0610");
    documents.put("broken", "kind: [");
    documents.apply(&prune).exits(2).says("VSI0602");
    fs::remove_dir_all(&documents.folder).unwrap();
    documents.apply(&prune).exits(2).says("VSI0601");
    let file = documents
        .vsiflow
        .write("b.yaml", &Vsi::named("b").to_string());
    let of_file = ["apply", "--prune", "-f", file.to_str().unwrap()];
    documents
        .vsiflow
        .run(&of_file)
        .exits(2)
        .says("one directory");
    assert_eq!(documents.names(), "vsi/a");
}

#[test]
fn data_disks_are_pruned_by_their_policy_and_after_their_vsi() {
    let documents = DocumentFolder::new();
    let keep = DiskDocument::named("keep").of_vsi("web");
    let go = DiskDocument::named("go")
        .of_vsi("web")
        .with("deletionPolicy: Delete");
    documents.put("web", Vsi::named("web").choosing_disks());
    documents.put("keep", keep).put("go", go);
    documents.vsis(&["other"]).apply(&[]).exits(0);
    documents.remove(&["web", "keep", "go"]);
    let limit = ["--prune", "--prune-limit", "3"];
    documents
        .apply(&[&limit[..], &["--dry-run"]].concat())
        .exits(0)
        .says("disk/keep would be deleted; its volume stays");
    documents.apply(&limit).exits(0).says("disk/go deleted");
    assert_eq!(documents.names(), "vsi/other");
    let sim = documents.vsiflow.sim();
    let disks = sim.volumes().into_iter().filter(|name| name.len() == 36);
    assert_eq!(disks.count(), 1, "{:?}", sim.volumes());
}

#[test]
fn folders_below_are_pruned_only_where_they_are_read() {
    let documents = DocumentFolder::new();
    let below = documents.folder.join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("b.yaml"), Vsi::named("b").to_string()).unwrap();
    documents.vsis(&["a"]).apply(&["-R"]).exits(0);
    documents
        .apply(&["--prune"])
        .exits(0)
        .keeps_quiet_about("pruned");
    assert_eq!(documents.names(), "vsi/a vsi/b");
    fs::remove_file(below.join("b.yaml")).unwrap();
    documents.apply(&["-R", "--prune"]).exits(0);
    assert_eq!(documents.names(), "vsi/a");
}

#[test]
fn a_daemon_prunes_by_the_callers_directory() {
    let documents = DocumentFolder::new();
    let mut daemon = documents.vsiflow.command(&["serve"]);
    let mut daemon = Running::start(daemon.current_dir("/"));
    assert!(daemon.reaches("serving", 30));
    documents.vsis(&["a", "b"]);
    let apply = |more: &[&str]| {
        let apply = ["apply", "--wait", "-f", "documents"];
        documents.vsiflow.run(&[&apply[..], more].concat())
    };
    apply(&[]).exits(0);
    documents.remove(&["b"]);
    apply(&["--prune"]).exits(0).says("vsi/b deleted");
    assert_eq!(documents.names(), "vsi/a");
}

#[test]
fn lab_a_directory_whose_file_system_is_away_deletes_nothing() {
    // Mounting needs root rights, which a lab has.
    let Some(_lab) = Lab::enter() else { return };
    let documents = DocumentFolder::new();
    // A document below the mount point.
    documents.vsis(&["below"]);
    let run = |command: &mut Command| assert!(command.status().unwrap().success());
    let mut mount = Command::new("mount");
    run(mount.args(["-t", "tmpfs", "tmpfs"]).arg(&documents.folder));
    documents.vsis(&["a", "b"]).apply(&[]).exits(0);
    run(Command::new("umount").arg(&documents.folder));
    documents
        .apply(&["--prune", "--prune-limit", "9"])
        .exits(4)
        .says("VSI0708")
        .says("mount it again");
    assert_eq!(documents.names(), "vsi/a vsi/b");
}

#[test]
fn a_dry_run_names_the_data_disks_that_go_with_pruned_members() {
    let documents = DocumentFolder::new();
    let pool = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: db}}\nspec:\n  replicas: 1\n  diskTemplates:\n  \
         - {{metadata: {{name: goes}}, spec: {{size: 1Gi, deletionPolicy: Delete}}}}\n  \
         - {{metadata: {{name: stays}}, spec: {{size: 1Gi, deletionPolicy: Retain}}}}\n  \
         template: {{spec: {{imageURL: \"{SIMULATED_IMAGE}\", guest: {{type: none}}}}}}\n"
    );
    documents.put("db", &pool).vsis(&["a"]).apply(&[]).exits(0);
    documents.remove(&["db"]);
    documents
        .apply(&["--prune", "--dry-run"])
        .exits(0)
        .says("pool/db with 1 members would be deleted, with the data disks goes-db-0 (dry run)");
    let dry = ["--prune", "--dry-run", "-o", "json"];
    let items = documents.apply(&dry).exits(0).json()["items"].clone();
    assert_eq!(items[1]["dataDisks"], json!(["goes-db-0"]));
}
