//! Bundles: documents and images for places without a network, and every defect that a bundle may have. A
//! defective bundle is refused before anything is changed on a host.

mod packing;

use std::path::{Path, PathBuf};
use std::process::Command;

use vsiflow_tests::{Answer, Running, Server, Vsi, Vsiflow, history, server, until};

const LENGTH: usize = 700_000;
const TAG: &str = "\"one\"";
const DEADLINE_S: u64 = 60;

/// A machine with a network, where bundles are made, and its image server.
struct BundleDesk {
    vsiflow: Vsiflow,
    server: Server,
    image: Vec<u8>,
}

impl BundleDesk {
    fn new() -> Self {
        Self::with(LENGTH)
    }

    fn with(length: usize) -> Self {
        let (vsiflow, server) = (Vsiflow::of_documents(), Server::new());
        let image = server::image(length);
        server.answers("guest.qcow2", Answer::Ranged(image.clone(), TAG));
        for name in ["release", "other"] {
            let key = vsiflow.folder().join(name);
            let mut keygen = Command::new("ssh-keygen");
            keygen
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&key);
            assert!(keygen.status().unwrap().success());
        }
        Self {
            vsiflow,
            server,
            image,
        }
    }

    fn web(&self) -> Vsi {
        Vsi::named("web").image(self.server.url("guest.qcow2"))
    }

    fn file(&self, name: &str) -> String {
        self.vsiflow.folder().join(name).display().to_string()
    }

    fn command(&self, documents: &str, bundle: &str, more: &[&str]) -> Vec<String> {
        self.vsiflow.write("web.yaml", documents);
        let (from, to) = (self.file("web.yaml"), self.file(bundle));
        let words = ["bundle", "create", "-f", &from, "-o", &to];
        words
            .iter()
            .chain(more)
            .map(|word| (*word).to_owned())
            .collect()
    }

    /// Runs `bundle create`.
    fn create(&self, documents: &str, bundle: &str, more: &[&str]) -> vsiflow_tests::Ran {
        let words = self.command(documents, bundle, more);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.vsiflow.run(&words)
    }

    /// Makes a signed bundle of one VSI. Afterwards the server has no image any more.
    fn carried(self) -> Carried {
        let key = self.file("release");
        self.create(
            &self.web().to_string(),
            "site.vsiflow",
            &["--sign-key", &key],
        )
        .exits(0)
        .says("signed with ed25519:");
        self.server
            .answers("guest.qcow2", Answer::Status("503 Service Unavailable"));
        Carried {
            bundle: self.file("site.vsiflow"),
            key: self.file("release.pub"),
            other: self.file("other.pub"),
            desk: self,
            site: Vsiflow::simulated(),
        }
    }
}

/// A bundle at a site that cannot reach an image server.
struct Carried {
    desk: BundleDesk,
    site: Vsiflow,
    bundle: String,
    key: String,
    other: String,
}

impl Carried {
    fn words<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let words = ["bundle", "apply", &self.bundle, "--verify-key", &self.key];
        [&words[..], more].concat()
    }

    fn apply(&self, more: &[&str]) -> vsiflow_tests::Ran {
        self.site.run(&self.words(more))
    }

    fn start(&self, more: &[&str]) -> Running {
        self.site.start(&self.words(more))
    }

    fn has_nothing(&self) -> bool {
        !self.site.state().join("sim").exists()
            || self.site.sim().volumes().is_empty() && self.site.sim().domains().is_empty()
    }

    /// Waits until the host has a part of the image.
    fn has_a_part(&self) {
        until("a part on the host", 30, || {
            let ran = self.site.run(&["get", "vsi", "web", "-o", "json"]);
            let upload = serde_json::from_str::<serde_json::Value>(&ran.stdout).ok()?;
            let bytes = upload["status"]["progress"]["upload"]["bytes"].as_u64()?;
            (bytes > 0).then_some(())
        });
    }

    fn is_whole(&self) {
        let sim = self.site.sim();
        assert!(
            sim.content("guest.qcow2") == self.desk.image,
            "another image"
        );
        assert_eq!(sim.domains().len(), 1);
    }

    /// A copy of the bundle with some of its bytes changed.
    fn changed(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut bytes = std::fs::read(&self.bundle).unwrap();
        change(&mut bytes);
        let path = self.site.folder().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }
}

fn position(bytes: &[u8], of: &[u8]) -> usize {
    let mut windows = bytes.windows(of.len());
    windows.position(|window| window == of).unwrap()
}

#[test]
fn a_vsi_boots_from_a_bundle_where_no_image_server_is() {
    let carried = BundleDesk::new().carried();
    let requests = carried.desk.server.requests("guest.qcow2");
    carried
        .apply(&["--dry-run"])
        .exits(0)
        .says("vsi/web created (dry run)");
    assert!(carried.has_nothing());
    carried.apply(&["--wait"]).exits(0);
    carried.is_whole();
    assert_eq!(
        carried.desk.server.requests("guest.qcow2"),
        requests,
        "the server was asked"
    );
    carried
        .apply(&["--wait"])
        .exits(0)
        .says("vsi/web unchanged");
    // The VSI keeps the checksum from the bundle.
    let checksum = server::checksum(&carried.desk.image);
    let shown = carried.site.vsi("web")["spec"]["imageChecksum"].clone();
    assert!(
        checksum.ends_with(shown.as_str().unwrap().trim_start_matches("sha256:")),
        "{shown}"
    );
}

#[test]
fn equal_input_makes_equal_bundles_and_none_takes_the_place_of_another_file() {
    let desk = BundleDesk::new();
    let (web, key) = (desk.web().to_string(), desk.file("release"));
    for name in ["a", "b"] {
        desk.create(&web, name, &["--sign-key", &key]).exits(0);
    }
    let read = |name: &str| std::fs::read(desk.file(name)).unwrap();
    assert!(read("a") == read("b"));
    desk.create(&web, "a", &[]).exits(1).says("error[VSI0908]");
    assert!(read("a") == read("b"));
}

#[test]
fn a_bundle_is_listed_without_being_applied() {
    let carried = BundleDesk::new().carried();
    let ran = carried.site.run(&["bundle", "show", &carried.bundle]);
    ran.exits(0)
        .says("documents/0001-web.yaml")
        .says("HyperProtectContainerRuntimeOnPrem default/web")
        .says("guest.qcow2")
        .says("--verify-key FILE checks that");
    let key = &carried.key;
    let inspected = carried.site.run(&[
        "bundle",
        "inspect",
        &carried.bundle,
        "--verify-key",
        key,
        "-o",
        "json",
    ]);
    let shown = inspected.exits(0).json();
    assert_eq!(shown["signatureChecked"], true);
    assert_eq!(shown["images"][0]["bytes"], LENGTH);
    let sha256 = shown["images"][0]["sha256"].as_str().unwrap();
    assert!(server::checksum(&carried.desk.image).ends_with(sha256));
    assert!(!carried.site.state().exists(), "it made a state directory");
}

#[test]
fn whoever_names_no_key_is_told_that_nobody_vouches_for_the_bundle() {
    let carried = BundleDesk::new().carried();
    let Carried {
        site,
        bundle,
        key,
        other,
        ..
    } = &carried;
    site.run(&["bundle", "apply", bundle])
        .exits(2)
        .says("error[VSI0324]");
    site.run(&["bundle", "apply", bundle, "--verify-key", other])
        .exits(1)
        .says("error[VSI0325]")
        .says("another key");
    site.run(&["bundle", "show", bundle, "--verify-key", other])
        .exits(1)
        .says("error[VSI0325]");
    let (desk, unsigned) = (&carried.desk, "unsigned");
    desk.server
        .answers("guest.qcow2", Answer::Image(desk.image.clone()));
    desk.create(&desk.web().to_string(), unsigned, &[])
        .exits(0)
        .says("nobody can verify who made it");
    let unsigned = desk.file(unsigned);
    site.run(&["bundle", "apply", &unsigned, "--verify-key", key])
        .exits(1)
        .says("error[VSI0324]");
    assert!(carried.has_nothing());
    site.run(&[
        "bundle",
        "apply",
        &unsigned,
        "--insecure-skip-signature",
        "--wait",
    ])
    .exits(0)
    .says("was not checked");
    carried.is_whole();
}

#[test]
fn of_a_bundle_that_was_changed_nothing_reaches_the_host() {
    let carried = BundleDesk::new().carried();
    let image = &carried.desk.image;
    let cases = [
        (
            "image",
            "VSI0323",
            carried.changed("image", |bytes| {
                let at = position(bytes, &image[600_000..600_032]);
                bytes[at] ^= 1;
            }),
        ),
        (
            "document",
            "VSI0323",
            carried.changed("document", |bytes| {
                let at = position(bytes, b"512Mi");
                bytes[at] = b'9';
            }),
        ),
        (
            "manifest",
            "VSI0323",
            carried.changed("manifest", |bytes| {
                let at = position(bytes, b"\"leftOut\"");
                bytes[at + 1] = b'L';
            }),
        ),
        (
            "signature",
            "VSI0325",
            carried.changed("signature", |bytes| {
                let at = position(bytes, b" signature=") + 20;
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            }),
        ),
        (
            "short",
            "VSI0321",
            carried.changed("short", |bytes| bytes.truncate(300_000)),
        ),
        (
            "long",
            "VSI0321",
            carried.changed("long", |bytes| bytes.push(0)),
        ),
        (
            "header",
            "VSI0321",
            carried.changed("header", |bytes| {
                let at = position(bytes, b"documents/0001");
                bytes[at..at + 10].copy_from_slice(b"../../etc/");
            }),
        ),
        (
            "version",
            "VSI0322",
            carried.changed("version", |bytes| {
                let at = position(bytes, b"version 1");
                bytes[at + 8] = b'2';
            }),
        ),
        (
            "other",
            "VSI0321",
            carried.changed("other", |bytes| bytes.fill(7)),
        ),
        ("empty", "VSI0321", carried.changed("empty", Vec::clear)),
    ];
    for (name, code, bundle) in cases {
        let words = [
            "bundle",
            "apply",
            &bundle,
            "--verify-key",
            &carried.key,
            "--wait",
        ];
        let error = format!("error[{code}]");
        println!("{name}");
        carried.site.run(&words).exits(1).says(&error).says("next");
    }
    assert!(carried.has_nothing());
}

#[test]
fn a_file_that_is_no_regular_one_is_no_bundle() {
    let carried = BundleDesk::new().carried();
    let missing = carried.site.folder().join("missing");
    for path in [Path::new("/dev/zero"), carried.site.folder(), &missing] {
        let path = path.display().to_string();
        let words = ["bundle", "apply", &path, "--verify-key", &carried.key];
        carried.site.run(&words).exits(2).says("error[VSI0908]");
    }
}

#[test]
fn a_site_adds_its_own_documents_to_those_of_the_bundle() {
    let desk = BundleDesk::new();
    let bundle = desk.file("site.vsiflow");
    desk.create(&desk.web().on("lab").to_string(), "site.vsiflow", &[])
        .exits(0);
    desk.server
        .answers("guest.qcow2", Answer::Status("503 Service Unavailable"));
    let site = Vsiflow::of_documents();
    let own = site.write(
        "own.yaml",
        "apiVersion: v1\nkind: ConfigMap\n\
        metadata: {name: host, labels: {config: lab}}\ndata: {HOSTNAME: 'sim:'}\n",
    );
    let own = own.display().to_string();
    let words = [
        "bundle",
        "apply",
        &bundle,
        "--insecure-skip-signature",
        "-f",
        &own,
        "--wait",
    ];
    site.run(&words).exits(0);
    assert_eq!(site.phase("web"), "Running");
}

#[test]
fn a_connection_that_is_cut_is_gone_on_with() {
    let desk = BundleDesk::new();
    desk.server.answers(
        "guest.qcow2",
        Answer::CutAfter(desk.image.clone(), LENGTH / 2),
    );
    let words = desk.command(&desk.web().to_string(), "site.vsiflow", &[]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut running = desk.vsiflow.start(&words);
    assert!(running.reaches("trying again", DEADLINE_S));
    desk.server
        .answers("guest.qcow2", Answer::Ranged(desk.image.clone(), TAG));
    running.end(DEADLINE_S).exits(0);
    let shown = desk
        .vsiflow
        .run(&["bundle", "show", &desk.file("site.vsiflow"), "-o", "json"]);
    let shown = shown.exits(0).json();
    let sha256 = shown["images"][0]["sha256"].as_str().unwrap();
    assert!(server::checksum(&desk.image).ends_with(sha256));
}

#[test]
fn an_upload_from_a_bundle_resumes_after_a_kill() {
    let carried = BundleDesk::new().carried();
    let running = carried.start(&["--upload-limit", "100Ki", "--wait"]);
    carried.has_a_part();
    running.kill();
    carried.site.run(&["resume", "--timeout", "60s"]).exits(0);
    carried.is_whole();
}

#[test]
fn a_daemon_reads_from_the_bundle_and_says_where_it_was_once_it_is_gone() {
    let carried = BundleDesk::new().carried();
    let daemon = carried.site.serve(&[]);
    carried.apply(&["--wait"]).exits(0);
    daemon.terminate();
    daemon.end(DEADLINE_S).exits(0);
    carried.is_whole();
    let other = Carried {
        site: Vsiflow::simulated(),
        bundle: carried.changed("moved", |_| {}),
        ..carried
    };
    let running = other.start(&["--upload-limit", "100Ki", "--wait"]);
    other.has_a_part();
    running.kill();
    std::fs::remove_file(&other.bundle).unwrap();
    other.site.run(&["resume", "--timeout", "5s"]).exits(5);
    let failure = history::failure(&other.site.history("web"), "VSI0301");
    assert!(failure.message.contains("the bundle"), "{failure:?}");
}

#[test]
fn what_is_there_already_is_not_made_anew_for_a_checksum() {
    let desk = BundleDesk::new();
    let site = Vsiflow::simulated();
    site.apply(desk.web(), &["--wait"]).exits(0);
    let before = site.sim().domains().len();
    desk.create(&desk.web().to_string(), "site.vsiflow", &[])
        .exits(0);
    let bundle = desk.file("site.vsiflow");
    site.run(&[
        "bundle",
        "apply",
        &bundle,
        "--insecure-skip-signature",
        "--wait",
    ])
    .exits(0)
    .says("vsi/web unchanged");
    assert_eq!(site.sim().domains().len(), before);
}

#[test]
fn a_bundle_that_lacks_an_image_of_its_documents_is_refused() {
    let desk = BundleDesk::new();
    desk.create(&desk.web().to_string(), "site.vsiflow", &[])
        .exits(0);
    // A forgery by an attacker who knows the format: another URL, and a seal that matches.
    let forged: PathBuf = desk.vsiflow.folder().join("forged");
    let bytes = std::fs::read(desk.file("site.vsiflow")).unwrap();
    std::fs::write(&forged, relabelled(bytes)).unwrap();
    let site = Vsiflow::simulated();
    let forged = forged.display().to_string();
    site.run(&["bundle", "apply", &forged, "--insecure-skip-signature"])
        .exits(1)
        .says("error[VSI0326]");
}

/// The bundle with another URL in its manifest, and a seal that matches.
fn relabelled(mut bytes: Vec<u8>) -> Vec<u8> {
    let start = position(&bytes, b"{\n  \"documents\"");
    let end = start + position(&bytes[start..], b"\n}\n") + 3;
    let url = start + position(&bytes[start..], b"guest.qcow2");
    bytes[url] = b'x';
    let digits = server::checksum(&bytes[start..end]);
    let digits = digits.trim_start_matches("sha256:");
    let seal = end + position(&bytes[end..], b"v1 sha256=") + 10;
    bytes[seal..seal + 64].copy_from_slice(digits.as_bytes());
    bytes
}
