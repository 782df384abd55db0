//! What people read when something is wrong. Each message names the place, what is wrong, and
//! what to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use vsiflow_file::{Diagnostics, load_text};

const HEAD: &str = "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPrem\n\
                    metadata:\n  name: onpremsample\n";

/// Reads and resolves; something must be wrong.
fn wrong(text: &str) -> Diagnostics {
    match load_text("vsi.yaml", text.as_bytes()) {
        Err(diagnostics) => diagnostics,
        Ok(loaded) => loaded.resolve(None).expect_err("nothing is wrong"),
    }
}

fn message(text: &str) -> String {
    let message = wrong(text).to_string();
    assert!(!message.contains("SECRET"), "{message}");
    message
}

/// What keeps nothing from being done.
fn warnings(text: &str) -> String {
    let loaded = load_text("vsi.yaml", text.as_bytes()).unwrap();
    let resolved = loaded.resolve(None).unwrap();
    let message = Diagnostics(loaded.warn_of(&resolved.unresolved_refs)).to_string();
    assert!(!message.contains("SECRET"), "{message}");
    message
}

fn vsi(spec: &str) -> String {
    format!("{HEAD}spec:\n  contract: SECRET\n  imageURL: http://a.example/b.qcow2\n{spec}")
}

#[test]
fn unknown_field() {
    insta::assert_snapshot!(message(&format!(
        "{HEAD}spec:\n  contract: SECRET\n  imageUrl: http://a.example/b.qcow2\n"
    )));
}

#[test]
fn wrong_type() {
    insta::assert_snapshot!(message(&vsi(
        "  machine:\n    cpus: two\n    memory: 4GB\n"
    )));
}

#[test]
fn wrong_word() {
    insta::assert_snapshot!(message(&vsi("  powerState: Runing\n")));
}

#[test]
fn missing_fields() {
    insta::assert_snapshot!(message(&format!("{HEAD}spec:\n  storagePool: images\n")));
}

#[test]
fn value_instead_of_values() {
    insta::assert_snapshot!(message(&vsi(
        "  targetSelector:\n    matchExpressions:\n    - key: app\n      operator: In\n      \
         value: [hpcr]\n"
    )));
}

#[test]
fn not_yaml() {
    insta::assert_snapshot!(message("kind: ConfigMap\napiVersion: v1\n  metadata: x\n"));
}

#[test]
fn not_yaml_within_a_contract() {
    insta::assert_snapshot!(message(&format!(
        "{HEAD}spec:\n  contract: |\n    env: SECRET\n   workload: SECRET\n"
    )));
}

#[test]
fn a_contract_that_is_no_text() {
    insta::assert_snapshot!(message(&format!(
        "{HEAD}spec:\n  imageURL: http://a.example/b.qcow2\n  contract:\n    env: SECRET\n"
    )));
}

#[test]
fn a_number_where_text_belongs() {
    insta::assert_snapshot!(message(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: lpar1\ndata:\n  HOSTNAME: lpar1\n  \
         PORT: 22\n  KEY: |\n    SECRET\n"
    ));
}

#[test]
fn unknown_kind_and_wrong_version() {
    insta::assert_snapshot!(message(
        "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDsk\n---\n\
         apiVersion: v1\nkind: HyperProtectContainerRuntimeOnPrem\n---\n\
         apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeVPC\n---\n- a\n---\n\
         kind: Secret\n"
    ));
}

#[test]
fn selectors_that_match_nothing() {
    insta::assert_snapshot!(warnings(&format!(
        "{}---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: lpar1\n  labels:\n    \
         app: onpremtest\n",
        vsi(
            "  targetSelector:\n    matchLabels:\n      app: onpremtst\n  diskSelector:\n    \
             matchLabels:\n      app: hpcr\n"
        )
    )));
}

#[test]
fn the_same_object_twice() {
    let selector = "  targetSelector:\n    matchLabels: {}\n";
    let host = "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: lpar1\ndata:\n  \
                HOSTNAME: lpar1\n  KNOWN_HOSTS: lpar1 ssh-ed25519 AAAA\n";
    insta::assert_snapshot!(message(&format!("{0}---\n{0}{host}", vsi(selector))));
}

#[test]
fn the_same_field_twice() {
    insta::assert_snapshot!(message(&vsi("  storagePool: a\n  storagePool: b\n")));
}

#[test]
fn host_settings_that_cannot_be_used() {
    let host = "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: lpar1\ndata:\n  \
                HOSTNAME: ''\n---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: lpar1\n\
                stringData:\n  KEY: SECRET\n";
    insta::assert_snapshot!(message(&format!("{}{host}", vsi("  targetSelector: {}\n"))));
}

#[test]
fn a_bad_secret_shows_nothing_of_it() {
    insta::assert_snapshot!(message(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: lpar1\ndata:\n  KEY: SECRET!\n"
    ));
}

#[test]
fn nothing_to_apply() {
    insta::assert_snapshot!(message("# nothing\n"));
}

#[test]
fn a_url_with_a_password() {
    insta::assert_snapshot!(message(&format!(
        "{HEAD}spec:\n  contract: a\n  imageURL: ftp://me:SECRET@a.example/b.qcow2\n"
    )));
}

#[test]
fn as_json() {
    insta::assert_json_snapshot!(wrong(&vsi("  powerState: Runing\n")));
}
