//! What is known of resources beside cluster and fleet, and which of them are to be looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_workflows::spec::Problem;

use crate::{kind::ResourceKind, resource::ResourceKey};

/// Why a resource that is to be deleted is still there, or why nothing is done for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The journal does not know what the resource says was made for it.
    JournalLost,
    /// The operator before this one may still act on it: it has this finalizer.
    NotMigrated(String),
    /// VSIs use the disk.
    InUse(Vec<String>),
    /// Somebody deleted it by a command; its resource stayed.
    Removed,
}

/// What the last translation found of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusFindings {
    /// The generation it was about.
    pub(crate) generation: i64,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
    /// Why the fleet did not take it.
    pub(crate) refusal: Option<Failure>,
    pub(crate) hold: Option<Hold>,
    /// It is a disk that is to be made.
    pub(crate) is_made: bool,
    /// The host, of disks and references.
    pub(crate) host: Option<String>,
    /// The VSIs that use it, of disks and references.
    pub(crate) used_by: Vec<String>,
    /// The UID by which the fleet knows it, where that is not the resource's own.
    pub(crate) vsi: Option<Uuid>,
}

/// Findings by resource, and the resources whose status may have changed.
#[derive(Default)]
pub(crate) struct StatusQueue {
    inner: Mutex<QueueInner>,
    /// Told when something becomes dirty.
    pub(crate) dirtied: Notify,
}

#[derive(Default)]
struct QueueInner {
    findings: BTreeMap<ResourceKey, StatusFindings>,
    keys: BTreeMap<Uuid, ResourceKey>,
    /// The resources of pools, by the UIDs of their members' VSIs.
    owners: BTreeMap<Uuid, ResourceKey>,
    dirty: BTreeSet<ResourceKey>,
}

impl StatusQueue {
    fn lock(&self) -> MutexGuard<'_, QueueInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a translation found; what it says nothing of is forgotten.
    pub(crate) fn publish(
        &self,
        found: BTreeMap<ResourceKey, StatusFindings>,
        keys: BTreeMap<Uuid, ResourceKey>,
    ) {
        let mut inner = self.lock();
        let changed: Vec<_> = found
            .iter()
            .filter(|(key, findings)| inner.findings.get(*key) != Some(*findings))
            .map(|(key, _)| key.clone())
            .collect();
        inner.dirty.extend(changed);
        inner.findings = found;
        inner.keys = keys;
        drop(inner);
        self.dirtied.notify_one();
    }

    /// Whose members these VSIs are.
    pub(crate) fn set_owners(&self, owners: BTreeMap<Uuid, ResourceKey>) {
        self.lock().owners = owners;
    }

    pub(crate) fn findings(&self, key: &ResourceKey) -> Option<StatusFindings> {
        self.lock().findings.get(key).cloned()
    }

    /// The resource of that UID.
    pub(crate) fn key(&self, uid: &Uuid) -> Option<ResourceKey> {
        self.lock().keys.get(uid).cloned()
    }

    /// Has a resource looked at again.
    pub(crate) fn dirty(&self, key: ResourceKey) {
        self.lock().dirty.insert(key);
        self.dirtied.notify_one();
    }

    /// Has the resource of that UID looked at again.
    pub(crate) fn dirty_uid(&self, uid: &Uuid) {
        if let Some(key) = self.key(uid) {
            self.dirty(key);
        }
        let owner = self.lock().owners.get(uid).cloned();
        if let Some(owner) = owner {
            self.dirty(owner);
        }
    }

    /// Has every pool looked at again.
    pub(crate) fn dirty_pools(&self) {
        let kinds = ResourceKind::ALL.into_iter();
        kinds
            .filter(|kind| kind.has_members())
            .for_each(|kind| self.dirty_kind(kind));
    }

    /// Has every VSI looked at again.
    pub(crate) fn dirty_vsis(&self) {
        self.dirty_kind(ResourceKind::Vsi);
        self.dirty_kind(ResourceKind::VirtualServer);
    }

    /// Has every resource of a kind looked at again.
    pub(crate) fn dirty_kind(&self, kind: ResourceKind) {
        let mut inner = self.lock();
        let all: Vec<_> = inner
            .findings
            .keys()
            .filter(|key| key.kind == kind)
            .cloned()
            .collect();
        inner.dirty.extend(all);
        drop(inner);
        self.dirtied.notify_one();
    }

    /// Takes what is dirty.
    pub(crate) fn take(&self) -> BTreeSet<ResourceKey> {
        std::mem::take(&mut self.lock().dirty)
    }
}
