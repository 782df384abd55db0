//! A VSI's resource as whoever uses the plugin sees it.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use vsiflow_workflows::spec::PowerState;

use crate::{crd::VsiResourceStatus, kind::ResourceKind, resource::Resource};

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
    /// Since when it is there.
    pub created: Option<Timestamp>,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The desired state, its contract hidden.
    pub spec: Value,
    /// What is.
    pub status: VsiResourceStatus,
    version: String,
    kind: ResourceKind,
}

impl VsiResource {
    pub(super) fn of(resource: &Resource) -> Self {
        let mut spec = resource.spec.clone();
        for secret in ["/contract", "/guest/contract", "/guest/userData"] {
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

    /// What people call it.
    pub fn label(&self) -> String {
        format!("vsi/{}", self.name)
    }

    /// Whether it is to run, as the resource says.
    pub fn power_state(&self) -> PowerState {
        let state = self.spec.get("powerState").cloned();
        let state = state.and_then(|state| serde_json::from_value(state).ok());
        state.unwrap_or_default()
    }

    /// A condition's status; `Unknown` where there is none.
    pub fn condition(&self, name: &str) -> &str {
        let mut all = self.status.conditions.iter();
        let found = all.find(|condition| condition.name == name);
        found.map_or("Unknown", |condition| &condition.status)
    }

    /// As an object, its contract hidden.
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
