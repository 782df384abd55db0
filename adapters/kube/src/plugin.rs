//! What `kubectl vsi` asks of a cluster, with the rights of whoever calls it.
//!
//! A power command is one field of a resource, `spec.powerState`, applied server-side and never by
//! force: where another field manager owns the field, that one's word counts, and the caller is
//! told whose it is. A restart and an approval are annotations. Everything else is told by the
//! resource's status, or asked of the API of subresources; for those who rather run `vsiflow` in the pod
//! of the process that serves a resource, its Lease names that.
//!
//! What this module never does: decide anything of a VSI, or reach into a pod.

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

/// The field manager of whoever uses the plugin.
pub const PLUGIN: &str = "kubectl-vsi";

/// A cluster, and the namespace that is meant.
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// The namespace that is meant.
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

    /// A VSI's resource, of either kind.
    ///
    /// # Errors
    /// When it is not there, or this user may not read it.
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
            CallError::Refused(why) | CallError::Other(why) => PluginError::Refused {
                what: format!("{} {what}", self.label(name)),
                why,
            },
        }
    }

    /// The names of the VSIs, at most this many.
    ///
    /// # Errors
    /// When this user may not list them.
    pub async fn names(&self, most: u32) -> Result<Vec<String>, PluginError> {
        let params = ListParams::default().limit(most);
        let list = |kind| {
            let (api, params) = (self.vsis(kind), &params);
            async move { within(api.list_metadata(params)).await }
        };
        let listed = list(ResourceKind::Vsi).await;
        let listed = listed.map_err(|error| self.unlistable(&error))?;
        // A server may be without the newer kind, and this user without the right to it.
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

    /// Applies `spec.powerState`, and nothing beside it. Where it says so already, nothing changes.
    ///
    /// # Errors
    /// [`PluginError::Owned`] where another manager owns the field and says otherwise.
    pub async fn power(
        &self,
        vsi: &VsiResource,
        state: PowerState,
    ) -> Result<VsiResource, PluginError> {
        let patch = json!({
            "apiVersion": vsi.kind().api_resource().api_version,
            "kind": vsi.kind().name(),
            // With the UID a resource that was deleted meanwhile is not made anew.
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

    /// Asks for a restart: one for each moment that is named.
    ///
    /// # Errors
    /// When this user may not change the resource.
    pub async fn restart(
        &self,
        vsi: &VsiResource,
        at: Timestamp,
    ) -> Result<VsiResource, PluginError> {
        self.annotate(vsi, RESTARTED_AT, &at.to_string()).await
    }

    /// Approves the change of that id.
    ///
    /// # Errors
    /// When this user may not change the resource.
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
