//! Findings about resources from translations, and the queue of resources whose status must be checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_workflows::spec::{PowerState, Problem};

use crate::{kind::ResourceKind, resource::ResourceKey};

/// Why a resource that is being deleted still exists, or why nothing is done for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The journal does not know what was made for the resource, by its status.
    JournalLost,
    /// The previous operator may still act on it: it has this finalizer.
    NotMigrated(String),
    /// VSIs use the disk.
    InUse(Vec<String>),
    /// A command deleted its object; the resource remained.
    Removed,
}

/// What the last translation found about a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusFindings {
    /// The generation that was translated.
    pub(crate) generation: i64,
    /// The newest generation that was recorded.
    pub(crate) recorded_generation: Option<i64>,
    /// Whether the generation is not recorded yet although nothing is wrong with it.
    pub(crate) is_pending: bool,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
    /// Why the fleet refused it.
    pub(crate) refusal: Option<Failure>,
    pub(crate) hold: Option<Hold>,
    /// Whether it is a disk, a network or a snapshot that vsiflow makes.
    pub(crate) is_made: bool,
    /// The host of a disk or reference.
    pub(crate) host: Option<String>,
    /// The VSIs that use a disk or reference.
    pub(crate) used_by: Vec<String>,
    /// The UID by which the fleet knows it, if that is not the resource's own.
    pub(crate) vsi: Option<Uuid>,
    /// The power state that the resource of a VSI asks for.
    pub(crate) power: Option<PowerState>,
}

/// Findings by resource, and the resources whose status may have changed.
#[derive(Default)]
pub(crate) struct StatusQueue {
    inner: Mutex<QueueInner>,
    /// Notified when something becomes dirty.
    pub(crate) dirtied: Notify,
}

#[derive(Default)]
struct QueueInner {
    findings: BTreeMap<ResourceKey, StatusFindings>,
    keys: BTreeMap<Uuid, ResourceKey>,
    /// The resources of pools and groups, by the UIDs of their members' VSIs.
    owners: BTreeMap<Uuid, ResourceKey>,
    dirty: BTreeSet<ResourceKey>,
    /// Resources whose status another process changed since it was written here.
    overwritten: BTreeSet<ResourceKey>,
}

impl StatusQueue {
    fn lock(&self) -> MutexGuard<'_, QueueInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the findings by those of a new translation, and marks what changed as dirty.
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
        inner.overwritten.retain(|key| found.contains_key(key));
        inner.findings = found;
        inner.keys = keys;
        drop(inner);
        self.dirtied.notify_one();
    }

    /// Sets which pool resources own these VSIs.
    pub(crate) fn set_owners(&self, owners: BTreeMap<Uuid, ResourceKey>) {
        self.lock().owners = owners;
    }

    pub(crate) fn findings(&self, key: &ResourceKey) -> Option<StatusFindings> {
        self.lock().findings.get(key).cloned()
    }

    /// Whether this process reports the status of this resource.
    pub(crate) fn has_findings(&self, key: &ResourceKey) -> bool {
        self.lock().findings.contains_key(key)
    }

    /// The resource with that UID.
    pub(crate) fn key(&self, uid: &Uuid) -> Option<ResourceKey> {
        self.lock().keys.get(uid).cloned()
    }

    /// Marks a resource as dirty, so that its status is checked.
    pub(crate) fn dirty(&self, key: ResourceKey) {
        self.lock().dirty.insert(key);
        self.dirtied.notify_one();
    }

    /// Marks a resource whose status changed without a write of this process.
    pub(crate) fn overwritten(&self, key: ResourceKey) {
        self.lock().overwritten.insert(key.clone());
        self.dirty(key);
    }

    /// Whether another process changed the status since it was written here.
    pub(crate) fn was_overwritten(&self, key: &ResourceKey) -> bool {
        self.lock().overwritten.contains(key)
    }

    /// Notes that the status is what this process would write.
    pub(crate) fn is_written(&self, key: &ResourceKey) {
        self.lock().overwritten.remove(key);
    }

    /// Marks the resource with that UID, and the one that owns it, as dirty.
    pub(crate) fn dirty_uid(&self, uid: &Uuid) {
        if let Some(key) = self.key(uid) {
            self.dirty(key);
        }
        let owner = self.lock().owners.get(uid).cloned();
        if let Some(owner) = owner {
            self.dirty(owner);
        }
    }

    /// Marks every pool and group as dirty.
    pub(crate) fn dirty_pools(&self) {
        let kinds = ResourceKind::ALL.into_iter();
        kinds
            .filter(|kind| kind.has_members())
            .for_each(|kind| self.dirty_kind(kind));
    }

    /// Marks every VSI as dirty.
    pub(crate) fn dirty_vsis(&self) {
        self.dirty_kind(ResourceKind::Vsi);
        self.dirty_kind(ResourceKind::VirtualServer);
    }

    /// Marks every resource of a kind as dirty.
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

    /// Marks every resource as dirty.
    pub(crate) fn dirty_all(&self) {
        ResourceKind::ALL
            .into_iter()
            .for_each(|kind| self.dirty_kind(kind));
    }

    /// Takes the dirty resources out of the queue.
    pub(crate) fn take(&self) -> BTreeSet<ResourceKey> {
        std::mem::take(&mut self.lock().dirty)
    }
}
