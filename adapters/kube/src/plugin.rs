//! Client side of `kubectl vsi`: requests to a cluster with the caller's own rights.
//!
//! A power command is one field of a resource, `spec.powerState`, applied server-side and never by
//! force: if another field manager owns the field, its value remains, and the error names that manager.
//! A restart and an approval are annotations. Everything else is read from the resource's status, or
//! requested from the API of subresources. Users who prefer to run `vsiflow` in the pod that serves a
//! resource find that pod through its Lease.
//!
//! What this module never does: decide anything about a VSI, or reach into a pod.

mod access;
mod error;
mod events;
mod serving;
mod subresources;
mod upload;
mod vsi;

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::json;
use vsiflow_workflows::spec::{PowerState, meta::RESTARTED_AT};

use self::error::owned;
pub use self::{
    access::KubeconfigFlags,
    error::PluginError,
    events::ClusterEvent,
    serving::PodPlace,
    subresources::{Action, ActionAnswer, ActionFailure, Pieces, Reading},
    upload::{LocalFile, UploadStatus, UploadedImage},
    vsi::VsiResource,
};
pub use crate::subresources::{ActionDone, UploadPiece, UploadReader};
use crate::{
    APPROVE,
    api::{CallError, within},
    kind::ResourceKind,
    resource::Resource,
};

/// The field manager of the plugin's users.
pub const PLUGIN: &str = "kubectl-vsi";

/// A cluster, and the selected namespace.
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// The selected namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn vsis(&self, kind: ResourceKind) -> Api<DynamicObject> {
        let kind = kind.api_resource();
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    fn label(&self, name: &str) -> String {
        format!("vsi/{name} in the namespace {}", self.namespace)
    }

    /// Reads a VSI's resource, of either kind.
    ///
    /// # Errors
    /// If it does not exist, or this user may not read it.
    pub async fn vsi(&self, name: &str) -> Result<VsiResource, PluginError> {
        let mut kind = ResourceKind::Vsi;
        let mut got = within(self.vsis(kind).get(name)).await;
        if matches!(got, Err(CallError::Gone)) {
            kind = ResourceKind::VirtualServer;
            got = within(self.vsis(kind).get(name)).await;
        }
        let object = got.map_err(|error| self.wrong(name, "cannot be read", error))?;
        self.read(kind, name, object)
    }

    fn read(
        &self,
        kind: ResourceKind,
        name: &str,
        object: DynamicObject,
    ) -> Result<VsiResource, PluginError> {
        let found = Resource::of(kind, object);
        let found = found.ok_or_else(|| PluginError::Refused {
            what: format!("{} cannot be read", self.label(name)),
            why: "it lacks a UID".to_owned(),
        })?;
        Ok(VsiResource::of(&found))
    }

    fn wrong(&self, name: &str, what: &str, error: CallError) -> PluginError {
        match error {
            CallError::Gone => PluginError::NotFound(self.label(name)),
            CallError::Conflict => PluginError::Changed(self.label(name)),
            other => PluginError::Refused {
                what: format!("{} {what}", self.label(name)),
                why: other.to_string(),
            },
        }
    }

    /// The names of the VSIs, at most `most` of each kind.
    ///
    /// # Errors
    /// If this user may not list them.
    pub async fn names(&self, most: u32) -> Result<Vec<String>, PluginError> {
        let params = ListParams::default().limit(most);
        let list = |kind| {
            let (api, params) = (self.vsis(kind), &params);
            async move { within(api.list_metadata(params)).await }
        };
        let listed = list(ResourceKind::Vsi).await;
        let listed = listed.map_err(|error| self.unlistable(&error))?;
        // The API server may lack the newer kind, and this user the right to it.
        let newer = list(ResourceKind::VirtualServer).await.ok();
        let newer = newer.iter().flat_map(|cluster| cluster.iter());
        let all = listed.iter().chain(newer);
        Ok(all.map(ResourceExt::name_any).collect())
    }

    fn unlistable(&self, error: &CallError) -> PluginError {
        PluginError::Refused {
            what: format!(
                "the VSIs of the namespace {} cannot be listed",
                self.namespace
            ),
            why: error.to_string(),
        }
    }

    /// Applies `spec.powerState`, and no other field. Nothing changes if it has this value already.
    ///
    /// # Errors
    /// [`PluginError::Owned`] if another manager owns the field with a different value.
    pub async fn power(
        &self,
        vsi: &VsiResource,
        state: PowerState,
    ) -> Result<VsiResource, PluginError> {
        let patch = json!({
            "apiVersion": vsi.kind().api_resource().api_version,
            "kind": vsi.kind().name(),
            // With the UID, a resource that was deleted since it was read is not created again.
            "metadata": {"uid": vsi.uid},
            "spec": {"powerState": state},
        });
        let params = PatchParams::apply(PLUGIN);
        let done = self
            .vsis(vsi.kind())
            .patch(&vsi.name, &params, &Patch::Apply(patch))
            .await;
        match done {
            Ok(object) => self.read(vsi.kind(), &vsi.name, object),
            Err(error) => Err(owned(&vsi.label(), &error)
                .unwrap_or_else(|| self.wrong(&vsi.name, "cannot be changed", error.into()))),
        }
    }

    /// Requests a restart: one for each different time.
    ///
    /// # Errors
    /// If this user may not change the resource.
    pub async fn restart(
        &self,
        vsi: &VsiResource,
        at: Timestamp,
    ) -> Result<VsiResource, PluginError> {
        self.annotate(vsi, RESTARTED_AT, &at.to_string()).await
    }

    /// Approves the change with this ID.
    ///
    /// # Errors
    /// If this user may not change the resource.
    pub async fn approve(&self, vsi: &VsiResource, id: &str) -> Result<VsiResource, PluginError> {
        self.annotate(vsi, APPROVE, id).await
    }

    async fn annotate(
        &self,
        vsi: &VsiResource,
        key: &str,
        value: &str,
    ) -> Result<VsiResource, PluginError> {
        let patch = json!({"metadata": {"uid": vsi.uid, "annotations": {key: value}}});
        let params = PatchParams {
            field_manager: Some(PLUGIN.to_owned()),
            ..PatchParams::default()
        };
        let done = within(
            self.vsis(vsi.kind())
                .patch(&vsi.name, &params, &Patch::Merge(patch)),
        )
        .await;
        let object = done.map_err(|error| self.wrong(&vsi.name, "cannot be annotated", error))?;
        self.read(vsi.kind(), &vsi.name, object)
    }
}
