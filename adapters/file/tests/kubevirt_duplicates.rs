//! Names that two manifests of KubeVirt and CDI, or one of them and a document of vsiflow, have both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use serde_json::{Value, json};
use vsiflow_file::{Diagnostic, load_text};

const HOST: &str = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: lab, labels: {config: lab}}
data: {HOSTNAME: lab.example.com, INSECURE_SKIP_HOST_KEY: \"true\"}
";

fn empty_disk() -> Value {
    json!({"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Gi"}}}})
}

/// A machine with the data disk `d`, of a template of its own or of a `DataVolume` beside it.
fn machine(name: &str, templates: &Value) -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {"name": name, "labels": {"vsiflow.io/target": "lab", "vsiflow.io/pool": "images"}},
        "spec": {
            "running": true, "dataVolumeTemplates": templates,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
                "domain": {"memory": {"guest": "1Gi"}, "devices": {}},
                "volumes": [
                    {"name": "root", "containerDisk": {"image": "images.example.com/debian:12"}},
                    {"name": "data", "dataVolume": {"name": "d"}},
                ],
            }},
        },
    })
}

fn with_template(name: &str) -> Value {
    machine(
        name,
        &json!([{"metadata": {"name": "d"}, "spec": empty_disk()}]),
    )
}

fn data_volume() -> Value {
    json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "spec": empty_disk(),
        "metadata": {"name": "d", "labels": {"vsiflow.io/target": "lab", "vsiflow.io/pool": "images"}},
    })
}

fn data_disk() -> Value {
    json!({
        "apiVersion": "hpse.ibm.com/v1", "kind": "HyperProtectContainerRuntimeOnPremDataDisk",
        "metadata": {"name": "d"}, "spec": {
            "size": "1Gi", "storagePool": "images", "targetSelector": {"matchLabels": {"config": "lab"}},
        },
    })
}

fn preset() -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1alpha3", "kind": "VirtualMachineInstancePreset",
        "metadata": {"name": "p"},
        "spec": {"selector": {"matchLabels": {"size": "s"}}, "domain": {"memory": {"guest": "1Gi"}}},
    })
}

/// The documents as a text, one on each line, so that the line of each is its number.
fn diagnostics(documents: &[Value]) -> Vec<Diagnostic> {
    let lines = documents.iter().map(|document| format!("--- {document}\n"));
    let text = lines.collect::<String>() + HOST;
    match load_text("vm.yaml", text.as_bytes()) {
        Ok(loaded) => match loaded.resolve(None) {
            Ok(_) => Vec::new(),
            Err(wrong) => wrong.0,
        },
        Err(wrong) => wrong.0,
    }
}

#[test]
fn a_name_that_occurs_twice_is_placed_where_it_is_written_of_the_kind_that_has_it() {
    const TEMPLATE: &str = "spec.dataVolumeTemplates[0].metadata.name";
    const OWN: &str = "metadata.name";
    const DISK: &str = "HyperProtectContainerRuntimeOnPremDataDisk default/d";
    const VOLUME: &str = "DataVolume default/d";
    let plain = |name| machine(name, &json!([]));
    let listed = json!({"apiVersion": "v1", "kind": "List", "items": [with_template("vm"), with_template("vm2")]});
    let in_list = format!("items[1].{TEMPLATE}");
    // Documents, the object that is named, its field, and the lines of the second and of the first.
    let cases: [(Vec<Value>, &str, &str, usize, usize); 10] = [
        (
            vec![with_template("vm"), with_template("vm2")],
            VOLUME,
            TEMPLATE,
            2,
            1,
        ),
        (
            vec![with_template("vm"), data_disk()],
            VOLUME,
            TEMPLATE,
            1,
            2,
        ),
        (
            vec![data_disk(), with_template("vm")],
            VOLUME,
            TEMPLATE,
            2,
            1,
        ),
        (
            vec![data_disk(), plain("vm"), data_volume()],
            VOLUME,
            OWN,
            3,
            1,
        ),
        (
            vec![data_volume(), plain("vm"), data_disk()],
            VOLUME,
            OWN,
            1,
            3,
        ),
        (vec![data_volume(), data_disk()], VOLUME, OWN, 1, 2),
        (vec![with_template("vm"), data_volume()], VOLUME, OWN, 2, 1),
        (vec![data_volume(), data_volume()], VOLUME, OWN, 2, 1),
        (vec![data_disk(), data_disk()], DISK, OWN, 2, 1),
        (vec![listed], VOLUME, &in_list, 1, 1),
    ];
    for (documents, object, field, line, first) in cases {
        let answer = diagnostics(&documents);
        let [problem] = answer.as_slice() else {
            panic!("{documents:?}: {answer:?}");
        };
        assert_eq!(problem.code, "VSI0606", "{problem}");
        assert_eq!(problem.object.as_deref(), Some(object), "{problem}");
        assert_eq!(problem.field.as_deref(), Some(field), "{problem}");
        assert_eq!(problem.line, Some(line), "{problem}");
        let place = format!("first at vm.yaml:{first}");
        assert!(problem.message.contains(&place), "{problem}");
    }
}

#[test]
fn two_presets_of_one_name_are_refused() {
    let answer = diagnostics(&[preset(), preset(), with_template("vm")]);
    let [problem] = answer.as_slice() else {
        panic!("{answer:?}");
    };
    assert_eq!(problem.code, "VSI0606", "{problem}");
    assert_eq!(
        problem.object.as_deref(),
        Some("VirtualMachineInstancePreset default/p")
    );
    assert!(problem.message.contains("first at vm.yaml:1"), "{problem}");
    assert_eq!(problem.line, Some(2), "{problem}");
}
