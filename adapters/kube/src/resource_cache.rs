//! Cache of the watched objects.
//!
//! Each watch (one kind in one namespace, or in all) lists once and then follows changes. Until every
//! watch of a namespace has listed, only its resources with a deletion timestamp are used: a deletion
//! needs nothing else, and a namespace that is itself being deleted may have lost access to its Secrets.
//! A namespace that lacks something does not hold back the others. A watch that is restarted lists into
//! a buffer, which replaces the old content only when it is complete: a list that fails half-way, or is
//! forbidden, changes nothing.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use crate::{
    kind::ResourceKind,
    resource::{Resource, ResourceKey, Settings},
};

/// What a watch watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WatchedKind {
    Kind(ResourceKind),
    ConfigMaps,
    Secrets,
}

impl WatchedKind {
    pub(crate) fn all() -> Vec<Self> {
        let kinds = ResourceKind::ALL.into_iter().map(Self::Kind);
        kinds.chain([Self::ConfigMaps, Self::Secrets]).collect()
    }
}

/// One watch: what, and in which namespace; none means all namespaces.
pub(crate) type ObjectSource = (WatchedKind, Option<String>);

/// An object from a watch.
#[derive(Clone, Debug)]
pub(crate) enum CacheUpdate {
    Resource(Arc<Resource>),
    Settings(Arc<Settings>),
}

impl CacheUpdate {
    fn place(&self) -> (String, String) {
        match self {
            Self::Resource(one) => place_of(one),
            Self::Settings(one) => (one.namespace.clone(), one.name.clone()),
        }
    }
}

type Objects = BTreeMap<(String, String), CacheUpdate>;

#[derive(Default)]
struct CacheInner {
    objects: BTreeMap<WatchedKind, Objects>,
    /// Index of resources by UID, possibly outdated; thousands of events refer to VSIs by UID.
    by_uid: BTreeMap<Uuid, (ResourceKind, (String, String))>,
    /// The objects of pool members with their own UIDs, by the UIDs of their VSIs.
    members: BTreeMap<Uuid, (ResourceKey, Uuid)>,
    listed: BTreeSet<ObjectSource>,
    /// The resources whose status this process reports, with their state before another process overwrote the
    /// status, if one did.
    reported: BTreeMap<ResourceKey, Option<Arc<Resource>>>,
    /// The UIDs of the last removed resources, the newest first.
    removed: VecDeque<Uuid>,
}

/// How many overwritten statuses may wait to be noticed; if there are more, all are checked.
const OVERWRITTEN_MAX: usize = 1024;

/// The length of `removed`: more than are removed while an answer to a call is in flight.
const REMEMBERED: usize = 256;

fn place_of(resource: &Resource) -> (String, String) {
    (resource.key.namespace.clone(), resource.key.name.clone())
}

impl CacheInner {
    fn note_uid(&mut self, what: WatchedKind, update: &CacheUpdate) {
        if let (WatchedKind::Kind(kind), CacheUpdate::Resource(resource)) = (what, update) {
            self.by_uid.insert(resource.uid, (kind, update.place()));
        }
    }

    /// The resource that an update is about, if its status differs from the known one, which is remembered.
    fn overwritten(&mut self, what: WatchedKind, update: &CacheUpdate) -> Option<ResourceKey> {
        let known = self.objects.get(&what)?.get(&update.place())?;
        let (CacheUpdate::Resource(known), CacheUpdate::Resource(update)) = (known, update) else {
            return None;
        };
        if !update.has_status_after(known) {
            return None;
        }
        if let Some(displaced) = self.reported.get_mut(&update.key) {
            displaced.get_or_insert_with(|| known.clone());
        }
        Some(update.key.clone())
    }

    fn resource(&self, key: &ResourceKey) -> Option<&Arc<Resource>> {
        let objects = self.objects.get(&WatchedKind::Kind(key.kind))?;
        match objects.get(&(key.namespace.clone(), key.name.clone()))? {
            CacheUpdate::Resource(resource) => Some(resource),
            CacheUpdate::Settings(_) => None,
        }
    }

    /// The resource with that UID, if the index is up to date.
    fn vsi(&self, uid: Uuid) -> Option<&Arc<Resource>> {
        let (kind, place) = self.by_uid.get(&uid)?;
        match self.objects.get(&WatchedKind::Kind(*kind))?.get(place)? {
            CacheUpdate::Resource(resource) if resource.uid == uid => Some(resource),
            _ => None,
        }
    }

    /// Removes outdated entries of the index.
    fn forget_uids(&mut self) {
        let here: BTreeSet<_> = self.by_uid.keys().copied().collect();
        let gone = here.into_iter().filter(|uid| self.vsi(*uid).is_none());
        for uid in gone.collect::<Vec<_>>() {
            self.by_uid.remove(&uid);
        }
    }
}

/// Everything that is watched, as of the last update.
pub(crate) struct ResourceCache {
    inner: Mutex<CacheInner>,
    sources: Vec<ObjectSource>,
    changed: watch::Sender<u64>,
    /// Whether the objects of pool members were set.
    has_members: watch::Sender<bool>,
    overwritten: broadcast::Sender<ResourceKey>,
}

/// The cluster at one moment, sorted: older resources come first, so that of two conflicting resources
/// the older one wins.
#[derive(Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) resources: Vec<Arc<Resource>>,
    pub(crate) config_maps: Vec<Arc<Settings>>,
    pub(crate) secrets: Vec<Arc<Settings>>,
}

impl ResourceCache {
    /// An empty cache that these watches will fill.
    pub(crate) fn new(sources: Vec<ObjectSource>) -> Self {
        Self {
            inner: Mutex::default(),
            sources,
            changed: watch::Sender::new(0),
            has_members: watch::Sender::new(false),
            overwritten: broadcast::Sender::new(OVERWRITTEN_MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, CacheInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever something relevant changed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reports resources whose status a watch shows to be different from the known one.
    pub(crate) fn overwritten(&self) -> broadcast::Receiver<ResourceKey> {
        self.overwritten.subscribe()
    }

    /// Wakes all receivers of [`ResourceCache::changes`].
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

    /// Whether everything in a namespace was listed, by its own watches or by those of all namespaces.
    fn is_whole(&self, inner: &CacheInner, namespace: &str) -> bool {
        let mut its = self.sources.iter().filter(|(_, place)| {
            let place = place.as_deref();
            place.is_none_or(|place| place == namespace)
        });
        its.all(|source| inner.listed.contains(source))
    }

    /// Whether everything in a namespace was listed; true for a namespace without watches, which has
    /// nothing.
    pub(crate) fn has_listed(&self, namespace: &str) -> bool {
        self.is_whole(&self.lock(), namespace)
    }

    /// Adds or replaces an object that a watch reported.
    pub(crate) fn put(&self, what: WatchedKind, update: CacheUpdate) {
        let overwritten = self.lock().overwritten(what, &update);
        self.put_if(what, update, |_| true);
        self.report_overwritten(overwritten);
    }

    fn report_overwritten(&self, keys: impl IntoIterator<Item = ResourceKey>) {
        for key in keys {
            // Without an operator nobody reports a status.
            let _ = self.overwritten.send(key);
        }
    }

    /// Stores the server's answer to a change of ours. The watch may have reported the object's deletion
    /// before, and will not report it again: the answer is stored only while the object is in the cache.
    pub(crate) fn update(&self, resource: Resource) {
        self.answer(resource, |inner, resource| {
            let (what, place) = (WatchedKind::Kind(resource.key.kind), place_of(resource));
            let known = inner.objects.get(&what).and_then(|all| all.get(&place));
            matches!(known, Some(CacheUpdate::Resource(known)) if known.uid == resource.uid)
        });
    }

    /// The same for an object that was created: it may have been deleted already.
    pub(crate) fn created(&self, resource: Resource) {
        self.answer(resource, |inner, resource| {
            !inner.removed.contains(&resource.uid)
        });
    }

    fn answer(&self, resource: Resource, is_taken: impl Fn(&CacheInner, &Resource) -> bool) {
        let what = WatchedKind::Kind(resource.key.kind);
        let resource = Arc::new(resource);
        let update = CacheUpdate::Resource(resource.clone());
        self.put_if(what, update, |inner| is_taken(inner, &resource));
    }

    fn put_if(
        &self,
        what: WatchedKind,
        update: CacheUpdate,
        is_taken: impl Fn(&CacheInner) -> bool,
    ) {
        let news = {
            let mut inner = self.lock();
            if !is_taken(&inner) {
                return;
            }
            inner.note_uid(what, &update);
            insert(inner.objects.entry(what).or_default(), update)
        };
        if news {
            self.poke();
        }
    }

    /// Removes an object.
    pub(crate) fn remove(&self, what: WatchedKind, update: &CacheUpdate) {
        let removed = {
            let mut inner = self.lock();
            if let CacheUpdate::Resource(resource) = update {
                inner.by_uid.remove(&resource.uid);
                inner.removed.truncate(REMEMBERED.saturating_sub(1));
                inner.removed.push_front(resource.uid);
            }
            let objects = inner.objects.entry(what).or_default();
            objects.remove(&update.place())
        };
        if removed.is_some() {
            self.poke();
        }
    }

    /// Replaces the content of a watch with a complete list.
    pub(crate) fn replace(&self, source: &ObjectSource, listed: Vec<CacheUpdate>) {
        let (what, namespace) = source;
        let overwritten: Vec<_> = {
            let mut inner = self.lock();
            let changed = listed.iter();
            let changed = changed.filter_map(|update| inner.overwritten(*what, update));
            changed.collect()
        };
        {
            let mut inner = self.lock();
            for update in &listed {
                inner.note_uid(*what, update);
            }
            let objects = inner.objects.entry(*what).or_default();
            let places: BTreeSet<_> = listed.iter().map(CacheUpdate::place).collect();
            objects.retain(|place, _| {
                let other = namespace.as_ref().is_some_and(|own| *own != place.0);
                other || places.contains(place)
            });
            for update in listed {
                insert(objects, update);
            }
            inner.listed.insert(source.clone());
            inner.forget_uids();
        }
        self.poke();
        self.report_overwritten(overwritten);
    }

    /// Marks a source as listed without content, because the server does not have the kind or forbids
    /// it: the rest of the namespace does not wait for it. Earlier content remains.
    pub(crate) fn put_off(&self, source: &ObjectSource) {
        let first = self.lock().listed.insert(source.clone());
        if first {
            self.poke();
        }
    }

    /// The resource with this key, as of the last update.
    pub(crate) fn resource(&self, key: &ResourceKey) -> Option<Arc<Resource>> {
        self.lock().resource(key).cloned()
    }

    /// Notes that the status of this resource is as this process reports it.
    pub(crate) fn note_reported(&self, resource: &Arc<Resource>) {
        let mut inner = self.lock();
        let Some(known) = inner.resource(&resource.key) else {
            return;
        };
        let displaced = known.has_status_after(resource).then(|| resource.clone());
        inner.reported.insert(resource.key.clone(), displaced);
    }

    /// Forgets the statuses of resources that this process does not report any more.
    pub(crate) fn retain_reported(&self, is_reported: impl Fn(&ResourceKey) -> bool) {
        let mut inner = self.lock();
        inner.reported.retain(|key, _| is_reported(key));
    }

    /// The resource as this process reported it, if another process has overwritten its status since.
    pub(crate) fn as_reported(&self, resource: &Arc<Resource>) -> Arc<Resource> {
        let inner = self.lock();
        let displaced = inner.reported.get(&resource.key).cloned().flatten();
        let displaced = displaced.filter(|displaced| displaced.uid == resource.uid);
        displaced.unwrap_or_else(|| resource.clone())
    }

    /// The resource with that UID, or the object of the pool member with that UID.
    pub(crate) fn vsi(&self, uid: Uuid) -> Option<Arc<Resource>> {
        let inner = self.lock();
        let of_member = inner.members.get(&uid).and_then(|(_, own)| inner.vsi(*own));
        inner.vsi(uid).or(of_member).cloned()
    }

    /// Sets the objects of pool members: by the UID of the VSI, the object and its own UID.
    pub(crate) fn set_members(&self, members: BTreeMap<Uuid, (ResourceKey, Uuid)>) {
        self.lock().members = members;
        self.has_members.send_replace(true);
    }

    /// Waits until the objects of pool members were set for the first time.
    pub(crate) async fn members_set(&self) {
        // The sender lives as long as the cache.
        let _ = self.has_members.subscribe().wait_for(|set| *set).await;
    }

    /// The UIDs of the VSIs that resources describe.
    pub(crate) fn uids_of_vsis(&self) -> Vec<Uuid> {
        let resources = self.snapshot().resources.into_iter();
        let inner = self.lock();
        let members = inner.members.iter();
        let members: BTreeMap<_, _> = members.map(|(vsi, (_, own))| (*own, *vsi)).collect();
        let vsis = resources.filter(|resource| resource.key.kind.is_vsi());
        let uids = vsis.map(|vsi| members.get(&vsi.uid).copied().unwrap_or(vsi.uid));
        uids.collect()
    }

    /// The UID of the VSI that a resource describes.
    pub(crate) fn uid_of_vsi(&self, resource: &Resource) -> Uuid {
        let inner = self.lock();
        let mut members = inner.members.iter();
        let own = members.find(|(_, (_, own))| *own == resource.uid);
        own.map_or(resource.uid, |(vsi, _)| *vsi)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let mut snapshot = Snapshot::default();
        let mut whole = BTreeMap::new();
        for (what, objects) in &inner.objects {
            for ((namespace, _), update) in objects {
                let whole = whole
                    .entry(namespace)
                    .or_insert_with(|| self.is_whole(&inner, namespace));
                let deleting = matches!(update, CacheUpdate::Resource(one) if one.is_deleting());
                if !*whole && !deleting {
                    continue;
                }
                match (what, update) {
                    (_, CacheUpdate::Resource(one)) => snapshot.resources.push(one.clone()),
                    (WatchedKind::Secrets, CacheUpdate::Settings(one)) => {
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

/// Stores an object unless it is an older copy. Returns whether the object asks for something different
/// than before. A status asks for nothing: to check everything after each written status would take
/// quadratic time.
fn insert(objects: &mut Objects, update: CacheUpdate) -> bool {
    let place = update.place();
    let (taken, news) = match (objects.get(&place), &update) {
        (Some(CacheUpdate::Resource(known)), CacheUpdate::Resource(update)) => (
            update.uid != known.uid || update.is_newer_than(known),
            !update.has_same_spec(known),
        ),
        (Some(CacheUpdate::Settings(known)), CacheUpdate::Settings(update)) => {
            let other = !known.same_as(update);
            (other, other)
        }
        _ => (true, true),
    };
    if taken {
        objects.insert(place, update);
    }
    taken && news
}

#[cfg(test)]
mod tests;
