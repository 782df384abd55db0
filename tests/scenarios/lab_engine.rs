//! The engine on a real host: it ends before its lease does, and touches nothing that it does not
//! know. And a state directory whose disk is really full.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::symlink,
    path::PathBuf,
};

use vsiflow_tests::{
    Lab, Running, TestUpload, Vsi, Vsiflow,
    history::assert_nothing_done_twice,
    lab::{Deleted, Pool},
    upload::SIZE,
};

#[test]
fn lab_an_engine_woken_after_its_lease_sends_nothing_more() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::of(&lab, "lab-lease", 31);
    let daemon = upload.vsiflow.serve(&["--lease", "3s"]);
    let _asks = upload.start_at("12Mi");
    upload.reaches(SIZE / 4);
    daemon.stop();
    // Bytes that the kernel and the host already have still arrive while the process is stopped.
    let before = upload.settled();
    std::thread::sleep(std::time::Duration::from_secs(3));
    daemon.go_on();
    daemon.end(30).exits(6).says("VSI0012");
    assert_eq!(
        upload.settled(),
        before,
        "something was sent after the lease"
    );
    assert!(before < SIZE && !upload.is_marked());
    upload.run().exits(0);
    upload.is_whole();
}

#[test]
fn lab_an_old_copy_of_the_journal_touches_no_domain_and_no_volume() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-behind.qcow2"), Vsiflow::of_documents());
    let documents = |name: &str| format!("{}{}", lab.host(), Vsi::named(name).image(image.url()));
    let newer = vsiflow.folder().join("newer");
    vsiflow.apply(documents("t-behind"), &["--wait"]).exits(0);
    let copied = vsiflow.copy_state("copied");
    let (_gone, _other) = (Deleted(&vsiflow, "t-behind"), Deleted(&vsiflow, "t-ahead"));
    vsiflow.apply(documents("t-ahead"), &["--wait"]).exits(0);
    let seen = || {
        let domains = [
            lab.domains("default/t-behind"),
            lab.domains("default/t-ahead"),
        ];
        let id = |uuids: &Vec<String>| lab.virsh(&["domid", &uuids[0]]);
        let (ids, volumes) = (domains.each_ref().map(id), lab.volumes("images"));
        (domains, ids, ours(volumes, &vsiflow))
    };
    let before = seen();
    std::fs::rename(vsiflow.state(), &newer).unwrap();
    std::fs::rename(&copied, vsiflow.state()).unwrap();

    vsiflow
        .run(&["delete", "t-behind", "--wait"])
        .exits(4)
        .says("VSI0211");
    vsiflow.run(&["resume", "--all"]).exits(4);
    let conditions = vsiflow.vsi("t-behind")["status"]["conditions"].clone();
    let mut all = conditions.as_array().unwrap().iter();
    assert!(all.any(|one| one["type"] == "JournalBehind" && one["status"] == "True"));
    std::fs::remove_dir_all(vsiflow.state()).unwrap();
    std::fs::rename(&newer, vsiflow.state()).unwrap();
    assert_eq!(seen(), before);
}

/// The volumes that bear the UIDs of these VSIs: other tests make and delete volumes too.
fn ours(mut volumes: Vec<String>, vsiflow: &Vsiflow) -> Vec<String> {
    let all = vsiflow.run(&["get", "-o", "json"]).json();
    let items = all["items"].as_array().unwrap().clone();
    let uids: Vec<_> = items
        .iter()
        .map(|item| item["metadata"]["uid"].as_str().unwrap().to_owned())
        .collect();
    volumes.retain(|name| uids.iter().any(|uid| name.contains(uid.as_str())));
    volumes
}

/// A state directory on a small disk of its own.
struct SmallDisk<'a> {
    disk: Pool<'a>,
    vsiflow: Vsiflow,
}

impl<'a> SmallDisk<'a> {
    fn new(lab: &'a Lab, name: &str) -> Self {
        let (disk, vsiflow) = (lab.pool(name, "96M", false), Vsiflow::simulated());
        let state = disk.folder().join("state");
        std::fs::create_dir(&state).unwrap();
        symlink(&state, vsiflow.state()).unwrap();
        Self { disk, vsiflow }
    }

    fn filler(&self) -> PathBuf {
        self.disk.folder().join("filler")
    }

    /// Fills the disk completely.
    fn fill(&self) {
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        let piece = vec![1; 64 * 1024];
        while file.write_all(&piece).is_ok() {}
    }

    fn make_room(&self) {
        File::create(self.filler()).unwrap();
    }

    fn daemon(&self) -> Running {
        self.vsiflow.serve(&[])
    }
}

#[test]
fn lab_on_a_full_disk_the_engine_pauses_and_goes_on_by_itself() {
    let Some(lab) = Lab::enter() else { return };
    let small = SmallDisk::new(&lab, "t-small");
    let vsiflow = &small.vsiflow;
    let mut daemon = small.daemon();
    for name in ["one", "two"] {
        vsiflow.apply(Vsi::named(name), &[]).exits(0);
    }
    assert!(daemon.reaches("vsi/two: write_cidata", 60));
    small.fill();
    assert!(daemon.reaches("disk is full", 30));
    // Other files take the reserve that vsiflow has released, too.
    small.fill();
    vsiflow
        .apply(Vsi::named("three"), &[])
        .exits(4)
        .says("VSI0011");
    vsiflow.run(&["get"]).exits(0).says("two");
    assert!(!daemon.has_ended());
    small.make_room();
    assert!(daemon.reaches("has space again", 30));
    vsiflow.apply(Vsi::named("three"), &["--wait"]).exits(0);
    for name in ["one", "two", "three"] {
        vsiflow.until_phase(name, "Running", 60);
        assert_nothing_done_twice(&vsiflow.history(name));
    }
    vsiflow
        .sim()
        .assert_vsis(&["default/one", "default/three", "default/two"]);
    daemon.terminate();
    daemon.end(30).exits(0);
    vsiflow.run(&["audit", "verify"]).exits(0);
}

#[test]
fn lab_an_engine_on_a_full_disk_can_be_stopped_and_started() {
    let Some(lab) = Lab::enter() else { return };
    let small = SmallDisk::new(&lab, "t-stuck");
    let vsiflow = &small.vsiflow;
    let mut daemon = small.daemon();
    vsiflow.apply(Vsi::named("one"), &[]).exits(0);
    assert!(daemon.reaches("vsi/one: write_cidata", 60));
    small.fill();
    assert!(daemon.reaches("disk is full", 30));
    small.fill();
    daemon.terminate();
    daemon.end(30);
    vsiflow.run(&["get"]).exits(0).says("one").says("is full");
    small.make_room();
    let _again = small.daemon();
    vsiflow.until_phase("one", "Running", 60);
    assert_nothing_done_twice(&vsiflow.history("one"));
}
