//! Backups: taken while vsiflow runs, restored, and confirmed.

use std::fs;

use age::secrecy::ExposeSecret as _;
use vsiflow_tests::{SIMULATED_IMAGE, Vsi, Vsiflow};

#[test]
fn a_backup_taken_while_another_process_works_is_restored_and_acts_once_confirmed() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("one"), &[]).exits(0);
    let mut busy = vsiflow.start_apply(Vsi::named("two").doing("lab-hang"), &["--wait"]);
    assert!(busy.reaches("start_domain", 30), "it ended early");
    vsiflow
        .run(&["backup", "kept.backup"])
        .exits(0)
        .says("holds secrets in plain");
    vsiflow
        .run(&["backup", "kept.backup"])
        .exits(1)
        .says("VSI0908");
    busy.kill();

    // The simulated host remains; the rest of the state directory is lost.
    let state = vsiflow.state();
    let sim = vsiflow.folder().join("sim-kept");
    fs::rename(state.join("sim"), &sim).unwrap();
    fs::remove_dir_all(&state).unwrap();
    vsiflow
        .run(&["restore", "kept.backup"])
        .exits(0)
        .says("incarnation 2");
    fs::rename(&sim, state.join("sim")).unwrap();
    let before = vsiflow.sim();

    vsiflow.run(&["get", "one"]).exits(0).says("Running");
    for command in [
        &["delete", "one", "--wait"][..],
        &["resume", "--all"],
        &["cancel", "two"],
        &["retry", "two"],
    ] {
        vsiflow.run(command).exits(4).says("VSI0008");
    }
    vsiflow
        .apply(Vsi::named("three"), &[])
        .exits(4)
        .says("restore --confirm");
    assert_eq!(vsiflow.sim().volumes(), before.volumes());

    vsiflow.run(&["restore", "--confirm"]).exits(0);
    vsiflow
        .run(&["restore", "--confirm"])
        .exits(0)
        .says("already");
    vsiflow.run(&["delete", "one", "--wait"]).exits(0);
    vsiflow.run(&["audit", "verify"]).exits(0);
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

/// A key pair of age: the public key, and the text of the identity file.
fn key_pair() -> (String, String) {
    let key = age::x25519::Identity::generate();
    let file = format!("# public\n{}\n", key.to_string().expose_secret());
    (key.to_public().to_string(), file)
}

#[test]
fn a_backup_for_a_key_is_read_with_that_key_alone() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("one"), &[]).exits(0);
    let ((public, key), (_, other)) = (key_pair(), key_pair());
    vsiflow
        .run(&["backup", "sealed", "--recipient", &public])
        .exits(0)
        .keeps_quiet_about("plain");
    vsiflow
        .run(&["backup", "x", "--recipient", "age1nonsense"])
        .exits(2)
        .says("VSI0909");
    let sealed = vsiflow.folder().join("sealed");
    let bytes = fs::read(&sealed).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("age-encryption.org/v1") && !text.contains("workload"));

    let elsewhere = Vsiflow::simulated();
    elsewhere.write("key", &key);
    elsewhere.write("other", &other);
    let sealed = sealed.to_str().unwrap();
    elsewhere
        .run(&["restore", sealed])
        .exits(1)
        .says("needs its identity");
    elsewhere
        .run(&["restore", sealed, "--identity", "other"])
        .exits(2)
        .says("VSI0909");
    elsewhere
        .run(&["restore", sealed, "--identity", "key"])
        .exits(0);
    elsewhere.run(&["get"]).exits(0).says("one");
}

/// A server on the simulated host of this name.
fn server_on(host: &str, name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {host}\n  labels: {{host: {host}}}\n\
         data:\n  HOSTNAME: sim:{host}\n---\n\
         apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  \
         targetSelector: {{matchLabels: {{host: {host}}}}}\n---\n"
    )
}

/// Restores the journal from `kept.backup`, while the hosts stay as they are.
fn restore_kept(vsiflow: &Vsiflow) {
    let state = vsiflow.state();
    let sim = vsiflow.folder().join("sim-kept");
    fs::rename(state.join("sim"), &sim).unwrap();
    fs::remove_dir_all(&state).unwrap();
    vsiflow.run(&["restore", "kept.backup"]).exits(0);
    fs::rename(&sim, state.join("sim")).unwrap();
    vsiflow.run(&["restore", "--confirm"]).exits(0);
}

#[test]
fn a_restored_journal_makes_no_server_a_second_time_that_its_own_host_has() {
    let vsiflow = Vsiflow::of_documents();
    vsiflow.apply(server_on("a", "one"), &["--wait"]).exits(0);
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.apply(server_on("a", "web"), &["--wait"]).exits(0);
    restore_kept(&vsiflow);
    let before = vsiflow.sim_of("a");
    vsiflow
        .apply(server_on("a", "web"), &["--wait"])
        .exits(4)
        .says("VSI0211");
    let after = vsiflow.sim_of("a");
    assert_eq!(after.domains(), before.domains());
    assert_eq!(after.volumes(), before.volumes());
    // Once the journal knows it, it is the server of that name.
    vsiflow.run(&["delete", "web", "--orphan"]).exits(0);
    vsiflow.run(&["adopt", "default/web"]).exits(0);
    vsiflow.apply(server_on("a", "web"), &["--wait"]).exits(0);
    assert_eq!(vsiflow.sim_of("a").domains(), before.domains());
}

#[test]
fn a_restored_journal_rebuilds_no_server_that_was_made_anew_since() {
    for newer_host in ["a", "b"] {
        let vsiflow = Vsiflow::of_documents();
        for (host, name) in [("a", "web"), ("b", "other")] {
            vsiflow.apply(server_on(host, name), &["--wait"]).exits(0);
        }
        vsiflow.run(&["backup", "kept.backup"]).exits(0);
        vsiflow.run(&["delete", "web", "--yes", "--wait"]).exits(0);
        vsiflow
            .apply(server_on(newer_host, "web"), &["--wait"])
            .exits(0);
        restore_kept(&vsiflow);
        let before = ["a", "b"].map(|host| vsiflow.sim_of(host));
        vsiflow
            .run(&["rebuild", "web", "--yes", "--wait"])
            .exits(4)
            .says("VSI0211");
        for (host, sim) in ["a", "b"].iter().zip(&before) {
            assert_eq!(vsiflow.sim_of(host).domains(), sim.domains());
        }
    }
}

#[test]
fn a_restored_journal_makes_no_server_a_second_time_that_another_host_has() {
    let vsiflow = Vsiflow::of_documents();
    for (host, name) in [("a", "one"), ("b", "two")] {
        vsiflow.apply(server_on(host, name), &["--wait"]).exits(0);
    }
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.apply(server_on("b", "web"), &["--wait"]).exits(0);
    restore_kept(&vsiflow);
    vsiflow
        .apply(server_on("a", "web"), &["--wait"])
        .exits(4)
        .says("VSI0211");
    assert!(!vsiflow.sim_of("a").domains().contains(&"default/web"));
    assert!(vsiflow.sim_of("b").domains().contains(&"default/web"));
    // A server that no host has is made.
    vsiflow.apply(server_on("a", "new"), &["--wait"]).exits(0);
}
