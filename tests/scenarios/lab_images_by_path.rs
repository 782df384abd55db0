//! Images that are written directly into their pool's folder: what the history says, what remains
//! after a kill, and what happens on a host that does not permit it.

use std::{
    fs,
    os::unix::fs::{FileExt as _, symlink},
    path::Path,
};

use vsiflow_tests::{
    Lab, TestUpload, until,
    upload::{INTERVAL, MIB},
};

const BY_PATH: &str = "sent into the pool's folder";

/// How the image was sent, as the history says.
fn how_sent(upload: &TestUpload) -> String {
    let history = upload.vsiflow.history(&format!("image/{}", upload.name));
    let mut sent = history
        .iter()
        .filter(|event| event.step() == "upload_chunks" && event.kind() == "step_succeeded");
    sent.next_back().unwrap().text("detail").to_owned()
}

/// Whether a process has the file open.
fn is_open(file: &Path) -> bool {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let mut fds = all.filter_map(|process| fs::read_dir(process.path().join("fd")).ok());
    fds.any(|fds| {
        let mut links = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        links.any(|link| link == file)
    })
}

#[test]
fn lab_the_history_of_an_image_says_which_way_it_went() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-path", 41, 24 * MIB);
    let upload = upload.with_keys(&[("TRANSFER", "plain")]);
    upload.run().exits(0);
    upload.is_whole();
    assert_eq!(how_sent(&upload), BY_PATH);
    // The lab's host is near, and has Python.
    let near = TestUpload::sized(&lab, "lab-path-near", 48, 24 * MIB);
    near.run().exits(0);
    near.is_whole();
    assert_eq!(how_sent(&near), BY_PATH);
    // Half of the image is text, which can be compressed.
    let packed = TestUpload::sized(&lab, "lab-path-packed", 46, 24 * MIB);
    let packed = packed.with_keys(&[("TRANSFER", "packed")]);
    let file = fs::File::options().write(true).open(&packed.file).unwrap();
    let text = b"all work and no play ".repeat(600_000);
    file.write_all_at(&text, MIB).unwrap();
    packed.run().exits(0);
    packed.is_whole();
    assert!(
        how_sent(&packed).ends_with(" % of it packed"),
        "{}",
        how_sent(&packed)
    );
    let by_libvirt = TestUpload::sized(&lab, "lab-path-not", 42, 24 * MIB);
    let by_libvirt = by_libvirt.with_keys(&[("TRANSFER", "libvirt")]);
    by_libvirt.run().exits(0);
    by_libvirt.is_whole();
    assert_eq!(
        how_sent(&by_libvirt),
        "sent through libvirt: the host's settings say so"
    );
}

#[test]
fn lab_an_upload_by_path_that_is_killed_ends_on_the_host_and_resumes_either_way() {
    let Some(lab) = Lab::enter() else { return };
    for (seed, first, next) in [
        (43, "plain", "plain"),
        (44, "plain", "libvirt"),
        (47, "libvirt", "packed"),
    ] {
        let upload = TestUpload::of(&lab, &format!("lab-path-killed-{seed}"), seed);
        let upload = upload.by_way(first);
        let running = upload.start_at("60Mi");
        upload.reaches(40 * MIB);
        assert!(is_open(&upload.volume()));
        running.kill();
        until("the end of all that writes", 20, || {
            (!is_open(&upload.volume())).then_some(())
        });
        let upload = upload.by_way(next);
        assert!(upload.goes_on() <= INTERVAL);
        let by_path = how_sent(&upload) == BY_PATH;
        assert_eq!(by_path, next != "libvirt");
    }
}

#[test]
fn lab_a_link_that_takes_the_place_of_the_image_gets_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let upload = TestUpload::sized(&lab, "lab-path-linked", 45, 8 * MIB);
    let upload = upload.with_keys(&[("TRANSFER", "plain")]);
    let victim = upload.vsiflow.folder().join("victim");
    fs::write(&victim, "somebody's").unwrap();
    let running = upload.start_at("2Mi");
    upload.reaches(MIB);
    fs::remove_file(upload.volume()).unwrap();
    symlink(&victim, upload.volume()).unwrap();
    running.end(60).exits(4).says("VSI0330");
    assert_eq!(fs::read(&victim).unwrap(), b"somebody's");
    assert!(!upload.is_marked());
    fs::remove_file(upload.volume()).unwrap();
    upload.run().exits(0);
    upload.is_whole();
}
