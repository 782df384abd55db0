//! Quotas of namespaces: growth beyond them is refused before anything is made, and nothing else.

use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, Vsiflow};

fn quota(hard: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {{name: team}}\nspec: {{hard: {hard}}}\n---\n"
    )
}

fn server(name: &str, cpus: u32, more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  machine: {{cpus: {cpus}, memory: 512Mi}}\n{more}---\n"
    )
}

fn pool(replicas: u32) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n  \
         template:\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 512Mi}}\n---\n"
    )
}

fn group(replicas: u32) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: grp}}\nspec:\n  waves:\n  \
         - name: all\n    pools:\n    - name: web\n      replicas: {replicas}\n      template:\n        spec:\n          \
         imageURL: {SIMULATED_IMAGE}\n          guest: {{type: none}}\n          machine: {{cpus: 1, memory: 512Mi}}\n---\n"
    )
}

fn used(vsiflow: &Vsiflow) -> Value {
    let shown = vsiflow.run(&["get", "quota", "team", "-o", "json"]);
    shown.exits(0).json()["status"]["used"].clone()
}

fn events(vsiflow: &Vsiflow) -> usize {
    let events = vsiflow.run(&["events", "-o", "json"]).exits(0);
    events.stdout.lines().count()
}

#[test]
fn what_exceeds_a_quota_is_refused_before_anything_is_recorded() {
    let vsiflow = Vsiflow::simulated();
    let limits = quota("{vsis: 2, cpus: 3, memory: 2Gi}");
    vsiflow
        .apply(&(limits + &server("a", 2, "")), &["--wait"])
        .exits(0)
        .says("quota/team created");
    assert_eq!(used(&vsiflow)["cpus"], "2");
    let before = events(&vsiflow);
    for more in [&["--dry-run"][..], &[]] {
        vsiflow
            .apply(server("b", 2, ""), more)
            .exits(4)
            .says("VSI0738")
            .says("cpus: 2 used, 2 more asked for, 3 allowed");
    }
    vsiflow
        .apply(&(server("b", 1, "") + &server("c", 1, "")), &[])
        .exits(4)
        .says("vsis: 1 used, 2 more asked for, 2 allowed");
    // A larger machine for an existing VSI.
    vsiflow
        .apply(server("a", 4, ""), &[])
        .exits(4)
        .says("cpus: 2 used, 2 more asked for, 3 allowed");
    vsiflow
        .run(&[
            "create",
            "d",
            "e",
            "--image",
            SIMULATED_IMAGE,
            "--cpus",
            "1",
        ])
        .exits(4)
        .says("VSI0738");
    assert_eq!(events(&vsiflow), before, "nothing is recorded");
    vsiflow.apply(server("b", 1, ""), &["--wait"]).exits(0);
    // A deleted VSI makes room.
    vsiflow.run(&["delete", "b", "--wait"]).exits(0);
    vsiflow.apply(server("c", 1, ""), &[]).exits(0);
    // Another namespace has no quota.
    let elsewhere = server("d", 8, "").replace("{name: d}", "{name: d, namespace: other}");
    vsiflow.apply(&elsewhere, &[]).exits(0);
}

#[test]
fn a_lower_quota_changes_nothing_that_runs_and_refuses_growth_alone() {
    let vsiflow = Vsiflow::simulated();
    let both = server("a", 2, "") + &server("b", 2, "");
    vsiflow.apply(&both, &["--wait"]).exits(0);
    vsiflow
        .apply(quota("{vsis: 1, cpus: 1}"), &[])
        .exits(0)
        .says("quota/team created");
    let shown = vsiflow.run(&["get", "quotas"]).exits(0);
    assert!(shown.stdout.contains("2/1"), "{}", shown.stdout);
    assert!(shown.stdout.contains("4/1"), "{}", shown.stdout);
    let described = vsiflow.run(&["describe", "quota/team"]).exits(0);
    let lines: Vec<_> = described.stdout.lines().map(str::trim).collect();
    let cells = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(
        lines
            .iter()
            .any(|line| cells(line) == ["Resource", "Used", "Hard"])
    );
    assert!(lines.iter().any(|line| cells(line) == ["cpus", "4", "1"]));
    assert_eq!(vsiflow.phase("a"), "Running");
    // A VSI that stays the same, restarts or shrinks is permitted.
    vsiflow.apply(&both, &[]).exits(0).says("a unchanged");
    vsiflow
        .run(&["restart", "a", "--wait", "--grace-period", "1s"])
        .exits(0);
    vsiflow
        .apply(server("a", 1, ""), &[])
        .exits(0)
        .says("a configured");
    vsiflow
        .apply(server("a", 2, ""), &[])
        .exits(4)
        .says("VSI0738");
    // Without the quota it is permitted again.
    vsiflow
        .run(&["delete", "quota/team"])
        .exits(0)
        .says("quota/team deleted");
    vsiflow.run(&["get", "quota", "team"]).exits(3);
    vsiflow.apply(server("a", 2, ""), &[]).exits(0);
    vsiflow.run(&["delete", "quota", "team"]).exits(3);
}

#[test]
fn pools_and_groups_count_with_all_members_that_they_may_have() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(quota("{vsis: 3}"), &[]).exits(0);
    vsiflow
        .apply(pool(4), &[])
        .exits(4)
        .says("vsis: 0 used, 4 more asked for, 3 allowed");
    vsiflow.apply(pool(2), &["--wait"]).exits(0);
    assert_eq!(used(&vsiflow)["vsis"], "2");
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "4"])
        .exits(4)
        .says("VSI0738")
        .says("vsis: 2 used, 2 more asked for, 3 allowed");
    vsiflow
        .apply(group(2), &[])
        .exits(4)
        .says("vsis: 2 used, 2 more asked for, 3 allowed");
    vsiflow.apply(group(1), &["--wait"]).exits(0);
    assert_eq!(used(&vsiflow)["vsis"], "3");
    vsiflow
        .run(&["scale", "group/grp", "--pool", "web", "--replicas", "2"])
        .exits(4)
        .says("VSI0738");
    // Recreating a member is not growth.
    vsiflow.apply(quota("{vsis: 1}"), &[]).exits(0);
    vsiflow.run(&["delete", "web-1", "--wait"]).exits(0);
    vsiflow
        .run(&[
            "wait",
            "pool/web",
            "--for=condition=Available",
            "--timeout",
            "60s",
        ])
        .exits(0);
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "1", "--wait"])
        .exits(0);
    assert_eq!(used(&vsiflow)["vsis"], "2");
}

#[test]
fn with_a_limit_of_disks_a_new_server_says_how_large_its_boot_disk_is() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server("old", 1, ""), &["--wait"]).exits(0);
    vsiflow.apply(quota("{disk: 200Gi}"), &[]).exits(0);
    // An existing VSI needs no size.
    vsiflow.apply(server("old", 2, ""), &[]).exits(0);
    vsiflow
        .apply(server("a", 1, ""), &[])
        .exits(4)
        .says("VSI0739")
        .says("bootDisk.size");
    let sized = |size: &str| server("a", 1, &format!("  bootDisk: {{size: {size}}}\n"));
    vsiflow
        .apply(sized("300Gi"), &[])
        .exits(4)
        .says("disk: 0 used, 300Gi more asked for, 200Gi allowed");
    vsiflow.apply(sized("150Gi"), &[]).exits(0);
    let disk = "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDisk\n\
                metadata: {name: data}\nspec: {size: 60Gi}\n---\n";
    vsiflow
        .apply(disk, &[])
        .exits(4)
        .says("disk: 150Gi used, 60Gi more asked for, 200Gi allowed");
    // Its size cannot be removed later either.
    vsiflow
        .apply(server("a", 1, ""), &[])
        .exits(4)
        .says("VSI0739");
}

#[test]
fn quotas_that_cannot_be_are_refused_and_explained() {
    let vsiflow = Vsiflow::simulated();
    for (wrong, said) in [
        ("{vsis: -1}", "vsis"),
        ("{memory: much}", "memory"),
        ("{pods: 3}", "pods"),
        ("{}", "it limits nothing"),
    ] {
        vsiflow.apply(quota(wrong), &[]).exits(2).says(said);
    }
    let twice = quota("{vsis: 1}") + &quota("{vsis: 2}");
    vsiflow.apply(&twice, &[]).exits(2).says("occurs twice");
    vsiflow
        .run(&["explain", "quota.spec.hard"])
        .exits(0)
        .says("vsis")
        .says("bootDisk.size");
    vsiflow.run(&["describe", "quota/none"]).exits(3);
}

#[test]
fn what_is_adopted_counts_and_is_not_refused() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server("a", 2, ""), &["--wait"]).exits(0);
    let uid = vsiflow.vsi("a")["metadata"]["uid"].clone();
    vsiflow.apply(quota("{vsis: 1, cpus: 1}"), &[]).exits(0);
    vsiflow.run(&["delete", "a", "--orphan", "--wait"]).exits(0);
    assert_eq!(used(&vsiflow)["vsis"], "0");
    vsiflow.run(&["adopt", uid.as_str().unwrap()]).exits(0);
    assert_eq!(used(&vsiflow)["vsis"], "1");
    assert_eq!(used(&vsiflow)["cpus"], "2");
    vsiflow
        .apply(server("b", 1, ""), &[])
        .exits(4)
        .says("vsis: 1 used, 1 more asked for, 1 allowed");
}

/// A VSI whose desired state does not fit into an event, so it is stored as a blob.
fn heavy(cpus: u32) -> String {
    let padding = "x".repeat(6_000);
    let guest = format!("{{type: cloudInit, networkConfig: 'version: 2 # {padding}'}}");
    server("heavy", cpus, "").replace("{type: none}", &guest)
}

/// Moves the newest record of a VSI away; returns the path where it belongs.
fn lose_record(vsiflow: &Vsiflow, name: &str, cpus: u32) -> std::path::PathBuf {
    let files = std::fs::read_dir(vsiflow.state().join("blobs")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let found = files.find(|path| {
        let content = std::fs::read(path).unwrap();
        let content: Value = serde_json::from_slice(&content).unwrap_or_default();
        let vsi = &content["vsi"];
        vsi["name"] == name && vsi["machine"]["cpus"] == cpus
    });
    let found = found.expect("the desired state is in a blob");
    std::fs::rename(&found, vsiflow.folder().join("lost")).unwrap();
    found
}

#[test]
fn what_cannot_be_read_counts_as_before_or_holds_growth_up() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(heavy(2), &["--wait"]).exits(0);
    vsiflow.apply(quota("{vsis: 2, cpus: 9}"), &[]).exits(0);
    let blob = lose_record(&vsiflow, "heavy", 2);
    vsiflow
        .apply(server("b", 1, ""), &[])
        .exits(4)
        .says("VSI0748");
    let elsewhere = server("b", 1, "").replace("{name: b}", "{name: b, namespace: other}");
    vsiflow.apply(&elsewhere, &[]).exits(0);

    // The previous record is counted instead.
    std::fs::rename(vsiflow.folder().join("lost"), &blob).unwrap();
    vsiflow.apply(heavy(4), &["--wait"]).exits(0);
    lose_record(&vsiflow, "heavy", 4);
    assert_eq!(used(&vsiflow)["cpus"], "2");
    vsiflow.apply(server("b", 1, ""), &["--wait"]).exits(0);
    vsiflow
        .apply(server("c", 1, ""), &[])
        .exits(4)
        .says("vsis: 2 used, 1 more asked for, 2 allowed");
}

#[test]
fn a_clone_that_a_quota_refuses_leaves_no_copy() {
    let vsiflow = Vsiflow::simulated();
    let documents = quota("{vsis: 1}") + &server("a", 1, "  powerState: Stopped\n");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    vsiflow.run(&["clone", "a", "b"]).exits(4).says("VSI0738");
    let left = vsiflow.run(&["get", "snapshots", "-o", "name"]).exits(0);
    assert_eq!(left.stdout, "");
}
