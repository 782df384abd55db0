//! Images as the internet has them: files that are no whole disk, packings that few programs write, and servers
//! that differ from the ideal one. The inputs are in `tests/field`.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use vsiflow_tests::{DiskDocument, Vsi, Vsiflow, server, until};

fn field(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("field")
        .join(name)
}

/// Whether these programs are here; the test is skipped without them.
fn has(programs: &[&str]) -> bool {
    let is_here = |program: &&str| {
        let mut which = Command::new("sh");
        let found = which
            .arg("-c")
            .arg(format!("command -v {program}"))
            .output();
        found.is_ok_and(|found| found.status.success())
    };
    let all = programs.iter().all(is_here);
    if !all {
        println!("skipped: it needs {programs:?}");
    }
    all
}

#[test]
fn only_whole_disks_become_images_and_others_are_refused_by_their_name() {
    if !has(&["qemu-img", "python3", "xz", "zstd", "tar"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut make = Command::new("bash");
    let made = make
        .arg(field("images.sh"))
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let vsiflow = Vsiflow::simulated();
    let upload = |name: &str| {
        let path = dir.path().join(name);
        vsiflow.run(&["image", "upload", path.to_str().unwrap()])
    };
    for (name, what) in [
        (
            "plain.tar",
            "a tar archive: unpack disk.raw from it, or pack it as OVA",
        ),
        ("test.box", "a Vagrant box: unpack box.img from it"),
        ("fixed.vhd", "a fixed VHD image"),
        ("cut.qcow2", "cut short"),
        ("unknown-bit.qcow2", "incompatible bit 15"),
        ("luks.qcow2", "encrypted"),
    ] {
        upload(name).exits(4).says("VSI0306").says(what);
    }
    let zeros = std::fs::File::create(dir.path().join("zeros.raw")).unwrap();
    zeros.set_len(1 << 20).unwrap();
    for name in [
        "zeros.raw",
        "disk.raw",
        "plain.qcow2",
        "fcos-like.qcow2.xz",
        "pzstd.raw.zst",
    ] {
        upload(name).exits(0).says("is whole");
    }
}

#[test]
fn no_guest_boots_from_a_container_or_file_system_that_a_data_disk_may_have() {
    let vsiflow = Vsiflow::simulated();
    for (name, at, mark, what) in [
        (
            "luks",
            0,
            &b"LUKS\xba\xbe\0\x02"[..],
            "an encrypted container (LUKS)",
        ),
        (
            "ext4",
            1080,
            b"\x53\xef",
            "an ext2, ext3 or ext4 file system",
        ),
    ] {
        let mut content = vec![0; 1 << 20];
        content[at..at + mark.len()].copy_from_slice(mark);
        let path = vsiflow.folder().join(format!("{name}.img"));
        std::fs::write(&path, content).unwrap();
        let url = format!("file://{}", path.display());
        let refused = vsiflow
            .apply(Vsi::named(name).image(&url), &["--wait"])
            .exits(4);
        refused.says("VSI0306").says(what).says("data disk");
        let disk = DiskDocument::named(name)
            .size("1Gi")
            .with(&format!("source: {{imageURL: '{url}'}}"));
        vsiflow.apply(disk, &["--wait"]).exits(0);
    }
}

/// A server of `tests/field`; ends with the test.
struct FieldServer(Child, u16);

impl FieldServer {
    fn of(file: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut python = Command::new("python3");
        let python = python.arg(field("image-server.py")).arg(port.to_string());
        let started = python.arg(file).stderr(Stdio::null()).spawn().unwrap();
        let server = Self(started, port);
        until("the server", 30, || {
            std::net::TcpStream::connect(("127.0.0.1", port))
                .ok()
                .map(drop)
        });
        server
    }
}

impl Drop for FieldServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_upload_resumes_on_other_mirrors_and_in_blocks() {
    if !has(&["python3"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("guest.qcow2");
    let image = server::image(14_000_000);
    std::fs::write(&file, &image).unwrap();
    let mirrors = FieldServer::of(&file);
    let vsiflow = Vsiflow::simulated();
    for (way, extra) in [
        (
            "mirror",
            vec!["--checksum".to_owned(), server::checksum(&image)],
        ),
        ("shift", Vec::new()),
    ] {
        let url = format!("http://127.0.0.1:{}/{way}/{way}.qcow2", mirrors.1);
        let mut upload = vec!["image", "upload", &url, "--timeout", "60s"];
        upload.extend(extra.iter().map(String::as_str));
        vsiflow.run(&upload).exits(0);
        assert!(
            vsiflow.sim().content(&format!("{way}.qcow2")) == image,
            "{way}"
        );
    }
}
