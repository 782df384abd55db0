//! Resources for tests.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use uuid::Uuid;
use vsiflow_workflows::spec::{HostSettings, NoFiles};

use crate::{
    kind::ResourceKind,
    resource::{Resource, Settings},
    resource_cache::Snapshot,
    translate::TranslationRules,
};

/// A UID that is easy to read.
pub(crate) fn uid(number: u8) -> Uuid {
    Uuid::from_bytes([number; 16])
}

/// A resource in namespace `default`; `number` determines its UID and its age: smaller is older.
pub(crate) fn resource(kind: ResourceKind, name: &str, number: u8, rest: Value) -> Arc<Resource> {
    let mut object = json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": uid(number), "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": format!("2026-01-01T00:00:{number:02}Z"),
        },
    });
    merge(&mut object, rest);
    let object = serde_json::from_value(object).unwrap();
    Arc::new(Resource::of(kind, object).unwrap())
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A VSI on the host of the ConfigMap with the label `config: lpar1`.
pub(crate) fn vsi(name: &str, number: u8, spec: Value) -> Arc<Resource> {
    let mut all = json!({"spec": {
        "contract": "hyper-protect-basic.secret", "imageURL": "http://images.example/a.qcow2",
        "targetSelector": {"matchLabels": {"config": "lpar1"}},
    }});
    merge(&mut all["spec"], spec);
    resource(ResourceKind::Vsi, name, number, all)
}

/// A data disk with the label `disk: NAME` on the same host.
pub(crate) fn disk(name: &str, number: u8) -> Arc<Resource> {
    let rest = json!({
        "metadata": {"labels": {"disk": name}},
        "spec": {"size": 1 << 20, "targetSelector": {"matchLabels": {"config": "lpar1"}}},
    });
    resource(ResourceKind::DataDisk, name, number, rest)
}

/// The ConfigMap that all of these select.
pub(crate) fn config_map(data: Value) -> Arc<Settings> {
    let mut object = json!({
        "metadata": {"name": "lpar1", "namespace": "default", "labels": {"config": "lpar1"}},
        "data": {"HOSTNAME": "lpar1.example.com", "KNOWN_HOSTS": "lpar1.example.com ssh-ed25519 A"},
    });
    merge(&mut object["data"], data);
    let object: ConfigMap = serde_json::from_value(object).unwrap();
    Arc::new(Settings::of_config_map(object).unwrap())
}

pub(crate) fn world(resources: Vec<Arc<Resource>>) -> Snapshot {
    Snapshot {
        resources,
        config_maps: vec![config_map(json!({}))],
        secrets: Vec::new(),
    }
}

/// Rules of a cluster where no namespace has a host yet.
pub(crate) fn rules(host: Option<&HostSettings>) -> TranslationRules<'_> {
    TranslationRules {
        host,
        permits: &NoFiles,
        owners: BTreeMap::new(),
        known: &|_| None,
        text_turns: Arc::default(),
    }
}
