//! Migrates resources from the operator that served the same kinds before.
//!
//! That operator is a set of webhooks behind Metacontroller. A `CompositeController` for each kind calls
//! them, and puts its finalizer, `metacontroller.io/compositecontroller-NAME`, on every resource whose
//! deletion it handles. While such a controller exists it may act on every resource at any moment, so
//! nothing is migrated. Whether it exists must be known, not assumed.
//!
//! Each resource is migrated in one write: its old finalizer is replaced by ours, and the annotation
//! [`ADOPT`](crate::ADOPT) has the existing domain adopted and observed, never updated. The write fails
//! if the resource was changed since it was read. A crash between two resources leaves some migrated and
//! some not; the next call continues with the rest.
//!
//! What this module never does: look at a host, decide anything about a VSI, or delete a resource.

mod candidate;
mod decision;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::Value;

use crate::{
    FIELD_MANAGER,
    api::{CallError, within},
    crd::GROUP,
    kind::ResourceKind,
    operator::Namespaces,
};
pub use candidate::{Candidate, CandidateState};
use candidate::{candidate, patch};
pub use decision::MigrationDecision;

/// Resources per page of a list.
const PAGE: u32 = 200;

/// Error: nothing can be migrated, or a resource was not.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The old operator is active.
    #[error("k8s-operator-hpcr is active: CompositeController {}", .0.join(", "))]
    Active(Vec<String>),
    /// It is unknown whether the old operator is active.
    #[error("it is unknown whether k8s-operator-hpcr is active: {0}")]
    Unknown(CallError),
    /// The namespace does not exist.
    #[error("there is no namespace {0:?}")]
    NoNamespace(String),
    /// The resources cannot be listed.
    #[error("{what} in {place} cannot be listed: {why}")]
    Unlisted {
        /// The plural of the kind.
        what: String,
        /// The namespace, or all of them.
        place: String,
        /// The API server's error.
        why: CallError,
    },
    /// A resource was not migrated; those before it were.
    #[error("{kind} {namespace}/{name} was not migrated: {why}")]
    TakeOverFailed {
        /// The kind.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The API server's error.
        why: String,
    },
}

/// A migration of the resources of some namespaces.
pub struct Migration {
    client: Client,
    namespaces: Namespaces,
}

impl Migration {
    /// A migration of these namespaces. It sends no request yet.
    pub fn new(client: Client, namespaces: Namespaces) -> Self {
        Self { client, namespaces }
    }

    /// Lists every resource in the order of the migration: references and disks come before the VSIs
    /// that use them. Read only.
    ///
    /// # Errors
    /// If the old operator is active, if that is unknown, if a namespace does not exist, or if resources
    /// cannot be listed.
    pub async fn candidates(&self) -> Result<Vec<Candidate>, MigrateError> {
        self.refuse_active().await?;
        self.refuse_absent_namespaces().await?;
        let mut found = Vec::new();
        for kind in [
            ResourceKind::NetworkRef,
            ResourceKind::DataDiskRef,
            ResourceKind::DataDisk,
            ResourceKind::Vsi,
        ] {
            match &self.namespaces {
                Namespaces::All => self.list(kind, None, &mut found).await?,
                Namespaces::These(these) => {
                    for namespace in these {
                        self.list(kind, Some(namespace), &mut found).await?;
                    }
                }
            }
        }
        Ok(found)
    }

    /// Migrates one resource. Checks again whether the old operator is active.
    ///
    /// # Errors
    /// If it is, or if the resource was changed since it was read.
    pub async fn take_over(&self, one: &Candidate) -> Result<(), MigrateError> {
        if one.standing != CandidateState::ToTakeOver {
            return Ok(());
        }
        self.refuse_active().await?;
        let described = one.of.api_resource();
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &one.namespace, &described);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch(one));
        let patched = within(api.patch(&one.name, &params, &patch)).await;
        patched
            .map(drop)
            .map_err(|error| MigrateError::TakeOverFailed {
                kind: one.kind,
                namespace: one.namespace.clone(),
                name: one.name.clone(),
                why: error.to_string(),
            })
    }

    /// Fails if the old operator is active. An API server that does not know the kind has none of its
    /// controllers; after any other refusal it is unknown.
    async fn refuse_active(&self) -> Result<(), MigrateError> {
        let described = composite_controllers();
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &described);
        let listed = match within(api.list(&ListParams::default())).await {
            Ok(listed) => listed,
            Err(CallError::Gone) => return Ok(()),
            Err(error) => return Err(MigrateError::Unknown(error)),
        };
        let active: Vec<_> = listed
            .items
            .iter()
            .filter(|one| serves_our_kinds(&one.data))
            .filter_map(|one| one.metadata.name.clone())
            .collect();
        if active.is_empty() {
            Ok(())
        } else {
            Err(MigrateError::Active(active))
        }
    }

    /// Fails if a namespace does not exist: its lists would be empty, as if nothing were left to do.
    /// Users who may not read namespaces get no such error.
    async fn refuse_absent_namespaces(&self) -> Result<(), MigrateError> {
        let Namespaces::These(these) = &self.namespaces else {
            return Ok(());
        };
        let api: Api<Namespace> = Api::all(self.client.clone());
        for namespace in these {
            if let Err(CallError::Gone) = within(api.get_metadata(namespace)).await {
                return Err(MigrateError::NoNamespace(namespace.clone()));
            }
        }
        Ok(())
    }

    async fn list(
        &self,
        kind: ResourceKind,
        namespace: Option<&str>,
        found: &mut Vec<Candidate>,
    ) -> Result<(), MigrateError> {
        let described = kind.api_resource();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &described),
            None => Api::all_with(self.client.clone(), &described),
        };
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = within(api.list(&params)).await;
            let page = page.map_err(|error| MigrateError::Unlisted {
                what: described.plural.clone(),
                place: namespace.unwrap_or("all namespaces").to_owned(),
                why: error,
            })?;
            found.extend(
                page.items
                    .into_iter()
                    .filter_map(|one| candidate(kind, one)),
            );
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}

fn composite_controllers() -> ApiResource {
    ApiResource {
        group: "metacontroller.k8s.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "metacontroller.k8s.io/v1alpha1".to_owned(),
        kind: "CompositeController".to_owned(),
        plural: "compositecontrollers".to_owned(),
    }
}

fn serves_our_kinds(controller: &Value) -> bool {
    let version = controller.pointer("/spec/parentResource/apiVersion");
    let version = version.and_then(Value::as_str).unwrap_or_default();
    version
        .split_once('/')
        .is_some_and(|(group, _)| group == GROUP)
}
