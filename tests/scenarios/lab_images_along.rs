//! Images that a real host hashes while they are sent. Writes by other programs are noticed; when
//! the host's process or vsiflow dies, nothing remains running there.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use vsiflow_tests::{
    Lab, Running, TestUpload, until,
    upload::{INTERVAL, MIB},
};

/// Long enough that the host reads a part of it while the rest is sent.
const LONG: u64 = 320 * MIB;
/// The host syncs the volume after this many bytes.
const SYNC: u64 = 128 * MIB;

/// A process of the host that reads a volume.
struct VolumeReader(PathBuf);

impl VolumeReader {
    /// All processes that read the volume.
    fn all(volume: &Path) -> Vec<Self> {
        let reads = |process: &PathBuf| {
            let fds = fs::read_dir(process.join("fd"));
            let mut fds = fds.into_iter().flatten().flatten();
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let is_shell = String::from_utf8_lossy(&words).contains("sha256");
            is_shell && fds.any(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == volume))
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.map(|process| process.path())
            .filter(reads)
            .map(Self)
            .collect()
    }

    /// The offset up to which it has read.
    fn position(&self) -> Option<u64> {
        let info = fs::read_to_string(self.0.join("fdinfo/3")).ok()?;
        info.lines()
            .next()?
            .strip_prefix("pos:")?
            .trim()
            .parse()
            .ok()
    }

    fn kill(&self) {
        let pid = self.0.file_name().unwrap().to_str().unwrap().parse();
        let pid = Pid::from_raw(pid.unwrap()).unwrap();
        // It may already have ended, together with another process.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The offset up to which the host has read the volume.
fn position(upload: &TestUpload) -> u64 {
    let all = VolumeReader::all(&upload.volume());
    all.iter()
        .filter_map(VolumeReader::position)
        .max()
        .unwrap_or(0)
}

fn nothing_reads(upload: &TestUpload) {
    until("the end of all that reads on the host", 20, || {
        VolumeReader::all(&upload.volume()).is_empty().then_some(())
    });
}

fn hashing(upload: &TestUpload) -> String {
    let history = upload.vsiflow.history(&format!("image/{}", upload.name));
    let mut verified = history
        .iter()
        .filter(|event| event.step() == "verify_image" && event.kind() == "step_succeeded");
    verified.next_back().unwrap().text("detail").to_owned()
}

/// Begins an upload, and waits until the host has read the first synced part.
fn read_in_part(upload: &TestUpload) -> Running {
    let running = upload.start_at("60Mi");
    until("the host to read along", 60, || {
        (position(upload) >= SYNC - INTERVAL).then_some(())
    });
    running
}

fn flip(upload: &TestUpload, at: u64) {
    let volume = File::options().read(true).write(true).open(upload.volume());
    let (volume, mut byte) = (volume.unwrap(), [0]);
    volume.read_exact_at(&mut byte, at).unwrap();
    volume.write_all_at(&[!byte[0]], at).unwrap();
}

fn is_equal(upload: &TestUpload) -> bool {
    fs::read(upload.volume()).unwrap() == upload.bytes()
}

#[test]
fn lab_an_image_is_verified_along_and_nothing_is_left_running_on_the_host() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-along", 31, LONG);
    let running = read_in_part(&upload);
    running.end(60).exits(0);
    upload.is_whole();
    assert_eq!(hashing(&upload), "the host read it along with the upload");
    nothing_reads(&upload);
}

#[test]
fn lab_of_what_others_write_only_what_is_behind_the_hash_of_an_upload_goes_unnoticed() {
    let Some(lab) = Lab::enter() else { return };
    let behind = TestUpload::sized(&lab, "lab-flip-behind", 32, LONG);
    let running = read_in_part(&behind);
    flip(&behind, MIB);
    running.end(60).exits(0);
    assert!(
        behind.is_marked() && !is_equal(&behind),
        "docs/how-to/images.md says so"
    );

    let ahead = TestUpload::sized(&lab, "lab-flip-ahead", 33, LONG);
    let ahead_running = read_in_part(&ahead);
    let at = ahead.volume().metadata().unwrap().len() - MIB;
    assert!(at > position(&ahead));
    flip(&ahead, at);
    ahead_running.end(120).exits(0);
    ahead.is_whole();

    let full = TestUpload::sized(&lab, "lab-flip-full", 34, LONG);
    let full = full.with_keys(&[("VERIFY", "full")]);
    let full_running = full.start_at("100Mi");
    full.reaches(SYNC + 2 * INTERVAL);
    assert!(VolumeReader::all(&full.volume()).is_empty());
    flip(&full, MIB);
    full_running.end(120).exits(0);
    full.is_whole();
    assert_eq!(hashing(&full), "the host read it after the upload");
}

#[test]
fn lab_a_host_whose_reading_dies_reads_again_after_the_upload() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-reader-killed", 35, LONG);
    let running = read_in_part(&upload);
    VolumeReader::all(&upload.volume())
        .iter()
        .for_each(VolumeReader::kill);
    running.end(60).exits(0);
    upload.is_whole();
    assert_eq!(hashing(&upload), "the host read it after the upload");
    nothing_reads(&upload);
}

#[test]
fn lab_a_killed_upload_leaves_nothing_running_and_is_read_from_the_disk_when_it_resumes() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-along-killed", 36, LONG);
    let running = read_in_part(&upload);
    running.kill();
    nothing_reads(&upload);
    assert!(upload.goes_on() <= INTERVAL);
    assert_eq!(hashing(&upload), "the host read it along with the upload");
    nothing_reads(&upload);
}

#[test]
fn lab_an_image_that_is_mostly_holes_is_sent_and_verified_without_them() {
    const SPARSE: u64 = 1 << 30;
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-along-sparse", 37, 4 * MIB);
    let file = File::options().write(true).open(&upload.file).unwrap();
    file.write_all_at(b"in the middle", SPARSE / 2).unwrap();
    file.set_len(SPARSE).unwrap();
    upload.run().exits(0);
    upload.is_whole();
    assert_eq!(hashing(&upload), "the host read it along with the upload");
    let volume = upload.volume().metadata().unwrap();
    assert_eq!(volume.len(), SPARSE);
    assert!(
        volume.blocks() * 512 <= 5 * MIB,
        "{} bytes",
        volume.blocks() * 512
    );
}
