//! What is asked of the API server beside watching: finalizers, status, and objects of pools' members.

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

/// No call takes longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The object is not there any more.
    #[error("it is gone")]
    Gone,
    /// Somebody else changed it meanwhile.
    #[error("it was changed meanwhile")]
    Conflict,
    /// The API server is well, and says no.
    #[error("{0}")]
    Refused(String),
    /// Anything else; asking again may help.
    #[error("{0}")]
    Other(String),
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::Gone,
            kube::Error::Api(status) if status.code == 409 => Self::Conflict,
            kube::Error::Api(status) => {
                let words = format!("{} ({})", status.message, status.code);
                if status.code < 500 {
                    Self::Refused(words)
                } else {
                    Self::Other(words)
                }
            }
            error => Self::Other(error.to_string()),
        }
    }
}

/// Runs a call within its deadline.
pub(crate) async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(CallError::Other(format!(
            "the API server did not answer within {} s",
            DEADLINE.as_secs()
        ))),
    }
}

fn api(client: &Client, key: &ResourceKey) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), &key.namespace, &key.kind.api_resource())
}

/// Sets or removes our finalizer. It fails where the resource was changed meanwhile, so that the
/// finalizers of others are never overwritten, and where its UID is another by now.
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

/// Whether the very object is there and not to be deleted, as the API server has it now.
pub(crate) async fn is_there(client: &Client, resource: &Resource) -> Result<bool, CallError> {
    let api = api(client, &resource.key);
    let metadata = within(api.get_metadata(&resource.key.name)).await?.metadata;
    let is_it = metadata.uid == Some(resource.uid.to_string());
    Ok(is_it && metadata.deletion_timestamp.is_none())
}

/// Writes a status; what it does not say any more is removed where it was ours.
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

/// What the object of a pool's member says.
#[derive(Clone, Debug)]
pub(crate) struct MemberObject {
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// None where it stays as it is.
    pub(crate) spec: Option<Value>,
}

fn params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Creates a member's object, with our finalizer: nothing of it is ever without.
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

/// Puts a member's object right. It fails where the object was changed meanwhile.
pub(crate) async fn correct_member(
    client: &Client,
    resource: &Resource,
    object: &MemberObject,
) -> Result<Option<Resource>, CallError> {
    let mut finalizers = resource.finalizers.clone();
    if !resource.has_finalizer() {
        finalizers.push(FINALIZER.to_owned());
    }
    let mut patch = json!({"metadata": {
        "uid": resource.uid.to_string(),
        "resourceVersion": resource.version,
        "labels": object.labels,
        "annotations": object.annotations,
        "finalizers": finalizers,
    }});
    if let (Some(spec), Some(fields)) = (&object.spec, patch.as_object_mut()) {
        fields.insert("spec".to_owned(), difference(&resource.spec, spec));
    }
    patch_resource(client, resource, patch).await
}

/// Writes how many members a pool is to have, where its resource does not say so.
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

/// Deletes a member's object: that very one. Its finalizer keeps it until its member is gone.
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

/// The merge patch that makes one value of another; what is only in the first is taken away.
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
