//! Processes and API servers that die, and resources that change, while a real API server is
//! served.

use vsiflow_tests::{
    Lab, TestCluster, Vsi, Vsiflow,
    history::{Event, assert_nothing_done_twice},
};

/// The log lines that report a finished step: the daemon is killed after each of them.
const STEPS: [&str; 5] = [
    "upload_chunks done",
    "write_cidata done",
    "clone_boot_disk done",
    "define_domain done",
    "start_domain updated",
];

#[test]
fn kube_a_daemon_killed_after_each_step_goes_on_with_the_resource_as_it_is_then() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    for (cpus, step) in (2..).zip(STEPS) {
        let name = step.split('_').next().unwrap();
        let what = format!("vsi/{name}");
        let mut serving = cluster.serve(&vsiflow, &[]);
        cluster.apply(Vsi::named(name));
        // An image is uploaded only once, so later VSIs do not log this line.
        let text = format!("{}/{name}: {step}", cluster.namespace());
        let text = if step.starts_with("upload") {
            step.to_owned()
        } else {
            text
        };
        assert!(serving.reaches(&text, 60));
        serving.kill();
        cluster.apply(Vsi::named(name).cpus(cpus));
        let restarted = cluster.serve(&vsiflow, &[]);
        cluster.until("the change is taken in", 90, || {
            let vsi = cluster.get(&what);
            vsi["status"]["observedGeneration"] == vsi["metadata"]["generation"]
                && vsi["status"]["phase"] == "Running"
        });
        restarted.terminate();
        restarted.end(30).exits(0);
        let of = ["-n", cluster.namespace(), name];
        let get = [&["get", "vsi", "-o", "json"], &of[..]].concat();
        let vsi = vsiflow.run(&get).exits(0).json();
        assert_eq!(vsi["spec"]["machine"]["cpus"], cpus, "{vsi:#}");
        let history = [&["history", "-o", "json"], &of[..]].concat();
        let history = vsiflow.run(&history).exits(0);
        let history: Vec<_> = history.stdout.lines().map(Event::parse).collect();
        assert_nothing_done_twice(&history);
    }
    assert_eq!(vsiflow.sim().domains().len(), STEPS.len());
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster
        .kubectl(&["delete", "vsi", "--all", "--timeout=90s"])
        .exits(0);
    assert!(vsiflow.sim().domains().is_empty());
}

#[test]
fn kube_a_resource_deleted_while_it_is_made_leaves_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let _serving = cluster.serve(&vsiflow, &[]);
    for number in 0..8 {
        let name = format!("web-{number}");
        cluster.apply(Vsi::named(&name));
        let what = format!("vsi/{name}");
        // Half of them are deleted immediately, half once their run has started. None may be waited
        // for longer: a booting guest ignores shutdown requests.
        cluster.until("a run has started", 30, || {
            let status = cluster.get(&what)["status"].clone();
            number % 2 == 0 || status["runId"].is_string()
        });
        let delete = ["delete", &what, "--wait=false"];
        cluster.kubectl(&delete).exits(0);
    }
    let wait = ["wait", "vsi", "--all", "--for=delete", "--timeout=90s"];
    cluster.kubectl(&wait);
    assert!(
        cluster
            .kubectl(&["get", "vsi", "-o", "name"])
            .stdout
            .is_empty()
    );
    assert!(vsiflow.sim().domains().is_empty());
}

#[test]
fn kube_defect_16_a_config_map_deleted_under_a_running_vsi_changes_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: lab\n  labels: {config: lab}\n\
         data: {HOSTNAME: a.example}\n",
    );
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");
    let run = cluster.get("vsi/web")["status"]["runId"].clone();
    cluster.kubectl(&["delete", "configmap", "lab"]).exits(0);
    // Another resource, to be sure that the deletion before it was seen as well.
    cluster.apply(Vsi::named("db"));
    cluster.wait_ready("vsi/db");
    let web = cluster.get("vsi/web");
    assert_eq!(
        (&web["status"]["phase"], &web["status"]["runId"]),
        (&"Running".into(), &run)
    );
}

/// Starts the API server again when dropped, even if the test fails.
struct ApiServerRestored<'a>(&'a Lab);

impl Drop for ApiServerRestored<'_> {
    fn drop(&mut self) {
        self.0.daemon("kube-apiserver", "start");
    }
}

#[test]
fn kube_lab_an_api_server_that_dies_and_comes_back_loses_no_change() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter_alone()) else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");
    let run = cluster.get("vsi/web")["status"]["runId"].clone();
    let down = ApiServerRestored(&lab);
    lab.daemon("kube-apiserver", "kill");
    // The server of the custom resources still runs; only the core API is down.
    cluster.until("it does not answer", 60, || {
        cluster.kubectl(&["get", "configmaps"]).code != Some(0)
    });
    drop(down);
    cluster.until("it answers again", 60, || {
        cluster.kubectl(&["get", "--raw", "/readyz"]).code == Some(0)
    });
    let web = cluster.get("vsi/web");
    assert_eq!(
        (&web["status"]["phase"], &web["status"]["runId"]),
        (&"Running".into(), &run)
    );
    let patch = r#"{"spec":{"powerState":"Stopped"}}"#;
    let stop = ["patch", "vsi/web", "--type=merge", "-p", patch];
    cluster.kubectl(&stop).exits(0);
    cluster.until("the change is seen", 60, || {
        cluster.get("vsi/web")["status"]["phase"] == "Stopped"
    });
    cluster
        .kubectl(&["delete", "vsi/web", "--timeout=60s"])
        .exits(0);
    assert!(vsiflow.sim().domains().is_empty());
}
