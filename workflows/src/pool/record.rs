//! The stored record of a pool. Fields are only ever added, with a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::{Hash, Name};

use crate::placement::Decision;
use crate::spec::{DesiredDataDisk, DesiredVsi, UpdatePolicy, group::OfGroup, pool::Strategy};

/// How many templates are kept only because members may have them. A document that returns to an older one
/// is a change for members that have it, which restarts none.
const MOST_OUTDATED: usize = 8;

/// The desired state of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its UID, chosen before anything is done for it.
    pub uid: Uuid,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many members it should have.
    pub replicas: u32,
    /// How members are replaced.
    #[serde(default)]
    pub strategy: Strategy,
    /// Whether a change of the template waits for approval.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// The template of its members.
    pub template: TemplateRecord,
    /// The previous template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<TemplateRecord>,
    /// The template that a rollout brought to every member last. Members below the partition are made
    /// from it. `None` if the template never changed, or an earlier version recorded the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_out: Option<TemplateRecord>,
    /// Templates before those that members which no rollout reaches may still have, the newest first. A
    /// document that returns to one of them finds its secrets here, and so the same revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outdated: Vec<TemplateRecord>,
    /// The template that waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<TemplateRecord>,
    /// The numbers of cordoned members.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cordoned: BTreeSet<u32>,
    /// The members that are to leave their hosts, by the UIDs of their VSIs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evicting: BTreeMap<Uuid, Eviction>,
    /// The group that makes it, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_group: Option<OfGroup>,
    /// Whether the pool belongs to a cluster that the journals of a set share. The journal of a
    /// member's host then checks whether the pool's namespace may use that host.
    #[serde(default, skip_serializing_if = "is_false")]
    pub of_shared_cluster: bool,
}

/// A template of members. Its contract or user-data is a secret, and is stored separately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateRecord {
    /// The revision of its content; equal templates have equal revisions.
    pub revision: String,
    /// A member without its number.
    pub vsi: Box<DesiredVsi>,
    /// The secret that holds the contract or user-data.
    pub contract: Name,
    /// The secret that holds the image's URL with its credentials, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_credentials: Option<Name>,
    /// The data disks of a member, without its number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DesiredDataDisk>,
    /// Whether a guest's hostname is the member's name.
    #[serde(default)]
    pub names_guests: bool,
    /// Whether members may be made on another host although that loses the content of their disks.
    #[serde(default, skip_serializing_if = "is_false")]
    pub evictable: bool,
}

/// An eviction: a member is deleted on its host, and made on another one under the same name.
///
/// How it resumes after a crash, by what exists:
/// - no `to`, and the member: a host is chosen, because nothing followed from an earlier choice;
/// - `to` and the member: the member is deleted, if `to` still fits;
/// - the member is being deleted: that is awaited, then the deletion of its `disks`;
/// - neither the member nor its disks: it is made on `to`;
/// - another member of its number: the eviction has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// The member's number.
    pub number: u32,
    /// The host that it leaves.
    pub from: String,
    /// The host where it is made again, once it is chosen. Nothing is deleted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Decision>,
    /// The UIDs of the data disks that are deleted with it. Those of the new member have other UIDs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disks: BTreeSet<Uuid>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl TemplateRecord {
    /// Every secret of the template.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.contract).chain(&self.image_credentials)
    }
}

impl PoolRecord {
    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Every secret that belongs to the pool.
    pub fn secrets(&self) -> BTreeSet<Name> {
        self.templates()
            .flat_map(TemplateRecord::secrets)
            .cloned()
            .collect()
    }

    /// Every template of the pool, the newest first.
    pub fn templates(&self) -> impl Iterator<Item = &TemplateRecord> {
        let others = [&self.proposed, &self.previous, &self.rolled_out];
        std::iter::once(&self.template)
            .chain(others.into_iter().flatten())
            .chain(&self.outdated)
    }

    /// The template for a missing member: below the partition, the one that was rolled out last.
    pub fn template_of(&self, number: u32) -> &TemplateRecord {
        let rolled_out = self.rolled_out();
        if number < self.strategy.partition && rolled_out.revision != self.template.revision {
            rolled_out
        } else {
            &self.template
        }
    }

    /// Whether the member of this number is left out of rollouts.
    pub fn may_be_outdated(&self, number: u32) -> bool {
        number < self.present_strategy().partition || self.cordoned.contains(&number)
    }

    /// How members are replaced at present: while another template waits for approval, none is brought to this
    /// one, because the newest document does not ask for it.
    pub fn present_strategy(&self) -> Strategy {
        Strategy {
            partition: match self.proposed {
                Some(_) => u32::MAX,
                None => self.strategy.partition,
            },
            ..self.strategy
        }
    }

    /// The templates that missing members may be made from.
    pub fn templates_to_make(&self) -> impl Iterator<Item = &TemplateRecord> {
        let kept = (self.strategy.partition > 0).then(|| self.rolled_out());
        std::iter::once(&self.template).chain(kept)
    }

    /// The template that a rollout brought to every member last.
    pub fn rolled_out(&self) -> &TemplateRecord {
        // Earlier versions recorded the previous template alone.
        let recorded = self.rolled_out.as_ref().or(self.previous.as_ref());
        recorded.unwrap_or(&self.template)
    }

    /// Makes this the template that members are made from.
    pub fn replace_template(&mut self, template: TemplateRecord) {
        self.proposed = None;
        if template.revision == self.template.revision {
            self.template.vsi.placement = template.vsi.placement;
        } else {
            let known: Vec<_> = self.templates().cloned().collect();
            self.rolled_out = Some(self.rolled_out().clone());
            self.previous = Some(std::mem::replace(&mut self.template, template));
            self.keep_outdated(known);
        }
        // Candidate hosts are not part of a revision: those of the newest document apply to older templates, too.
        for older in self.previous.iter_mut().chain(&mut self.rolled_out) {
            older.vsi.take_candidates(&self.template.vsi);
        }
    }

    /// Keeps the templates `known` so far, if no rollout reaches some members.
    fn keep_outdated(&mut self, known: Vec<TemplateRecord>) {
        self.outdated.clear();
        if self.strategy.partition == 0 && self.cordoned.is_empty() {
            return;
        }
        let mut named: BTreeSet<_> = self.templates().map(|one| one.revision.clone()).collect();
        let outdated = known
            .into_iter()
            .filter(|one| named.insert(one.revision.clone()));
        self.outdated = outdated.take(MOST_OUTDATED).collect();
    }

    /// The previous template, with the candidate hosts of the current one.
    pub fn previous_to_return_to(&self) -> Option<TemplateRecord> {
        let mut previous = self.previous.clone()?;
        previous.vsi.take_candidates(&self.template.vsi);
        Some(previous)
    }

    /// Records that a rollout brought every member that it reaches to the current template.
    pub fn complete_rollout(&mut self) {
        if self.rolled_out().revision != self.template.revision {
            let known: Vec<_> = self.templates().cloned().collect();
            self.rolled_out = Some(self.template.clone());
            self.keep_outdated(known);
        }
    }
}

/// The UID of a member, or of one of its data disks, by its name and how many of that name existed
/// before. It is derived from the pool's UID, so that a repeated request after a lost answer makes the
/// same entity.
pub fn member_uid(pool: Uuid, name: &str, before: usize) -> Uuid {
    let text = format!("{pool}/{name}/{before}");
    let hash = Hash::of(text.as_bytes());
    let mut bytes = [0; 16];
    bytes
        .iter_mut()
        .zip(hash.0)
        .for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The name of a member.
pub fn member_name(pool: &str, number: u32) -> String {
    format!("{pool}-{number}")
}

/// The name of a member's data disk.
pub fn member_disk_name(disk: &str, pool: &str, number: u32) -> String {
    format!("{disk}-{pool}-{number}")
}

/// The number of the member of that name; `None` if it is not a member's name.
pub fn number_of(pool: &str, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(pool)?.strip_prefix('-')?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
