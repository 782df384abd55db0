//! Calls to the API server other than watches: finalizers, status, and the objects of pool members.

use std::{collections::BTreeMap, time::Duration};

use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions},
};
use serde_json::{Map, Value, json};

use crate::{
    FIELD_MANAGER, FINALIZER,
    resource::{Resource, ResourceKey},
};

/// Deadline of each call.
const DEADLINE: Duration = Duration::from_secs(30);

/// Error: a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The object does not exist any more.
    #[error("it is gone")]
    Gone,
    /// The object was changed since it was read.
    #[error("it was changed in the meantime")]
    Conflict,
    /// This user may not do it.
    #[error("{0}")]
    Denied(String),
    /// The API server works, and refuses the request for another reason.
    #[error("{0}")]
    Refused(String),
    /// The API server answers that it cannot do it now; a retry may help.
    #[error("{0}")]
    Failing(String),
    /// There is no answer; a retry may help.
    #[error("{0}")]
    Unanswered(String),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::Gone,
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            kube::Error::Api(status) => {
                let words = format!("{} ({})", status.message, status.code);
                match status.code {
                    401 | 403 => Self::Denied(words),
                    ..500 => Self::Refused(words),
                    _ => Self::Failing(words),
                }
            }
            error => Self::Unanswered(error.to_string()),
        }
    }
}

impl CallError {
    /// Whether the API server works, and does not accept this request.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Refused(_))
    }

    /// Whether the API server works, and this is what it decided: the same request will end the same.
    pub fn is_decision(&self) -> bool {
        !matches!(self, Self::Failing(_) | Self::Unanswered(_))
    }
}

/// Runs a call within its deadline.
pub(crate) async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(CallError::Unanswered(format!(
            "the API server did not answer within {} s",
            DEADLINE.as_secs()
        ))),
    }
}

fn api(client: &Client, key: &ResourceKey) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &key.namespace, &key.kind.api_resource())
}

/// Sets or removes our finalizer. It fails if the resource was changed since it was read, so that the
/// finalizers of other controllers are never overwritten, and if its UID is a different one.
pub(crate) async fn set_finalizer(
    client: &Client,
    resource: &Resource,
    present: bool,
) -> Result<Option<Resource>, CallError> {
    let mut finalizers = resource.finalizers.clone();
    finalizers.retain(|one| one != FINALIZER);
    if present {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "uid": resource.uid.to_string(),
        "resourceVersion": resource.version,
        "finalizers": finalizers,
    }});
    patch_resource(client, resource, patch).await
}

/// Asks the API server whether this object, by its UID, exists and is not being deleted.
pub(crate) async fn is_there(client: &Client, resource: &Resource) -> Result<bool, CallError> {
    let api = api(client, &resource.key);
    let metadata = within(api.get_metadata(&resource.key.name)).await?.metadata;
    let is_it = metadata.uid == Some(resource.uid.to_string());
    Ok(is_it && metadata.deletion_timestamp.is_none())
}

/// Writes a status. Fields of ours that it does not contain any more are removed.
pub(crate) async fn set_status(
    client: &Client,
    resource: &Resource,
    status: Value,
) -> Result<Option<Resource>, CallError> {
    let described = resource.key.kind.api_resource();
    let patch = json!({
        "apiVersion": described.api_version,
        "kind": described.kind,
        "metadata": {"uid": resource.uid.to_string()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let api = api(client, &resource.key);
    let patched =
        within(api.patch_status(&resource.key.name, &params, &Patch::Apply(patch))).await?;
    Ok(Resource::of(resource.key.kind, patched))
}

/// The desired content of a pool member's object.
#[derive(Clone, Debug)]
pub(crate) struct MemberObject {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// None if the spec is not changed.
    pub(crate) spec: Option<Value>,
}

/// Names of labels and annotations that are removed from a member's object.
#[derive(Debug, Default)]
pub(crate) struct RemovedMarks {
    pub(crate) labels: Vec<String>,
    pub(crate) annotations: Vec<String>,
}

impl RemovedMarks {
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// The part of a merge patch that sets some labels or annotations and removes others.
fn marks_patch(set: &BTreeMap<String, String>, removed: &[String]) -> Map<String, Value> {
    let removed = removed.iter().map(|name| (name.clone(), Value::Null));
    let set = set.iter();
    let set = set.map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    removed.chain(set).collect()
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Creates a member's object together with our finalizer, so it never exists without it.
pub(crate) async fn create_member(
    client: &Client,
    key: &ResourceKey,
    object: &MemberObject,
) -> Result<Option<Resource>, CallError> {
    let described = key.kind.api_resource();
    let body = json!({
        "apiVersion": described.api_version,
        "kind": described.kind,
        "metadata": {
            "name": key.name, "namespace": key.namespace,
            "labels": object.labels, "annotations": object.annotations,
            "finalizers": [FINALIZER],
        },
        "spec": object.spec,
    });
    let body: DynamicObject =
        serde_json::from_value(body).map_err(|error| CallError::Refused(error.to_string()))?;
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let created = within(api(client, key).create(&params, &body)).await?;
    Ok(Resource::of(key.kind, created))
}

/// Corrects a member's object. It fails if the object was changed since it was read.
pub(crate) async fn correct_member(
    client: &Client,
    resource: &Resource,
    object: &MemberObject,
    removed: &RemovedMarks,
) -> Result<Option<Resource>, CallError> {
    let mut finalizers = resource.finalizers.clone();
    if !resource.has_finalizer() {
        finalizers.push(FINALIZER.to_owned());
    }
    let mut patch = json!({"metadata": {
        "uid": resource.uid.to_string(),
        "resourceVersion": resource.version,
        "labels": marks_patch(&object.labels, &removed.labels),
        "annotations": marks_patch(&object.annotations, &removed.annotations),
        "finalizers": finalizers,
    }});
    if let (Some(spec), Some(fields)) = (&object.spec, patch.as_object_mut()) {
        fields.insert("spec".to_owned(), difference(&resource.spec, spec));
    }
    patch_resource(client, resource, patch).await
}

/// Writes the number of replicas of a pool into its resource, if the resource does not have one.
pub(crate) async fn set_replicas(
    client: &Client,
    resource: &Resource,
    replicas: u32,
) -> Result<Option<Resource>, CallError> {
    let patch = json!({
        "metadata": {"uid": resource.uid.to_string(), "resourceVersion": resource.version},
        "spec": {"replicas": replicas},
    });
    patch_resource(client, resource, patch).await
}

async fn patch_resource(
    client: &Client,
    resource: &Resource,
    patch: Value,
) -> Result<Option<Resource>, CallError> {
    let key = &resource.key;
    let patch = Patch::Merge(patch);
    let patched = within(api(client, key).patch(&key.name, &params(), &patch)).await?;
    Ok(Resource::of(key.kind, patched))
}

/// Deletes a member's object, by its UID. Its finalizer retains it until the member is deleted.
pub(crate) async fn delete_member(client: &Client, resource: &Resource) -> Result<(), CallError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(resource.uid.to_string()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let api = api(client, &resource.key);
    within(api.delete(&resource.key.name, &params))
        .await
        .map(drop)
}

/// The merge patch that turns `before` into `after`; fields that only `before` has are removed.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let mut all: Map<_, _> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, value) in after {
        let value = match before.get(key) {
            Some(known) => difference(known, value),
            None => value.clone(),
        };
        all.insert(key.clone(), value);
    }
    Value::Object(all)
}
