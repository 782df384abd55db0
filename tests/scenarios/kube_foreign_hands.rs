//! What other hands do to a real API server: a backup tool, edited ConfigMaps, stripped finalizers and late writes. No
//! guest and no data is lost by it.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use vsiflow_tests::{ExpiringLists, Lab, TestCluster, Vsi, Vsiflow};

/// Long enough for several reconciliations.
const LONG: Duration = Duration::from_secs(15);
const FINALIZER: &str = "vsiflow.io/finalizer";

fn pool() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: pool}}\nspec:\n  \
         replicas: 2\n  template:\n    spec:\n      imageURL: {}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 512Mi}}\n---\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

/// A VSI with a data disk, one without, and a pool of two members.
fn applied(cluster: &TestCluster) {
    let web = Vsi::named("web").disk("data", "1Mi");
    cluster.apply(format!("{web}---\n{}---\n{}", Vsi::named("db"), pool()));
    for what in ["vsi/web", "vsi/db"] {
        cluster.wait_ready(what);
    }
    cluster.until("the pool is available", 90, || {
        cluster.condition("vsp/pool", "Available") == "True"
    });
    cluster.until("both members are ready", 90, || {
        ["vs/pool-0", "vs/pool-1"]
            .iter()
            .all(|member| cluster.condition(member, "Ready") == "True")
    });
}

/// When the guest of each domain was started, and the volumes: only this shows what is made anew or lost.
fn on_host(vsiflow: &Vsiflow) -> (BTreeMap<String, Value>, Vec<String>) {
    let sim = vsiflow.sim();
    let titles = sim.domains().into_iter();
    let guests = titles.map(|title| {
        let live = &sim.domain(title)["live"];
        assert_eq!(live["end"], Value::Null, "{title} shuts down");
        (title.to_owned(), live["started"].clone())
    });
    let guests = guests.collect();
    let volumes = sim.volumes().into_iter().map(str::to_owned).collect();
    (guests, volumes)
}

fn strip(cluster: &TestCluster, what: &str) {
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    let patch = ["patch", what, "--type=merge", "-p", patch];
    cluster.kubectl(&patch).exits(0);
}

/// Deletes an object whatever its finalizers are, while no daemon looks.
fn lose(cluster: &TestCluster, what: &str) {
    cluster.kubectl(&["delete", what, "--wait=false"]).exits(0);
    if !cluster.get(what).is_null() {
        strip(cluster, what);
    }
    cluster.until("it is gone", 30, || cluster.get(what).is_null());
}

/// The object as a backup tool restores it: with its labels, annotations and finalizers, and a new UID.
fn restored(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("status");
    let meta = object["metadata"].as_object_mut().unwrap();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
    ] {
        meta.remove(field);
    }
    object
}

#[test]
fn kube_what_a_backup_tool_restores_under_new_uids_destroys_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    serving.kill();
    let all = [
        "vsidisk/data",
        "vsi/web",
        "vsi/db",
        "vsp/pool",
        "vs/pool-0",
        "vs/pool-1",
    ];
    let objects: Vec<Value> = all.iter().map(|what| cluster.get(what)).collect();
    for what in all {
        lose(&cluster, what);
    }
    for object in objects {
        cluster.apply(restored(object));
    }
    let _serving = cluster.serve(&vsiflow, &[]);
    for what in ["vsidisk/data", "vsi/db", "vsp/pool"] {
        cluster.until(&format!("{what} is refused"), 60, || {
            cluster.get(what)["status"].to_string().contains("VSI0726")
        });
    }
    std::thread::sleep(LONG);
    // It waits for its disk.
    assert_ne!(cluster.condition("vsi/web", "Accepted"), "True");
    assert_eq!(on_host(&vsiflow), before);
    vsiflow.run(&["audit", "verify"]).exits(0);
}

#[test]
fn kube_a_stripped_finalizer_is_set_again_and_destroys_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    for what in ["vsi/web", "vsidisk/data", "vsp/pool", "vs/pool-0"] {
        strip(&cluster, what);
        cluster.until(&format!("{what} has it again"), 60, || {
            cluster.get(what)["metadata"]["finalizers"] == json!([FINALIZER])
        });
    }
    assert_eq!(on_host(&vsiflow), before);
    // Deleted by force behind the daemon's back.
    serving.stop();
    for what in ["vsidisk/data", "vsp/pool", "vsi/db"] {
        lose(&cluster, what);
    }
    serving.go_on();
    std::thread::sleep(LONG);
    assert_eq!(on_host(&vsiflow), before);
    drop(serving);
}

/// Watches end with 410, and of each list only the first page comes.
#[test]
fn kube_a_list_that_expires_after_its_first_page_deletes_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, folder) = (Vsiflow::simulated(), tempfile::tempdir().unwrap());
    let proxy = ExpiringLists::start(cluster.granted(), folder.path());
    let _serving = cluster.serve_as(proxy.kubeconfig(), &vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    proxy.expire();
    cluster.until("lists expire", 60, || proxy.expired() >= 3);
    std::thread::sleep(LONG);
    assert_eq!(on_host(&vsiflow), before);
    for what in ["vsi/web", "vsi/db", "vsidisk/data", "vsp/pool", "vs/pool-1"] {
        let meta = &cluster.get(what)["metadata"];
        assert_eq!(meta["finalizers"], json!([FINALIZER]), "{what}");
        assert_eq!(meta["deletionTimestamp"], Value::Null, "{what}");
    }
    // What was deleted meanwhile is seen once lists are whole again.
    cluster
        .kubectl(&["delete", "vsi/db", "--wait=false"])
        .exits(0);
    proxy.heal();
    cluster.until("it is gone", 120, || cluster.get("vsi/db").is_null());
    cluster.wait_ready("vsi/web");
    let now = on_host(&vsiflow);
    assert_eq!(now.0.len(), before.0.len() - 1);
    assert!(
        now.0
            .iter()
            .all(|guest| before.0.get(guest.0) == Some(guest.1))
    );
}

#[test]
fn kube_a_late_write_of_an_old_leader_does_not_last() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    serving.kill();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.wait_ready("vsi/web");
    // kubectl of that age cannot patch a subresource, so the object is sent with the status of before.
    for (what, path) in [
        (
            "vsi/web",
            "/apis/hpse.ibm.com/v1/namespaces/NS/onprem-hpcrs/web/status",
        ),
        (
            "vsp/pool",
            "/apis/vsiflow.io/v1/namespaces/NS/virtualserverpools/pool/status",
        ),
    ] {
        let path = path.replace("NS", cluster.namespace());
        let phase = cluster.get(what)["status"]["phase"].clone();
        cluster.until(&format!("the late write to {what}"), 30, || {
            let mut object = cluster.get(what);
            object["status"] = json!({"phase": "Provisioning", "observedGeneration": 1});
            let replace = ["replace", "--raw", &path, "-f", "-"];
            cluster.feed(&replace, &object.to_string()).code == Some(0)
        });
        cluster.until(&format!("{what} says what is so"), 90, || {
            let status = &cluster.get(what)["status"];
            status["phase"] == phase && status["conditions"].is_array()
        });
    }
    assert_eq!(on_host(&vsiflow), before);
}

#[test]
fn kube_lab_a_config_map_that_is_relabelled_or_names_another_host_moves_no_guest() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-foreign-hands.qcow2"), Vsiflow::of_documents());
    let _serving = cluster.serve(&vsiflow, &["--allow-image-addresses", "127.0.0.0/8"]);
    let host = lab.host();
    let label = host.label.clone();
    cluster.apply(&host);
    cluster.apply(Vsi::named("web").image(image.url()).on(&label));
    cluster.wait_ready("vsi/web");
    let uid = cluster.get("vsi/web")["metadata"]["uid"].clone();
    let uid = uid.as_str().unwrap();
    let id_of_guest = || lab.virsh(&["domid", uid]);
    let before = id_of_guest();
    let map = format!("configmap/{label}");
    let edit = |patch: Value| {
        let patch = patch.to_string();
        cluster
            .kubectl(&["patch", &map, "--type=merge", "-p", &patch])
            .exits(0);
    };
    let elsewhere = "127.0.0.9";
    for (config, hostname) in [
        ("other", host.hostname.as_str()),
        (label.as_str(), elsewhere),
        ("other", elsewhere),
    ] {
        edit(json!({
            "metadata": {"labels": {"config": config}}, "data": {"HOSTNAME": hostname},
        }));
        cluster.until("the VSI is not accepted so", 60, || {
            cluster.condition("vsi/web", "Accepted") == "False"
        });
        assert_eq!(cluster.condition("vsi/web", "Stalled"), "True");
        std::thread::sleep(LONG / 3);
        assert_eq!(id_of_guest(), before, "{config} {hostname}");
    }
    edit(json!({
        "metadata": {"labels": {"config": label}}, "data": {"HOSTNAME": host.hostname},
    }));
    cluster.until("it is accepted again", 60, || {
        cluster.condition("vsi/web", "Accepted") == "True"
    });
    assert_eq!(id_of_guest(), before);
    cluster
        .kubectl(&["delete", "vsi/web", "--timeout=90s"])
        .exits(0);
}
