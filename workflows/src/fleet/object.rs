//! What objects of every kind show: who they are, and conditions in the form of Kubernetes.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::model::Timestamp;

/// Who an object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// The identity.
    pub uid: String,
    /// Counts what was wanted of it, from 1.
    pub generation: u64,
    /// When it was first wanted, RFC 3339.
    pub creation_timestamp: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for tools: the pool that made it, where one did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Something that holds, does not, or is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub name: Cow<'static, str>,
    /// `True`, `False` or `Unknown`.
    pub status: Cow<'static, str>,
    /// A word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// Since when, RFC 3339.
    pub last_transition_time: String,
}

/// Makes a condition that is true or false.
pub(in crate::fleet) fn condition(
    name: &'static str,
    holds: bool,
    reason: &str,
    message: &str,
    since: Timestamp,
) -> Condition {
    Condition {
        name: name.into(),
        status: if holds { "True" } else { "False" }.into(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: rfc3339(since),
    }
}

/// Namespace and name of an object that a message may write as `NAMESPACE/NAME`.
pub(in crate::fleet) fn qualified<'a>(namespace: &'a str, name: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((namespace, name))
}

/// A moment as RFC 3339 with milliseconds, UTC.
pub(in crate::fleet) fn rfc3339(time: Timestamp) -> String {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| time.0.to_string(), |time| format!("{time:.3}"))
}
