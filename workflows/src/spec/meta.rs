//! Metadata of objects: names, labels and annotations.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// The annotation in which `kubectl apply` stores a copy of the whole object, including contract and
/// keys. It is dropped when read, so that no secret is passed on in it.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The annotation that requests a restart, as `kubectl rollout restart` does: any new text restarts.
pub const RESTARTED_AT: &str = "vsiflow.io/restartedAt";

/// How many characters of [`RESTARTED_AT`] are used.
const MAX_MOMENT_LEN: usize = 64;

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// The metadata of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// The name: a DNS-1123 subdomain.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// The namespace: a DNS-1123 label.
    #[serde(default = "default_namespace", deserialize_with = "namespace")]
    pub namespace: String,
    /// The UID, if the document has one. An object without one is shown with an empty text.
    #[serde(default, deserialize_with = "some_uid")]
    pub uid: Option<Uuid>,
    /// The labels that selectors match.
    #[serde(default, deserialize_with = "labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of people and tools. Without [`LAST_APPLIED`].
    #[serde(default, deserialize_with = "annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Accepted and ignored: the journal counts generations itself.
    #[serde(default, skip_serializing)]
    pub generation: Option<i64>,
}

fn some_uid<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let uid = text.filter(|text| !text.is_empty());
    uid.map(|uid| uid.parse().map_err(serde::de::Error::custom))
        .transpose()
}

impl ObjectMeta {
    /// Metadata with only a namespace and a name.
    pub fn named(namespace: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            uid: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            generation: None,
        }
    }

    /// The value of [`RESTARTED_AT`], cut to 64 characters.
    pub fn restarted_at(&self) -> Option<String> {
        let moment = self.annotations.get(RESTARTED_AT)?;
        let moment: String = moment.chars().take(MAX_MOMENT_LEN).collect();
        (!moment.is_empty()).then_some(moment)
    }

    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    check_subdomain(&name).map_err(serde::de::Error::custom)?;
    Ok(name)
}

fn namespace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let namespace = String::deserialize(deserializer)?;
    check_label(&namespace).map_err(serde::de::Error::custom)?;
    Ok(namespace)
}

/// Labels as an API server accepts them.
pub(super) fn labels<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let labels = BTreeMap::<String, String>::deserialize(deserializer)?;
    for (key, value) in &labels {
        check_label_pair(key, value).map_err(serde::de::Error::custom)?;
    }
    Ok(labels)
}

/// Checks a label as an API server does.
///
/// # Errors
/// With the problem, as text.
pub fn check_label_pair(key: &str, value: &str) -> Result<(), String> {
    check_label_key(key)?;
    check_label_value(key, value)
}

/// Checks a label's value: empty, or a word.
pub(super) fn check_label_value(key: &str, value: &str) -> Result<(), String> {
    if value.is_empty() || is_label_word(value) {
        return Ok(());
    }
    Err(format!(
        "the value of the label {key} is {value:?}; a value has at most 63 letters, digits, `-`, `_` \
         and `.`, and a letter or digit at both ends"
    ))
}

/// Checks a label's key: a word, which a subdomain and a slash may precede.
pub(super) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if is_label_word(name) && prefix.is_none_or(|prefix| check_subdomain(prefix).is_ok()) {
        return Ok(());
    }
    Err(format!(
        "{key:?} is not a label's key: at most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both \
         ends; a DNS name and `/` may precede it"
    ))
}

fn is_label_word(word: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || [b'-', b'_', b'.'].contains(&b);
    let ends = [word.bytes().next(), word.bytes().last()];
    word.len() <= 63
        && word.bytes().all(inner)
        && ends
            .iter()
            .all(|end| end.is_some_and(|b| b.is_ascii_alphanumeric()))
}

fn annotations<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let mut annotations = BTreeMap::<String, String>::deserialize(deserializer)?;
    annotations.remove(LAST_APPLIED);
    Ok(annotations)
}

/// Checks a DNS-1123 subdomain: labels joined by dots, 253 characters at most.
///
/// # Errors
/// With the problem, as text.
pub fn check_subdomain(name: &str) -> Result<(), String> {
    if name.len() > 253 {
        return Err(format!(
            "a name has at most 253 characters, this one {}",
            name.len()
        ));
    }
    if name.split('.').all(is_label) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is not a name: lower-case letters, digits, `-` and `.`, a letter or digit at \
         both ends of each part"
    ))
}

/// Checks a DNS-1123 label: 63 characters at most, no dots.
///
/// # Errors
/// With the problem, as text.
pub fn check_label(label: &str) -> Result<(), String> {
    if label.len() > 63 {
        return Err(format!(
            "a namespace has at most 63 characters, this one {}",
            label.len()
        ));
    }
    if is_label(label) {
        return Ok(());
    }
    Err(format!(
        "{label:?} is not a namespace: lower-case letters, digits and `-`, a letter or digit at \
         both ends"
    ))
}

/// Whether it has only lower-case letters, digits and dashes, with a letter or digit at both ends. The
/// length of one part of a subdomain is not limited separately, as in Kubernetes.
fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: serde_json::Value) -> Result<ObjectMeta, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn a_name_alone_is_enough() {
        let meta = parse(json!({"name": "onpremsample"})).unwrap();
        assert_eq!(meta, ObjectMeta::named("default", "onpremsample"));
        assert_eq!(meta.full_name(), "default/onpremsample");
    }

    #[test]
    fn names_follow_dns_1123() {
        for good in ["a", "a-b", "a.b-c.d", "0", "vpc-onprem-configmap"] {
            assert!(parse(json!({"name": good})).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", ".a", "a_b", "a b", "ä"] {
            assert!(parse(json!({"name": bad})).is_err(), "{bad}");
        }
        assert!(parse(json!({"name": "a".repeat(253)})).is_ok());
        assert!(parse(json!({"name": "a".repeat(254)})).is_err());
        assert!(parse(json!({"name": "a", "namespace": "a.b"})).is_err());
        assert!(parse(json!({"name": "a", "namespace": "a".repeat(64)})).is_err());
    }

    #[test]
    fn labels_are_what_an_api_server_accepts() {
        let long = "a".repeat(63);
        for (key, value) in [
            ("a", ""),
            ("app.kubernetes.io/name", "Web_1.2"),
            (&*long, &*long),
            ("A-b_c.D", "0"),
        ] {
            let labels = json!({"name": "a", "labels": {key: value}});
            assert!(parse(labels).is_ok(), "{key}={value}");
        }
        let longer = "a".repeat(64);
        for (key, value) in [
            ("", "a"),
            ("a/", "a"),
            ("/a", "a"),
            ("a/b/c", "a"),
            ("A_b/c", "a"),
            ("a b", "a"),
            ("-a", "a"),
            (&*longer, "a"),
            ("a", &*longer),
            ("a", "b c"),
            ("a", "b-"),
            ("a", "ä"),
            ("a", "b/c"),
        ] {
            let labels = json!({"name": "a", "labels": {key: value}});
            assert!(parse(labels).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn the_copy_that_kubectl_keeps_is_dropped() {
        let meta = parse(json!({"name": "a", "annotations": {LAST_APPLIED: "…", "note": "kept"}}));
        assert_eq!(
            meta.unwrap().annotations,
            BTreeMap::from([("note".into(), "kept".into())])
        );
    }

    #[test]
    fn a_uid_is_a_uuid() {
        let uid = "01020304-0506-4708-890a-0b0c0d0e0f10";
        let meta = parse(json!({"name": "a", "uid": uid, "generation": 3})).unwrap();
        assert_eq!(meta.uid, Some(uid.parse().unwrap()));
        assert!(parse(json!({"name": "a", "uid": "7"})).is_err());
    }
}
