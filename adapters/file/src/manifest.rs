//! The envelope of documents: API version, kind and metadata; and the manifests of ConfigMaps and Secrets.

use std::collections::BTreeMap;

use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use vsiflow_engine::secret::Secret;
use vsiflow_workflows::spec::documents::{
    API_VERSION, CONFIG_MAP, DATA_DISK, DATA_DISK_REF, GROUP, NETWORK, NETWORK_REF, POOL, QUOTA,
    SECRET, SERVER_TYPE, SNAPSHOT, VIRTUAL_SERVER, VSI, VSIFLOW_API_VERSION,
};
use vsiflow_workflows::spec::meta::LAST_APPLIED;
use vsiflow_workflows::spec::{KeyValues, ObjectMeta, host::of_basic_auth};

use crate::node::{Value, YamlNode};

/// The API version of ConfigMaps and Secrets.
pub(crate) const CORE: &str = "v1";

/// All supported kinds, with their API versions.
pub(crate) const KINDS: &[(&str, &str)] = &[
    (VSI, API_VERSION),
    (VIRTUAL_SERVER, VSIFLOW_API_VERSION),
    (POOL, VSIFLOW_API_VERSION),
    (GROUP, VSIFLOW_API_VERSION),
    (SNAPSHOT, VSIFLOW_API_VERSION),
    (SERVER_TYPE, VSIFLOW_API_VERSION),
    (QUOTA, VSIFLOW_API_VERSION),
    (NETWORK, VSIFLOW_API_VERSION),
    (DATA_DISK, API_VERSION),
    (DATA_DISK_REF, API_VERSION),
    (NETWORK_REF, API_VERSION),
    (CONFIG_MAP, CORE),
    (SECRET, CORE),
];

/// Metadata fields that a cluster adds to an object and that vsiflow ignores.
const CLUSTER_FIELDS: &[&str] = &[
    "clusterName",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
];

/// A document of one of vsiflow's own kinds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest<T> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: T,
}

/// The manifest of a ConfigMap.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConfigMapManifest {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "immutable")]
    _immutable: IgnoredAny,
    #[serde(default, rename = "binaryData")]
    _binary_data: IgnoredAny,
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    data: BTreeMap<String, PlainScalar>,
}

/// The manifest of a Secret.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SecretManifest {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(default, rename = "immutable")]
    _immutable: IgnoredAny,
    #[serde(default, rename = "type")]
    type_: Option<String>,
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    data: BTreeMap<String, Base64>,
    #[serde(default)]
    string_data: BTreeMap<String, PlainScalar>,
}

/// A text value that is, or may be, a secret.
struct PlainScalar(Secret);

impl<'de> Deserialize<'de> for PlainScalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self(Secret::new(text.into_bytes())))
    }
}

/// A secret, encoded in base64.
struct Base64(Secret);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let mut text = String::deserialize(deserializer)?;
        text.retain(|c| !c.is_ascii_whitespace());
        match base64::engine::general_purpose::STANDARD.decode(text) {
            Ok(bytes) => Ok(Self(Secret::new(bytes))),
            // The error would repeat a byte of the secret.
            Err(_) => Err(D::Error::custom(
                "this is not base64; plain text goes into stringData",
            )),
        }
    }
}

impl ConfigMapManifest {
    pub(crate) fn split(self) -> (ObjectMeta, KeyValues) {
        let values = self
            .data
            .into_iter()
            .map(|(key, PlainScalar(value))| (key, value));
        (self.metadata, KeyValues(values.collect()))
    }
}

impl SecretManifest {
    /// If a key is in both, the value in `stringData` wins, as in Kubernetes.
    pub(crate) fn split(self) -> (ObjectMeta, KeyValues) {
        let mut values: BTreeMap<_, _> = self
            .data
            .into_iter()
            .map(|(key, Base64(value))| (key, value))
            .collect();
        values.extend(
            self.string_data
                .into_iter()
                .map(|(key, PlainScalar(value))| (key, value)),
        );
        let login = self.type_.as_deref() == Some("kubernetes.io/basic-auth");
        let named = |(key, value): (String, Secret)| match of_basic_auth(&key).filter(|_| login) {
            Some(name) => (name.to_owned(), value),
            None => (key, value),
        };
        let values = values.into_iter().map(named).collect();
        (self.metadata, KeyValues(values))
    }
}

/// Removes fields that only a cluster sets: `status`, and most of the metadata.
pub(crate) fn strip(document: &mut YamlNode) {
    let Value::Map(entries) = &mut document.value else {
        return;
    };
    entries.retain(|entry| entry.key != "status");
    for entry in entries.iter_mut().filter(|entry| entry.key == "metadata") {
        let Value::Map(fields) = &mut entry.node.value else {
            continue;
        };
        fields.retain(|field| !CLUSTER_FIELDS.contains(&field.key.as_str()));
        for field in fields.iter_mut().filter(|field| field.key == "annotations") {
            let Value::Map(notes) = &mut field.node.value else {
                continue;
            };
            notes.retain(|note| note.key != LAST_APPLIED);
        }
    }
}
