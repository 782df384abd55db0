//! A VSI's resource for users of the plugin; its secrets are hidden.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use vsiflow_workflows::spec::PowerState;

use crate::{crd::VsiResourceStatus, kind::ResourceKind, resource::Resource};

/// The fields of a spec that are not printed.
const SECRETS: [&str; 4] = [
    "/contract",
    "/guest/contract",
    "/guest/userData",
    "/guest/vendorData",
];

/// A VSI's resource.
#[derive(Clone, Debug)]
pub struct VsiResource {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The desired state, with its secrets hidden.
    pub spec: Value,
    /// The status.
    pub status: VsiResourceStatus,
    version: String,
    kind: ResourceKind,
}

impl VsiResource {
    pub(super) fn of(resource: &Resource) -> Self {
        let mut spec = resource.spec.clone();
        for secret in SECRETS {
            if let Some(secret) = spec.pointer_mut(secret) {
                *secret = Value::from("<hidden>");
            }
        }
        Self {
            namespace: resource.key.namespace.clone(),
            name: resource.key.name.clone(),
            uid: resource.uid.to_string(),
            generation: resource.generation,
            created: resource.created,
            is_deleting: resource.is_deleting(),
            labels: resource.labels.clone(),
            spec,
            status: resource.status_as(),
            version: resource.version.clone(),
            kind: resource.key.kind,
        }
    }

    /// Its kind.
    pub(super) fn kind(&self) -> ResourceKind {
        self.kind
    }

    /// Its name for people.
    pub fn label(&self) -> String {
        format!("vsi/{}", self.name)
    }

    /// The desired power state in the resource.
    pub fn power_state(&self) -> PowerState {
        let state = self.spec.get("powerState").cloned();
        let state = state.and_then(|state| serde_json::from_value(state).ok());
        state.unwrap_or_default()
    }

    /// A condition's status; `Unknown` if there is no such condition.
    pub fn condition(&self, name: &str) -> &str {
        let mut all = self.status.conditions.iter();
        let found = all.find(|condition| condition.name == name);
        found.map_or("Unknown", |condition| &condition.status)
    }

    /// The whole object, with its secrets hidden.
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": self.kind.api_resource().api_version,
            "kind": self.kind.name(),
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "uid": self.uid,
                "generation": self.generation,
                "resourceVersion": self.version,
                "creationTimestamp": self.created.map(|at| at.to_string()),
                "labels": self.labels,
            },
            "spec": self.spec,
            "status": self.status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::resource;

    #[test]
    fn secrets_of_a_guest_are_hidden() {
        let guest = json!({
            "type": "cloudInit", "contract": "s1", "userData": "s2", "vendorData": "s3",
            "hostname": "web",
        });
        let spec = json!({"spec": {"contract": "s4", "guest": guest}});
        let shown = VsiResource::of(&resource(ResourceKind::VirtualServer, "web", 1, spec));
        let text = shown.spec.to_string();
        let secrets = ["s1", "s2", "s3", "s4"].into_iter();
        let found: Vec<_> = secrets.filter(|secret| text.contains(secret)).collect();
        assert!(found.is_empty(), "{found:?} in {text}");
        assert!(text.contains("web"), "{text}");
    }
}
