//! What the API server says there is.
//!
//! Each watch (one kind in one namespace, or in all) lists once and then follows changes. Until
//! every one of a namespace has listed, nothing of it is looked at but what is to be deleted: that
//! asks for nothing else, and a namespace that is deleted itself may have lost the right to its
//! Secrets. What one namespace lacks keeps no other waiting. A watch that is
//! begun anew lists into a buffer, which takes the place of what was there only once it is whole:
//! a list that fails half-way, or is forbidden, changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    kind::ResourceKind,
    resource::{Resource, ResourceKey, Settings},
};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    Kind(ResourceKind),
    ConfigMaps,
    Secrets,
}

impl What {
    pub(crate) fn all() -> Vec<Self> {
        let kinds = ResourceKind::ALL.into_iter().map(Self::Kind);
        kinds.chain([Self::ConfigMaps, Self::Secrets]).collect()
    }
}

/// One watch: what, and in which namespace; none is all of them.
pub(crate) type ObjectSource = (What, Option<String>);

/// An object as a watch tells it.
#[derive(Clone, Debug)]
pub(crate) enum CacheUpdate {
    Resource(Arc<Resource>),
    Settings(Arc<Settings>),
}

impl CacheUpdate {
    fn place(&self) -> (String, String) {
        match self {
            Self::Resource(one) => (one.key.namespace.clone(), one.key.name.clone()),
            Self::Settings(one) => (one.namespace.clone(), one.name.clone()),
        }
    }
}

type Objects = BTreeMap<(String, String), CacheUpdate>;

#[derive(Default)]
struct CacheInner {
    objects: BTreeMap<What, Objects>,
    listed: BTreeSet<ObjectSource>,
}

/// Everything that is watched, as it was told last.
pub(crate) struct ResourceCache {
    inner: Mutex<CacheInner>,
    sources: Vec<ObjectSource>,
    changed: watch::Sender<u64>,
}

/// The world at one moment, sorted: older resources first, so that of two that exclude one
/// another the older one counts.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) config_maps: Vec<Arc<Settings>>,
    pub(crate) secrets: Vec<Arc<Settings>>,
}

impl ResourceCache {
    /// An empty world that is to be told by these watches.
    pub(crate) fn new(sources: Vec<ObjectSource>) -> Self {
        Self {
            inner: Mutex::default(),
            sources,
            changed: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CacheInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever something that matters did.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Has everything looked at again.
    pub(crate) fn poke(&self) {
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether every watch has listed.
    pub(crate) fn is_complete(&self) -> bool {
        let inner = self.lock();
        self.sources
            .iter()
            .all(|source| inner.listed.contains(source))
    }

    /// Whether everything of a namespace was listed, by its own watches or by those of all.
    fn is_whole(&self, inner: &CacheInner, namespace: &str) -> bool {
        let mut its = self.sources.iter().filter(|(_, place)| {
            let place = place.as_deref();
            place.is_none_or(|place| place == namespace)
        });
        its.all(|source| inner.listed.contains(source))
    }

    /// An object is there.
    pub(crate) fn put(&self, what: What, told: CacheUpdate) {
        let news = {
            let mut inner = self.lock();
            insert(inner.objects.entry(what).or_default(), told)
        };
        if news {
            self.poke();
        }
    }

    /// An object is gone.
    pub(crate) fn remove(&self, what: What, told: &CacheUpdate) {
        let removed = {
            let mut inner = self.lock();
            let objects = inner.objects.entry(what).or_default();
            objects.remove(&told.place())
        };
        if removed.is_some() {
            self.poke();
        }
    }

    /// A list is whole: it takes the place of what its watch told before.
    pub(crate) fn replace(&self, source: &ObjectSource, listed: Vec<CacheUpdate>) {
        let (what, namespace) = source;
        {
            let mut inner = self.lock();
            let objects = inner.objects.entry(*what).or_default();
            let places: BTreeSet<_> = listed.iter().map(CacheUpdate::place).collect();
            objects.retain(|place, _| {
                let other = namespace.as_ref().is_some_and(|own| *own != place.0);
                other || places.contains(place)
            });
            for told in listed {
                insert(objects, told);
            }
            inner.listed.insert(source.clone());
        }
        self.poke();
    }

    /// The resource of that key, as it was told last.
    pub(crate) fn resource(&self, key: &ResourceKey) -> Option<Arc<Resource>> {
        let inner = self.lock();
        let objects = inner.objects.get(&What::Kind(key.kind))?;
        match objects.get(&(key.namespace.clone(), key.name.clone()))? {
            CacheUpdate::Resource(resource) => Some(resource.clone()),
            CacheUpdate::Settings(_) => None,
        }
    }

    /// The VSI's resource of that UID.
    pub(crate) fn vsi(&self, uid: Uuid) -> Option<Arc<Resource>> {
        let inner = self.lock();
        let mut all = inner.objects.get(&What::Kind(ResourceKind::Vsi))?.values();
        all.find_map(|told| match told {
            CacheUpdate::Resource(resource) if resource.uid == uid => Some(resource.clone()),
            _ => None,
        })
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let mut snapshot = Snapshot::default();
        let mut whole = BTreeMap::new();
        for (what, objects) in &inner.objects {
            for ((namespace, _), told) in objects {
                let whole = whole
                    .entry(namespace)
                    .or_insert_with(|| self.is_whole(&inner, namespace));
                let going = matches!(told, CacheUpdate::Resource(one) if one.is_deleting());
                if !*whole && !going {
                    continue;
                }
                match (what, told) {
                    (_, CacheUpdate::Resource(one)) => snapshot.resources.push(one.clone()),
                    (What::Secrets, CacheUpdate::Settings(one)) => {
                        snapshot.secrets.push(one.clone())
                    }
                    (_, CacheUpdate::Settings(one)) => snapshot.config_maps.push(one.clone()),
                }
            }
        }
        snapshot
            .resources
            .sort_by(|a, b| (a.created, &a.key, a.uid).cmp(&(b.created, &b.key, b.uid)));
        snapshot
    }
}

/// Whether it is news; an older copy of what is known is not taken.
fn insert(objects: &mut Objects, told: CacheUpdate) -> bool {
    let place = told.place();
    let news = match (objects.get(&place), &told) {
        (Some(CacheUpdate::Resource(known)), CacheUpdate::Resource(told)) => {
            told.uid != known.uid || told.is_newer_than(known)
        }
        (Some(CacheUpdate::Settings(known)), CacheUpdate::Settings(told)) => !known.same_as(told),
        _ => true,
    };
    if news {
        objects.insert(place, told);
    }
    news
}

#[cfg(test)]
mod tests;
