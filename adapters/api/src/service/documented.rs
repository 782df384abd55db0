//! What documents change about an object, and what was looked at before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::{
    fleet::{Change, LeftOut, NeededRoom},
    kinds::ObjectKind,
    plan::PlannedChange,
    spec::{Diagnostic, HostSettings, Resolved},
};

use crate::Problem;

/// What would be done with an object if documents were applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ForeseenWork {
    /// It would be made.
    Made,
    /// It would be changed.
    Changed,
    /// Its boot disk would be made anew.
    Rebuilt,
    /// What it has would be deleted.
    Configured,
}

/// What was looked at before an object is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Foreseen {
    /// What would be done.
    pub work: ForeseenWork,
    /// Why it would not be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// What documents change about an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DocumentedChange {
    /// Whether it is new or changed.
    pub change: Change,
    /// The fields that differ from what documents asked for before.
    pub fields: Vec<PlannedChange>,
    /// The room that the plan needs for disks that replace others; empty unless something is only planned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeededRoom>,
    /// Whether the plan waits for approval.
    pub awaits_approval: bool,
    /// References without a document now; the VSI keeps what they resolved to before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The contract that the VSI was made from was lost; the document's contract was stored in its place.
    pub contract_put_back: bool,
    /// What was looked at before it is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreseen: Vec<Foreseen>,
}

impl DocumentedChange {
    /// A message for each reference without a document.
    pub fn missing_text(&self) -> impl Iterator<Item = String> {
        let missing = self.missing.iter();
        missing.map(|of_what| {
            format!("there is no document of {of_what}; what it provided remains as it is")
        })
    }
}

/// A network that nothing in the documents uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnusedNetwork {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object that was applied from the directory of the documents before, and has no document there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrunedObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether its volume stays on the host; of a VSI, everything.
    pub keeps_volume: bool,
    /// How many objects are deleted with it, itself included; of a pool or a group, its members.
    pub count: usize,
    /// The data disks of members that are deleted with them.
    pub data_disks: Vec<String>,
    /// Why its host would refuse that; only in a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl From<LeftOut> for PrunedObject {
    fn from(left_out: LeftOut) -> Self {
        Self {
            kind: ObjectKind::named(left_out.kind).unwrap_or(ObjectKind::Vsi),
            namespace: left_out.namespace,
            name: left_out.name,
            keeps_volume: left_out.keeps_volume,
            count: left_out.count,
            data_disks: left_out.data_disks,
            problem: None,
        }
    }
}

/// What is said of documents beside what becomes of their objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DocumentNotes {
    /// Warnings about the documents.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Diagnostic>,
    /// Networks that are not made, because nothing uses them yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unused_networks: Vec<UnusedNetwork>,
    /// Hosts of which any key is accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unverified_hosts: Vec<String>,
    /// Objects that were not packed into the bundle, since they hold secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_packed: Vec<String>,
    /// The generation of a VSI that an earlier desired state is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Objects that are pruned, or would be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pruned: Vec<PrunedObject>,
}

impl DocumentNotes {
    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what a journal of a set says of its own objects.
    pub(super) fn add(&mut self, of_journal: Self) {
        self.generation = self.generation.or(of_journal.generation);
    }

    /// The notes on documents that were resolved.
    pub fn of(resolved: &Resolved, findings: Vec<Diagnostic>) -> Self {
        let unused = resolved.unused_networks().map(|network| UnusedNetwork {
            namespace: network.namespace.clone(),
            name: network.name.clone(),
        });
        let hosts = resolved.hosts.values();
        let unverified = hosts.filter(|host| host.record.is_insecure());
        Self {
            findings,
            unused_networks: unused.collect(),
            unverified_hosts: unverified.map(HostSettings::id).collect(),
            ..Self::default()
        }
    }
}

/// As it is shown to people.
impl std::fmt::Display for PrunedObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let label = shown(&self.namespace, &self.name);
        write!(f, "{}/{label}", self.kind.word())?;
        match self.kind {
            ObjectKind::Pool | ObjectKind::Group => write!(f, " with {} members", self.count),
            _ => Ok(()),
        }
    }
}

/// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
pub(super) fn shown(namespace: &str, name: &str) -> String {
    match namespace {
        "default" => name.to_owned(),
        _ => format!("{namespace}/{name}"),
    }
}
