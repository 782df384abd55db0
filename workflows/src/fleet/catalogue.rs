//! Which VSIs and data disks a document may concern: by name, host and volume.
//!
//! An apply of one document must not read what is wanted of all others, or ten thousand documents read
//! it a hundred million times. What is found here is a hint: it is read and compared as before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState, Failure};

use super::{
    ErrorKind, Fleet, FleetError,
    disk::apply::KnownDisk,
    index::Known,
    unreadable::{LostEntity, WantedReading},
};
use crate::{
    phase,
    record::{DiskRecord, VsiRecord, disk_entity, kind, vsi_entity},
    spec::{DesiredDisk, DesiredVsi, Resolved, desired::DiskOrigin},
    vsi_graph,
};

/// What an entity is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sign {
    /// A namespace and a name.
    Named(String, String),
    /// A host's id.
    On(String),
    /// The name of a data disk's volume, or the UID of a disk that is to be made.
    Has(String),
    /// The UID of the pool that made it.
    Of(String),
}

/// Everything by its signs, kept in step with the engine. It holds no more than names.
#[derive(Debug, Default)]
pub(super) struct ObjectCatalogue(Mutex<Signs>);

#[derive(Debug, Default)]
struct Signs {
    of: BTreeMap<EntityId, BTreeSet<Sign>>,
    by: BTreeMap<(&'static str, Sign), BTreeSet<EntityId>>,
    /// What cannot be read might be anything.
    unread: BTreeSet<EntityId>,
    /// The generation of the record that was read of each: events that ask for nothing else change no sign.
    read: BTreeMap<EntityId, u64>,
}

impl Signs {
    fn put(&mut self, kind: &'static str, entity: EntityId, signs: BTreeSet<Sign>) {
        for gone in self.of.remove(&entity).unwrap_or_default() {
            let place = (kind, gone);
            if let Some(all) = self.by.get_mut(&place) {
                all.remove(&entity);
                if all.is_empty() {
                    self.by.remove(&place);
                }
            }
        }
        for sign in &signs {
            let all = self.by.entry((kind, sign.clone())).or_default();
            all.insert(entity.clone());
        }
        self.of.insert(entity, signs);
    }

    fn find(
        &self,
        kind: &'static str,
        signs: impl IntoIterator<Item = Sign>,
    ) -> BTreeSet<EntityId> {
        let found = signs
            .into_iter()
            .filter_map(|sign| self.by.get(&(kind, sign)));
        let mut found: BTreeSet<_> = found.flatten().cloned().collect();
        let unread = self.unread.iter().filter(|id| id.kind().as_str() == kind);
        found.extend(unread.cloned());
        found
    }
}

impl Fleet {
    /// The VSIs that these documents may be about, or that may have a disk of theirs; deleted ones
    /// included, by namespace and name.
    pub(super) async fn concerned(&self, resolved: &Resolved) -> Result<Vec<Known>, FleetError> {
        let mut signs = Vec::new();
        for vsi in &resolved.vsis {
            let desired = &vsi.desired;
            signs.push(Sign::Named(desired.namespace.clone(), desired.name.clone()));
            signs.extend(desired.disks.iter().filter_map(of_disk));
        }
        let own = resolved.vsis.iter().filter_map(|vsi| vsi.desired.uid);
        let own: BTreeSet<_> = own.filter_map(|uid| vsi_entity(uid).ok()).collect();
        // A VSI keeps disks whose documents are away.
        let mut before = self.entities_with(kind::VSI, signs.clone()).await;
        before.extend(own.clone());
        for known in self.all_known(before).await? {
            let proposed = known.wanted.proposed.as_deref().map(of_vsi);
            let had = of_vsi(&known.wanted)
                .into_iter()
                .chain(proposed.into_iter().flatten());
            signs.extend(had.filter(|sign| matches!(sign, Sign::Has(_))));
        }
        let made = self.concerned_disks(resolved).await?;
        signs.extend(made.iter().map(|disk| Sign::Has(disk.uid.to_string())));
        let asked = resolved.data_disks.iter().filter_map(|disk| disk.uid);
        signs.extend(asked.map(|uid| Sign::Has(uid.to_string())));
        let mut found = self.entities_with(kind::VSI, signs).await;
        found.extend(own);
        self.all_known(found).await
    }

    /// The VSIs that a pool made and that are not deleted. A pool is looked at often: of a member only what is
    /// news is read.
    pub(super) async fn known_of_pool(&self, pool: Uuid) -> Result<Vec<Arc<Known>>, FleetError> {
        let found = self.made_by_pool(pool).await;
        let mut read = self.pools.take_read(pool);
        let mut all = Vec::new();
        for entity in found {
            let Some(state) = self.engine.entity(&entity) else {
                continue;
            };
            let poison = self.engine.unreadable(&entity).is_some();
            if phase::is_gone(&entity, &state) && !poison {
                continue;
            }
            // States are never changed in place, nor are blobs that were found whole.
            match read.remove(&entity) {
                Some(known)
                    if Arc::ptr_eq(&known.state, &state)
                        && known.unreadable.is_none()
                        && !poison =>
                {
                    all.push(known);
                }
                Some(known) if is_wanted_alike(&known.state, &state) => {
                    let wanted = *Arc::unwrap_or_clone(known).wanted;
                    all.push(Arc::new(self.known_as(entity, state, wanted).await?));
                }
                _ => match self.read_wanted(&entity, &state).await? {
                    WantedReading::Wanted(wanted) => {
                        all.push(Arc::new(self.known_as(entity, state, wanted).await?));
                    }
                    // What cannot be read is judged by its name, see `refuse_lost`.
                    WantedReading::Nothing | WantedReading::Lost(_) => {}
                },
            }
        }
        all.retain(|known| {
            let of = known.wanted.vsi.member_of.as_ref();
            of.is_some_and(|of| of.uid == pool) && !known.is_deleted()
        });
        self.pools.put_read(pool, &all);
        Ok(all)
    }

    /// Whether a pool has members, or had some.
    pub(super) async fn has_had_members(&self, pool: Uuid) -> bool {
        !self.made_by_pool(pool).await.is_empty()
    }

    async fn made_by_pool(&self, pool: Uuid) -> BTreeSet<EntityId> {
        let sign = Sign::Of(pool.to_string());
        self.entities_with(kind::VSI, [sign]).await
    }

    /// The data disks that a pool made and that are not deleted.
    pub(super) async fn disks_of_pool(&self, pool: Uuid) -> Result<Vec<KnownDisk>, FleetError> {
        let found = self.entities_with(kind::DISK, [Sign::Of(pool.to_string())]);
        let mut all = Vec::new();
        for entity in found.await {
            let state = self.engine.entity(&entity);
            if state.is_some_and(|state| !phase::is_gone(&entity, &state)) {
                all.extend(self.known_disk(entity).await?);
            }
        }
        all.retain(|known| {
            let of = known.wanted.disk.member_of.as_ref();
            of.is_some_and(|of| of.uid == pool)
        });
        Ok(all)
    }

    /// The VSIs that may have one of these names, deleted ones included.
    pub(super) async fn known_of_names(
        &self,
        namespace: &str,
        names: impl Iterator<Item = String>,
    ) -> Result<Vec<Known>, FleetError> {
        let names: BTreeSet<_> = names.collect();
        let signs = names.iter().cloned();
        let signs = signs.map(|name| Sign::Named(namespace.to_owned(), name));
        let found = self.entities_with(kind::VSI, signs).await;
        let mut known = self.all_known(found).await?;
        known.retain(|known| {
            let vsi = &known.wanted.vsi;
            vsi.namespace == namespace && names.contains(&vsi.name)
        });
        Ok(known)
    }

    /// The VSIs on a host, deleted ones included, by namespace and name.
    pub(super) async fn known_on(&self, host: &str) -> Result<Vec<Known>, FleetError> {
        let found = self.entities_with(kind::VSI, [Sign::On(host.to_owned())]);
        self.all_known(found.await).await
    }

    async fn all_known(&self, found: BTreeSet<EntityId>) -> Result<Vec<Known>, FleetError> {
        let mut all = Vec::new();
        for entity in found {
            let Some(state) = self.engine.entity(&entity) else {
                continue;
            };
            // What cannot be read is judged by its name, see `refuse_lost`.
            if let WantedReading::Wanted(wanted) = self.read_wanted(&entity, &state).await? {
                all.push(self.known_as(entity, state, wanted).await?);
            }
        }
        let place = |known: &Known| {
            let vsi = &known.wanted.vsi;
            (vsi.namespace.clone(), vsi.name.clone())
        };
        all.sort_by_cached_key(place);
        Ok(all)
    }

    /// The data disks that these documents may be about or name, deleted ones included, by namespace
    /// and name.
    pub(super) async fn concerned_disks(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<KnownDisk>, FleetError> {
        let named =
            |namespace: &str, name: &str| Sign::Named(namespace.to_owned(), name.to_owned());
        let mut signs = BTreeSet::new();
        for vsi in &resolved.vsis {
            let disks = vsi.desired.disks.iter();
            signs.extend(disks.map(|disk| named(&vsi.desired.namespace, &disk.name)));
            // A VSI keeps disks whose documents are away.
            signs.extend(self.own_disks_of(&vsi.desired).await?);
        }
        let asked = resolved.data_disks.iter();
        signs.extend(asked.map(|disk| named(&disk.namespace, &disk.name)));
        let mut found = self.entities_with(kind::DISK, signs).await;
        let own = resolved.data_disks.iter().filter_map(|disk| disk.uid);
        found.extend(own.filter_map(|uid| disk_entity(uid).ok()));
        let mut all = Vec::new();
        for entity in found {
            all.extend(self.known_disk(entity).await?);
        }
        all.sort_by_cached_key(|known| {
            let disk = &known.wanted.disk;
            (disk.namespace.clone(), disk.name.clone())
        });
        Ok(all)
    }

    /// The names of the disks that the VSI has, where it is there.
    async fn own_disks_of(&self, vsi: &DesiredVsi) -> Result<Vec<Sign>, FleetError> {
        let namespace = &vsi.namespace;
        let sign = Sign::Named(namespace.clone(), vsi.name.clone());
        let mut vsis = self.entities_with(kind::VSI, [sign]).await;
        vsis.extend(vsi.uid.and_then(|uid| vsi_entity(uid).ok()));
        let mut all = Vec::new();
        for known in self.all_known(vsis).await? {
            let proposed = known.wanted.proposed.iter().flat_map(|one| &one.vsi.disks);
            let disks = known.wanted.vsi.disks.iter().chain(proposed);
            all.extend(disks.map(|disk| Sign::Named(namespace.clone(), disk.name.clone())));
        }
        Ok(all)
    }

    async fn known_disk(&self, entity: EntityId) -> Result<Option<KnownDisk>, FleetError> {
        let (Some(state), Ok(uid)) = (self.engine.entity(&entity), entity.id().parse::<Uuid>())
        else {
            return Ok(None);
        };
        let read: WantedReading<DiskRecord> = self.read_wanted(&entity, &state).await?;
        let WantedReading::Wanted(wanted) = read else {
            return Ok(None);
        };
        Ok(Some(KnownDisk {
            entity,
            uid,
            state,
            wanted,
        }))
    }

    /// The entities with any of these signs, and those of which nobody can read what they are.
    async fn entities_with(
        &self,
        kind: &'static str,
        wanted: impl IntoIterator<Item = Sign>,
    ) -> BTreeSet<EntityId> {
        // Held while it is brought in step: what another one took and has not read yet is missing.
        let mut signs = self.catalogue.0.lock().await;
        // What was taken is kept until it is read, though nobody may wait for that any more.
        signs.unread.append(&mut self.engine.take_touched());
        for entity in signs.unread.clone() {
            if self.catalogue_one(&mut signs, &entity).await {
                signs.unread.remove(&entity);
            }
        }
        signs.find(kind, wanted)
    }

    /// Whether it is in the catalogue now, or does not belong there.
    async fn catalogue_one(&self, signs: &mut Signs, entity: &EntityId) -> bool {
        let state = self.engine.entity(entity);
        let desired = state.as_ref().and_then(|state| state.desired.as_ref());
        let generation = desired.map(|desired| desired.generation);
        if generation.is_some() && signs.read.get(entity).copied() == generation {
            return true;
        }
        let (kind, found) = match entity.kind().as_str() {
            kind::VSI => (kind::VSI, self.signs_of_vsi(entity).await),
            kind::DISK => (kind::DISK, self.signs_of_disk(entity).await),
            _ => return true,
        };
        match found {
            Ok(found) => {
                signs.put(kind, entity.clone(), found);
                signs
                    .read
                    .extend(generation.map(|one| (entity.clone(), one)));
                true
            }
            Err(error) => {
                tracing::debug!(%entity, %error, "what is wanted of it cannot be read");
                false
            }
        }
    }

    async fn signs_of_vsi(&self, entity: &EntityId) -> Result<BTreeSet<Sign>, FleetError> {
        let wanted = self.readable_wanted::<VsiRecord>(entity).await?;
        Ok(wanted.iter().flat_map(of_vsi).collect())
    }

    async fn signs_of_disk(&self, entity: &EntityId) -> Result<BTreeSet<Sign>, FleetError> {
        let wanted = self.readable_wanted::<DiskRecord>(entity).await?;
        let disks = wanted.into_iter().map(|wanted| wanted.disk);
        Ok(disks
            .flat_map(|disk| {
                let of = disk.member_of.map(|of| Sign::Of(of.uid.to_string()));
                let named = Sign::Named(disk.namespace, disk.name);
                std::iter::once(named).chain(of)
            })
            .collect())
    }

    /// What is wanted of an entity; none where nothing ever was.
    async fn readable_wanted<T: DeserializeOwned>(
        &self,
        entity: &EntityId,
    ) -> Result<Option<T>, FleetError> {
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        match self.read_wanted(entity, &state).await? {
            WantedReading::Wanted(wanted) => Ok(Some(wanted)),
            WantedReading::Nothing => Ok(None),
            WantedReading::Lost(failure) => Err(FleetError::new(ErrorKind::Blocked, failure)),
        }
    }

    /// The VSIs and data disks of one of these names, or of one that nobody can tell, of which
    /// nobody can read what is wanted; those that are gone left out.
    pub(super) async fn lost_among(
        &self,
        kind: &'static str,
        names: impl IntoIterator<Item = (&str, &str)>,
    ) -> Result<Vec<LostEntity>, FleetError> {
        let names: Vec<_> = names.into_iter().collect();
        let ids = names.iter().filter_map(|(_, name)| entity(kind, name));
        let ids: Vec<_> = ids.collect();
        let named = |(namespace, name): (&str, &str)| Sign::Named(namespace.into(), name.into());
        let mut found = self.entities_with(kind, names.into_iter().map(named)).await;
        found.extend(ids);
        let mut lost = Vec::new();
        for entity in found {
            let Some(state) = self.engine.entity(&entity) else {
                continue;
            };
            let failure = match kind {
                kind::DISK => self.why_lost::<DiskRecord>(&entity, &state).await?,
                _ => self.why_lost::<VsiRecord>(&entity, &state).await?,
            };
            lost.extend(failure.map(|failure| (entity, state, failure)));
        }
        Ok(self.named(lost).await)
    }

    async fn why_lost<T: DeserializeOwned>(
        &self,
        entity: &EntityId,
        state: &EntityState,
    ) -> Result<Option<Failure>, FleetError> {
        match self.read_wanted::<T>(entity, state).await? {
            WantedReading::Lost(failure) => Ok(Some(failure)),
            WantedReading::Wanted(_) | WantedReading::Nothing => Ok(None),
        }
    }

    /// The VSIs that may be meant by a name or a UID, deleted ones included.
    pub(super) async fn known_named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Known>, FleetError> {
        let sign = Sign::Named(namespace.to_owned(), name.to_owned());
        let mut found = self.entities_with(kind::VSI, [sign]).await;
        found.extend(entity(kind::VSI, name));
        self.all_known(found).await
    }

    /// The data disks that may be meant by a name or a UID, deleted ones included.
    pub(super) async fn disks_named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<KnownDisk>, FleetError> {
        let sign = Sign::Named(namespace.to_owned(), name.to_owned());
        let mut found = self.entities_with(kind::DISK, [sign]).await;
        found.extend(entity(kind::DISK, name));
        let mut all = Vec::new();
        for entity in found {
            all.extend(self.known_disk(entity).await?);
        }
        Ok(all)
    }

    /// The VSIs that have or had that data disk, deleted ones included.
    pub(super) async fn known_with(&self, disk: Uuid) -> Result<Vec<Known>, FleetError> {
        let sign = Sign::Has(disk.to_string());
        let found = self.entities_with(kind::VSI, [sign]).await;
        self.all_known(found).await
    }
}

/// The VSI or data disk that a UID means.
fn entity(kind: &str, uid: &str) -> Option<EntityId> {
    let uid: Uuid = uid.parse().ok()?;
    match kind {
        kind::DISK => disk_entity(uid).ok(),
        _ => vsi_entity(uid).ok(),
    }
}

fn of_vsi(wanted: &VsiRecord) -> Vec<Sign> {
    let vsi = &wanted.vsi;
    let mut signs = vec![
        Sign::Named(vsi.namespace.clone(), vsi.name.clone()),
        Sign::On(vsi.host.clone()),
    ];
    signs.extend(vsi.member_of.iter().map(|of| Sign::Of(of.uid.to_string())));
    signs.extend(
        wanted
            .volumes()
            .into_iter()
            .map(|volume| Sign::Has(volume.name)),
    );
    signs.extend(vsi.disks.iter().filter_map(of_disk));
    let made = vsi
        .disks
        .iter()
        .filter_map(|disk| vsi_graph::disk_uid(wanted, disk));
    signs.extend(made.map(|uid| Sign::Has(uid.to_string())));
    let recorded = wanted.formats.iter().map(|one| one.volume.name.clone());
    signs.extend(recorded.map(Sign::Has));
    // A run may still be about what was asked for before.
    let earlier = wanted.before.iter().flat_map(|asked| &asked.vsi.disks);
    let volumes = earlier
        .clone()
        .map(|disk| vsi_graph::volume(wanted, disk).name);
    signs.extend(volumes.map(Sign::Has));
    signs.extend(earlier.filter_map(of_disk));
    signs
}

/// What a document says of a disk; none of one that gets its UID later.
fn of_disk(disk: &DesiredDisk) -> Option<Sign> {
    match &disk.source {
        DiskOrigin::Existing { volume } => Some(Sign::Has(volume.clone())),
        DiskOrigin::Made { uid, .. } => uid.map(|uid| Sign::Has(uid.to_string())),
    }
}

/// Whether the same record says what is wanted.
fn is_wanted_alike(before: &EntityState, now: &EntityState) -> bool {
    let generation = |state: &EntityState| state.desired.as_ref().map(|desired| desired.generation);
    generation(before).is_some() && generation(before) == generation(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Sign {
        Sign::Named("default".to_owned(), name.to_owned())
    }

    fn vsi(number: u128) -> EntityId {
        vsi_entity(Uuid::from_u128(number)).unwrap()
    }

    #[test]
    fn an_entity_is_found_by_what_it_is_now() {
        let mut signs = Signs::default();
        let on = Sign::On("sim:a".to_owned());
        signs.put(kind::VSI, vsi(1), [named("a"), on.clone()].into());
        signs.put(kind::VSI, vsi(2), [named("b"), on.clone()].into());
        assert_eq!(signs.find(kind::VSI, [named("a")]), [vsi(1)].into());
        assert_eq!(signs.find(kind::VSI, [on.clone()]), [vsi(1), vsi(2)].into());
        assert!(signs.find(kind::DISK, [named("a")]).is_empty());
        signs.put(kind::VSI, vsi(1), [named("c")].into());
        assert!(signs.find(kind::VSI, [named("a")]).is_empty());
        assert_eq!(
            signs.find(kind::VSI, [named("c"), on]),
            [vsi(1), vsi(2)].into()
        );
        signs.put(kind::VSI, vsi(1), BTreeSet::new());
        signs.put(kind::VSI, vsi(2), BTreeSet::new());
        assert!(signs.by.is_empty(), "{signs:?}");
    }

    #[test]
    fn what_cannot_be_read_may_be_anything_of_its_kind() {
        let mut signs = Signs::default();
        signs.unread.insert(vsi(7));
        assert_eq!(signs.find(kind::VSI, [named("a")]), [vsi(7)].into());
        assert!(signs.find(kind::DISK, [named("a")]).is_empty());
    }
}
