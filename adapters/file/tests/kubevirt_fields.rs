//! Every field of manifests of KubeVirt and CDI that the translation reads, wrong once: the answer names a path
//! that the manifest has, in the manifest's own words.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use serde_json::{Map, Value, json};
use vsiflow_file::{Diagnostic, DiagnosticSeverity, load_text};

/// A step of a path: a key or an index.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

type Path = Vec<Step>;

/// Values that none of the fields can have, or only few of them: a text, a number, and others in turn.
fn wrong_values(turn: usize) -> [Value; 3] {
    let others = [
        json!(1.5),
        json!(1e30),
        json!(true),
        json!({"noSuchKey": 1}),
        json!(["no such item"]),
    ];
    let other = others[turn % others.len()].clone();
    [json!("no such § value"), json!(-1), other]
}

/// What the translation accepts whatever it holds, because it has no effect on a server.
const WITHOUT_EFFECT: [&str; 7] = [
    "metadata.annotations",
    "metadata.creationTimestamp",
    "metadata.labels.os",
    "spec.dataVolumeTemplates[0].metadata.annotations",
    "spec.dataVolumeTemplates[0].metadata.creationTimestamp",
    "spec.dataVolumeTemplates[0].status",
    "spec.template.metadata.creationTimestamp",
];

/// What other fields and manifests refer to: the answer may name what refers to it, or what is missing without it.
const REFERENCES: [&str; 19] = [
    "apiVersion",
    "kind",
    "metadata",
    "metadata.name",
    "metadata.namespace",
    "metadata.labels",
    "metadata.labels.size",
    "spec.selector.matchLabels.size",
    "spec.template.metadata.labels.app",
    "spec.template.spec.networks[0].name",
    "spec.template.spec.networks[1].name",
    "spec.template.spec.volumes[1].persistentVolumeClaim.claimName",
    "spec.template.spec.volumes[0].dataVolume.name",
    "spec.volumes[0].dataVolume.name",
    "spec.template.spec.volumes[2].name",
    "spec.template.spec.volumes[1].name",
    "spec.template.spec.volumes[0].name",
    "spec.volumes[0].name",
    "spec.volumes[1].name",
];

/// Words of vsiflow's documents, which no problem of a manifest may speak in.
const OUR_WORDS: [&str; 10] = [
    "VirtualServer",
    "HyperProtect",
    "spec.machine",
    "spec.guest",
    "guest.userData",
    "bootDisk",
    "storagePool",
    "imageURL",
    "powerState",
    "diskSelector",
];

const THEIR_KINDS: [&str; 4] = [
    "VirtualMachine",
    "VirtualMachineInstance",
    "VirtualMachineInstancePreset",
    "DataVolume",
];

fn host() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "lab", "namespace": "vms", "labels": {"config": "lab"}},
        "data": {"HOSTNAME": "lab.example.com", "INSECURE_SKIP_HOST_KEY": "true"},
    })
}

fn machine(spec: Value, template: Value) -> Value {
    let mut spec = spec;
    spec["template"] = json!({
        "metadata": {"creationTimestamp": null, "labels": {"app": "web"}}, "spec": template,
    });
    json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {
            "name": "vm", "namespace": "vms", "creationTimestamp": null, "annotations": {"a": "b"},
            "labels": {"vsiflow.io/target": "lab", "vsiflow.io/pool": "images"},
        },
        "spec": spec,
    })
}

fn data_volume(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
        "metadata": {"name": name, "namespace": "vms", "labels": {"os": "fedora"}}, "spec": spec,
    })
}

fn claim(size: &str) -> Value {
    json!({
        "storageClassName": "images", "accessModes": ["ReadWriteOnce"], "volumeMode": "Block",
        "resources": {"requests": {"storage": size}},
    })
}

/// Documents that together have every field which is read.
fn manifests() -> Vec<Vec<Value>> {
    vec![
        vec![
            machine(
                json!({
                    "running": true,
                    "dataVolumeTemplates": [{
                        "apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume",
                        "metadata": {
                            "name": "root", "namespace": "vms", "creationTimestamp": null,
                            "labels": {"a": "b"}, "annotations": {"a": "b"},
                        },
                        "spec": {
                            "source": {"http": {"url": "https://images.example.com/a.qcow2"}},
                            "storage": claim("15Gi"), "contentType": "kubevirt", "preallocation": false,
                            "checkpoints": [], "finalCheckpoint": false,
                        },
                        "status": {},
                    }],
                }),
                json!({
                    "architecture": "amd64", "hostname": "web",
                    "domain": {
                        "cpu": {"cores": 2, "sockets": 1, "threads": 1, "model": "host-passthrough"},
                        "memory": {"guest": "2Gi"},
                        "resources": {"requests": {}},
                        "firmware": {"bootloader": {"efi": {"secureBoot": false}}},
                        "machine": {"type": "q35"},
                        "devices": {
                            "disks": [
                                {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 1},
                                {"name": "seed", "cdrom": {"bus": "sata"}},
                                {"name": "data", "disk": {"bus": "virtio"}},
                            ],
                            "interfaces": [
                                {"name": "pods", "masquerade": {}, "model": "virtio"},
                                {"name": "other", "bridge": {}},
                            ],
                            "rng": {}, "autoattachGraphicsDevice": true,
                        },
                    },
                    "networks": [
                        {"name": "pods", "pod": {}},
                        {"name": "other", "multus": {"networkName": "vms/blue", "default": false}},
                    ],
                    "readinessProbe": {
                        "tcpSocket": {"port": 22}, "guestAgentPing": {},
                        "httpGet": {"port": 80, "path": "/ready", "scheme": "HTTP"},
                    },
                    "volumes": [
                        {"name": "root", "dataVolume": {"name": "root"}},
                        {"name": "data", "persistentVolumeClaim": {"claimName": "blank"}},
                        {"name": "seed", "cloudInitNoCloud": {
                            "userData": "#cloud-config\npassword: SECRET\n",
                            "networkData": "version: 2\nethernets: {}\n",
                        }},
                    ],
                }),
            ),
            data_volume(
                "blank",
                json!({"source": {"blank": {}}, "pvc": claim("1Gi")}),
            ),
            json!({
                "apiVersion": "vsiflow.io/v1", "kind": "VirtualServerNetwork",
                "metadata": {"name": "blue", "namespace": "vms"},
                "spec": {"cidr": "10.20.0.0/24"},
            }),
        ],
        vec![machine(
            json!({"runStrategy": "Always"}),
            json!({
                "domain": {
                    "resources": {"requests": {"memory": "1Gi", "cpu": 2}},
                    "firmware": {"bootloader": {"bios": {}}},
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                },
                "volumes": [
                    {"name": "root", "containerDisk": {
                        "image": "registry.example.com/debian:12", "imagePullPolicy": "Always",
                    }},
                    {"name": "seed", "cloudInitNoCloud": {
                        "userDataBase64": "I2Nsb3VkLWNvbmZpZwo=",
                        "networkDataBase64": "dmVyc2lvbjogMgpldGhlcm5ldHM6IHt9Cg==",
                    }},
                ],
            }),
        )],
        vec![
            json!({
                "apiVersion": "kubevirt.io/v1alpha3", "kind": "VirtualMachineInstancePreset",
                "metadata": {"name": "small", "namespace": "vms"},
                "spec": {
                    "selector": {"matchLabels": {"size": "small"}},
                    "domain": {"cpu": {"cores": 2}, "memory": {"guest": "1Gi"}},
                },
            }),
            json!({
                "apiVersion": "kubevirt.io/v1alpha3", "kind": "VirtualMachineInstance",
                "metadata": {
                    "name": "vmi", "namespace": "vms",
                    "labels": {"vsiflow.io/target": "lab", "vsiflow.io/pool": "images", "size": "small"},
                },
                "spec": {
                    "domain": {"devices": {"disks": [
                        {"name": "root", "volumeName": "root-volume", "disk": {"bus": "virtio"}},
                        {"name": "seed", "disk": {"bus": "virtio"}},
                    ]}},
                    "volumes": [
                        {"name": "root-volume", "dataVolume": {"name": "image"}},
                        {"name": "seed", "cloudInitConfigDrive": {
                            "userData": "{\"ignition\": {\"version\": \"3.4.0\"}}",
                        }},
                    ],
                },
            }),
            data_volume(
                "image",
                json!({
                    "source": {"registry": {"url": "docker://registry.example.com/debian:12", "pullMethod": "node"}},
                    "storage": claim("10Gi"),
                }),
            ),
        ],
        vec![
            json!({
                "apiVersion": "kubevirt.io/v1alpha2", "kind": "VirtualMachineInstance",
                "metadata": {
                    "name": "old", "namespace": "vms",
                    "labels": {"vsiflow.io/target": "lab", "vsiflow.io/pool": "images"},
                },
                "spec": {
                    "domain": {"memory": {"guest": "1Gi"}, "devices": {}},
                    "volumes": [
                        {"name": "root", "registryDisk": {"image": "registry.example.com/debian:12"}},
                        {"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": "configuration"}}},
                    ],
                },
            }),
            json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": "configuration", "namespace": "vms"},
                "stringData": {"userdata": "#cloud-config\npassword: SECRET\n"},
            }),
        ],
    ]
}

fn diagnostics(documents: &[Value]) -> Vec<Diagnostic> {
    let mut text = String::new();
    for document in documents.iter().chain([&host()]) {
        text += &format!("---\n{document:#}\n");
    }
    let diagnostics = match load_text("vm.yaml", text.as_bytes()) {
        Ok(loaded) => match loaded.resolve(None) {
            Ok(_) => return Vec::new(),
            Err(wrong) => wrong,
        },
        Err(wrong) => wrong,
    };
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == DiagnosticSeverity::Error;
    diagnostics.0.into_iter().filter(is_error).collect()
}

/// The paths of everything in a document but its version and kind, the outermost first.
fn paths(value: &Value, path: &Path, all: &mut Vec<Path>) {
    if !path.is_empty() {
        all.push(path.clone());
    }
    let below = |step: Step| path.iter().cloned().chain([step]).collect::<Path>();
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                paths(field, &below(Step::Key(key.clone())), all);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                paths(item, &below(Step::Index(index)), all);
            }
        }
        _ => {}
    }
}

fn at<'v>(value: &'v mut Value, path: &Path) -> &'v mut Value {
    path.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key],
        Step::Index(index) => &mut value[*index],
    })
}

fn words(path: &Path) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text += &format!("[{index}]"),
            Step::Key(key) if key.contains('.') => text += &format!("[{key:?}]"),
            Step::Key(key) if text.is_empty() => text += key,
            Step::Key(key) => text += &format!(".{key}"),
        }
    }
    text
}

fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Checks an answer: whether one of the diagnostics is about this path, and what is wrong with any of them.
fn check_answer(documents: &[Value], changed: &str, answer: &[Diagnostic]) -> Vec<String> {
    let mut defects = Vec::new();
    let mut is_named = false;
    for diagnostic in answer {
        let object = diagnostic.object.clone().unwrap_or_default();
        let kind = object.split(' ').next().unwrap_or_default();
        let mut own_paths = Vec::new();
        let is_known = documents.iter().any(|document| document["kind"] == kind);
        let is_meant = |document: &&Value| !is_known || document["kind"] == kind;
        for document in documents.iter().filter(is_meant) {
            paths(document, &Path::new(), &mut own_paths);
        }
        let own_paths: Vec<_> = own_paths.iter().map(words).collect();
        let text = diagnostic.to_string();
        match &diagnostic.field {
            Some(field) if own_paths.contains(field) => {
                is_named |= is_within(field, changed) || is_within(changed, field);
            }
            Some(field) if diagnostic.code == "VSI0608" => {
                // What is missing is named where it belongs, below what the manifest has.
                let parent = own_paths.iter().filter(|own| is_within(field, own));
                let parent = parent.max_by_key(|own| own.len());
                is_named |=
                    parent.is_some_and(|own| is_within(changed, own) || is_within(field, changed));
                if parent.is_none() {
                    defects.push(format!("{changed}: no such place {field}\n{text}"));
                }
            }
            field => defects.push(format!("{changed}: no such path {field:?}\n{text}")),
        }
        if THEIR_KINDS.contains(&kind) && OUR_WORDS.iter().any(|word| text.contains(word)) {
            defects.push(format!("{changed}: our words\n{text}"));
        }
        if text.contains("SECRET") {
            defects.push(format!("{changed}: a secret\n{text}"));
        }
    }
    if !answer.is_empty() && !is_named && !REFERENCES.contains(&changed) {
        let answer: Vec<_> = answer.iter().map(ToString::to_string).collect();
        defects.push(format!("{changed}: not named\n{}", answer.join("\n")));
    }
    defects
}

fn is_foreign(document: &Value) -> bool {
    let version = document["apiVersion"].as_str().unwrap_or_default();
    version.contains("kubevirt.io/")
}

#[test]
fn manifests_with_every_field_are_accepted() {
    for documents in manifests() {
        let answer = diagnostics(&documents);
        let answer: Vec<_> = answer.iter().map(ToString::to_string).collect();
        assert!(answer.is_empty(), "{}", answer.join("\n"));
    }
}

#[test]
fn a_wrong_field_is_answered_with_a_path_that_the_manifest_has() {
    let mut defects = Vec::new();
    for documents in manifests() {
        for (index, document) in documents.iter().enumerate() {
            if !is_foreign(document) {
                continue;
            }
            let mut changes = Vec::new();
            paths(document, &Path::new(), &mut changes);
            for (turn, path) in changes.into_iter().enumerate() {
                let changed = words(&path);
                let mut is_refused = false;
                for value in wrong_values(turn) {
                    let mut documents = documents.clone();
                    *at(&mut documents[index], &path) = value;
                    let answer = diagnostics(&documents);
                    is_refused |= !answer.is_empty();
                    defects.extend(check_answer(&documents, &changed, &answer));
                }
                let has_effect = !WITHOUT_EFFECT
                    .iter()
                    .any(|field| is_within(&changed, field));
                if !is_refused && has_effect {
                    defects.push(format!("{changed}: accepted whatever it is"));
                }
            }
        }
    }
    assert!(
        defects.is_empty(),
        "{}\n{}",
        defects.len(),
        defects.join("\n\n")
    );
}

#[test]
fn a_field_without_a_counterpart_is_refused_by_its_path_wherever_it_is() {
    let mut defects = Vec::new();
    for documents in manifests() {
        for (index, document) in documents.iter().enumerate() {
            if !is_foreign(document) {
                continue;
            }
            let mut places = vec![Path::new()];
            paths(document, &Path::new(), &mut places);
            for mut path in places {
                let mut documents = documents.clone();
                let Value::Object(fields) = at(&mut documents[index], &path) else {
                    continue;
                };
                fields.insert("noSuchField".to_owned(), json!({"a": "SECRET"}));
                path.push(Step::Key("noSuchField".to_owned()));
                let changed = words(&path);
                if WITHOUT_EFFECT
                    .iter()
                    .any(|field| is_within(&changed, field))
                {
                    continue;
                }
                let answer = diagnostics(&documents);
                defects.extend(check_answer(&documents, &changed, &answer));
                if answer.is_empty() {
                    defects.push(format!("{changed}: accepted"));
                }
            }
        }
    }
    assert!(
        defects.is_empty(),
        "{}\n{}",
        defects.len(),
        defects.join("\n\n")
    );
}

/// The sources that read fields, as they name them.
const SOURCES: [&str; 8] = [
    include_str!("../src/kubevirt/data_volume.rs"),
    include_str!("../src/kubevirt/guest.rs"),
    include_str!("../src/kubevirt/machine.rs"),
    include_str!("../src/kubevirt/machine/labels.rs"),
    include_str!("../src/kubevirt/machine/network.rs"),
    include_str!("../src/kubevirt/machine/volumes.rs"),
    include_str!("../src/kubevirt/preset.rs"),
    include_str!("../src/kubevirt/registry.rs"),
];

#[test]
fn the_manifests_have_every_field_that_is_read() {
    let mut keys = Map::new();
    for document in manifests().iter().flatten() {
        let mut all = Vec::new();
        paths(document, &Path::new(), &mut all);
        for step in all.into_iter().flatten() {
            if let Step::Key(key) = step {
                keys.insert(key, Value::Null);
            }
        }
    }
    let mut absent = Vec::new();
    for call in [
        ".take(\"",
        ".text(\"",
        ".object(\"",
        ".list(\"",
        "volume.has(\"",
    ] {
        for source in SOURCES {
            for rest in source.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                if !keys.contains_key(key) {
                    absent.push(key);
                }
            }
        }
    }
    assert!(absent.is_empty(), "{absent:?}");
}
