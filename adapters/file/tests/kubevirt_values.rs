//! Values in manifests of KubeVirt and CDI that mean something else than they seem to, or nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vsiflow_file::load_text;

const MACHINE: &str = r##"
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: vm
  labels: {vsiflow.io/target: lab, vsiflow.io/pool: images}
spec:
  running: true
  dataVolumeTemplates:
    - apiVersion: cdi.kubevirt.io/v1beta1
      kind: DataVolume
      metadata: {name: root, labels: {app: web}}
      spec:
        source: {http: {url: "https://images.example.com/a.qcow2"}}
        storage: {storageClassName: fast, resources: {requests: {storage: 15Gi}}}
  template:
    spec:
      domain: {memory: {guest: 2Gi}, devices: {disks: [{name: root, disk: {bus: virtio}}]}}
      readinessProbe: {tcpSocket: {port: 22}}
      volumes:
        - {name: root, dataVolume: {name: root}}
        - {name: seed, cloudInitNoCloud: {userData: "#cloud-config\n"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: lab, labels: {config: lab}}
data: {HOSTNAME: lab.example.com, INSECURE_SKIP_HOST_KEY: "true"}
"##;

/// What is said of the machine with a part of it replaced; nothing if it is taken.
fn said(part: &str, instead: &str) -> String {
    assert_eq!(MACHINE.matches(part).count(), 1, "{part}");
    let text = MACHINE.replace(part, instead);
    let wrong = match load_text("vm.yaml", text.as_bytes()) {
        Ok(loaded) => loaded.resolve(None).err(),
        Err(wrong) => Some(wrong),
    };
    wrong.map(|wrong| wrong.to_string()).unwrap_or_default()
}

fn is_taken(part: &str, instead: &str) {
    let said = said(part, instead);
    assert!(said.is_empty(), "{instead}: {said}");
}

fn is_refused(part: &str, instead: &str, place: &str, words: &str) {
    let said = said(part, instead);
    assert!(said.contains(place), "{instead}: {said}");
    assert!(said.contains(words), "{instead}: {said}");
}

#[test]
fn memory_without_a_unit_is_bytes_and_not_rounded_up_to_memory() {
    for guest in ["\"512\"", "512", "\"2048\"", "1048575", "0", "1000000"] {
        let instead = format!("guest: {guest}}}");
        let words = "a number without a unit is bytes";
        is_refused("guest: 2Gi}", &instead, "memory: {guest:", words);
    }
    assert!(said("guest: 2Gi}", "guest: 512}").contains("512 bytes are not an amount"));
    for guest in ["1048576", "1048577", "2147483648", "512Mi"] {
        is_taken("guest: 2Gi}", &format!("guest: {guest}}}"));
    }
}

#[test]
fn a_port_is_said_to_be_one_of_those_that_exist() {
    for port in ["70000", "0", "-1"] {
        let instead = format!("port: {port}}}");
        is_refused(
            "port: 22}",
            &instead,
            "readinessProbe",
            "a whole number from 1 to 65535",
        );
    }
    is_taken("port: 22}", "port: 65535}");
}

#[test]
fn a_template_of_a_volume_is_one_of_cdi_with_labels_that_a_cluster_takes() {
    let refused = |part: &str, instead: &str, words: &str| {
        is_refused(part, instead, "vm.yaml:", words);
    };
    let kind = "kind: DataVolume";
    refused(
        kind,
        "kind: PersistentVolumeClaim",
        "kind is not DataVolume",
    );
    let version = "apiVersion: cdi.kubevirt.io/v1beta1";
    refused(
        version,
        "apiVersion: v1",
        "this is not the version of a DataVolume",
    );
    let labels = "labels: {app: web}";
    refused(
        labels,
        "labels: {a b: c}",
        "dataVolumeTemplates[0].metadata.labels",
    );
    refused(labels, "labels: {app: \"b c\"}", "correct it, or remove it");
    is_taken(version, "apiVersion: cdi.kubevirt.io/v1alpha1");
    is_taken(&format!("{version}\n      kind: DataVolume\n      "), "");
}

#[test]
fn an_empty_storage_class_is_none() {
    is_taken("storageClassName: fast", "storageClassName: \"\"");
}

#[test]
fn a_network_configuration_in_a_secret_is_said_to_be_written_out() {
    is_refused(
        "{userData: \"#cloud-config\\n\"}",
        "{userData: \"#cloud-config\\n\", networkDataSecretRef: {name: net}}",
        "networkDataSecretRef is not supported",
        "networkData: |",
    );
}
