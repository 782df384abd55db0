//! The parts of a watched object that are held in memory.

use std::{collections::BTreeMap, fmt, sync::OnceLock};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret as SecretObject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::core::DynamicObject;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;
use uuid::Uuid;
use vsiflow_engine::secret::Secret;
use vsiflow_workflows::spec::{
    DeletionPolicy, KeyValues,
    host::{jump_keys, of_basic_auth},
    meta::LAST_APPLIED,
};

use crate::{
    ADOPT, APPROVE, FIELD_MANAGER, FINALIZER, OLD_FINALIZER, ORPHAN, document::Reading,
    kind::ResourceKind,
};

/// The type of the Secret with the key for the IDs of secrets. Secrets of this type are used for nothing
/// else.
pub(crate) const ID_KEY_TYPE: &str = "vsiflow.io/id-key";

/// Identifies an object: kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ResourceKey {
    pub(crate) kind: ResourceKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name(), self.namespace, self.name)
    }
}

/// A custom resource. `Debug` does not print the spec, which may contain a contract.
#[derive(Clone)]
pub(crate) struct Resource {
    pub(crate) key: ResourceKey,
    pub(crate) uid: Uuid,
    pub(crate) generation: i64,
    pub(crate) version: String,
    pub(crate) created: Option<Timestamp>,
    /// When its deletion was requested.
    pub(crate) deleted: Option<Timestamp>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    /// The field manager that changed it last, as far as the API server knows.
    pub(crate) manager: String,
    pub(crate) spec: Value,
    pub(crate) status: Value,
    /// The spec as it was read first. A newer version of the resource is another value of this type.
    pub(crate) reading: OnceLock<Reading>,
}

/// The parts of a status that show whether a resource was worked on.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ResourceProgress {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) recorded_generation: Option<i64>,
    pub(crate) run_id: Option<IgnoredAny>,
}

impl ResourceProgress {
    /// The generation that was recorded last. Statuses of earlier versions say only which was observed.
    pub(crate) fn recorded(&self) -> Option<i64> {
        let observed = self.observed_generation.filter(|number| *number > 0);
        self.recorded_generation.or(observed)
    }
}

impl Resource {
    /// Its status; the default if it cannot be parsed.
    pub(crate) fn status_as<T: DeserializeOwned + Default>(&self) -> T {
        T::deserialize(&self.status).unwrap_or_default()
    }

    /// The parts of its status that each pass needs, without parsing all of it.
    pub(crate) fn progress(&self) -> ResourceProgress {
        self.status_as()
    }

    /// Converts an object; none if it lacks a field that every stored object has.
    pub(crate) fn of(kind: ResourceKind, mut object: DynamicObject) -> Option<Self> {
        let meta = object.metadata;
        let mut part = |name: &str| {
            let part = object.data.get_mut(name).map(Value::take);
            part.unwrap_or_default()
        };
        let (spec, status) = (part("spec"), part("status"));
        let manager = last_manager(&meta);
        let mut annotations = meta.annotations.unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        Some(Self {
            key: ResourceKey {
                kind,
                namespace: meta.namespace?,
                name: meta.name?,
            },
            uid: meta.uid?.parse().ok()?,
            generation: meta.generation.unwrap_or_default(),
            version: meta.resource_version.unwrap_or_default(),
            created: meta.creation_timestamp.map(|time| time.0),
            deleted: meta.deletion_timestamp.map(|time| time.0),
            finalizers: meta.finalizers.unwrap_or_default(),
            labels: meta.labels.unwrap_or_default(),
            annotations,
            manager,
            spec,
            status,
            reading: OnceLock::new(),
        })
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }

    pub(crate) fn has_finalizer(&self) -> bool {
        self.finalizers.iter().any(|one| one == FINALIZER)
    }

    /// The previous operator's finalizer, if the resource still has it.
    pub(crate) fn old_finalizer(&self) -> Option<&str> {
        let mut all = self.finalizers.iter().map(String::as_str);
        all.find(|one| one.starts_with(OLD_FINALIZER))
    }

    /// The ID of the proposal that is approved.
    pub(crate) fn approves(&self) -> Option<&str> {
        self.annotations.get(APPROVE).map(String::as_str)
    }

    /// Whether it may be deleted without removing anything from its host.
    pub(crate) fn is_orphaned(&self) -> bool {
        self.annotations
            .get(ORPHAN)
            .is_some_and(|yes| yes == "true")
    }

    /// The reason of its deletion, for the journal: which resource was deleted, and when.
    pub(crate) fn deletion_reason(&self) -> String {
        let uid = self.uid;
        match self.deleted {
            Some(at) => format!("the resource with UID {uid} was deleted at {at}"),
            None => format!("the resource with UID {uid} is gone"),
        }
    }

    /// Its `deletionPolicy`. A value that cannot be read retains.
    pub(crate) fn deletion_policy(&self) -> DeletionPolicy {
        match self.spec.get("deletionPolicy") {
            None | Some(Value::Null) if self.key.kind == ResourceKind::DataDisk => {
                DeletionPolicy::Retain
            }
            None | Some(Value::Null) => DeletionPolicy::Delete,
            Some(policy) => DeletionPolicy::deserialize(policy).unwrap_or(DeletionPolicy::Retain),
        }
    }

    /// Whether the existing domain is to be adopted.
    pub(crate) fn is_to_be_adopted(&self) -> bool {
        self.annotations.get(ADOPT).is_some_and(|yes| yes == "true")
    }

    /// Whether both ask for the same: everything except the status, the field manager and the version is
    /// equal.
    pub(crate) fn has_same_spec(&self, other: &Self) -> bool {
        let what = |one: &Self| {
            let Self {
                uid,
                generation,
                deleted,
                ..
            } = one;
            (*uid, *generation, *deleted)
        };
        what(self) == what(other)
            && self.finalizers == other.finalizers
            && self.labels == other.labels
            && self.annotations == other.annotations
            && self.spec == other.spec
    }

    /// Whether the other is an older copy of the same object, with another status.
    pub(crate) fn has_status_after(&self, other: &Self) -> bool {
        self.uid == other.uid && self.is_newer_than(other) && self.status != other.status
    }

    /// Whether the other is an older copy of the same object.
    pub(crate) fn is_newer_than(&self, other: &Self) -> bool {
        let number = |one: &Self| one.version.parse::<u64>().ok();
        match (number(self), number(other)) {
            (Some(this), Some(other)) => this > other,
            _ => true,
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.version)
    }
}

/// The field manager of the newest change that was not to the status and not our own.
fn last_manager(meta: &ObjectMeta) -> String {
    let fields = meta.managed_fields.iter().flatten();
    let others = fields.filter(|entry| {
        entry.subresource.is_none() && entry.manager.as_deref() != Some(FIELD_MANAGER)
    });
    let newest = others.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    let name = newest.and_then(|entry| entry.manager.clone());
    name.unwrap_or_else(|| "unknown".to_owned())
}

/// A ConfigMap or a Secret that may hold host settings.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) values: KeyValues,
    /// The other values of a Secret, such as a guest's user-data. Empty for a ConfigMap, and for a
    /// Secret with host settings.
    pub(crate) others: KeyValues,
}

/// The maximum length of another value of a Secret that is held in memory, in bytes.
const OTHER_MAX: usize = 1 << 20;

/// The keys of host settings.
const KEYS: [&str; 29] = [
    "HOSTNAME",
    "PORT",
    "USER",
    "KEY",
    "ssh-privatekey",
    "KEY_FILE",
    "KEY_PASSPHRASE",
    "KNOWN_HOSTS",
    "KNOWN_HOSTS_FILE",
    "INSECURE_SKIP_HOST_KEY",
    "SOCKET",
    "UPLOAD_LIMIT",
    "VERIFY",
    "TRANSFER",
    "IMAGE_POLICY",
    "IMAGE_SERVER",
    "IMAGE_USER",
    "IMAGE_PASSWORD",
    "IMAGE_TOKEN",
    "IMAGE_TOKEN_SERVER",
    ".dockerconfigjson",
    "IMAGE_S3_ENDPOINT",
    "IMAGE_S3_REGION",
    "IMAGE_S3_ACCESS_KEY",
    "IMAGE_S3_SECRET_KEY",
    "IMAGE_CA",
    "IMAGE_CA_FILE",
    "IMAGE_ALLOW_INSECURE",
    "INSECURE_SECRETS_IN_CONFIGMAP",
];

fn names_host(key: &str) -> bool {
    KEYS.contains(&key) || jump_keys().any(|name| name == key)
}

impl Settings {
    pub(crate) fn of_config_map(object: ConfigMap) -> Option<Self> {
        let data = object.data.unwrap_or_default();
        let data = data.into_iter().map(|(key, text)| (key, text.into_bytes()));
        let settings = Self::of(object.metadata, data)?;
        Some(Self {
            others: KeyValues::default(),
            ..settings
        })
    }

    pub(crate) fn of_secret(object: SecretObject) -> Option<Self> {
        // The operator's own Secret holds neither host settings nor user-data.
        if object.type_.as_deref() == Some(ID_KEY_TYPE) {
            return None;
        }
        let login = object.type_.as_deref() == Some("kubernetes.io/basic-auth");
        let named = |key: String| match of_basic_auth(&key).filter(|_| login) {
            Some(name) => name.to_owned(),
            None => key,
        };
        let data = object.data.unwrap_or_default();
        Self::of(
            object.metadata,
            data.into_iter().map(|(key, it)| (named(key), it.0)),
        )
    }

    fn of(meta: ObjectMeta, data: impl Iterator<Item = (String, Vec<u8>)>) -> Option<Self> {
        let data = data.map(|(key, value)| (key, Secret::new(value)));
        let (known, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            data.partition(|(key, _)| names_host(key));
        let fits = |value: &Secret| value.expose().len() <= OTHER_MAX;
        let others = others
            .into_iter()
            .filter(|(_, value)| known.is_empty() && fits(value));
        Some(Self {
            others: KeyValues(others.collect()),
            namespace: meta.namespace?,
            name: meta.name?,
            labels: meta.labels.unwrap_or_default(),
            values: KeyValues(known),
        })
    }

    /// Whether both have the same labels and values.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let values = |one: &Self| -> Vec<(String, Vec<u8>)> {
            let values = one.values.0.iter();
            values
                .map(|(key, value)| (key.clone(), value.expose().to_vec()))
                .collect()
        };
        let others = |one: &Self| {
            let others = one.others.0.iter();
            others
                .map(|(key, value)| (key.clone(), value.expose().to_vec()))
                .collect::<Vec<_>>()
        };
        let same = values(self) == values(other) && others(self) == others(other);
        self.labels == other.labels && same
    }
}
