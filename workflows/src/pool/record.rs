//! What is recorded of a pool. Fields are only ever added, with a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::{Hash, Name};

use crate::placement::Decision;
use crate::spec::{DesiredDataDisk, DesiredVsi, UpdatePolicy, group::OfGroup, pool::Strategy};

/// A pool as wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its UID, drawn before anything is done for it.
    pub uid: Uuid,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many members it is to have.
    pub replicas: u32,
    /// How members are replaced.
    #[serde(default)]
    pub strategy: Strategy,
    /// Whether a change of the template waits for approval.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// What members are made from.
    pub template: TemplateRecord,
    /// What they were made from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<TemplateRecord>,
    /// What they are to be made from once somebody approves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed: Option<TemplateRecord>,
    /// The numbers of members that are left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cordoned: BTreeSet<u32>,
    /// The members that are to leave their hosts, by the UIDs of their VSIs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evicting: BTreeMap<Uuid, Eviction>,
    /// The group that makes it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_group: Option<OfGroup>,
    /// Whether a cluster that the journals of a set share asks for it: the journal of a member's host then judges whether
    /// its namespace may use that host.
    #[serde(default, skip_serializing_if = "is_false")]
    pub of_shared_cluster: bool,
}

/// A template of members. Its contract or user-data is a secret, and stands elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateRecord {
    /// Names what it says; an equal template has an equal revision.
    pub revision: String,
    /// A member without its number.
    pub vsi: Box<DesiredVsi>,
    /// The secret that holds the contract or user-data.
    pub contract: Name,
    /// The secret that holds the image's URL with its credentials, where it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_credentials: Option<Name>,
    /// The data disks of a member, without its number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DesiredDataDisk>,
    /// Whether a guest's name for itself is that of the member.
    #[serde(default)]
    pub names_guests: bool,
    /// Whether members may be made elsewhere although that loses what their disks hold.
    #[serde(default, skip_serializing_if = "is_false")]
    pub evictable: bool,
}

/// A member that is to leave its host: it is deleted there, and made on another one under the same name.
///
/// What an attempt finds after a crash: nothing of `to` and the member there: a host is chosen (again, as
/// nothing followed from the choice). `to` and the member there: it is deleted, if `to` still fits. The member
/// being deleted: that is waited for, then for its `disks`. Neither the member nor its disks there: it is made
/// on `to`. Another member of its number there: the eviction is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eviction {
    /// The member's number.
    pub number: u32,
    /// The host that it leaves.
    pub from: String,
    /// The host where it is made again, once that is chosen. Nothing is deleted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Decision>,
    /// The UIDs of the data disks that go with it. Those of the new member have others.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub disks: BTreeSet<Uuid>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl TemplateRecord {
    /// Every secret of it.
    pub fn secrets(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.contract).chain(&self.image_credentials)
    }
}

impl PoolRecord {
    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Every secret that is the pool's own.
    pub fn secrets(&self) -> BTreeSet<Name> {
        let templates = [
            Some(&self.template),
            self.previous.as_ref(),
            self.proposed.as_ref(),
        ];
        let templates = templates.into_iter().flatten();
        templates
            .flat_map(TemplateRecord::secrets)
            .cloned()
            .collect()
    }

    /// What a member that is missing is made from: below the partition, the earlier template.
    pub fn template_of(&self, number: u32) -> &TemplateRecord {
        match &self.previous {
            Some(previous) if number < self.strategy.partition => previous,
            _ => &self.template,
        }
    }
}

/// The UID of a member, or of one of its data disks, by its name: so many of that name were there before. It
/// follows from the pool's, so that what is recorded again after a lost answer is the same entity.
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

/// The number of a member of that name; none of anything else.
pub fn number_of(pool: &str, name: &str) -> Option<u32> {
    let digits = name.strip_prefix(pool)?.strip_prefix('-')?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
