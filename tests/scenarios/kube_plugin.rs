//! `kubectl vsi` on a real API server.

use serde_json::Value;
use vsiflow_tests::{Plugin, Running, TestCluster, Vsi, Vsiflow};

const WEB: &str = "vsi/web";

/// A namespace that is served by a process with a Lease.
fn served(cluster: &TestCluster) -> (Vsiflow, Running) {
    let vsiflow = Vsiflow::simulated();
    let lease = format!("{}/vsiflow", cluster.namespace());
    let serving = cluster.serve(&vsiflow, &["--leader-elect", "--lease-name", &lease]);
    (vsiflow, serving)
}

fn phase(cluster: &TestCluster) -> Value {
    cluster.get(WEB)["status"]["phase"].clone()
}

#[test]
fn kube_plugin_power_is_a_field_of_the_resource_and_whoever_owns_it_is_named() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = served(&cluster);
    let plugin = Plugin::of(&cluster, &vsiflow);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready(WEB);
    plugin
        .run(&["stop", "web", "--wait"])
        .exits(0)
        .says("vsi/web is Stopped");
    let ran = plugin.run(&["start", "vsi/web", "--wait", "-o", "json"]);
    let web = ran.exits(0).json();
    assert_eq!(web["status"]["phase"], "Running");
    assert_eq!(web["spec"]["contract"], "<hidden>");
    let history = ["history", "-n", cluster.namespace(), "web"];
    let printed = vsiflow.run(&history).exits(0);
    printed.says("kubernetes:kubectl-vsi");

    // A chart that sets the field takes it back.
    let chart = Vsi::named("web").with("powerState: Running").to_string();
    let apply = [
        "apply",
        "--server-side",
        "--field-manager=helm",
        "--force-conflicts",
        "-f",
        "-",
    ];
    cluster.feed(&apply, &chart).exits(0);
    plugin
        .run(&["stop", "web"])
        .exits(4)
        .says("spec.powerState of vsi/web belongs to helm")
        .says("VSI1021")
        .says("change powerState in the chart's values");
    assert_eq!(cluster.get(WEB)["spec"]["powerState"], "Running");
    // Setting the value that the chart already set causes no conflict.
    plugin.run(&["start", "web", "--wait"]).exits(0);
    plugin.run(&["stop", "nobody"]).exits(3).says("VSI0703");
    plugin
        .run(&["stop"])
        .exits(2)
        .says("Usage: kubectl vsi stop");
    assert!(plugin.calls().is_empty(), "no pod was asked");
    assert_eq!(plugin.proposes(&["stop", "w"]).stdout, "web\n:4\n");
    // Shell completion prints no errors.
    let nowhere = ["--context", "nowhere", "stop", ""];
    let proposed = plugin.proposes(&nowhere);
    assert!(!proposed.stdout.contains("web"), "{}", proposed.stdout);
    assert_eq!(proposed.stderr, "");
}

#[test]
fn kube_plugin_a_restart_is_asked_for_by_the_resource_and_done_once() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, serving) = served(&cluster);
    let plugin = Plugin::of(&cluster, &vsiflow);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready(WEB);
    let first = cluster.get(WEB)["status"]["runId"].clone();
    plugin
        .run(&["restart", "web", "--wait"])
        .exits(0)
        .says("vsi/web is Running");
    let second = cluster.get(WEB)["status"]["runId"].clone();
    assert_ne!(first, second);
    serving.kill();
    let lease = format!("{}/vsiflow", cluster.namespace());
    let mut elected = cluster.serve(&vsiflow, &["--leader-elect", "--lease-name", &lease]);
    assert!(elected.reaches("serving the resources", 60));
    // Once this VSI is ready, the daemon has dealt with the annotation too.
    cluster.apply(Vsi::named("db"));
    cluster.wait_ready("vsi/db");
    assert_eq!(cluster.get(WEB)["status"]["runId"], second);
    plugin.run(&["pause", "web", "--wait"]).exits(0);
    let suspended = plugin.run(&["restart", "web", "--wait"]).exits(4);
    suspended.says("VSI0705").says("kubectl vsi unpause");
    plugin.run(&["stop", "web", "--wait"]).exits(0);
    plugin.run(&["restart", "web"]).exits(4).says("VSI0705");
    plugin
        .run(&["pause", "web"])
        .exits(4)
        .says("kubectl vsi start");
}

#[test]
fn kube_plugin_a_change_is_shown_and_approved_as_it_was_shown() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = served(&cluster);
    let plugin = Plugin::of(&cluster, &vsiflow);
    let with = |cpus: u32| Vsi::named("web").with("updatePolicy: Manual").cpus(cpus);
    cluster.apply(with(2));
    cluster.wait_ready(WEB);
    plugin
        .run(&["plan", "web"])
        .exits(0)
        .says("no change waits");
    plugin.run(&["approve", "web"]).exits(4).says("VSI0704");
    let id = || cluster.get(WEB)["status"]["proposal"]["id"].clone();
    cluster.apply(with(3));
    cluster.until("a change waits", 30, || id().is_string());
    let first = id();
    let ran = plugin.run(&["plan", "web"]).exits(1);
    ran.says("machine.cpus: 2 -> 3").says("on restart");
    let as_json = plugin.run(&["plan", "web", "-o", "json"]).exits(1);
    assert_eq!(as_json.json()["items"][0]["id"], first);

    // The approved change is not the one that is waiting now.
    cluster.apply(with(4));
    cluster.until("another change waits", 30, || {
        id().is_string() && id() != first
    });
    let stale = format!("vsiflow.io/approve={}", first.as_str().unwrap());
    cluster.kubectl(&["annotate", WEB, &stale]).exits(0);
    plugin
        .run(&["approve", "web", "--wait"])
        .exits(0)
        .says("machine.cpus: 2 -> 4")
        .says("vsi/web is Running");
    assert!(id().is_null());
    plugin.run(&["describe", "web"]).exits(0).says("Accepted");
    // If changes of a VSI wait for approval, so do changes of its power state.
    plugin
        .run(&["stop", "web", "--wait"])
        .exits(4)
        .says("kubectl vsi approve web");
    plugin.run(&["approve", "web", "--wait"]).exits(0);
    assert_eq!(phase(&cluster), "Stopped");
}

#[test]
fn kube_plugin_what_the_journal_tells_is_asked_of_the_pod_that_holds_the_lease() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, serving) = served(&cluster);
    let plugin = Plugin::of(&cluster, &vsiflow);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready(WEB);
    let table = plugin.run(&["get", "web"]).exits(0);
    table.says("PHASE");
    plugin.run(&["get", "nobody"]).exits(3).says("NotFound");
    // If `--operator` names a Lease or a pod, it is asked instead of the API of subresources.
    let lease = format!("--operator={}/vsiflow", cluster.namespace());
    let run = |words: &[&str]| plugin.run(&[&[lease.as_str()], words].concat());
    let ran = run(&["history", "web", "-o", "json"]).exits(0);
    assert!(ran.stdout.contains("define_domain"), "{ran:?}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let call = plugin.calls().pop().unwrap();
    let place = format!("--namespace={} exec {}", cluster.namespace(), host.trim());
    assert!(call.contains(&place), "{call}");
    run(&["logs", "web"]).exits(0).says("HPL10001I");
    run(&["logs", "nobody"]).exits(3).says("VSI0703");
    run(&["retry", "web"]).exits(0);
    let cancelled = run(&["cancel", "web"]).exits(0);
    cancelled
        .says("no run is open")
        .keeps_quiet_about("terminated");

    // A command in the pod ends when its caller has ended.
    let mut following = plugin.start(&[&lease, "logs", "web", "-f"]);
    assert!(following.prints("HPL10001I", 30));
    assert!(plugin.in_pods() > 0);
    following.kill();
    cluster.until("it has ended", 20, || plugin.in_pods() == 0);

    // Once the process has ended in order, the Lease has no holder.
    serving.terminate();
    serving.end(30).exits(0);
    run(&["history", "web"])
        .exits(1)
        .says("no process holds the Lease")
        .says("VSI1022");
    plugin
        .run(&["history", "web", "--operator", "here"])
        .exits(2)
        .says("--operator NAMESPACE/LEASE");
}

#[test]
fn kube_plugin_files_are_planned_against_what_is_in_the_cluster() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = served(&cluster);
    let plugin = Plugin::of(&cluster, &vsiflow);
    cluster.apply(Vsi::named("web").disk("data", "1Mi"));
    cluster.wait_ready(WEB);
    let plan = |name: &str, document: String| {
        let path = vsiflow.write(name, &document);
        plugin.run(&["plan", "-f", path.to_str().unwrap()])
    };
    // The disk's document is in the cluster, not in the file.
    let web = || Vsi::named("web").choosing_disks();
    plan("same.yaml", web().to_string())
        .exits(0)
        .says("No changes");
    plan("more.yaml", web().cpus(4).to_string())
        .exits(1)
        .says("machine.cpus: 1 -> 4");
    plan("less.yaml", Vsi::named("web").to_string())
        .exits(1)
        .says("disks[data]");
    plan("new.yaml", Vsi::named("other").to_string())
        .exits(1)
        .says("will be created");
    plan("wrong.yaml", "kind: Nothing\n".to_owned()).exits(2);
    assert_eq!(cluster.get("vsi/other"), Value::Null, "nothing was made");
}
