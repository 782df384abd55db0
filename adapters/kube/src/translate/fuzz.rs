//! Resources that an API server should not have let in.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;
use vsiflow_fuzz::FuzzTarget;

use super::*;
use crate::sample::{config_map, rules, uid, vsi};

#[test]
fn fuzz_resource() {
    FuzzTarget {
        memory: 4 * 1024 * 1024,
        memory_per_byte: 512,
        words: &[
            "[",
            "]",
            "{",
            "}",
            ",",
            "{\"a\":",
            "\"\\ud800\"",
            "null",
            "1e999",
            "-1",
            "\"spec\":",
            "\"metadata\":",
            "\"matchExpressions\":",
            "\"deletionTimestamp\":",
        ],
        ..FuzzTarget::new("resource", target)
    }
    .check();
}

/// Reads a resource as every kind and translates it; another tenant's VSI is served all the same.
pub(crate) fn target(bytes: &[u8]) {
    let mut world = Snapshot {
        resources: vec![vsi("good", 1, json!({}))],
        config_maps: vec![config_map(json!({}))],
        secrets: Vec::new(),
    };
    if let Ok(object) = serde_json::from_slice::<kube::core::DynamicObject>(bytes) {
        let all = ResourceKind::ALL.into_iter();
        let all = all.filter_map(|kind| Resource::of(kind, object.clone()));
        let others = all.filter(|one| one.uid != uid(1) && one.key.namespace != "default");
        world.resources.extend(others.map(Arc::new));
    }
    if let Ok(object) = serde_json::from_slice::<ConfigMap>(bytes) {
        world
            .config_maps
            .extend(others(Settings::of_config_map(object)));
    }
    if let Ok(object) = serde_json::from_slice::<Secret>(bytes) {
        world.secrets.extend(others(Settings::of_secret(object)));
    }
    let translation = translate(&world, &rules(None));
    assert!(translation.vsis.contains_key(&uid(1)));
    let problems = format!("{:?}{:?}", translation.problems, translation.warnings);
    assert!(
        !problems.contains("hunter2"),
        "a secret was shown: {problems}"
    );
}

fn others(settings: Option<Settings>) -> Option<Arc<Settings>> {
    settings
        .filter(|one| one.namespace != "default")
        .map(Arc::new)
}
