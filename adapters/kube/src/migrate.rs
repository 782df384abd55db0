//! Takes resources over from the operator that served the same kinds before.
//!
//! That operator is a set of webhooks behind Metacontroller: a `CompositeController` for each kind
//! has them called, and keeps its finalizer, `metacontroller.io/compositecontroller-NAME`, on
//! every resource whose end it wants to hear of. While such a controller is there, it may act on
//! every resource at any moment, so that nothing is taken over; whether it is there has to be
//! known, not assumed.
//!
//! To take a resource over is one write: its old finalizer goes, ours comes, and the annotation
//! [`ADOPT`] says that what stands on the host is to be adopted and observed, never updated. It
//! fails where the resource was changed meanwhile. A crash between two resources leaves some taken
//! over and some not; the next call goes on with those.
//!
//! What this module never does: look at a host, decide anything of a VSI, or delete a resource.

use std::fmt;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    ADOPT, FIELD_MANAGER, FINALIZER, OLD_FINALIZER,
    api::{CallError, within},
    crd::GROUP,
    kind::Kind,
    operator::Namespaces,
};

/// Resources in one answer.
const PAGE: u32 = 200;

/// Why nothing can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The old operator is there.
    #[error("the operator before this one is active: CompositeController {}", .0.join(", "))]
    Active(Vec<String>),
    /// Nobody knows whether it is.
    #[error("whether the operator before this one is active cannot be told: {0}")]
    Unknown(String),
    /// The resources cannot be read.
    #[error("{what} in {place} cannot be listed: {why}")]
    Unlisted {
        /// The plural of the kind.
        what: String,
        /// The namespace, or all of them.
        place: String,
        /// What the API server said.
        why: String,
    },
    /// A resource was not taken over; those before it were.
    #[error("{kind} {namespace}/{name} was not taken over: {why}")]
    NotTaken {
        /// The kind.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// What the API server said.
        why: String,
    },
}

/// What a resource is to a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is to be done: it is taken over, or needs nothing.
    Ours,
    /// It is to be taken over.
    ToTakeOver,
    /// It is being deleted, and waits for the old operator.
    Going,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "taken over",
            Self::ToTakeOver => "to be taken over",
            Self::Going => "being deleted",
        })
    }
}

/// A resource, as a migration sees it.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// What is to be done.
    pub standing: Standing,
    /// Finalizers of the old operator.
    pub old_finalizers: Vec<String>,
    of: Kind,
    version: String,
    finalizers: Vec<String>,
}

/// A migration of the resources of some namespaces.
pub struct Migration {
    client: Client,
    namespaces: Namespaces,
}

impl Migration {
    /// Nothing is asked yet.
    pub fn new(client: Client, namespaces: Namespaces) -> Self {
        Self { client, namespaces }
    }

    /// Every resource there is, in the order in which they are taken over: references and disks
    /// come before the VSIs that use them. Only reads.
    ///
    /// # Errors
    /// When the old operator is active, when that is not known, or when resources cannot be listed.
    pub async fn look(&self) -> Result<Vec<Candidate>, MigrateError> {
        self.refuse_active().await?;
        let mut found = Vec::new();
        for kind in [
            Kind::NetworkRef,
            Kind::DataDiskRef,
            Kind::DataDisk,
            Kind::Vsi,
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

    /// Takes one resource over. Looks again whether the old operator is there.
    ///
    /// # Errors
    /// When it is, or when the resource was changed since it was looked at.
    pub async fn take_over(&self, one: &Candidate) -> Result<(), MigrateError> {
        if one.standing != Standing::ToTakeOver {
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
        patched.map(drop).map_err(|error| MigrateError::NotTaken {
            kind: one.kind,
            namespace: one.namespace.clone(),
            name: one.name.clone(),
            why: error.to_string(),
        })
    }

    /// An API server that does not know the kind has none of them; every other refusal says
    /// nothing.
    async fn refuse_active(&self) -> Result<(), MigrateError> {
        let described = composite_controllers();
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &described);
        let listed = match within(api.list(&ListParams::default())).await {
            Ok(listed) => listed,
            Err(CallError::Gone) => return Ok(()),
            Err(error) => return Err(MigrateError::Unknown(error.to_string())),
        };
        let active: Vec<_> = listed
            .items
            .iter()
            .filter(|one| serves_our_kinds(&one.data))
            .filter_map(|one| one.metadata.name.clone())
            .collect();
        match active.is_empty() {
            true => Ok(()),
            false => Err(MigrateError::Active(active)),
        }
    }

    async fn list(
        &self,
        kind: Kind,
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
                why: error.to_string(),
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

/// Whether something of the resource is on a host that is to be adopted.
fn is_made(kind: Kind) -> bool {
    matches!(kind, Kind::Vsi | Kind::DataDisk)
}

fn candidate(kind: Kind, object: DynamicObject) -> Option<Candidate> {
    let meta = object.metadata;
    let finalizers = meta.finalizers.unwrap_or_default();
    let (old, kept): (Vec<_>, Vec<_>) = finalizers
        .into_iter()
        .partition(|one| one.starts_with(OLD_FINALIZER));
    let is_ours = kept.iter().any(|one| one == FINALIZER);
    let was_served = !object.data.get("status").is_none_or(Value::is_null);
    let standing = match (old.is_empty(), meta.deletion_timestamp.is_some()) {
        (false, true) => Standing::Going,
        (false, false) => Standing::ToTakeOver,
        // Without a finalizer of anybody's, only what the old operator worked on is there already.
        (true, false) if is_made(kind) && was_served && !is_ours => Standing::ToTakeOver,
        (true, _) => Standing::Ours,
    };
    Some(Candidate {
        kind: kind.name(),
        namespace: meta.namespace?,
        name: meta.name?,
        uid: meta.uid?,
        standing,
        old_finalizers: old,
        of: kind,
        version: meta.resource_version?,
        finalizers: kept,
    })
}

/// The write that takes a resource over.
fn patch(one: &Candidate) -> Value {
    let mut finalizers = one.finalizers.clone();
    if is_made(one.of) && !finalizers.iter().any(|one| one == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let annotations = match is_made(one.of) {
        true => json!({ADOPT: "true"}),
        false => json!({}),
    };
    json!({"metadata": {
        "uid": one.uid,
        "resourceVersion": one.version,
        "finalizers": finalizers,
        "annotations": annotations,
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "metacontroller.io/compositecontroller-k8s-operator-hpcr-onprem";

    fn seen(kind: Kind, finalizers: &[&str], more: Value) -> Candidate {
        let mut object = json!({
            "apiVersion": "hpse.ibm.com/v1",
            "kind": kind.name(),
            "metadata": {
                "namespace": "default", "name": "one", "uid": "u", "resourceVersion": "7",
                "finalizers": finalizers,
            },
            "spec": {},
        });
        for (key, value) in more.as_object().unwrap() {
            match key.as_str() {
                "deletionTimestamp" => object["metadata"][key] = value.clone(),
                _ => object[key] = value.clone(),
            }
        }
        candidate(kind, serde_json::from_value(object).unwrap()).unwrap()
    }

    #[test]
    fn what_the_old_operator_holds_is_taken_over_in_one_write() {
        let one = seen(
            Kind::Vsi,
            &[OLD, "example.com/mine"],
            json!({"status": {"status": 1}}),
        );
        assert_eq!(one.standing, Standing::ToTakeOver);
        assert_eq!(
            patch(&one),
            json!({"metadata": {
                "uid": "u", "resourceVersion": "7",
                "finalizers": ["example.com/mine", FINALIZER],
                "annotations": {ADOPT: "true"},
            }})
        );
    }

    #[test]
    fn references_lose_the_old_finalizer_and_get_none() {
        let one = seen(Kind::NetworkRef, &[OLD], json!({}));
        assert_eq!(one.standing, Standing::ToTakeOver);
        let wanted = json!({"metadata": {
            "uid": "u", "resourceVersion": "7", "finalizers": [], "annotations": {},
        }});
        assert_eq!(patch(&one), wanted);
    }

    #[test]
    fn what_is_being_deleted_is_left_to_the_old_operator() {
        let more = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(seen(Kind::Vsi, &[OLD], more).standing, Standing::Going);
    }

    #[test]
    fn what_was_worked_on_without_a_finalizer_is_taken_over_too_and_what_is_new_is_not() {
        let worked_on = json!({"status": {"status": 0}});
        let standing = |finalizers: &[&str], more: &Value| {
            seen(Kind::DataDisk, finalizers, more.clone()).standing
        };
        assert_eq!(standing(&[], &worked_on), Standing::ToTakeOver);
        assert_eq!(standing(&[], &json!({})), Standing::Ours);
        assert_eq!(standing(&[FINALIZER], &worked_on), Standing::Ours);
    }
}
