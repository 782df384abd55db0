//! What is asked of the API server beside watching: finalizers and status.

use std::time::Duration;

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

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
                match status.code < 500 {
                    true => Self::Refused(words),
                    false => Self::Other(words),
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
    wanted: bool,
) -> Result<Option<Resource>, CallError> {
    let mut finalizers = resource.finalizers.clone();
    finalizers.retain(|one| one != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "uid": resource.uid.to_string(),
        "resourceVersion": resource.version,
        "finalizers": finalizers,
    }});
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = api(client, &resource.key);
    let patched = within(api.patch(&resource.key.name, &params, &Patch::Merge(patch))).await?;
    Ok(Resource::of(resource.key.kind, patched))
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
