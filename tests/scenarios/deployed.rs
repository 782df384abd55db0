//! The files in `deploy`: with which rights vsiflow runs there, and which addresses it listens on.

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path};

use vsiflow_tests::{Vsiflow, until};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// All deployed files, with their names.
fn manifests(folder: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(manifests(&path))
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            all.push((path.display().to_string(), text));
        }
    }
    all
}

fn deployed() -> Vec<(String, String)> {
    let folders = ["kustomize", "helm"].map(|name| Path::new(DEPLOY).join(name));
    let mut all: Vec<_> = folders
        .iter()
        .flat_map(|folder| manifests(folder))
        .collect();
    let dockerfile = Path::new(DEPLOY).join("Dockerfile");
    let text = std::fs::read_to_string(&dockerfile).unwrap();
    all.push((dockerfile.display().to_string(), text));
    all
}

#[test]
fn defect_30_what_is_deployed_is_pinned_has_no_root_and_no_hook() {
    let all = deployed();
    let mut deployments = 0;
    for (file, text) in &all {
        assert!(!text.contains(":latest"), "{file}");
        for hook in ["WebhookConfiguration", "hostNetwork: true"] {
            assert!(!text.contains(hook), "{hook} in {file}");
        }
        // A patch for a Deployment has these words in the middle of a line, and does not count.
        if text.lines().any(|line| line == "kind: Deployment") {
            deployments += 1;
            for expected in [
                "runAsNonRoot: true",
                "readOnlyRootFilesystem: true",
                "allowPrivilegeEscalation: false",
                "drop: [ALL]",
            ] {
                assert!(text.contains(expected), "no {expected} in {file}");
            }
        }
    }
    assert_eq!(deployments, 3);
    let (_, dockerfile) = all.last().unwrap();
    let images = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("FROM "));
    for image in images.filter(|image| *image != "scratch") {
        let digest = image.split_once("@sha256:").map_or("", |(_, rest)| rest);
        let digest = digest.split(' ').next().unwrap_or_default();
        let is_whole = digest.len() == 64 && digest.chars().all(|c| c.is_ascii_hexdigit());
        assert!(is_whole, "{image} is not pinned by its digest");
    }
    assert!(dockerfile.contains("USER 65532:65532"), "{dockerfile}");
    let helm = all
        .iter()
        .filter(|(file, _)| file.contains("helm/templates"));
    for (file, text) in helm {
        assert!(!text.contains("namespace: vsiflow"), "fixed in {file}");
    }
}

#[test]
fn defect_30_only_its_owner_reaches_a_daemon() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    let socket = vsiflow.state().join("vsiflow.sock");
    until("its socket", 30, || socket.exists().then_some(()));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&vsiflow.state()), 0o700);
    assert_eq!(listening(daemon.pid()), Vec::<SocketAddr>::new());
    daemon.terminate();
    daemon.end(30).exits(0);
}

/// The TCP addresses on which a process listens.
fn listening(process: u32) -> Vec<SocketAddr> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let sockets: Vec<_> = files
        .filter_map(|file| std::fs::read_link(file.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.display().to_string();
            Some(
                link.strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let text =
            std::fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            // State 0A is LISTEN.
            if words[3] == "0A" && sockets.iter().any(|inode| inode == words[9]) {
                let (_, port) = words[1].split_once(':').unwrap();
                let port = u16::from_str_radix(port, 16).unwrap();
                found.push(SocketAddr::from(([0, 0, 0, 0], port)));
            }
        }
    }
    found
}
