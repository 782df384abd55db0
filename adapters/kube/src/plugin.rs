//! What `kubectl vsi` asks of a cluster, with the rights of whoever calls it.
//!
//! A power command is one field of a resource, `spec.powerState`, applied server-side and never by
//! force: where another field manager owns the field, that one's word counts, and the caller is
//! told whose it is. A restart and an approval are annotations. Everything else is told by the
//! resource's status, or asked of the process that serves it, which its Lease names.
//!
//! What this module never does: decide anything of a VSI, or reach into a pod.

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::{
    api::{coordination::v1::Lease, core::v1::Event},
    jiff::Timestamp,
};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::response::StatusCause,
};
use serde_json::{Value, json};
use vsiflow_workflows::spec::{PowerState, meta::RESTARTED_AT};

use crate::{
    APPROVE, ConnectError,
    api::{CallError, within},
    controller::status_of,
    crd::{GROUP, VsiStatus},
    kind::Kind,
    operator::client_of,
    resource::Resource,
};

/// The field manager of whoever uses the plugin.
pub const PLUGIN: &str = "kubectl-vsi";
/// The reason of a conflict over a field.
const OWNED: &str = "FieldManagerConflict";
/// Events in one answer.
const EVENTS: u32 = 100;

/// Which cluster, as whom, and which namespace: as kubectl takes it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The kubeconfig; else `$KUBECONFIG` or the one in the home folder.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it.
    pub context: Option<String>,
    /// A cluster of it.
    pub cluster: Option<String>,
    /// A user of it.
    pub user: Option<String>,
    /// Whom to act as.
    pub act_as: Option<String>,
    /// The namespace; else the context's.
    pub namespace: Option<String>,
}

/// Why something that was asked of the cluster was not done.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// There is no such object.
    #[error("there is no {0}")]
    NotFound(String),
    /// Other field managers own the field.
    #[error("{field} of {object} belongs to {}", .owners.join(" and "))]
    Owned {
        /// The object.
        object: String,
        /// The field.
        field: String,
        /// Who owns it.
        owners: Vec<String>,
    },
    /// Somebody else changed it meanwhile.
    #[error("{0} was changed meanwhile")]
    Changed(String),
    /// The API server refused, or did not answer.
    #[error("{what}: {why}")]
    Refused {
        /// What was asked.
        what: String,
        /// What came of it.
        why: String,
    },
    /// Nobody holds the Lease.
    #[error("nobody holds the Lease {0} now")]
    Nobody(String),
}

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
    pub is_going: bool,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What is wanted, its contract hidden.
    pub spec: Value,
    /// What is.
    pub status: VsiStatus,
    version: String,
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub struct Told {
    /// When it was told last.
    pub at: Option<Timestamp>,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// A word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// How often.
    pub count: i32,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlace {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A cluster, and the namespace that is meant.
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    /// A client with these settings. The cluster is not asked yet.
    ///
    /// # Errors
    /// When address or credentials cannot be read.
    pub async fn reach(access: &Access) -> Result<Self, ConnectError> {
        let mut config = config(access).await?;
        config.auth_info.impersonate.clone_from(&access.act_as);
        let own = config.default_namespace.clone();
        Ok(Self {
            namespace: access.namespace.clone().unwrap_or(own),
            client: client_of(config)?,
        })
    }

    /// The namespace that is meant.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn vsis(&self) -> Api<DynamicObject> {
        let kind = Kind::Vsi.api_resource();
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind)
    }

    fn label(&self, name: &str) -> String {
        format!("vsi/{name} in the namespace {}", self.namespace)
    }

    /// A VSI's resource.
    ///
    /// # Errors
    /// When it is not there, or this user may not read it.
    pub async fn vsi(&self, name: &str) -> Result<VsiResource, PluginError> {
        let got = within(self.vsis().get(name)).await;
        let object = got.map_err(|error| self.wrong(name, "cannot be read", error))?;
        self.read(name, object)
    }

    fn read(&self, name: &str, object: DynamicObject) -> Result<VsiResource, PluginError> {
        let found = Resource::of(Kind::Vsi, object);
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
            CallError::Other(why) => PluginError::Refused {
                what: format!("{} {what}", self.label(name)),
                why,
            },
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
            "apiVersion": format!("{GROUP}/v1"),
            "kind": Kind::Vsi.api_resource().kind,
            // With the UID a resource that was deleted meanwhile is not made anew.
            "metadata": {"uid": vsi.uid},
            "spec": {"powerState": state},
        });
        let params = PatchParams::apply(PLUGIN);
        let done = self
            .vsis()
            .patch(&vsi.name, &params, &Patch::Apply(patch))
            .await;
        match done {
            Ok(object) => self.read(&vsi.name, object),
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
        let done = within(self.vsis().patch(&vsi.name, &params, &Patch::Merge(patch))).await;
        let object = done.map_err(|error| self.wrong(&vsi.name, "cannot be annotated", error))?;
        self.read(&vsi.name, object)
    }

    /// The pod that holds a Lease: a process names itself by its pod's name.
    ///
    /// # Errors
    /// When there is no such Lease, this user may not read it, or nobody holds it.
    pub async fn acting(&self, namespace: &str, lease: &str) -> Result<PodPlace, PluginError> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let shown = format!("{namespace}/{lease}");
        let found = within(api.get(lease)).await.map_err(|error| match error {
            CallError::Gone => PluginError::NotFound(format!("Lease {shown}")),
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
            _ => Err(PluginError::Nobody(shown)),
        }
    }

    /// The Lease that some VSI's status names; none where none does.
    ///
    /// # Errors
    /// When this user may not list VSIs.
    pub async fn any_lease(&self) -> Result<Option<String>, PluginError> {
        let listed = within(self.vsis().list(&ListParams::default())).await;
        let listed = listed.map_err(|error| PluginError::Refused {
            what: format!(
                "the VSIs of the namespace {} cannot be listed",
                self.namespace
            ),
            why: error.to_string(),
        })?;
        let mut all = listed.items.into_iter();
        Ok(all.find_map(|object| {
            let found = Resource::of(Kind::Vsi, object)?;
            status_of(&found).served_by
        }))
    }

    /// The Events of a VSI, the oldest first.
    ///
    /// # Errors
    /// When this user may not list Events.
    pub async fn events(&self, vsi: &VsiResource) -> Result<Vec<Told>, PluginError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let of_it = format!("involvedObject.uid={}", vsi.uid);
        let params = ListParams::default().fields(&of_it).limit(EVENTS);
        let listed = within(api.list(&params)).await;
        let listed =
            listed.map_err(|error| self.wrong(&vsi.name, "has Events that are hidden", error))?;
        let mut told: Vec<_> = listed.items.into_iter().map(Told::of).collect();
        told.sort_by_key(|one| one.at);
        Ok(told)
    }
}

async fn config(access: &Access) -> Result<Config, ConnectError> {
    let wrong = |error: &dyn std::fmt::Display| ConnectError::Config(error.to_string());
    let options = KubeConfigOptions {
        context: access.context.clone(),
        cluster: access.cluster.clone(),
        user: access.user.clone(),
    };
    let kubeconfig = match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let config = Config::from_custom_kubeconfig(kubeconfig.map_err(|e| wrong(&e))?, &options);
    config.await.map_err(|error| wrong(&error))
}

/// The managers that own what was to be applied.
fn owned(object: &str, error: &kube::Error) -> Option<PluginError> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let causes = &status.details.as_ref()?.causes;
    let mut conflicts = causes
        .iter()
        .filter(|cause| cause.reason == OWNED)
        .peekable();
    let field = conflicts.peek()?.field.trim_start_matches('.').to_owned();
    Some(PluginError::Owned {
        object: object.to_owned(),
        field,
        owners: conflicts.map(owner).collect(),
    })
}

/// The API server says `conflict with "MANAGER" using VERSION`.
fn owner(cause: &StatusCause) -> String {
    let mut parts = cause.message.split('"');
    match (parts.next(), parts.next()) {
        (Some(_), Some(manager)) => manager.to_owned(),
        _ => cause.message.clone(),
    }
}

impl VsiResource {
    fn of(resource: &Resource) -> Self {
        let mut spec = resource.spec.clone();
        if let Some(contract) = spec.get_mut("contract") {
            *contract = Value::from("<hidden>");
        }
        Self {
            namespace: resource.key.namespace.clone(),
            name: resource.key.name.clone(),
            uid: resource.uid.to_string(),
            generation: resource.generation,
            created: resource.created,
            is_going: resource.is_going(),
            labels: resource.labels.clone(),
            spec,
            status: status_of(resource),
            version: resource.version.clone(),
        }
    }

    /// What people call it.
    pub fn label(&self) -> String {
        format!("vsi/{}", self.name)
    }

    /// Whether it is to run, as the resource says.
    pub fn power_state(&self) -> PowerState {
        let said = self.spec.get("powerState").cloned();
        let said = said.and_then(|state| serde_json::from_value(state).ok());
        said.unwrap_or_default()
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
            "apiVersion": format!("{GROUP}/v1"),
            "kind": Kind::Vsi.name(),
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

impl Told {
    fn of(event: Event) -> Self {
        let last = event.last_timestamp.map(|time| time.0);
        let series = event.series.as_ref();
        Self {
            at: last.or(event.event_time.map(|time| time.0)),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
            count: series
                .and_then(|series| series.count)
                .or(event.count)
                .unwrap_or(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{Status, response::StatusDetails};

    use super::*;

    #[test]
    fn whoever_owns_a_field_is_named() {
        let cause = |manager: &str| StatusCause {
            reason: OWNED.to_owned(),
            message: format!("conflict with \"{manager}\" using hpse.ibm.com/v1"),
            field: ".spec.powerState".to_owned(),
        };
        let status = Status {
            code: 409,
            details: Some(StatusDetails {
                name: String::new(),
                group: String::new(),
                kind: String::new(),
                uid: String::new(),
                causes: vec![cause("helm"), cause("argocd")],
                retry_after_seconds: 0,
            }),
            ..Status::default()
        };
        let error = owned("vsi/web", &kube::Error::Api(Box::new(status))).unwrap();
        assert_eq!(
            error.to_string(),
            "spec.powerState of vsi/web belongs to helm and argocd"
        );
        let other = kube::Error::Api(Box::default());
        assert!(owned("vsi/web", &other).is_none());
    }
}
