//! The plan of a change: what an update does to a VSI, why, and what would be lost. Pure.
//!
//! It compares the user's inputs with those recorded for the VSI's current state, never with what this
//! version would generate. So a newer vsiflow alone changes nothing.

mod fields;
mod touched;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use vsiflow_engine::model::{EntityId, Objects};
use vsiflow_steps::snapshot::restore_disks::DiskToRestore;

use crate::{
    boot_disks::BootDisks,
    cards::cards,
    record::{PreviousInputs, SnapshotAction, VsiRecord, vsi_entity},
    restoration,
};

pub use crate::inputs::base;

pub(crate) use fields::{DEFINITION, NEVER_SHRINKS, POWER, SNAPSHOT};
pub use touched::Touched;

/// How a change comes about, from what costs nothing to what is not done at all.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is only recorded; the host is not touched.
    Recorded,
    /// While the guest continues as it is.
    InPlace,
    /// The guest is shut down and started again.
    Restart,
    /// The boot disk is made anew.
    Rebuild,
    /// Not at all.
    Refused,
}

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Recorded => "recorded",
            Self::InPlace => "in place",
            Self::Restart => "on restart",
            Self::Rebuild => "rebuild",
            Self::Refused => "refused",
        })
    }
}

/// A field that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Change")]
pub struct PlannedChange {
    /// The field, as documents name it.
    pub path: String,
    /// What it was; absent where it was not there, or is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// What it is to be; absent where it is not there any more, or is a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// How it comes about.
    pub how: How,
    /// Why so.
    pub why: String,
}

impl PlannedChange {
    /// What is refused as a whole.
    pub fn refused(path: &str, why: &str) -> Self {
        Self {
            path: path.to_owned(),
            before: None,
            after: None,
            how: How::Refused,
            why: why.to_owned(),
        }
    }
}

/// Whom a host can be asked about before something is lost.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doomed {
    /// It is deleted with this VSI or data disk.
    Deleted(EntityId),
    /// The boot disk of this VSI is made anew.
    Rebuilt(EntityId),
}

/// Something that is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Destroyed {
    /// What.
    pub object: String,
    /// Why.
    pub why: String,
    /// Whom its host can be asked about; `None` if the command that makes the plan asks.
    #[serde(skip)]
    pub doomed: Option<Doomed>,
}

impl Destroyed {
    /// What a restoration replaces: its command asks the host.
    fn by_restoration(object: String, why: String) -> Self {
        Self {
            object,
            why,
            doomed: None,
        }
    }
}

/// What an update does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The fields that change.
    pub changes: Vec<PlannedChange>,
    /// What is lost.
    pub destroys: Vec<Destroyed>,
    /// What stays although the boot disk is made anew.
    pub keeps: Vec<String>,
}

impl Plan {
    /// The most disruptive change; `None` if nothing changes.
    pub fn how(&self) -> Option<How> {
        self.changes.iter().map(|change| change.how).max()
    }

    /// The plan where nothing that exists follows the changes, for this reason.
    pub(crate) fn only_recorded(mut self, why: &str) -> Self {
        for change in &mut self.changes {
            change.how = How::Recorded;
            why.clone_into(&mut change.why);
        }
        Self {
            changes: self.changes,
            ..Self::default()
        }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether it interrupts the guest.
    pub fn is_disruptive(&self) -> bool {
        matches!(self.how(), Some(How::Restart | How::Rebuild))
    }

    /// Whether it changes anything on the host.
    pub fn has_effect(&self) -> bool {
        self.how().is_some_and(|how| how > How::Recorded)
    }

    /// Whether the guest's configuration is written again.
    pub fn configures(&self) -> bool {
        self.changes
            .iter()
            .any(|change| fields::configures(&change.path))
    }

    /// The fields that cannot be changed.
    pub fn refused(&self) -> impl Iterator<Item = &PlannedChange> {
        let refused = |change: &&PlannedChange| change.how == How::Refused;
        self.changes.iter().filter(refused)
    }
}

/// The plan from `before`, the inputs that the VSI is made from now, to `record`. It also repairs what
/// earlier, unfinished runs may have changed.
pub fn of(before: &PreviousInputs, record: &VsiRecord, touched: &Touched) -> Plan {
    let mut changes = fields::changes(before, record, touched);
    let most = changes.iter().map(|change| change.how).max();
    changes.extend(touched.unfinished(most, record));
    if touched.configured()
        && !changes
            .iter()
            .any(|change| fields::configures(&change.path))
    {
        changes.extend(fields::configured_before(record.vsi.guest_type()));
    }
    changes.extend(record.restore.then(fields::restored));
    if record.adopted.as_ref().is_some_and(|a| !a.own_volumes) {
        changes.iter_mut().for_each(refuse);
    }
    let mut plan = Plan {
        changes,
        ..Plan::default()
    };
    if plan.how() == Some(How::Rebuild) {
        plan.destroys = destroys(record, &touched.objects, &plan.changes);
        plan.keeps = keeps(record);
    }
    if plan.changes.iter().any(|change| change.path == SNAPSHOT) {
        plan.destroys.extend(overwritten(record, &touched.objects));
    }
    plan
}

/// What is lost when disks are restored from a snapshot.
fn overwritten(record: &VsiRecord, objects: &Objects) -> Vec<Destroyed> {
    let Some(SnapshotAction::Restore { name, memory, .. }) =
        record.snapshot.as_ref().map(|order| &order.action)
    else {
        return Vec::new();
    };
    let lost = |disk: &DiskToRestore| {
        Destroyed::by_restoration(
            format!("content of disk {} ({})", disk.of.disk, disk.of.volume),
            format!("everything written to it since snapshot {name} is lost"),
        )
    };
    let memory = memory.iter().map(|_| {
        Destroyed::by_restoration(
            "present memory of the guest".to_owned(),
            format!("it continues with the memory of snapshot {name}, without a boot"),
        )
    });
    restoration::pending(record, objects)
        .map(lost)
        .chain(memory)
        .collect()
}

/// Refuses a change that would rebuild or restart a VSI adopted with other volume names.
fn refuse(change: &mut PlannedChange) {
    if matches!(change.how, How::Restart | How::Rebuild) {
        change.how = How::Refused;
        change.why = "it was adopted with volumes that vsiflow did not name".to_owned();
    }
}

/// What a rebuild of the boot disk destroys, and which changes are why.
pub(crate) fn destroys(
    record: &VsiRecord,
    objects: &Objects,
    changes: &[PlannedChange],
) -> Vec<Destroyed> {
    let causes = changes.iter().filter(|change| change.how == How::Rebuild);
    let causes: Vec<_> = causes.map(|change| change.path.as_str()).collect();
    let disks = BootDisks::of(record, objects);
    let doomed = vsi_entity(record.uid).ok().map(Doomed::Rebuilt);
    let current = Destroyed {
        object: boot_disk(record, objects),
        why: format!("it is rebuilt because of {}", causes.join(", ")),
        doomed: doomed.clone(),
    };
    let abandoned = disks.abandoned().into_iter().map(|disk| Destroyed {
        object: format!("boot disk {disk}"),
        why: "a change that was not finished left it".to_owned(),
        doomed: doomed.clone(),
    });
    std::iter::once(current).chain(abandoned).collect()
}

/// The present boot disk, for people.
pub(crate) fn boot_disk(record: &VsiRecord, objects: &Objects) -> String {
    format!("boot disk {}", BootDisks::of(record, objects).current())
}

/// What stays although the boot disk is made anew.
pub(crate) fn keeps(record: &VsiRecord) -> Vec<String> {
    let mut keeps = vec![format!("UUID {}", record.uid)];
    let cards = cards(record).into_iter();
    keeps.extend(cards.map(|card| format!("MAC address {}", card.mac)));
    let disks = record.vsi.disks.iter();
    keeps.extend(disks.map(|disk| format!("data disk {}", disk.name)));
    keeps
}

#[cfg(test)]
mod tests;
