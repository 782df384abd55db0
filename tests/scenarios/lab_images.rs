//! Uploads to a real host that are killed, cut and disturbed. The host has the source's bytes, or
//! an image that is not marked complete, and little is sent twice.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    process::Command,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use vsiflow_tests::{
    Lab, TestUpload, Vsi, Vsiflow,
    lab::Deleted,
    upload::{self, INTERVAL, MIB, position},
};

const SIZE: u64 = upload::SIZE;

fn killed(lab: &Lab, seed: u64) {
    let upload = TestUpload::of(lab, &format!("lab-killed-{seed}"), seed);
    let at = StdRng::seed_from_u64(seed).random_range(MIB..SIZE - 4 * MIB);
    let running = upload.start_at("60Mi");
    upload.reaches(at);
    running.kill();
    let received = upload.settled();
    assert!(!upload.is_marked());
    let ran = upload.run().exits(0);
    upload.is_whole();
    // Without a checkpoint before the kill, the upload starts from the beginning.
    let resent = received.saturating_sub(position(&ran.stderr).unwrap_or(0));
    println!("measured: killed at {at} bytes, {resent} sent twice");
    assert!(resent <= INTERVAL, "{resent} sent twice");
}

#[test]
fn lab_defect_09_an_upload_killed_at_a_random_byte_is_no_image_and_goes_on_there() {
    let Some(lab) = Lab::enter() else { return };
    (1..=3).for_each(|seed| killed(&lab, seed));
}

#[test]
#[ignore = "long: tests/run --part image"]
fn lab_matrix_image_uploads_killed_at_random_bytes() {
    let Some(lab) = Lab::enter() else { return };
    (101..=120).for_each(|seed| killed(&lab, seed));
}

#[test]
fn lab_an_upload_survives_a_cut_session_and_a_libvirtd_that_restarts() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    for daemon in ["sshd", "libvirtd"] {
        let upload = TestUpload::of(&lab, &format!("lab-cut-{daemon}"), 7);
        let mut running = upload.start_at("20Mi");
        upload.reaches(SIZE / 2);
        // On a busy machine the kill comes seconds after it was requested.
        running.stop();
        lab.daemon(daemon, "kill");
        running.go_on();
        let cut = running.reaches("again in", 60);
        lab.daemon(daemon, "start");
        assert!(cut, "{daemon}: it ended");
        let ran = running.end(90).exits(0);
        upload.is_whole();
        let position = position(&ran.stderr).unwrap_or_else(|| panic!("sent from 0: {ran:#?}"));
        assert!(position >= SIZE / 2 - INTERVAL, "{daemon}: from {position}");
    }
}

#[test]
fn lab_an_interrupted_upload_goes_on_and_a_changed_file_costs_the_part() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::of(&lab, "lab-interrupted", 8);
    let running = upload.start_at("60Mi");
    upload.reaches(SIZE / 2);
    running.interrupt();
    running.end(30).exits(130);
    assert!(upload.goes_on() <= INTERVAL);
    let other = TestUpload::of(&lab, "lab-changed", 9);
    let other_running = other.start_at("60Mi");
    other.reaches(SIZE / 2);
    other_running.kill();
    let mut file = File::options().write(true).open(&other.file).unwrap();
    file.seek(SeekFrom::Start(SIZE / 3)).unwrap();
    file.write_all(b"another content").unwrap();
    drop(file);
    other.run().exits(0).says("discarded");
    other.is_whole();
}

#[test]
fn lab_two_engines_bring_one_image_once() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::of(&lab, "lab-two-engines", 10);
    let second = Vsiflow::of_documents();
    let first = upload.start_at("60Mi");
    upload.reaches(MIB);
    let mut waits = second.start(&upload.arguments("1Gi"));
    assert!(waits.reaches("VSI0308", 30));
    let before = upload.volume().metadata().unwrap().ino();
    first.end(60).exits(0);
    waits.end(60).exits(0);
    assert_eq!(upload.volume().metadata().unwrap().ino(), before);
    upload.is_whole();
}

#[test]
fn lab_holes_are_not_sent_also_where_an_upload_goes_on() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::of(&lab, "lab-sparse", 11);
    let file = File::options().write(true).open(&upload.file).unwrap();
    let zeros = vec![0; 8 << 20];
    for part in [1, 3, 5] {
        file.write_all_at(&zeros, part * (16 << 20)).unwrap();
    }
    file.set_len(2 * SIZE).unwrap();
    let running = upload.start_at("30Mi");
    upload.reaches(SIZE / 2);
    running.kill();
    assert!(upload.goes_on() <= INTERVAL);
    let taken = upload.volume().metadata().unwrap().blocks() * 512;
    assert!(taken <= SIZE - 3 * (8 << 20) + INTERVAL, "{taken} bytes");
}

#[test]
fn lab_a_qcow2_that_reads_other_files_is_refused_before_anything_is_sent() {
    let Some(lab) = Lab::enter() else { return };
    for (kind, options, why) in [
        (
            "backing",
            "backing_file=/etc/passwd,backing_fmt=raw",
            "backing file",
        ),
        (
            "data",
            "data_file=/root/outside.raw,data_file_raw=on",
            "external data file",
        ),
    ] {
        let upload = TestUpload::of(&lab, &format!("lab-malicious-{kind}"), 12);
        std::fs::remove_file(&upload.file).unwrap();
        let mut make = Command::new("qemu-img");
        let make = make.args(["create", "-q", "-f", "qcow2", "-o", options]);
        assert!(make.arg(&upload.file).arg("1M").status().unwrap().success());
        let _ = std::fs::remove_file("/root/outside.raw");
        upload.run().exits(4).says("VSI0306").says(why);
        assert!(!upload.volume().exists() && !upload.is_marked());
        assert!(!lab.volumes("images").contains(&upload.name));
    }
}

#[test]
fn lab_two_vsis_wait_for_one_upload_of_their_image() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-shared.qcow2"), Vsiflow::of_documents());
    let names = ["t-shared-1", "t-shared-2"];
    let _gone = names.map(|name| Deleted(&vsiflow, name));
    let vsis = names.map(|name| Vsi::named(name).image(image.url()).to_string());
    let documents = format!("{}---\n{}---\n{}", lab.host(), vsis[0], vsis[1]);
    let limit = ["--wait", "--upload-limit", "4Mi"];
    vsiflow.apply(documents, &limit).exits(0);
    for name in names {
        assert_eq!(vsiflow.phase(name), "Running");
        let history = vsiflow.history(name);
        let sent = history
            .iter()
            .filter(|event| event.step() == "upload_chunks");
        let sent = sent.filter(|event| event.kind() == "step_started");
        assert_eq!(sent.count(), 1, "{history:#?}");
    }
    assert_eq!(image.bases().len(), 1);
    for name in names {
        vsiflow.run(&["delete", name, "--wait"]).exits(0);
    }
}

#[test]
fn lab_the_claim_of_a_vsiflow_that_is_gone_can_be_taken_away() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-unlocked", 13, SIZE / 2);
    let gone = upload.start_at("20Mi");
    upload.reaches(4 * MIB);
    gone.kill();
    upload.settled();
    let second = Vsiflow::of_documents();
    let mut waits = second.start(&upload.arguments("1Gi"));
    assert!(waits.reaches("VSI0308", 30));
    let third = Vsiflow::of_documents();
    third.run(&upload.unlocking()).exits(0).says("unlocked");
    // The existing volume is not its own: it uses another name.
    waits.end(90).exits(0).says("image/lab-unlocked-");
    assert!(!upload.is_marked());
    third
        .run(&upload.unlocking())
        .exits(0)
        .says("is not being brought");
    // The process that was thought dead continues, and finds its own volume.
    upload.run().exits(0);
    upload.is_whole();
    second.run(&["image", "prune"]).exits(0).says("removed");
}

#[test]
fn lab_an_upload_over_a_local_socket_keeps_to_its_limit() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-local", 14, 8 * MIB);
    let file = upload.file.to_str().unwrap();
    let local = ["--host", "unix:", "image", "upload", file];
    let begun = Instant::now();
    let limited = [&local[..], &["--upload-limit", "4Mi"]].concat();
    upload.vsiflow.run(&limited).exits(0);
    assert!(begun.elapsed() >= Duration::from_millis(1_800));
    upload.is_whole();
}

#[test]
fn lab_disks_of_other_programs_are_unpacked_and_go_on_where_the_host_has_them() {
    let Some(lab) = Lab::enter() else { return };
    for (seed, format) in [(21, "vhdx"), (22, "vmdk")] {
        let upload = TestUpload::of(&lab, &format!("lab-sparse-{format}"), seed);
        let file = format!("{}.{format}", upload.file.display());
        let convert = Command::new("qemu-img")
            .args(["convert", "-q", "-f", "raw", "-O", format])
            .args([upload.file.to_str().unwrap(), &file])
            .status();
        assert!(convert.unwrap().success());
        let upload = upload.from(file);
        let running = upload.start_at("60Mi");
        upload.reaches(SIZE / 2);
        running.kill();
        let received = upload.settled();
        assert!(!upload.is_marked());
        let ran = upload.run().exits(0);
        upload.is_whole();
        let from = position(&ran.stderr).expect("sent from the beginning");
        assert!(
            from + INTERVAL >= received,
            "{format}: {received} there, from {from}"
        );
    }
}
