//! Finds the process that serves the VSIs of a cluster, by Leases and status.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, api::ListParams};

use super::{Cluster, PluginError};
use crate::{
    api::{CallError, within},
    crd::VsiResourceStatus,
    kind::ResourceKind,
    resource::Resource,
};

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// The pod that holds a Lease: a process uses its pod's name as its identity.
    ///
    /// # Errors
    /// If the Lease does not exist or has no holder, or this user may not read it.
    pub async fn acting(&self, namespace: &str, lease: &str) -> Result<PodPlace, PluginError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let shown = format!("{namespace}/{lease}");
        let found = within(api.get(lease)).await.map_err(|error| match error {
            CallError::Gone => PluginError::NoLease(format!("Lease {shown}")),
            error => PluginError::Refused {
                what: format!("the Lease {shown} cannot be read"),
                why: error.to_string(),
            },
        })?;
        let holder = found.spec.and_then(|spec| spec.holder_identity);
        let holder = holder.unwrap_or_default();
        match holder.rsplit_once('_') {
            Some((pod, _)) if !pod.is_empty() => Ok(PodPlace {
                namespace: namespace.to_owned(),
                name: pod.to_owned(),
            }),
            _ => Err(PluginError::NoLeaseHolder(shown)),
        }
    }

    /// The Lease in the status of any VSI; none if no status has one.
    ///
    /// # Errors
    /// If this user may not list VSIs.
    pub async fn any_lease(&self) -> Result<Option<String>, PluginError> {
        let listed = within(self.vsis(ResourceKind::Vsi).list(&ListParams::default())).await;
        let listed = listed.map_err(|error| self.unlistable(&error))?;
        let mut all = listed.items.into_iter();
        Ok(all.find_map(|object| {
            let found = Resource::of(ResourceKind::Vsi, object)?;
            found.status_as::<VsiResourceStatus>().served_by
        }))
    }
}
