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
    kind::Kind,
    resource::{Key, Resource, Settings},
};

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum What {
    Kind(Kind),
    ConfigMaps,
    Secrets,
}

impl What {
    pub(crate) fn all() -> Vec<Self> {
        let kinds = Kind::ALL.into_iter().map(Self::Kind);
        kinds.chain([Self::ConfigMaps, Self::Secrets]).collect()
    }
}

/// One watch: what, and in which namespace; none is all of them.
pub(crate) type Source = (What, Option<String>);

/// An object as a watch tells it.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Resource(Arc<Resource>),
    Settings(Arc<Settings>),
}

impl Told {
    fn place(&self) -> (String, String) {
        match self {
            Self::Resource(one) => (one.key.namespace.clone(), one.key.name.clone()),
            Self::Settings(one) => (one.namespace.clone(), one.name.clone()),
        }
    }
}

type Objects = BTreeMap<(String, String), Told>;

#[derive(Default)]
struct Inner {
    objects: BTreeMap<What, Objects>,
    listed: BTreeSet<Source>,
}

/// Everything that is watched, as it was told last.
pub(crate) struct World {
    inner: Mutex<Inner>,
    sources: Vec<Source>,
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

impl World {
    /// An empty world that is to be told by these watches.
    pub(crate) fn new(sources: Vec<Source>) -> Self {
        Self {
            inner: Mutex::default(),
            sources,
            changed: watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
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
    fn is_whole(&self, inner: &Inner, namespace: &str) -> bool {
        let mut its = self.sources.iter().filter(|(_, place)| {
            let place = place.as_deref();
            place.is_none_or(|place| place == namespace)
        });
        its.all(|source| inner.listed.contains(source))
    }

    /// An object is there.
    pub(crate) fn put(&self, what: What, told: Told) {
        let news = {
            let mut inner = self.lock();
            insert(inner.objects.entry(what).or_default(), told)
        };
        if news {
            self.poke();
        }
    }

    /// An object is gone.
    pub(crate) fn remove(&self, what: What, told: &Told) {
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
    pub(crate) fn replace(&self, source: &Source, listed: Vec<Told>) {
        let (what, namespace) = source;
        {
            let mut inner = self.lock();
            let objects = inner.objects.entry(*what).or_default();
            let places: BTreeSet<_> = listed.iter().map(Told::place).collect();
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
    pub(crate) fn resource(&self, key: &Key) -> Option<Arc<Resource>> {
        let inner = self.lock();
        let objects = inner.objects.get(&What::Kind(key.kind))?;
        match objects.get(&(key.namespace.clone(), key.name.clone()))? {
            Told::Resource(resource) => Some(resource.clone()),
            Told::Settings(_) => None,
        }
    }

    /// The VSI's resource of that UID.
    pub(crate) fn vsi(&self, uid: Uuid) -> Option<Arc<Resource>> {
        let inner = self.lock();
        let mut all = inner.objects.get(&What::Kind(Kind::Vsi))?.values();
        all.find_map(|told| match told {
            Told::Resource(resource) if resource.uid == uid => Some(resource.clone()),
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
                let going = matches!(told, Told::Resource(one) if one.is_going());
                if !*whole && !going {
                    continue;
                }
                match (what, told) {
                    (_, Told::Resource(one)) => snapshot.resources.push(one.clone()),
                    (What::Secrets, Told::Settings(one)) => snapshot.secrets.push(one.clone()),
                    (_, Told::Settings(one)) => snapshot.config_maps.push(one.clone()),
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
fn insert(objects: &mut Objects, told: Told) -> bool {
    let place = told.place();
    let news = match (objects.get(&place), &told) {
        (Some(Told::Resource(known)), Told::Resource(told)) => {
            told.uid != known.uid || told.is_newer_than(known)
        }
        (Some(Told::Settings(known)), Told::Settings(told)) => !known.same_as(told),
        _ => true,
    };
    if news {
        objects.insert(place, told);
    }
    news
}

#[cfg(test)]
mod tests;
