//! One resource of a migration, and the write that migrates it.

use std::fmt;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{ADOPT, FINALIZER, OLD_FINALIZER, kind::ResourceKind};

/// What a migration does with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateState {
    /// Nothing: it is migrated, or needs no migration.
    Ours,
    /// It must be migrated.
    ToTakeOver,
    /// It is being deleted, and waits for the old operator.
    Going,
}

impl fmt::Display for CandidateState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ours => "taken over",
            Self::ToTakeOver => "to be migrated",
            Self::Going => "being deleted",
        })
    }
}

/// A resource of a migration.
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
    /// Whether it must be migrated.
    pub standing: CandidateState,
    /// The finalizers of the old operator.
    pub old_finalizers: Vec<String>,
    pub(super) of: ResourceKind,
    version: String,
    finalizers: Vec<String>,
}

/// Whether the resource has an object on a host that must be adopted.
fn is_made(kind: ResourceKind) -> bool {
    matches!(kind, ResourceKind::Vsi | ResourceKind::DataDisk)
}

/// The resource of an object; `None` if the API server left out a field that every object has.
pub(super) fn candidate(kind: ResourceKind, object: DynamicObject) -> Option<Candidate> {
    let meta = object.metadata;
    let finalizers = meta.finalizers.unwrap_or_default();
    let (old, kept): (Vec<_>, Vec<_>) = finalizers
        .into_iter()
        .partition(|one| one.starts_with(OLD_FINALIZER));
    let is_ours = kept.iter().any(|one| one == FINALIZER);
    let was_served = !object.data.get("status").is_none_or(Value::is_null);
    let standing = match (old.is_empty(), meta.deletion_timestamp.is_some()) {
        (false, true) => CandidateState::Going,
        (false, false) => CandidateState::ToTakeOver,
        // Without any finalizer, only what the old operator worked on exists already.
        (true, false) if is_made(kind) && was_served && !is_ours => CandidateState::ToTakeOver,
        (true, _) => CandidateState::Ours,
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

/// The patch that migrates a resource.
pub(super) fn patch(one: &Candidate) -> Value {
    let mut finalizers = one.finalizers.clone();
    if is_made(one.of) && !finalizers.iter().any(|present| present == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let annotations = if is_made(one.of) {
        json!({ADOPT: "true"})
    } else {
        json!({})
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

    fn seen(kind: ResourceKind, finalizers: &[&str], more: Value) -> Candidate {
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
            ResourceKind::Vsi,
            &[OLD, "example.com/mine"],
            json!({"status": {"status": 1}}),
        );
        assert_eq!(one.standing, CandidateState::ToTakeOver);
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
        let one = seen(ResourceKind::NetworkRef, &[OLD], json!({}));
        assert_eq!(one.standing, CandidateState::ToTakeOver);
        let expected = json!({"metadata": {
            "uid": "u", "resourceVersion": "7", "finalizers": [], "annotations": {},
        }});
        assert_eq!(patch(&one), expected);
    }

    #[test]
    fn what_is_being_deleted_is_left_to_the_old_operator() {
        let more = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(
            seen(ResourceKind::Vsi, &[OLD], more).standing,
            CandidateState::Going
        );
    }

    #[test]
    fn what_was_worked_on_without_a_finalizer_is_taken_over_too_and_what_is_new_is_not() {
        let worked_on = json!({"status": {"status": 0}});
        let standing = |finalizers: &[&str], more: &Value| {
            seen(ResourceKind::DataDisk, finalizers, more.clone()).standing
        };
        assert_eq!(standing(&[], &worked_on), CandidateState::ToTakeOver);
        assert_eq!(standing(&[], &json!({})), CandidateState::Ours);
        assert_eq!(standing(&[FINALIZER], &worked_on), CandidateState::Ours);
    }
}
