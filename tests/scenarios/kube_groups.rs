//! Groups of virtual servers on a real API server.

use serde_json::Value;
use vsiflow_tests::{TestCluster, Vsiflow, history::Event};

const DB: &str = "vsg/db";

fn group(nodes: u32) -> String {
    let template = "{spec: {imageURL: $(group.release.node.image), guest: {type: none}, \
                    machine: {cpus: 1, memory: 512Mi}}}";
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: db}}\nspec:\n  \
         release: {{node: {{image: \"{}\"}}}}\n  waves:\n  \
         - {{name: first, members: [{{name: seed, template: {template}}}]}}\n  \
         - {{name: others, pools: [{{name: node, replicas: {nodes}, template: {template}}}]}}\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

fn members(cluster: &TestCluster) -> Vec<String> {
    let ran = cluster.kubectl(&["get", "vs", "-l", "vsiflow.io/group=db", "-o", "json"]);
    let all: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let items = all["items"].as_array().cloned().unwrap_or_default();
    let one = |object: &Value| {
        let meta = &object["metadata"];
        assert!(meta["ownerReferences"].is_null(), "{meta:#}");
        assert!(meta["annotations"]["vsiflow.io/group-uid"].is_string());
        meta["name"].as_str().unwrap().to_owned()
    };
    items.iter().map(one).collect()
}

fn until_available(cluster: &TestCluster, names: &[&str]) {
    cluster.until(&format!("{names:?}"), 90, || {
        let group = cluster.get(DB);
        let status = &group["status"];
        status["observedGeneration"] == group["metadata"]["generation"]
            && status["phase"] == "Available"
            && status["progress"] == format!("{0}/{0}", names.len())
            && members(cluster) == names
    });
    // A booting guest ignores shutdown requests.
    for name in names {
        cluster.wait_ready(&format!("vs/{name}"));
    }
}

/// The offset of the first event of a workflow for a member.
fn first_of(vsiflow: &Vsiflow, cluster: &TestCluster, name: &str, workflow: &str) -> u64 {
    let history = ["history", "-o", "json", "-n", cluster.namespace(), name];
    let history = vsiflow.run(&history).exits(0);
    let mut events = history.stdout.lines().map(Event::parse);
    let found = events.find(|one| one.text("workflow") == workflow);
    found.unwrap().0["offset"].as_u64().unwrap()
}

#[test]
fn kube_a_group_comes_up_in_waves_and_goes_the_newest_first() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(group(2));
    until_available(&cluster, &["db-node-0", "db-node-1", "db-seed-0"]);
    let table = cluster.kubectl(&["get", DB]).exits(0);
    for word in [
        "PHASE", "WAVE", "PROGRESS", "RELEASE", "MESSAGE", "others", "3/3",
    ] {
        assert!(table.stdout.contains(word), "{table:?}");
    }
    let made = |name: &str| first_of(&vsiflow, &cluster, name, "provision_vsi");
    assert!(made("db-seed-0") < made("db-node-0"));
    cluster.until("its Events", 30, || {
        let events = cluster.events("db");
        events.iter().any(|(reason, _)| reason == "Available")
    });
    // Scaling is only possible by changing the resource.
    let scale = [
        "scale",
        "pool/db-node",
        "--replicas",
        "1",
        "-n",
        cluster.namespace(),
    ];
    vsiflow.run(&scale).exits(4).says("VSI0736");
    cluster.apply(group(1));
    until_available(&cluster, &["db-node-0", "db-seed-0"]);
    let delete = ["delete", "vs/db-node-0", "--timeout=60s"];
    cluster.kubectl(&delete).exits(0);
    until_available(&cluster, &["db-node-0", "db-seed-0"]);

    cluster.kubectl(&["delete", DB, "--timeout=90s"]).exits(0);
    assert!(members(&cluster).is_empty());
    assert!(vsiflow.sim().domains().is_empty());
    let gone = |name: &str| first_of(&vsiflow, &cluster, name, "delete_vsi");
    assert!(gone("db-node-1") < gone("db-seed-0"));
}

#[test]
fn kube_an_operator_killed_in_the_middle_goes_on_with_a_group() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let mut serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(group(2));
    for said in ["db-seed-0: clone_boot_disk", "db-node-0: clone_boot_disk"] {
        assert!(
            serving.reaches(said, 60),
            "{said}: {}",
            serving.error_output()
        );
        serving.kill();
        serving = cluster.serve(&vsiflow, &[]);
    }
    until_available(&cluster, &["db-node-0", "db-node-1", "db-seed-0"]);
    assert_eq!(vsiflow.sim().domains().len(), 3);
    cluster.kubectl(&["delete", DB, "--wait=false"]).exits(0);
    for said in ["db-node-1: stop_domain", "db-seed-0: stop_domain"] {
        assert!(
            serving.reaches(said, 60),
            "{said}: {}",
            serving.error_output()
        );
        serving.kill();
        serving = cluster.serve(&vsiflow, &[]);
    }
    let gone = ["wait", DB, "--for=delete", "--timeout=90s"];
    cluster.kubectl(&gone);
    assert!(cluster.get(DB).is_null());
    assert!(members(&cluster).is_empty());
    assert!(vsiflow.sim().domains().is_empty());
}
