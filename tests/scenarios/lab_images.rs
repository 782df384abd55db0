//! Uploads onto a real host that are killed, cut and disturbed: the host ends up with the source's
//! bytes, or with an image that is not marked whole, and little is sent twice.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use vsiflow_tests::{Lab, Ran, Running, Vsiflow, until};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 96 * MIB;
/// What may be sent twice.
const INTERVAL: u64 = 16 * MIB;
const FOLDER: &str = "/var/lib/libvirt/images";

/// An upload of a file of random bytes.
struct Upload<'a> {
    lab: &'a Lab,
    vsiflow: Vsiflow,
    name: String,
    file: PathBuf,
    host: PathBuf,
}

impl<'a> Upload<'a> {
    fn of(lab: &'a Lab, name: &str, seed: u64) -> Self {
        let vsiflow = Vsiflow::of_documents();
        let (name, mut bytes) = (format!("{name}.img"), vec![0; 4 << 20]);
        let file = vsiflow.folder().join(&name);
        let (mut random, mut out) = (StdRng::seed_from_u64(seed), File::create(&file).unwrap());
        for _ in 0..SIZE / bytes.len() as u64 {
            random.fill(&mut bytes[..]);
            out.write_all(&bytes).unwrap();
        }
        out.write_all_at(b"raw", 0).unwrap();
        let host = vsiflow.write("host.yaml", &lab.host().to_string());
        Self {
            lab,
            vsiflow,
            name,
            file,
            host,
        }
    }

    fn volume(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    fn arguments<'b>(&'b self, limit: &'b str) -> Vec<&'b str> {
        let (file, host) = (self.file.to_str().unwrap(), self.host.to_str().unwrap());
        let image = ["-v", "image", "upload", file, "-f", host];
        [&image[..], &["--upload-limit", limit]].concat()
    }

    fn start(&self, limit: &str) -> Running {
        self.vsiflow.start(&self.arguments(limit))
    }

    fn run(&self) -> Ran {
        self.vsiflow.run(&self.arguments("1Gi"))
    }

    fn reaches(&self, bytes: u64) {
        until(&format!("{bytes} bytes of {}", self.name), 60, || {
            (self.length() >= bytes).then_some(())
        });
    }

    fn length(&self) -> u64 {
        self.volume().metadata().map_or(0, |found| found.len())
    }

    /// The length once nothing arrives any more.
    fn settled(&self) -> u64 {
        let mut before = (self.length(), 0);
        until("the end of what was on its way", 30, || {
            let now = self.length();
            before = (now, if now == before.0 { before.1 + 1 } else { 0 });
            (before.1 > 60).then_some(now)
        })
    }

    /// Holds that the host has the file's bytes, and the mark that it is whole.
    fn is_whole(&self) {
        let digest = |path: &Path| {
            let output = Command::new("sha256sum").arg(path).output().unwrap().stdout;
            String::from_utf8(output).unwrap()[..64].to_owned()
        };
        assert_eq!(digest(&self.volume()), digest(&self.file));
        assert!(self.is_marked());
    }

    fn is_marked(&self) -> bool {
        let claim = Path::new(FOLDER).join(format!(".{}.vsiflow", self.name));
        let mut text = String::new();
        let read = File::open(claim).and_then(|file| file.take(2_048).read_to_string(&mut text));
        read.is_ok() && text.contains("sha256")
    }

    /// Goes on, and gives how much of what the host had it sent again.
    fn goes_on(&self) -> u64 {
        let had = self.settled();
        assert!(!self.is_marked());
        let ran = self.run().exits(0);
        self.is_whole();
        let position = position(&ran.stderr).unwrap_or_else(|| panic!("sent anew: {ran:#?}"));
        had.saturating_sub(position)
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        for name in [self.name.clone(), format!(".{}.vsiflow", self.name)] {
            let mut virsh = Command::new("virsh");
            let virsh = virsh.args([
                "-q",
                "-c",
                "qemu:///system",
                "vol-delete",
                "--pool",
                "images",
            ]);
            let _ = virsh.arg(name).output();
        }
    }
}

/// Where the last upload went on.
fn position(said: &str) -> Option<u64> {
    let (_, after) = said.rsplit_once("position=")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn killed(lab: &Lab, seed: u64) {
    let upload = Upload::of(lab, &format!("lab-killed-{seed}"), seed);
    let at = StdRng::seed_from_u64(seed).random_range(MIB..SIZE - 4 * MIB);
    let running = upload.start("60Mi");
    upload.reaches(at);
    running.kill();
    let had = upload.settled();
    assert!(!upload.is_marked());
    let ran = upload.run().exits(0);
    upload.is_whole();
    // What was killed before its first record is sent anew.
    let resent = had.saturating_sub(position(&ran.stderr).unwrap_or(0));
    println!("measured: killed at {at} bytes, {resent} sent twice");
    assert!(resent <= INTERVAL, "{resent} sent twice");
}

#[test]
fn lab_an_upload_killed_at_a_random_byte_goes_on_there() {
    let Some(lab) = Lab::enter() else { return };
    (1..=3).for_each(|seed| killed(&lab, seed));
}

#[test]
#[ignore = "long: tests/run --full --part image"]
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
        let upload = Upload::of(&lab, &format!("lab-cut-{daemon}"), 7);
        let mut running = upload.start("40Mi");
        upload.reaches(SIZE / 2);
        lab.daemon(daemon, "kill");
        let cut = running.reaches("again in", 60);
        lab.daemon(daemon, "start");
        assert!(cut, "{daemon}: it ended");
        let ran = running.end(90).exits(0);
        upload.is_whole();
        let position = position(&ran.stderr).unwrap_or_else(|| panic!("sent anew: {ran:#?}"));
        assert!(position >= SIZE / 2 - INTERVAL, "{daemon}: from {position}");
    }
}

#[test]
fn lab_an_interrupted_upload_goes_on_and_a_changed_file_costs_the_part() {
    let Some(lab) = Lab::enter() else { return };
    let upload = Upload::of(&lab, "lab-interrupted", 8);
    let running = upload.start("60Mi");
    upload.reaches(SIZE / 2);
    running.interrupt();
    running.end(30).exits(130);
    assert!(upload.goes_on() <= INTERVAL);
    let other = Upload::of(&lab, "lab-changed", 9);
    let running = other.start("60Mi");
    other.reaches(SIZE / 2);
    running.kill();
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
    let upload = Upload::of(&lab, "lab-two-engines", 10);
    let second = Vsiflow::of_documents();
    let first = upload.start("60Mi");
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
    let upload = Upload::of(&lab, "lab-sparse", 11);
    let file = File::options().write(true).open(&upload.file).unwrap();
    let zeros = vec![0; 8 << 20];
    for part in [1, 3, 5] {
        file.write_all_at(&zeros, part * (16 << 20)).unwrap();
    }
    file.set_len(2 * SIZE).unwrap();
    let running = upload.start("30Mi");
    upload.reaches(SIZE / 2);
    running.kill();
    assert!(upload.goes_on() <= INTERVAL);
    let taken = upload.volume().metadata().unwrap().blocks() * 512;
    assert!(taken <= SIZE - 3 * (8 << 20) + INTERVAL, "{taken} bytes");
}

#[test]
fn lab_a_qcow2_that_reads_other_files_is_refused_before_anything_is_sent() {
    let Some(lab) = Lab::enter() else { return };
    let upload = Upload::of(&lab, "lab-malicious", 12);
    std::fs::remove_file(&upload.file).unwrap();
    let mut make = Command::new("qemu-img");
    let make = make.args([
        "create",
        "-q",
        "-f",
        "qcow2",
        "-F",
        "raw",
        "-b",
        "/etc/passwd",
    ]);
    assert!(make.arg(&upload.file).arg("1M").status().unwrap().success());
    upload.run().exits(4).says("VSI0306").says("backing file");
    assert!(!upload.volume().exists() && !upload.is_marked());
    assert!(!upload.lab.volumes("images").contains(&upload.name));
}
