//! Which documents and images a bundle contains: secrets only on request, images that a host could use, and
//! the images of every kind of document.

use std::path::Path;

use vsiflow_tests::{Answer, DiskDocument, Server, Vsiflow, server};

use super::{BundleDesk, LENGTH, TAG};

/// A Secret and a `ConfigMap` of the site, and one document with a password in the wrong place.
const SITE: &str = "\
---
apiVersion: v1
kind: ConfigMap
metadata: {name: host, labels: {config: lab}}
data: {HOSTNAME: 'sim:'}
---
apiVersion: v1
kind: Secret
metadata: {name: key, labels: {config: lab}}
stringData: {KEY: TOPSECRET}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old, labels: {config: old}}
data: {HOSTNAME: h, KEY: TOPSECRET}
";

fn holds(path: &str, text: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[test]
fn secrets_are_packed_only_where_somebody_insists() {
    let desk = BundleDesk::new();
    let all = format!("{}{SITE}", desk.web());
    desk.create(&all, "plain", &[])
        .exits(0)
        .says("Secret default/key is not packed")
        .says("ConfigMap default/old is not packed")
        .says("its contract or user-data is packed unencrypted");
    let plain = desk.file("plain");
    assert!(!holds(&plain, "TOPSECRET") && holds(&plain, "name: host"));
    let ran = desk.vsiflow.run(&["bundle", "show", &plain]);
    ran.exits(0).says("left out  Secret default/key");
    desk.create(&all, "secret", &["--include-secrets"])
        .exits(0)
        .says("Secret default/key is packed unencrypted");
    assert!(holds(&desk.file("secret"), "TOPSECRET"));
    let list = "apiVersion: v1\nkind: List\nitems:\n\
        - {apiVersion: v1, kind: Secret, metadata: {name: a, labels: {config: x}}, stringData: {KEY: TOPSECRET}}\n\
        - {apiVersion: v1, kind: ConfigMap, metadata: {name: b, labels: {config: x}}, data: {HOSTNAME: h}}\n";
    let mixed = format!("{}---\n{list}", desk.web());
    desk.create(&mixed, "mixed", &[])
        .exits(2)
        .says("error[VSI0327]")
        .keeps_quiet_about("TOPSECRET");
    let query = desk.web().image(format!(
        "{}?token=TOPSECRET",
        desk.server.url("guest.qcow2")
    ));
    desk.create(&query.to_string(), "query", &[])
        .exits(2)
        .says("error[VSI0327]")
        .keeps_quiet_about("TOPSECRET");
    for name in ["mixed", "query"] {
        assert!(!Path::new(&desk.file(name)).exists());
    }
}

#[test]
fn an_image_that_no_host_could_use_is_not_packed() {
    let desk = BundleDesk::new();
    let image = &desk.image;
    for (answer, code) in [
        (Answer::Page("<html>"), "VSI0304"),
        (Answer::Status("404 Not Found"), "VSI0302"),
        (Answer::Status("403 Forbidden"), "VSI0303"),
        (Answer::Image(vec![b'a'; 4096]), "VSI0306"),
    ] {
        desk.server.answers("guest.qcow2", answer);
        let error = format!("error[{code}]");
        desk.create(&desk.web().to_string(), "none", &[])
            .exits(1)
            .says(&error);
    }
    desk.server
        .answers("guest.qcow2", Answer::Image(image.clone()));
    let other = format!("sha256:{}", "a".repeat(64));
    desk.create(&desk.web().checksum(&other).to_string(), "none", &[])
        .exits(1)
        .says("error[VSI0305]");
    let left = std::fs::read_dir(desk.vsiflow.folder()).unwrap();
    let left = left.filter(|file| {
        file.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("none")
    });
    assert_eq!(left.count(), 0);
}

/// A VSI pool, a group and a data disk, each with its own image.
fn all_kinds(server: &Server) -> String {
    let guest = "guest: {type: none}, machine: {cpus: 1, memory: 512Mi}";
    let meta = |kind: &str, name: &str| {
        format!("apiVersion: vsiflow.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    };
    let pool = format!(
        "{}spec:\n  replicas: 2\n  template: {{spec: {{imageURL: '{}', {guest}}}}}\n",
        meta("VirtualServerPool", "pool"),
        server.url("pool.qcow2"),
    );
    let group = format!(
        "{}spec:\n  release: {{node: {{image: '{}'}}}}\n  waves:\n  - name: first\n    members:\n    - name: node\n      \
         template: {{spec: {{imageURL: $(group.release.node.image), {guest}}}}}\n",
        meta("VirtualServerGroup", "group"),
        server.url("group.qcow2"),
    );
    let source = format!("source: {{imageURL: '{}'}}", server.url("disk.qcow2"));
    let disk = DiskDocument::named("data").size("4Gi").with(&source);
    format!("{pool}---\n{group}---\n{disk}")
}

const KINDS: [&str; 3] = ["pool.qcow2", "group.qcow2", "disk.qcow2"];

fn answer(server: &Server, there: bool) {
    for (number, name) in KINDS.into_iter().enumerate() {
        let answer = if there {
            Answer::Ranged(server::image(LENGTH + 512 * number), TAG)
        } else {
            Answer::Status("503 Service Unavailable")
        };
        server.answers(name, answer);
    }
}

#[test]
fn every_image_that_a_document_may_name_is_carried() {
    let desk = BundleDesk::new();
    answer(&desk.server, true);
    let documents = all_kinds(&desk.server);
    desk.create(&documents, "site.vsiflow", &[])
        .exits(0)
        .says("3 images");
    let bundle = desk.file("site.vsiflow");
    answer(&desk.server, false);
    let requests = KINDS.map(|name| desk.server.requests(name));
    let site = Vsiflow::simulated();
    let words = [
        "bundle",
        "apply",
        &bundle,
        "--insecure-skip-signature",
        "--wait",
        "--timeout",
        "60s",
    ];
    site.run(&words).exits(0);
    assert_eq!(site.image_phases(), ["Ready", "Ready", "Ready"]);
    assert_eq!(site.sim().domains().len(), 3);
    assert_eq!(KINDS.map(|name| desk.server.requests(name)), requests);
    // VSIs that were made without a bundle keep their disks when the bundle is applied.
    answer(&desk.server, true);
    let online = Vsiflow::simulated();
    online
        .apply(&documents, &["--wait", "--timeout", "60s"])
        .exits(0);
    let shown = online.run(&words).exits(0);
    for object in ["pool/pool", "group/group"] {
        assert!(
            shown.stdout.contains(&format!("{object} unchanged")),
            "{shown:?}"
        );
    }
}
