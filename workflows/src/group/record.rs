//! The stored record of a group. Fields are only ever added, with a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::{Hash, Name};

use crate::{
    pool::TemplateRecord,
    spec::{
        group::{Gate, LateProblem, OutputSource, RecordedValue, Release},
        pool::{MAX_REPLICAS, Strategy},
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
    /// The outputs that templates were filled with, by member or pool and by name. Once filled in, they never
    /// change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filled: BTreeMap<String, BTreeMap<String, FilledOutput>>,
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

/// An output that a template was filled with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilledOutput {
    /// Its value then.
    pub value: OutputValue,
    /// Where it was read; `None` if an earlier version filled it in and the document has another place now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<OutputSource>,
}

impl OutputValue {
    /// The secret that holds the value, if it is one.
    pub fn secret(&self) -> Option<&Name> {
        match self {
            Self::Secret(name) => Some(name),
            Self::Shown(_) => None,
        }
    }
}

impl ItemRecord {
    /// Whether a pool of this revision and strategy was made from its template, whatever the number of members was.
    pub fn has_template_of(&self, revision: &str, strategy: Strategy) -> bool {
        let numbers = (0..=MAX_REPLICAS).map(Some);
        let mut numbers = [None, self.replicas].into_iter().chain(numbers);
        numbers.any(|replicas| self.revision_with(replicas, strategy) == revision)
    }

    /// The revision of its pool; equal demands have equal revisions.
    pub fn revision(&self) -> String {
        self.revision_with(self.replicas, self.strategy)
    }

    fn revision_with(&self, replicas: Option<u32>, strategy: Strategy) -> String {
        let parts = (
            &self.template.revision,
            replicas,
            (
                strategy.max_unavailable,
                strategy.max_surge,
                strategy.partition,
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

/// Whether both outputs are read from the same place.
pub fn is_same_place(one: &OutputSource, other: &OutputSource) -> bool {
    (&one.item, one.number, &one.from) == (&other.item, other.number, &other.from)
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

    /// The value of an output for a member or a pool: what its template was filled with, or else what was read.
    pub fn output_for(&self, item: &str, name: &str) -> Option<&OutputValue> {
        let filled = self.filled.get(item).and_then(|filled| filled.get(name));
        let value = filled.map(|filled| &filled.value);
        value.or_else(|| self.found.get(name))
    }

    /// Whether the template of a member or a pool was filled with this output.
    pub fn has_filled(&self, item: &str, name: &str) -> bool {
        let filled = self.filled.get(item);
        filled.is_some_and(|filled| filled.contains_key(name))
    }

    /// An output, by name.
    pub fn output(&self, name: &str) -> Option<&OutputSource> {
        self.outputs.iter().find(|output| output.name == name)
    }

    /// Whether the value of an output for a member or a pool is a secret, by the document or as it is stored.
    pub fn is_secret_output(&self, item: &str, name: &str) -> bool {
        let stored = self.output_for(item, name).and_then(OutputValue::secret);
        self.output(name).is_some_and(|output| output.secret) || stored.is_some()
    }

    /// A member or a pool of the group, by name.
    pub fn item(&self, name: &str) -> Option<&ItemRecord> {
        self.items().find(|item| item.name == name)
    }

    /// Whether the value of an output stays when its document gives this source: it is the same as before, or
    /// the earlier one cannot be read again.
    pub fn keeps_output(&self, output: &OutputSource) -> bool {
        let earlier = self.output(&output.name);
        earlier.is_some_and(|other| is_same_place(other, output) || !self.has_member(other))
    }

    /// Whether an output of a document can never be read: its member was removed, and neither was it asked for
    /// before, nor does an earlier value stay.
    pub fn comes_too_late(&self, output: &OutputSource) -> bool {
        let earlier = self.output(&output.name);
        let is_same = earlier.is_some_and(|other| is_same_place(other, output));
        let stays = self.found.contains_key(&output.name) && self.keeps_output(output);
        self.removed.contains(&output.item) && !is_same && !stays
    }

    /// Whether a problem of its document is none, because what it concerns was removed, or what it asks for is
    /// recorded.
    pub fn excuses(&self, late: &LateProblem) -> bool {
        let is_recorded = match &late.value {
            None => false,
            Some(RecordedValue::Address(reference)) => {
                let resolved = self.resolved.get(&late.item);
                resolved.is_some_and(|resolved| resolved.contains_key(reference))
            }
            Some(RecordedValue::Output(output)) => {
                self.found.contains_key(&output.name) && self.keeps_output(output)
            }
            Some(RecordedValue::Name(item)) => self.item(item).is_some(),
        };
        is_recorded || self.removed.contains(&late.item)
    }

    /// Every secret that belongs to the group.
    pub fn secrets(&self) -> BTreeSet<Name> {
        let templates = self.items().flat_map(|item| item.template.secrets());
        let filled = self.filled.values().flat_map(BTreeMap::values);
        let values = filled.map(|filled| &filled.value);
        let outputs = values.chain(self.found.values());
        let outputs = outputs.filter_map(OutputValue::secret);
        templates.chain(outputs).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
