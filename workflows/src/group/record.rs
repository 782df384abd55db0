//! The stored record of a group. Fields are only ever added, with a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::{Hash, Name};

use crate::{
    pool::TemplateRecord,
    spec::{
        group::{Gate, OutputSource, Release},
        pool::Strategy,
    },
};

/// The length of a revision, in digits.
const DIGITS: usize = 10;

/// The desired state of a group, and what it has reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its UID, chosen before anything is done for it.
    pub uid: Uuid,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The images that its templates share, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub release: BTreeMap<String, Release>,
    /// The waves, in their order.
    pub waves: Vec<WaveRecord>,
    /// The outputs to read from members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputSource>,
    /// The waves whose gates opened, with the revision that each had then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub opened: BTreeMap<String, String>,
    /// The members and pools that were removed for good.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed: BTreeSet<String>,
    /// The addresses that templates refer to, by member or pool and by reference. Once resolved, they
    /// never change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: BTreeMap<String, BTreeMap<String, String>>,
    /// The outputs that were read, by name. Each is read once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub found: BTreeMap<String, OutputValue>,
    /// Whether the group belongs to a cluster that the journals of a set share
    /// ([`PoolRecord::of_shared_cluster`](crate::pool::PoolRecord::of_shared_cluster)).
    #[serde(default, skip_serializing_if = "is_false")]
    pub of_shared_cluster: bool,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaveRecord {
    /// Its name.
    pub name: String,
    /// The gate to the next wave.
    pub gate: Gate,
    /// Its members and pools, in the order of the document.
    pub items: Vec<ItemRecord>,
}

/// A member or a pool of a wave: a pool that the group makes. Its template contains unfilled
/// references.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// Its name within the group.
    pub name: String,
    /// Whether the document declares it as a single member.
    #[serde(default)]
    pub single: bool,
    /// How many members it has; if absent, as many as before, and 1 at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How members are replaced.
    #[serde(default)]
    pub strategy: Strategy,
    /// The wave after whose gate it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_after: Option<String>,
    /// The template of its members.
    pub template: TemplateRecord,
}

/// The value of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputValue {
    /// A value that may be shown.
    Shown(String),
    /// The name of the secret that holds the value.
    Secret(Name),
}

impl ItemRecord {
    /// The revision of its pool; equal demands have equal revisions.
    pub fn revision(&self) -> String {
        let parts = (
            &self.template.revision,
            self.replicas,
            (
                self.strategy.max_unavailable,
                self.strategy.max_surge,
                self.strategy.partition,
            ),
        );
        short(&format!("{parts:?}"))
    }
}

impl WaveRecord {
    /// The revision of the wave, without removed items.
    pub fn revision(&self, removed: &BTreeSet<String>) -> String {
        let items = self.items.iter();
        let items = items.filter(|item| !removed.contains(&item.name));
        let parts: Vec<_> = items.map(|item| (&item.name, item.revision())).collect();
        let gate = serde_json::to_string(&self.gate).unwrap_or_default();
        short(&format!("{gate} {parts:?}"))
    }
}

fn short(text: &str) -> String {
    let hash = Hash::of(text.as_bytes()).to_string();
    hash.chars().take(DIGITS).collect()
}

impl GroupRecord {
    /// Whether the member that an output is read of is there or is made again.
    pub fn has_member(&self, output: &OutputSource) -> bool {
        let item = self.item(&output.item);
        let is_wanted =
            |own: &ItemRecord| own.replicas.is_none_or(|replicas| output.number < replicas);
        !self.removed.contains(&output.item) && item.is_some_and(is_wanted)
    }

    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Its members and pools, wave after wave.
    pub fn items(&self) -> impl Iterator<Item = &ItemRecord> {
        self.waves.iter().flat_map(|wave| &wave.items)
    }

    /// Whether the gate of a wave opened for its current revision. A wave of which everything was removed waits
    /// for nobody.
    pub fn is_open(&self, wave: &WaveRecord) -> bool {
        let mut items = wave.items.iter();
        self.opened.get(&wave.name) == Some(&wave.revision(&self.removed))
            || items.all(|item| self.removed.contains(&item.name))
    }

    /// Whether the value of an output is a secret, by the document or as it is stored.
    pub fn is_secret_output(&self, name: &str) -> bool {
        let mut outputs = self.outputs.iter();
        outputs.any(|output| output.name == name && output.secret)
            || matches!(self.found.get(name), Some(OutputValue::Secret(_)))
    }

    /// A member or a pool of the group, by name.
    pub fn item(&self, name: &str) -> Option<&ItemRecord> {
        self.items().find(|item| item.name == name)
    }

    /// Every secret that belongs to the group.
    pub fn secrets(&self) -> BTreeSet<Name> {
        let templates = self.items().flat_map(|item| item.template.secrets());
        let found = self.found.values().filter_map(|value| match value {
            OutputValue::Secret(name) => Some(name),
            OutputValue::Shown(_) => None,
        });
        templates.chain(found).cloned().collect()
    }
}
