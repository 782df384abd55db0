//! The state directory of an older version: upgrading changes nothing on a host.

use std::process::Command;

use vsiflow_tests::Vsiflow;

const OLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/journals/older");

/// A state directory of an older version, with its simulated host. The bytes of its base image are
/// omitted. Its journal was a database then, so it is imported from an export.
fn older_directory() -> (Vsiflow, String) {
    let vsiflow = Vsiflow::simulated();
    let older = vsiflow.folder().join("older");
    std::fs::create_dir(&older).unwrap();
    let unpacked = Command::new("tar")
        .args(["-xzf", &format!("{OLDER}/state.tar.gz"), "-C"])
        .arg(&older)
        .status();
    assert!(unpacked.unwrap().success());
    let export = format!("{OLDER}/export.jsonl");
    vsiflow.run(&["audit", "rebuild", &export]).exits(0);
    for part in ["sim", "secrets"] {
        let (from, to) = (older.join("state").join(part), vsiflow.state().join(part));
        let _ = std::fs::remove_dir_all(&to);
        std::fs::rename(from, to).unwrap();
    }
    (vsiflow, format!("{OLDER}/documents.yaml"))
}

#[test]
fn a_state_directory_of_the_older_format_is_refused_with_the_way_out() {
    let vsiflow = Vsiflow::simulated();
    let unpacked = Command::new("tar")
        .args(["-xzf", &format!("{OLDER}/state.tar.gz"), "-C"])
        .arg(vsiflow.folder())
        .status();
    assert!(unpacked.unwrap().success());
    let refused = vsiflow.run(&["get"]);
    refused.exits(1).says("VSI0017").says("audit rebuild");
}

#[test]
fn a_journal_and_a_host_of_an_older_version_give_an_empty_plan() {
    let (vsiflow, documents) = older_directory();
    let plan = vsiflow
        .run(&["plan", "-f", &documents, "-o", "json"])
        .exits(0);
    let items = plan.json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 3, "{items:#}");
    for item in items.as_array().unwrap() {
        assert_eq!(
            (&item["action"], &item["changes"]),
            (&"none".into(), &serde_json::json!([]))
        );
    }
    let before = vsiflow.history("older");
    vsiflow
        .run(&["apply", "-f", &documents])
        .exits(0)
        .says("vsi/older unchanged")
        .says("vsi/plain unchanged")
        .says("disk/older-data unchanged");
    assert_eq!(vsiflow.history("older").len(), before.len());
}

#[test]
fn a_host_of_an_older_version_shows_no_drift() {
    let (vsiflow, _) = older_directory();
    let listed = vsiflow.run(&["get", "--refresh"]).exits(0);
    assert_eq!(listed.stdout.matches("Running").count(), 2, "{listed:#?}");
    let conditions = vsiflow.vsi("older")["status"]["conditions"].to_string();
    assert!(!conditions.contains("Drift"), "{conditions}");
}
