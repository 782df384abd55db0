//! Files and servers that give something else than what they are asked for, and what is said of them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    thread,
};

use vsiflow_tests::{Vsi, Vsiflow, server};

const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

/// A server whose first answer ends early, and whose first part is another representation of the image. Later parts
/// are right.
struct OddServer(u16);

impl OddServer {
    fn of(image: Vec<u8>, headers_of_first_part: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let image = Arc::new(image);
        thread::spawn(move || {
            let mut parts = 0;
            for stream in listener.incoming().map_while(Result::ok) {
                let from = asked_from(&stream);
                parts += usize::from(from.is_some());
                let odd = (parts == 1 && from.is_some()).then_some(headers_of_first_part);
                let image = image.clone();
                thread::spawn(move || answer(stream, &image, from, odd));
            }
        });
        Self(port)
    }
}

/// From which byte on a request asks for the file.
fn asked_from(stream: &TcpStream) -> Option<usize> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    let range = head.iter().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("range: bytes=")
            .map(str::to_owned)
    })?;
    range.trim_end_matches('-').parse().ok()
}

/// Answers with the image from a byte on, or with other bytes in its place, which have these headers.
fn answer(mut stream: TcpStream, image: &[u8], from: Option<usize>, odd: Option<&str>) {
    let at = from.unwrap_or(0);
    let rest = &image[at..];
    let (status, range) = match from {
        Some(_) => {
            let last = image.len() - 1;
            let range = format!("Content-Range: bytes {at}-{last}/{}\r\n", image.len());
            ("206 Partial Content", range)
        }
        None => ("200 OK", String::new()),
    };
    let (length, headers) = (rest.len(), odd.unwrap_or_default());
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"one\"\r\nContent-Length: {length}\r\nConnection: close\r\n{range}{headers}\r\n"
    );
    let sent = match (odd, from) {
        (Some(_), _) => vec![b'x'; length],
        (None, None) => rest[..length.min(6_000_000)].to_vec(),
        (None, Some(_)) => rest.to_vec(),
    };
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&sent);
}

#[test]
fn a_part_of_another_representation_does_not_get_into_the_image() {
    let image = server::image(14_000_000);
    for (name, headers) in [
        ("packed", "Content-Encoding: gzip\r\n"),
        ("page", "Content-Type: text/html\r\n"),
    ] {
        let odd = OddServer::of(image.clone(), headers);
        let vsiflow = Vsiflow::simulated();
        let url = format!("http://127.0.0.1:{}/{name}.qcow2", odd.0);
        // Whether it resumes or starts again: what is whole is the image.
        let upload = vsiflow.run(&["image", "upload", &url, "--timeout", "60s"]);
        upload.exits(0);
        let content = vsiflow.sim().content(&format!("{name}.qcow2"));
        assert!(content == image, "{name}");
    }
}

#[test]
fn an_archive_with_a_label_or_of_several_volumes_is_no_disk() {
    let vsiflow = Vsiflow::simulated();
    let disk = vsiflow.write("disk.raw", &"\u{1}".repeat(1 << 20));
    let folder = disk.parent().unwrap();
    for options in [
        &["-V", "label"][..],
        &["-H", "pax", "-V", "label"],
        &["-H", "v7"],
        &["-H", "ustar"],
        &["-H", "gnu", "-M", "-L", "2048"],
    ] {
        let archive = folder.join("disk.img");
        let made = Command::new("tar")
            .args(options)
            .args(["-cf", archive.to_str().unwrap(), "disk.raw"])
            .current_dir(folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let upload = vsiflow.run(&["image", "upload", archive.to_str().unwrap()]);
        upload
            .exits(4)
            .says("VSI0306")
            .says("a tar archive: unpack disk.raw from it");
    }
}

#[test]
fn no_guest_boots_from_a_cd_without_a_boot_loader_or_a_file_system_of_another_system() {
    let vsiflow = Vsiflow::simulated();
    for (name, at, mark, what) in [
        ("cd", 32_768, &b"\x01CD001\x01"[..], "an image of a CD"),
        ("apfs", 32, b"NXSB", "an APFS container"),
        ("nilfs", 1030, b"\x34\x34", "a NILFS2 file system"),
        (
            "raid",
            4096,
            b"\xfc\x4e\x2b\xa9\x01\0\0\0",
            "a member of a RAID",
        ),
    ] {
        let mut content = vec![0; 1 << 20];
        content[at..at + mark.len()].copy_from_slice(mark);
        let path = vsiflow.folder().join(format!("{name}.img"));
        std::fs::write(&path, &content).unwrap();
        let url = format!("file://{}", path.display());
        let document = || Vsi::named(name).image(&url);
        let refused = vsiflow.apply(document(), &["--wait"]).exits(4);
        refused.says("VSI0306").says(what);
    }
}

/// User-data as `create` makes a document of it.
fn created(vsiflow: &Vsiflow, file: &str, content: &[u8]) -> vsiflow_tests::Ran {
    let path = vsiflow.folder().join(file);
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap();
    vsiflow.run(&[
        "create",
        "web",
        "--image",
        IMAGE,
        "--user-data",
        path,
        "--dry-run",
        "-o",
        "yaml",
    ])
}

#[test]
fn user_data_of_another_kind_is_unpacked_or_named() {
    let vsiflow = Vsiflow::simulated();
    let plain = vsiflow.write("plain.yaml", "#cloud-config\nhostname: packed\n");
    let packed = Command::new("gzip").arg("-c").arg(&plain).output().unwrap();
    created(&vsiflow, "packed.gz", &packed.stdout)
        .exits(0)
        .says("hostname: packed");
    let utf16: Vec<u8> = "\u{feff}#cloud-config\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (file, content, says) in [
        ("utf16.yaml", utf16.as_slice(), "it may be UTF-16"),
        (
            "latin1.yaml",
            b"#cloud-config\n# caf\xe9\n",
            "it is not UTF-8 text",
        ),
        ("data.xz", b"\xfd7zXZ\0\0\x04\xff", "it is packed by xz"),
    ] {
        let refused = created(&vsiflow, file, content).exits(2);
        refused.says("VSI0908").says(file).says(says);
    }
    let printed = created(&vsiflow, "latin1.yaml", b"# \xe9\n");
    assert!(!printed.stderr.contains("check the path"), "{printed:?}");
}

#[test]
fn a_manifest_in_utf_16_is_named_with_and_without_its_mark() {
    let vsiflow = Vsiflow::simulated();
    for mark in ["", "\u{feff}"] {
        let text = format!("{mark}kind: VirtualServer\n");
        let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let path = vsiflow.folder().join("utf16.yaml");
        std::fs::write(&path, bytes).unwrap();
        vsiflow
            .run(&["apply", "-f", path.to_str().unwrap()])
            .exits(2)
            .says("is not UTF-8 text");
    }
}

#[test]
fn a_socket_that_nobody_can_reach_by_its_name_is_not_opened() {
    let vsiflow = Vsiflow::simulated();
    let path = vsiflow.folder().join("x".repeat(120));
    vsiflow
        .run(&["serve", "--read-only", path.to_str().unwrap()])
        .exits(1)
        .says("VSI0021")
        .says("the file's name is too long for a socket")
        .says("shorter name");
    assert!(!path.exists());
}

#[test]
fn a_cluster_that_does_not_answer_is_not_taken_for_one_that_denies_access() {
    let vsiflow = Vsiflow::of_documents();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let kubeconfig = vsiflow.write(
        "kubeconfig",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \
             'http://{address}'}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, \
             user: u}}}}]\n"
        ),
    );
    vsiflow
        .run(&[
            "migrate",
            "--check",
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
        ])
        .exits(4)
        .says("VSI1010")
        .says("see that the cluster answers");
}
