//! Resources of the operator before this one, taken over.

use vsiflow_tests::{Cluster, Vsi, Vsiflow};

/// What Metacontroller brings of its own.
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
    let Some(cluster) = Cluster::enter() else {
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
    migrate(&[]).exits(1).says("to be taken over");

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
    let wanted = serde_json::json!(["example.com/mine", "vsiflow.io/finalizer"]);
    assert_eq!(web["metadata"]["finalizers"], wanted);
    assert_eq!(web["metadata"]["annotations"]["vsiflow.io/adopt"], "true");
    migrate(&["--apply"]).exits(0);
}

#[test]
fn kube_nothing_is_taken_over_where_nobody_may_look_for_the_operator_before() {
    let Some(cluster) = Cluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let namespace = cluster.namespace().to_owned();
    // The rights of the chart do not reach that far.
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
