//! Pools of virtual servers on a real API server.

use std::collections::BTreeMap;

use serde_json::Value;
use vsiflow_tests::{Running, TestCluster, Vsiflow, history::Event};

const WEB: &str = "vsp/web";

fn pool(replicas: u32, cpus: u32) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  \
         replicas: {replicas}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
         imageURL: {}\n      guest: {{type: none}}\n      machine: {{cpus: {cpus}, memory: 512Mi}}\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

fn server(name: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {}\n  guest: {{type: none}}\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

/// The UIDs of the members' VSIs, by the names of their objects.
fn members(cluster: &TestCluster) -> BTreeMap<String, String> {
    let ran = cluster.kubectl(&["get", "vs", "-l", "vsiflow.io/pool=web", "-o", "json"]);
    let all: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let items = all["items"].as_array().cloned().unwrap_or_default();
    let one = |object: &Value| {
        let meta = &object["metadata"];
        assert!(meta["ownerReferences"].is_null(), "{meta:#}");
        let vsi = meta["annotations"]["vsiflow.io/vsi-uid"].as_str();
        let name = meta["name"].as_str().unwrap().to_owned();
        (name, vsi.unwrap_or_default().to_owned())
    };
    items.iter().map(one).collect()
}

fn until_available(cluster: &TestCluster, replicas: u64) {
    cluster.until(&format!("{replicas} members"), 90, || {
        let pool = cluster.get(WEB);
        let status = &pool["status"];
        status["observedGeneration"] == pool["metadata"]["generation"]
            && status["phase"] == "Available"
            && ["readyReplicas", "updatedReplicas", "desiredReplicas"]
                .iter()
                .all(|key| status[key] == replicas)
            && members(cluster).len() as u64 == replicas
    });
    // A booting guest ignores shutdown requests.
    for name in members(cluster).keys() {
        cluster.wait_ready(&format!("vs/{name}"));
    }
}

/// A simulated host's state directory, and a daemon that serves the namespace with it.
fn simulated(cluster: &TestCluster) -> (Vsiflow, Running) {
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    (vsiflow, serving)
}

/// Deletes the pool. If that does not end, prints its objects and journal.
fn delete_pool(cluster: &TestCluster, vsiflow: &Vsiflow) {
    let deleted = cluster.kubectl(&["delete", WEB, "--timeout=90s"]);
    if deleted.code != Some(0) {
        println!(
            "{}",
            cluster.kubectl(&["get", "vsp,vs", "-o", "yaml"]).stdout
        );
        for words in [&["get", "pools"][..], &["get", "vsi"], &["events"]] {
            let place = ["-n", cluster.namespace()];
            println!("{}", vsiflow.run(&[words, &place].concat()).stdout);
        }
    }
    deleted.exits(0);
}

/// The offsets at which each member's newest deletion was recorded and finished.
fn deletions(vsiflow: &Vsiflow, cluster: &TestCluster, names: &[&str]) -> Vec<(u64, u64)> {
    let of = |name: &&str| {
        let history = ["history", "-o", "json", "-n", cluster.namespace(), name];
        let history = vsiflow.run(&history).exits(0);
        let events: Vec<_> = history.stdout.lines().map(Event::parse).collect();
        let offset = |event: &Event| event.0["offset"].as_u64().unwrap();
        let begun = events
            .iter()
            .rfind(|one| one.text("workflow") == "delete_vsi");
        let first = events
            .iter()
            .find(|one| one.text("workflow") == "delete_vsi");
        (offset(first.unwrap()), offset(begun.unwrap()))
    };
    names.iter().map(of).collect()
}

#[test]
fn kube_a_pool_is_made_scaled_and_deleted_the_highest_member_first() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(pool(1, 1));
    until_available(&cluster, 1);
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        cluster.kubectl(&["scale", WEB, &replicas]).exits(0);
    };
    scale("3");
    until_available(&cluster, 3);
    let names: Vec<_> = members(&cluster).into_keys().collect();
    assert_eq!(names, ["web-0", "web-1", "web-2"]);
    let table = cluster.kubectl(&["get", WEB]).exits(0);
    for word in ["DESIRED", "READY", "UPDATED", "PHASE", "Available"] {
        assert!(table.stdout.contains(word), "{table:?}");
    }
    // The call that an autoscaler makes.
    let path = format!(
        "/apis/vsiflow.io/v1/namespaces/{}/virtualserverpools/web/scale",
        cluster.namespace()
    );
    let report = cluster.kubectl(&["get", "--raw", &path]).exits(0).json();
    assert_eq!(
        (&report["spec"]["replicas"], &report["status"]["replicas"]),
        (&3.into(), &3.into())
    );
    assert_eq!(report["status"]["selector"], "vsiflow.io/pool=web");
    cluster.until("its Events", 30, || {
        let events = cluster.events("web");
        events.iter().any(|(reason, _)| reason == "Available")
    });
    scale("2");
    until_available(&cluster, 2);
    assert_eq!(vsiflow.sim().domains().len(), 2);
    // A scaling that the daemon would undo is refused.
    let undone = [
        "scale",
        "pool/web",
        "--replicas",
        "1",
        "-n",
        cluster.namespace(),
    ];
    vsiflow.run(&undone).exits(4).says("VSI0736");

    cluster.kubectl(&["delete", WEB, "--timeout=90s"]).exits(0);
    assert!(members(&cluster).is_empty());
    assert!(vsiflow.sim().domains().is_empty());
    let order = deletions(&vsiflow, &cluster, &["web-0", "web-1"]);
    assert!(order[1].1 < order[0].0, "{order:?}");
}

#[test]
fn kube_a_member_that_is_deleted_is_made_again_and_one_that_is_edited_put_right() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(pool(2, 1));
    until_available(&cluster, 2);
    let before = members(&cluster);
    let delete = ["delete", "vs/web-1", "--timeout=60s"];
    cluster.kubectl(&delete).exits(0);
    cluster.until("the member has another UID", 60, || {
        let now = members(&cluster).get("web-1").cloned();
        now.is_some_and(|now| now != before["web-1"])
    });
    until_available(&cluster, 2);
    assert_eq!(members(&cluster)["web-0"], before["web-0"]);
    assert_eq!(vsiflow.sim().domains().len(), 2);

    let spec = cluster.get("vs/web-0")["spec"].clone();
    let edit = r#"{"spec": {"powerState": "Stopped", "machine": {"cpus": 8}, "bootDisk": {"mode": "overlay"}}}"#;
    let edit = ["patch", "vs/web-0", "--type=merge", "-p", edit];
    cluster.kubectl(&edit).exits(0);
    cluster.until("the template wins", 30, || {
        cluster.get("vs/web-0")["spec"] == spec
    });
    until_available(&cluster, 2);
    let vsi = vsiflow
        .run(&[
            "get",
            "vsi",
            "web-0",
            "-o",
            "json",
            "-n",
            cluster.namespace(),
        ])
        .exits(0)
        .json();
    assert_eq!(vsi["metadata"]["uid"], before["web-0"]);
    assert_eq!(vsi["spec"]["machine"]["cpus"], 1, "{vsi:#}");
    delete_pool(&cluster, &vsiflow);
}

#[test]
fn kube_a_change_of_the_template_is_rolled_through_the_members() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(pool(3, 1));
    until_available(&cluster, 3);
    let before = members(&cluster);
    cluster.apply(pool(3, 2));
    until_available(&cluster, 3);
    assert_eq!(members(&cluster), before);
    for name in before.keys() {
        let get = ["get", "vsi", name, "-o", "json", "-n", cluster.namespace()];
        let vsi = vsiflow.run(&get).exits(0).json();
        assert_eq!(vsi["spec"]["machine"]["cpus"], 2, "{vsi:#}");
        let object = cluster.get(&format!("vs/{name}"));
        assert_eq!(object["spec"]["machine"]["cpus"], 2, "{object:#}");
    }
    cluster.kubectl(&["delete", WEB, "--timeout=90s"]).exits(0);
}

#[test]
fn kube_a_virtual_server_that_a_pool_did_not_make_is_refused_and_never_taken() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(server("web-1"));
    cluster.wait_ready("vs/web-1");
    cluster.apply(pool(2, 1));
    let has_reason = |what: &str, code: &str| {
        cluster.until(&format!("{what} has {code}"), 30, || {
            cluster.get(what)["status"].to_string().contains(code)
        });
    };
    has_reason(WEB, "VSI0721");
    let domains = || {
        let sim = vsiflow.sim();
        sim.domains()
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let foreign = domains();
    assert_eq!(foreign.len(), 1);
    // An object that claims to be a member but is not.
    let claim = "{name: db-0, annotations: {vsiflow.io/pool-uid: 6a54fb0e-d6b8-45e1-8755-285f280a3830, \
                vsiflow.io/vsi-uid: 6a54fb0e-d6b8-45e1-8755-285f280a3831}}";
    cluster.apply(server("db-0").replace("{name: db-0}", claim));
    has_reason("vs/db-0", "VSI0721");
    cluster.kubectl(&["delete", WEB, "--timeout=60s"]).exits(0);
    assert_eq!(domains(), foreign);
    cluster
        .kubectl(&["delete", "vs", "--all", "--timeout=60s"])
        .exits(0);
}

#[test]
fn kube_an_operator_killed_in_the_middle_goes_on_with_a_pool() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let mut serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(pool(3, 1));
    for step in ["resolve_host", "clone_boot_disk", "start_domain"] {
        let reached = serving.reaches(step, 60);
        assert!(reached, "{step}: {}", serving.error_output());
        serving.kill();
        serving = cluster.serve(&vsiflow, &[]);
    }
    until_available(&cluster, 3);
    assert_eq!(vsiflow.sim().domains().len(), 3);
    cluster.kubectl(&["delete", WEB, "--wait=false"]).exits(0);
    for step in ["stop_domain", "delete_volumes"] {
        let reached = serving.reaches(step, 60);
        assert!(reached, "{step}: {}", serving.error_output());
        serving.kill();
        serving = cluster.serve(&vsiflow, &[]);
    }
    let gone = ["wait", WEB, "--for=delete", "--timeout=90s"];
    cluster.kubectl(&gone);
    assert!(cluster.get(WEB).is_null());
    assert!(members(&cluster).is_empty());
    assert!(vsiflow.sim().domains().is_empty());
}
