//! Migration of resources from the old operator.

use vsiflow_tests::{DiskDocument, Lab, Ran, TestCluster, Vsi, Vsiflow, lab::Deleted, until};

/// The definitions that Metacontroller installs.
const METACONTROLLER: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: compositecontrollers.metacontroller.k8s.io
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: metacontroller.k8s.io
  scope: Cluster
  names: {kind: CompositeController, plural: compositecontrollers, singular: compositecontroller}
  versions:
    - name: v1alpha1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";
const CONTROLLER: &str = r"
apiVersion: metacontroller.k8s.io/v1alpha1
kind: CompositeController
metadata: {name: k8s-operator-hpcr-onprem}
spec: {parentResource: {apiVersion: hpse.ibm.com/v1, resource: onprem-hpcrs}}
";
const OLD_FINALIZER: &str = "metacontroller.io/compositecontroller-k8s-operator-hpcr-onprem";

#[test]
fn kube_resources_are_taken_over_once_the_operator_before_is_gone() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let migrate = |more: &[&str]| {
        let namespace = cluster.namespace().to_owned();
        let mut arguments = vec!["migrate", "--kubeconfig", cluster.kubeconfig()];
        arguments.extend(["-n", &namespace]);
        arguments.extend(more);
        vsiflow.run(&arguments)
    };
    cluster.apply(Vsi::named("web"));
    let finalizers =
        format!(r#"{{"metadata":{{"finalizers":["{OLD_FINALIZER}","example.com/mine"]}}}}"#);
    cluster
        .kubectl(&["patch", "vsi", "web", "--type=merge", "-p", &finalizers])
        .exits(0);
    migrate(&[]).exits(1).says("to be migrated");
    migrate(&["-n", "no-such"]).exits(3).says("no namespace");

    cluster.apply(METACONTROLLER);
    let established = [
        "wait",
        "--for=condition=Established",
        "crd/compositecontrollers.metacontroller.k8s.io",
    ];
    cluster.kubectl(&established).exits(0);
    cluster.apply(CONTROLLER);
    for active in [&["--check"][..], &["--apply"]] {
        migrate(active)
            .exits(4)
            .says("VSI1010")
            .says("kubectl delete compositecontroller k8s-operator-hpcr-onprem");
    }
    let untouched = cluster.get("vsi/web");
    assert_eq!(untouched["metadata"]["finalizers"][0], OLD_FINALIZER);

    cluster
        .kubectl(&["delete", "compositecontroller", "k8s-operator-hpcr-onprem"])
        .exits(0);
    let taken = migrate(&["--apply", "-o", "json"]).exits(0).json();
    assert_eq!(taken["items"][0]["standing"], "TakenOver");
    let web = cluster.get("vsi/web");
    let expected = serde_json::json!(["example.com/mine", "vsiflow.io/finalizer"]);
    assert_eq!(web["metadata"]["finalizers"], expected);
    assert_eq!(web["metadata"]["annotations"]["vsiflow.io/adopt"], "true");
    migrate(&["--apply"]).exits(0);
}

#[test]
fn kube_nothing_is_taken_over_where_nobody_may_look_for_the_operator_before() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let namespace = cluster.namespace().to_owned();
    // The chart does not grant these permissions.
    let arguments = [
        "migrate",
        "--apply",
        "--kubeconfig",
        cluster.granted(),
        "-n",
        &namespace,
    ];
    vsiflow.run(&arguments).exits(4).says("VSI1010");
}

#[test]
fn kube_lab_a_guest_of_the_operator_before_runs_on_through_a_migration() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-migrate.qcow2"), Vsiflow::of_documents());
    let vsi = || Vsi::named("t-migrate").image(image.url()).choosing_disks();
    let disk = || {
        DiskDocument::named("t-migrate-data")
            .of_vsi("t-migrate")
            .size("16Mi")
    };
    cluster.apply(format!("{}{}{}", lab.host(), vsi(), disk()));
    let uid = |what: &str| {
        let uid = cluster.get(what)["metadata"]["uid"].clone();
        uid.as_str().unwrap().to_owned()
    };
    let (uid, disk_uid) = (uid("vsi/t-migrate"), uid("vsidisk/t-migrate-data"));

    // The host as the old operator left it: the same names, and no ownership marks.
    let maker = Vsiflow::of_documents();
    let _gone = Deleted(&maker, "t-migrate");
    let made = format!("{}{}{}", lab.host(), vsi().uid(&uid), disk().uid(&disk_uid));
    maker.apply(made, &[]).exits(0);
    let namespace = "https://vsiflow.io/domain/v1";
    lab.virsh(&[
        "metadata", &uid, "--uri", namespace, "--remove", "--live", "--config",
    ]);
    let held = format!(r#"{{"metadata":{{"finalizers":["{OLD_FINALIZER}"]}}}}"#);
    for what in ["vsi/t-migrate", "vsidisk/t-migrate-data"] {
        let patch = ["patch", what, "--type=merge", "-p", &held];
        cluster.kubectl(&patch).exits(0);
    }
    let running = lab.virsh(&["domid", &uid]);

    let arguments = [
        "--kubeconfig",
        cluster.kubeconfig(),
        "-n",
        cluster.namespace(),
    ];
    let migrate = [&["migrate", "--apply"][..], &arguments].concat();
    // The old operator serves the whole cluster: while another test runs it, it counts as active
    // here.
    let active = |ran: &Ran| ran.stderr.contains("VSI1010");
    let migrated = until("no operator before is active", 120, || {
        Some(vsiflow.run(&migrate)).filter(|ran| !active(ran))
    });
    migrated.exits(0);
    let serving = cluster.serve(&vsiflow, &[]);
    cluster.wait_ready("vsi/t-migrate");
    cluster.wait_ready("vsidisk/t-migrate-data");
    let accepted = || cluster.condition("vsi/t-migrate", "Accepted") == "True";
    cluster.until("the resource matches the host", 60, accepted);
    assert_eq!(
        lab.virsh(&["domid", &uid]),
        running,
        "the guest was never restarted"
    );
    let events = cluster.events("t-migrate");
    let has_event = |words: &str| events.iter().any(|(_, message)| message.contains(words));
    assert!(
        has_event("adopted without changes") && !has_event("are being made"),
        "{events:?}"
    );

    for what in ["vsi/t-migrate", "vsidisk/t-migrate-data"] {
        cluster.kubectl(&["delete", what, "--timeout=90s"]).exits(0);
    }
    drop(serving);
    let left = lab.volumes("images");
    let of_vsi: Vec<_> = left.iter().filter(|name| name.contains(&uid)).collect();
    assert!(of_vsi.is_empty(), "{left:?}");
    assert!(
        left.contains(&disk_uid),
        "data disks are retained: {left:?}"
    );
    lab.virsh(&["vol-delete", &disk_uid, "--pool", "images"]);
}
