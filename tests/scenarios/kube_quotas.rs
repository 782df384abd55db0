//! Quotas of namespaces on a real API server.

use serde_json::Value;
use vsiflow_tests::{Running, TestCluster, Vsiflow};

const QUOTA: &str = "vsq/team";
const GIB: &str = "memory: 1Gi";

fn quota(hard: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {{name: team}}\nspec: {{hard: {hard}}}\n"
    )
}

fn server(name: &str, cpus: u32) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  imageURL: {}\n  \
         guest: {{type: none}}\n  machine: {{cpus: {cpus}, {GIB}}}\n---\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

fn pool(replicas: u32) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  \
         replicas: {replicas}\n  template:\n    spec:\n      imageURL: {}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, {GIB}}}\n---\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

/// A namespace with that quota, and a daemon that serves it with a simulated host.
fn limited(cluster: &TestCluster, hard: &str) -> (Vsiflow, Running) {
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(quota(hard));
    cluster.wait_ready(QUOTA);
    (vsiflow, serving)
}

fn accepted(cluster: &TestCluster, what: &str) -> (String, String) {
    let object = cluster.get(what);
    let all = object["status"]["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    let found = all
        .find(|one| one["type"] == "Accepted")
        .unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&found["reason"]), text(&found["message"]))
}

fn until_used(cluster: &TestCluster, name: &str, used: &str) {
    cluster.until(&format!("{used} of {name} used"), 60, || {
        cluster.get(QUOTA)["status"]["used"][name] == used
    });
}

fn until_refused(cluster: &TestCluster, what: &str, says: &str) {
    cluster.until(&format!("{what} is refused"), 60, || {
        let (reason, message) = accepted(cluster, what);
        reason == "VSI0738" && message.contains(says)
    });
}

#[test]
fn kube_what_exceeds_a_quota_is_told_and_made_once_there_is_room() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = limited(&cluster, "{vsis: 2, cpus: 4, memory: 8Gi}");
    cluster.apply(server("a", 2));
    cluster.wait_ready("vs/a");
    until_used(&cluster, "cpus", "2");
    let table = cluster.kubectl(&["get", QUOTA]).exits(0).stdout;
    assert!(
        table.contains("cpus: 2/4, memory: 1Gi/8Gi, vsis: 1/2"),
        "{table}"
    );

    cluster.apply(server("large", 3));
    until_refused(
        &cluster,
        "vs/large",
        "cpus: 2 used, 3 more asked for, 4 allowed",
    );
    cluster.until("its Event", 30, || {
        let events = cluster.events("large");
        events.iter().any(|(reason, _)| reason == "RefusedVSI0738")
    });
    cluster.apply(pool(2));
    until_refused(
        &cluster,
        "vsp/web",
        "vsis: 1 used, 2 more asked for, 2 allowed",
    );
    assert_eq!(vsiflow.sim().domains().len(), 1, "nothing was made");

    // What fits is created, even while something larger waits.
    cluster.apply(server("small", 1));
    cluster.wait_ready("vs/small");
    until_used(&cluster, "vsis", "2");

    cluster
        .kubectl(&["delete", "vs/a", "vs/small", "--timeout=90s"])
        .exits(0);
    cluster.wait_ready("vs/large");
    cluster
        .kubectl(&["delete", "vs/large", "--timeout=90s"])
        .exits(0);
    cluster.until("the pool", 90, || {
        cluster.get("vsp/web")["status"]["phase"] == "Available"
    });
    until_used(&cluster, "vsis", "2");
    cluster
        .kubectl(&["delete", "vsp/web", "--timeout=90s"])
        .exits(0);
}

#[test]
fn kube_a_quota_is_changed_told_of_and_deleted() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, serving) = limited(&cluster, "{vsis: 2}");
    cluster.apply(server("a", 1) + &server("b", 1));
    cluster.wait_ready("vs/a");
    cluster.wait_ready("vs/b");
    until_used(&cluster, "vsis", "2");

    // Lowering a quota deletes nothing.
    cluster.apply(quota("{vsis: 1}"));
    cluster.until("the condition is False", 60, || {
        cluster.condition(QUOTA, "WithinLimits") == "False"
    });
    cluster.until("its Event", 30, || {
        let events = cluster.events("team");
        events.iter().any(|(reason, _)| reason == "Exceeded")
    });
    assert_eq!(vsiflow.sim().domains().len(), 2);
    cluster.apply(server("c", 1));
    until_refused(&cluster, "vs/c", "2 used, 1 more asked for, 1 allowed");

    // An invalid quota leaves the limits as they were.
    cluster.try_apply(&quota("{vsis: -1}")).exits(1);
    cluster.apply(quota("{}"));
    cluster.until("it is refused", 60, || {
        accepted(&cluster, QUOTA).0 != "Accepted"
    });
    assert_eq!(cluster.get(QUOTA)["status"]["hard"]["vsis"], "1");

    // The quota survives a restart, and ends when its resource is deleted.
    drop(serving);
    let _serving = cluster.serve(&vsiflow, &[]);
    until_refused(&cluster, "vs/c", "2 used");
    cluster
        .kubectl(&["delete", QUOTA, "--timeout=90s"])
        .exits(0);
    cluster.wait_ready("vs/c");
    let all = ["delete", "vs", "--all", "--timeout=90s"];
    cluster.kubectl(&all).exits(0);
}
