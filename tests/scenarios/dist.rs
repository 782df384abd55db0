//! Tests `deploy/dist` with a stand-in for the binaries, because building them takes long.
//! `tests/run --part dist` builds the real ones.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use vsiflow_tests::binary;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A folder with a stand-in for the binaries.
struct Dist(TempDir);

impl Dist {
    fn new() -> Self {
        Self::doing_first("")
    }

    /// The same with a stand-in that runs `command` before vsiflow.
    fn doing_first(command: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("vsiflow");
        let real = self::binary();
        let script = format!("#!/bin/sh\n{command}\nexec '{}' \"$@\"\n", real.display());
        fs::write(&binary, script).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    fn run(&self, more: &[&str]) -> Output {
        let mut dist = Command::new(Path::new(REPOSITORY).join("deploy/dist"));
        for machine in ["x86_64", "s390x"] {
            let file = self.0.path().join("vsiflow");
            dist.args(["--binary", &format!("{machine}={}", file.display())]);
        }
        dist.arg("--out").arg(self.out()).args(more);
        dist.env_remove("SOURCE_DATE_EPOCH").output().unwrap()
    }

    /// The output file whose name ends with `end`.
    fn file(&self, end: &str) -> PathBuf {
        let all = fs::read_dir(self.out()).unwrap();
        let mut all = all.map(|entry| entry.unwrap().path());
        all.find(|path| path.display().to_string().ends_with(end))
            .unwrap_or_else(|| panic!("no {end}"))
    }

    fn json(&self, end: &str) -> Value {
        serde_json::from_slice(&fs::read(self.file(end)).unwrap()).unwrap()
    }
}

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_released_is_whole_and_the_same_in_two_folders() {
    let dist = Dist::new();
    let ran = dist.run(&["--verify"]);
    assert!(ran.status.success(), "{ran:?}");
    let output = String::from_utf8_lossy(&ran.stderr);
    assert!(output.contains("are equal, byte by byte"), "{output}");
    let names = fs::read_dir(dist.out()).unwrap();
    let names: BTreeSet<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        format!("vsiflow-{version}-x86_64.tar.gz"),
        format!("vsiflow-{version}-s390x.tar.gz"),
        format!("vsiflow-{version}-x86_64.cdx.json"),
        format!("vsiflow-{version}-s390x.cdx.json"),
        format!("vsiflow-{version}-image.tar"),
        format!("vsiflow-{version}-image.digest"),
        format!("vsiflow_{version}_amd64.deb"),
        format!("vsiflow_{version}_s390x.deb"),
        "SHA256SUMS".to_owned(),
    ];
    assert_eq!(names, expected.into_iter().collect());
    let mut sums = Command::new("sha256sum");
    let sums = sums.args(["--check", "--quiet", "--strict", "SHA256SUMS"]);
    printed(sums.current_dir(dist.out()));
    package(&dist);
    archive(&dist);
    image(&dist);
    contents(&dist);
}

fn package(dist: &Dist) {
    let listing = printed(
        Command::new("dpkg-deb")
            .arg("--contents")
            .arg(dist.file("_amd64.deb")),
    );
    for file in [
        "./usr/bin/vsiflow",
        "./usr/bin/kubectl-vsi -> vsiflow",
        "./usr/lib/systemd/system/vsiflow.service",
        "./usr/lib/systemd/system/vsiflow.socket",
        "./usr/share/man/man1/vsiflow.1.gz",
        "./usr/share/man/man1/vsiflow-host-drain.1.gz",
        "./usr/share/man/man1/kubectl-vsi.1.gz -> vsiflow.1.gz",
        "./usr/share/bash-completion/completions/vsiflow",
        "./usr/share/zsh/vendor-completions/_vsiflow",
        "./usr/share/fish/vendor_completions.d/vsiflow.fish",
        "./usr/share/doc/vsiflow/copyright",
        "./usr/share/doc/vsiflow/THIRD-PARTY.gz",
    ] {
        assert!(
            listing.lines().any(|line| line.ends_with(file)),
            "{file}: {listing}"
        );
    }
    for line in listing.lines() {
        assert!(line.contains(" root/root "), "{line}");
    }
    for (end, machine) in [("_amd64.deb", "amd64"), ("_s390x.deb", "s390x")] {
        let mut field = Command::new("dpkg-deb");
        let field = field.arg("--field").arg(dist.file(end)).arg("Architecture");
        assert_eq!(printed(field).trim(), machine);
    }
}

fn archive(dist: &Dist) {
    let listing = printed(
        Command::new("tar")
            .arg("-tzf")
            .arg(dist.file("s390x.tar.gz")),
    );
    for file in [
        "/vsiflow",
        "/man/vsiflow.1",
        "/completions/zsh",
        "/systemd/vsiflow.service",
        "/LICENSE",
        "/THIRD-PARTY",
    ] {
        assert!(
            listing.lines().any(|line| line.ends_with(file)),
            "{file}: {listing}"
        );
    }
}

/// Checks that everything in the image is found by its hash, starting from the image's digest.
fn image(dist: &Dist) {
    let folder = dist.0.path().join("image");
    fs::create_dir(&folder).unwrap();
    let mut tar = Command::new("tar");
    printed(
        tar.arg("-xf")
            .arg(dist.file("image.tar"))
            .arg("-C")
            .arg(&folder),
    );
    let blob = |descriptor: &Value| -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        let hash = digest.strip_prefix("sha256:").unwrap();
        let bytes = fs::read(folder.join("blobs/sha256").join(hash)).unwrap();
        let found: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hash, found);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    };
    let json = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let first = json(&fs::read(folder.join("index.json")).unwrap())["manifests"][0].clone();
    let digest = fs::read_to_string(dist.file("image.digest")).unwrap();
    assert_eq!(first["digest"], digest.trim());
    let index = json(&blob(&first));
    let mut machines = Vec::new();
    for descriptor in index["manifests"].as_array().unwrap() {
        let manifest = json(&blob(descriptor));
        let config = json(&blob(&manifest["config"]));
        assert_eq!(
            config["architecture"],
            descriptor["platform"]["architecture"]
        );
        assert_eq!(config["config"]["User"], "65532:65532");
        let layer = folder.join("layer.tar.gz");
        fs::write(&layer, blob(&manifest["layers"][0])).unwrap();
        let listing = printed(
            Command::new("tar")
                .args(["--numeric-owner", "-tvzf"])
                .arg(&layer),
        );
        for (rights, file) in [
            ("-rwxr-xr-x 0/0 ", " usr/bin/vsiflow"),
            ("drwxrwxrwt 0/0 ", " tmp/"),
            ("drwxr-xr-x 65532/65532 ", " var/lib/vsiflow/"),
            ("-rw-r--r-- 0/0 ", " etc/ssl/certs/ca-certificates.crt"),
        ] {
            let is_there = |line: &str| line.starts_with(rights) && line.ends_with(file);
            assert!(listing.lines().any(is_there), "{file}: {listing}");
        }
        machines.push(config["architecture"].as_str().unwrap().to_owned());
    }
    assert_eq!(machines, ["amd64", "s390x"]);
}

/// Checks that the list of components has the crates of `Cargo.lock` with their checksums, and none that only
/// tests need.
fn contents(dist: &Dist) {
    let list = dist.json("s390x.cdx.json");
    assert_eq!(list["bomFormat"], "CycloneDX");
    let components = list["components"].as_array().unwrap();
    let of = |name: &str| {
        components
            .iter()
            .find(|component| component["name"] == name)
    };
    let lock = fs::read_to_string(Path::new(REPOSITORY).join("Cargo.lock")).unwrap();
    for name in ["tokio", "aws-lc-sys", "russh"] {
        let component = of(name).unwrap_or_else(|| panic!("no {name}"));
        let checksum = component["hashes"][0]["content"].as_str().unwrap();
        let version = component["version"].as_str().unwrap();
        let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        let entry = lock
            .split("[[package]]\n")
            .find(|found| found.starts_with(&entry));
        assert!(entry.unwrap().contains(checksum), "{component}");
        assert!(
            component["licenses"][0]["expression"].is_string(),
            "{component}"
        );
    }
    for name in ["proptest", "vsiflow-tests", "windows-sys"] {
        assert!(of(name).is_none(), "{name}");
    }
    let references: BTreeSet<_> = components
        .iter()
        .map(|component| component["bom-ref"].as_str().unwrap())
        .collect();
    assert_eq!(references.len(), components.len());
    for dependency in list["dependencies"].as_array().unwrap() {
        for needed in dependency["dependsOn"].as_array().unwrap() {
            assert!(references.contains(needed.as_str().unwrap()), "{needed}");
        }
    }
}

#[test]
fn two_builds_that_differ_are_told_with_what_differs() {
    let dist = Dist::doing_first("[ \"$1\" != completions ] || date +%N");
    let ran = dist.run(&["--machine", "x86_64", "--verify"]);
    let output = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{output}");
    for words in ["differ", "_amd64.deb", "x86_64.tar.gz"] {
        assert!(output.contains(words), "{output}");
    }
    assert!(!output.contains("image.tar"), "{output}");
}

#[test]
fn a_release_overwrites_nothing_and_knows_its_machines() {
    let dist = Dist::new();
    fs::create_dir(dist.out()).unwrap();
    fs::write(dist.out().join("mine"), "mine").unwrap();
    for (more, words) in [
        (&[][..], "has something in it"),
        (
            &["--machine", "vax"],
            "--machine takes one of: x86_64 s390x",
        ),
    ] {
        let ran = dist.run(more);
        let output = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{output}");
        assert!(output.contains(words), "{output}");
    }
    let left: Vec<_> = fs::read_dir(dist.out()).unwrap().collect();
    assert_eq!(left.len(), 1);
}
