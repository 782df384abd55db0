//! Snapshots and snapshot schedules as custom resources, on a real API server.

use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, TestCluster, Vsiflow};

fn server(name: &str, policy: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n{policy}---\n"
    )
}

fn snapshot(name: &str, of: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerSnapshot\nmetadata: {{name: {name}}}\nspec: \
         {{virtualServer: {of}}}\n---\n"
    )
}

fn copies(vsiflow: &Vsiflow) -> usize {
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    let copies = volumes.iter().filter(|name| name.starts_with("snapshot-"));
    copies.count()
}

fn reason(cluster: &TestCluster, what: &str, condition: &str) -> String {
    let object = cluster.get(what);
    let all = object["status"]["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    let found = all.find(|one| one["type"] == condition);
    let reason = found.map(|one| one["reason"].clone()).unwrap_or_default();
    reason.as_str().unwrap_or_default().to_owned()
}

#[test]
fn kube_a_snapshot_is_taken_once_its_server_is_made_and_goes_with_its_resource() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(snapshot("none", "nobody"));
    cluster.apply(format!("{}{}", snapshot("first", "web"), server("web", "")));
    cluster.wait_ready("vssnap/first");
    assert_eq!(copies(&vsiflow), 1);
    let table = cluster.kubectl(&["get", "vssnap"]).exits(0).stdout;
    assert!(
        table.contains("first") && table.contains("Ready"),
        "{table}"
    );
    let taken = cluster.get("vssnap/first");
    assert_eq!(taken["status"]["phase"], "Ready");
    assert!(taken["status"]["size"].is_string(), "{taken}");
    // The snapshot has the UID that the API server assigned.
    let own = vsiflow.run(&["get", "snapshots", "-A", "-o", "json"]);
    let own = own.exits(0).json();
    assert_eq!(own["items"][0]["metadata"]["uid"], taken["metadata"]["uid"]);
    cluster.until("it reports that the server does not exist", 60, || {
        reason(&cluster, "vssnap/none", "Accepted") == "VSI0703"
    });

    // The next process does not take the snapshot again.
    serving.kill();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(server("other", ""));
    cluster.wait_ready("vs/other");
    assert_eq!(cluster.get("vssnap/first")["status"], taken["status"]);
    assert_eq!(copies(&vsiflow), 1);
    let other = r#"{"spec": {"virtualServer": "other"}}"#;
    cluster
        .kubectl(&["patch", "vssnap/first", "--type=merge", "-p", other])
        .exits(0);
    cluster.until("another server is refused", 60, || {
        reason(&cluster, "vssnap/first", "Accepted") == "VSI0740"
    });
    assert_eq!(copies(&vsiflow), 1);

    for name in ["vssnap/first", "vssnap/none"] {
        cluster.kubectl(&["delete", name, "--timeout=90s"]).exits(0);
    }
    assert_eq!(copies(&vsiflow), 0);
    assert_eq!(cluster.get("vs/web")["status"]["phase"], "Running");
}

#[test]
fn kube_a_snapshot_that_a_command_deleted_is_not_taken_again() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let _serving = cluster.serve(&vsiflow, &[]);
    let policy = "  snapshotPolicy: {schedule: \"@yearly\", keep: 2}\n";
    let documents = format!("{}{}", server("web", policy), snapshot("first", "web"));
    cluster.apply(documents);
    cluster.wait_ready("vssnap/first");
    cluster.until("the schedule begins", 60, || {
        reason(&cluster, "vs/web", "SnapshotsCurrent") == "Waiting"
    });
    let namespace = cluster.namespace();
    vsiflow
        .run(&["snapshot", "delete", "first", "-n", namespace, "--wait"])
        .exits(0);
    cluster.until("it is told", 60, || {
        cluster.get("vssnap/first")["status"]["phase"] == "Deleted"
    });
    cluster.apply(server("other", ""));
    cluster.wait_ready("vs/other");
    assert_eq!(copies(&vsiflow), 0);
    let conditions = cluster.get("vssnap/first")["status"]["conditions"].clone();
    assert_ne!(conditions, Value::Null);
    cluster
        .kubectl(&["delete", "vssnap/first", "--timeout=90s"])
        .exits(0);
    let wrong = server(
        "wrong",
        "  snapshotPolicy: {schedule: \"* * * * *\", keep: 2}\n",
    );
    cluster.apply(wrong);
    cluster.until("a schedule that is due too often is refused", 60, || {
        reason(&cluster, "vs/wrong", "Accepted").starts_with("VSI06")
    });
}
