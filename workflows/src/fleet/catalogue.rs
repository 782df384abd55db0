//! Lookup of the VSIs and data disks that a document may concern: by name, host and volume.
//!
//! An apply of one document must not read the desired state of all others: ten thousand documents would
//! need a hundred million reads. A lookup result is only a hint; its record is then read and compared.

mod lookup_index;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState, Failure};

use self::lookup_index::{LookupIndex, LookupKey, of_disk, of_vsi};
use super::{
    ErrorKind, Fleet, FleetError,
    disk::known::KnownDisk,
    index::Known,
    unreadable::{DesiredReading, LostEntity},
};
use crate::{
    macs, phase,
    record::{DiskRecord, VsiRecord, disk_entity, kind, vsi_entity},
    spec::{DesiredVsi, Resolved},
    vsi_graph,
};

/// All VSIs and data disks by their lookup keys, kept in step with the engine. It holds names only.
#[derive(Debug, Default)]
pub(super) struct ObjectCatalogue(Mutex<LookupIndex>);

impl Fleet {
    /// The VSIs that these documents may concern, or that may have one of their disks. Deleted ones are
    /// included; sorted by namespace and name.
    pub(super) async fn concerned(&self, resolved: &Resolved) -> Result<Vec<Known>, FleetError> {
        let mut keys = Vec::new();
        for vsi in &resolved.vsis {
            let desired = &vsi.desired;
            keys.push(LookupKey::Named(
                desired.namespace.clone(),
                desired.name.clone(),
            ));
            keys.extend(desired.disks.iter().filter_map(of_disk));
        }
        let own = resolved.vsis.iter().filter_map(|vsi| vsi.desired.uid);
        let own: BTreeSet<_> = own.filter_map(|uid| vsi_entity(uid).ok()).collect();
        // A VSI retains disks that have no document now.
        let mut before = self.entities_with(kind::VSI, keys.clone()).await;
        before.extend(own.clone());
        for known in self.all_known(before).await? {
            let proposed = known.record.proposed.as_deref().map(of_vsi);
            let had = of_vsi(&known.record)
                .into_iter()
                .chain(proposed.into_iter().flatten());
            keys.extend(had.filter(|key| matches!(key, LookupKey::Has(_))));
        }
        let made = self.concerned_disks(resolved).await?;
        keys.extend(made.iter().map(|disk| LookupKey::Has(disk.uid.to_string())));
        let desired = resolved.data_disks.iter().filter_map(|disk| disk.uid);
        keys.extend(desired.map(|uid| LookupKey::Has(uid.to_string())));
        let mut found = self.entities_with(kind::VSI, keys).await;
        found.extend(own);
        self.all_known(found).await
    }

    /// The VSIs that a pool made and that are not deleted. Pools are reconciled often, so only members that
    /// changed are read again.
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
            // States are never changed in place, and blobs that were found intact never change.
            match read.remove(&entity) {
                Some(known) if self.is_as_it_was(&known, &state) => {
                    all.push(known);
                }
                Some(known) if has_equal_desired(&known.state, &state) => {
                    let record = known.record.clone();
                    all.push(Arc::new(self.known_as(entity, state, record).await?));
                }
                _ => match self.read_desired(&entity, &state).await? {
                    DesiredReading::Record(record) => {
                        let record = Arc::new(record);
                        all.push(Arc::new(self.known_as(entity, state, record).await?));
                    }
                    // Unreadable VSIs are checked by their name, see `refuse_lost`.
                    DesiredReading::Nothing | DesiredReading::Lost(_) => {}
                },
            }
        }
        all.retain(|known| {
            let of = known.record.vsi.member_of.as_ref();
            of.is_some_and(|of| of.uid == pool) && !known.is_deleted()
        });
        self.pools.put_read(pool, &all);
        Ok(all)
    }

    /// Whether a pool has or had members.
    pub(super) async fn has_had_members(&self, pool: Uuid) -> bool {
        !self.made_by_pool(pool).await.is_empty()
    }

    async fn made_by_pool(&self, pool: Uuid) -> BTreeSet<EntityId> {
        let key = LookupKey::Of(pool.to_string());
        self.entities_with(kind::VSI, [key]).await
    }

    /// The data disks that a pool made and that are not deleted.
    pub(super) async fn disks_of_pool(&self, pool: Uuid) -> Result<Vec<KnownDisk>, FleetError> {
        let found = self.entities_with(kind::DISK, [LookupKey::Of(pool.to_string())]);
        let mut all = Vec::new();
        for entity in found.await {
            let state = self.engine.entity(&entity);
            if state.is_some_and(|state| !phase::is_gone(&entity, &state)) {
                all.extend(self.known_disk(entity).await?);
            }
        }
        all.retain(|known| {
            let of = known.record.disk.member_of.as_ref();
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
        let keys = names.iter().cloned();
        let keys = keys.map(|name| LookupKey::Named(namespace.to_owned(), name));
        let found = self.entities_with(kind::VSI, keys).await;
        let mut known = self.all_known(found).await?;
        known.retain(|known| {
            let vsi = &known.record.vsi;
            vsi.namespace == namespace && names.contains(&vsi.name)
        });
        Ok(known)
    }

    /// Which of these MAC addresses another VSI has that may run.
    pub(super) async fn macs_of_others(
        &self,
        own: Uuid,
        macs: &[String],
    ) -> Result<BTreeSet<String>, FleetError> {
        if macs.is_empty() {
            return Ok(BTreeSet::new());
        }
        let keys = macs.iter().cloned().map(LookupKey::Card);
        let found = self.entities_with(kind::VSI, keys).await;
        let mut others = self.all_known(found).await?;
        others.retain(|known| {
            let may_run = !known.is_deleted() || known.may_have_stayed();
            may_run && known.record.uid != own
        });
        let records = others.iter().map(|known| known.record.as_ref());
        let earlier = records.clone().flat_map(macs::of_earlier);
        let records =
            records.flat_map(|record| std::iter::once(record).chain(record.proposed.as_deref()));
        let taken = records.flat_map(vsi_graph::cards).map(|card| card.mac);
        let taken = taken.chain(earlier);
        Ok(taken.filter(|mac| macs.contains(mac)).collect())
    }

    /// The VSIs on a host, deleted ones included, by namespace and name.
    pub(super) async fn known_on(&self, host: &str) -> Result<Vec<Known>, FleetError> {
        self.known_on_since(host, &HashMap::new()).await
    }

    /// The VSIs on a host, as [`Self::known_on`] returns them. Only those that changed since `before` are
    /// read.
    pub(super) async fn known_on_since(
        &self,
        host: &str,
        before: &HashMap<EntityId, Known>,
    ) -> Result<Vec<Known>, FleetError> {
        let found = self.entities_with(kind::VSI, [LookupKey::On(host.to_owned())]);
        self.all_known_since(found.await, before).await
    }

    /// Whether an earlier reading of a VSI is still current. States are never changed in place, and blobs
    /// that were found intact never change.
    fn is_as_it_was(&self, known: &Known, state: &Arc<EntityState>) -> bool {
        Arc::ptr_eq(&known.state, state)
            && known.unreadable.is_none()
            && self.engine.unreadable(&known.entity).is_none()
    }

    async fn all_known(&self, found: BTreeSet<EntityId>) -> Result<Vec<Known>, FleetError> {
        self.all_known_since(found, &HashMap::new()).await
    }

    async fn all_known_since(
        &self,
        found: BTreeSet<EntityId>,
        before: &HashMap<EntityId, Known>,
    ) -> Result<Vec<Known>, FleetError> {
        let mut all = Vec::new();
        for entity in found {
            let Some(state) = self.engine.entity(&entity) else {
                continue;
            };
            let read = before.get(&entity);
            if let Some(known) = read.filter(|known| self.is_as_it_was(known, &state)) {
                all.push(known.clone());
                continue;
            }
            // Unreadable VSIs are checked by their name, see `refuse_lost`.
            if let DesiredReading::Record(record) = self.read_desired(&entity, &state).await? {
                all.push(self.known_as(entity, state, Arc::new(record)).await?);
            }
        }
        let place = |known: &Known| {
            let vsi = &known.record.vsi;
            (vsi.namespace.clone(), vsi.name.clone())
        };
        all.sort_by_cached_key(place);
        Ok(all)
    }

    /// The data disks that these documents may concern or name. Deleted ones are included; sorted by
    /// namespace and name.
    pub(super) async fn concerned_disks(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<KnownDisk>, FleetError> {
        let named =
            |namespace: &str, name: &str| LookupKey::Named(namespace.to_owned(), name.to_owned());
        let mut keys = BTreeSet::new();
        for vsi in &resolved.vsis {
            let disks = vsi.desired.disks.iter();
            keys.extend(disks.map(|disk| named(&vsi.desired.namespace, &disk.name)));
            // A VSI retains disks that have no document now.
            keys.extend(self.own_disks_of(&vsi.desired).await?);
        }
        let desired = resolved.data_disks.iter();
        keys.extend(desired.map(|disk| named(&disk.namespace, &disk.name)));
        let mut found = self.entities_with(kind::DISK, keys).await;
        let own = resolved.data_disks.iter().filter_map(|disk| disk.uid);
        found.extend(own.filter_map(|uid| disk_entity(uid).ok()));
        let mut all = Vec::new();
        for entity in found {
            all.extend(self.known_disk(entity).await?);
        }
        all.sort_by_cached_key(|known| {
            let disk = &known.record.disk;
            (disk.namespace.clone(), disk.name.clone())
        });
        Ok(all)
    }

    /// The names of the disks that the VSI has, if it exists.
    async fn own_disks_of(&self, vsi: &DesiredVsi) -> Result<Vec<LookupKey>, FleetError> {
        let namespace = &vsi.namespace;
        let key = LookupKey::Named(namespace.clone(), vsi.name.clone());
        let mut vsis = self.entities_with(kind::VSI, [key]).await;
        vsis.extend(vsi.uid.and_then(|uid| vsi_entity(uid).ok()));
        let mut all = Vec::new();
        for known in self.all_known(vsis).await? {
            let proposed = known.record.proposed.iter().flat_map(|one| &one.vsi.disks);
            let disks = known.record.vsi.disks.iter().chain(proposed);
            all.extend(disks.map(|disk| LookupKey::Named(namespace.clone(), disk.name.clone())));
        }
        Ok(all)
    }

    pub(super) async fn known_disk(
        &self,
        entity: EntityId,
    ) -> Result<Option<KnownDisk>, FleetError> {
        let (Some(state), Ok(uid)) = (self.engine.entity(&entity), entity.id().parse::<Uuid>())
        else {
            return Ok(None);
        };
        let read: DesiredReading<DiskRecord> = self.read_desired(&entity, &state).await?;
        let DesiredReading::Record(record) = read else {
            return Ok(None);
        };
        Ok(Some(KnownDisk {
            entity,
            uid,
            state,
            record,
        }))
    }

    /// The entities with any of these keys, and those whose record cannot be read.
    async fn entities_with(
        &self,
        kind: &'static str,
        any_of: impl IntoIterator<Item = LookupKey>,
    ) -> BTreeSet<EntityId> {
        // Held until the index is up to date: entities that another caller drained and has not read yet
        // would be missing.
        let mut index = self.catalogue.0.lock().await;
        // Drained entities stay in `unread` until they are read, even if the caller is cancelled.
        index.unread.append(&mut self.engine.drain_touched());
        for entity in index.unread.clone() {
            if self.catalogue_one(&mut index, &entity).await {
                index.unread.remove(&entity);
            }
        }
        index.find(kind, any_of)
    }

    /// Reads one entity into the index. Returns whether it is in the index now, or does not belong there.
    async fn catalogue_one(&self, index: &mut LookupIndex, entity: &EntityId) -> bool {
        let state = self.engine.entity(entity);
        let desired = state.as_ref().and_then(|state| state.desired.as_ref());
        let generation = desired.map(|desired| desired.generation);
        if generation.is_some() && index.read.get(entity).copied() == generation {
            return true;
        }
        let (kind, found) = match entity.kind().as_str() {
            kind::VSI => (kind::VSI, self.keys_of_vsi(entity).await),
            kind::DISK => (kind::DISK, self.keys_of_disk(entity).await),
            _ => return true,
        };
        match found {
            Ok(found) => {
                index.put(kind, entity.clone(), found);
                index
                    .read
                    .extend(generation.map(|one| (entity.clone(), one)));
                true
            }
            Err(error) => {
                tracing::debug!(%entity, %error, "what is desired of it cannot be read");
                false
            }
        }
    }

    async fn keys_of_vsi(&self, entity: &EntityId) -> Result<BTreeSet<LookupKey>, FleetError> {
        let record = self.readable_desired::<VsiRecord>(entity).await?;
        Ok(record.iter().flat_map(of_vsi).collect())
    }

    async fn keys_of_disk(&self, entity: &EntityId) -> Result<BTreeSet<LookupKey>, FleetError> {
        let record = self.readable_desired::<DiskRecord>(entity).await?;
        let disks = record.into_iter().map(|record| record.disk);
        Ok(disks
            .flat_map(|disk| {
                let of = disk.member_of.map(|of| LookupKey::Of(of.uid.to_string()));
                let named = LookupKey::Named(disk.namespace, disk.name);
                std::iter::once(named).chain(of)
            })
            .collect())
    }

    /// The desired state of an entity; `None` if it never had one.
    async fn readable_desired<T: DeserializeOwned>(
        &self,
        entity: &EntityId,
    ) -> Result<Option<T>, FleetError> {
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        match self.read_desired(entity, &state).await? {
            DesiredReading::Record(record) => Ok(Some(record)),
            DesiredReading::Nothing => Ok(None),
            DesiredReading::Lost(failure) => Err(FleetError::new(ErrorKind::Blocked, failure)),
        }
    }

    /// The VSIs or data disks with unreadable desired state whose name is one of these, or unknown. Deleted
    /// ones are left out.
    pub(super) async fn lost_among(
        &self,
        kind: &'static str,
        names: impl IntoIterator<Item = (&str, &str)>,
    ) -> Result<Vec<LostEntity>, FleetError> {
        let names: Vec<_> = names.into_iter().collect();
        let ids = names.iter().filter_map(|(_, name)| entity(kind, name));
        let ids: Vec<_> = ids.collect();
        let named =
            |(namespace, name): (&str, &str)| LookupKey::Named(namespace.into(), name.into());
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
        match self.read_desired::<T>(entity, state).await? {
            DesiredReading::Lost(failure) => Ok(Some(failure)),
            DesiredReading::Record(_) | DesiredReading::Nothing => Ok(None),
        }
    }

    /// The VSIs that a name or a UID may refer to, deleted ones included.
    pub(super) async fn known_named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<Known>, FleetError> {
        let key = LookupKey::Named(namespace.to_owned(), name.to_owned());
        let mut found = self.entities_with(kind::VSI, [key]).await;
        found.extend(entity(kind::VSI, name));
        self.all_known(found).await
    }

    /// The data disks that a name or a UID may refer to, deleted ones included.
    pub(super) async fn disks_named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<KnownDisk>, FleetError> {
        let key = LookupKey::Named(namespace.to_owned(), name.to_owned());
        let mut found = self.entities_with(kind::DISK, [key]).await;
        found.extend(entity(kind::DISK, name));
        let mut all = Vec::new();
        for entity in found {
            all.extend(self.known_disk(entity).await?);
        }
        Ok(all)
    }

    /// The VSIs that have or had that data disk, deleted ones included.
    pub(super) async fn known_with(&self, disk: Uuid) -> Result<Vec<Known>, FleetError> {
        let key = LookupKey::Has(disk.to_string());
        let found = self.entities_with(kind::VSI, [key]).await;
        self.all_known(found).await
    }
}

/// The entity of the VSI or data disk with this UID.
fn entity(kind: &str, uid: &str) -> Option<EntityId> {
    let uid: Uuid = uid.parse().ok()?;
    match kind {
        kind::DISK => disk_entity(uid).ok(),
        _ => vsi_entity(uid).ok(),
    }
}

/// Whether both states have the same generation of desired state.
fn has_equal_desired(before: &EntityState, now: &EntityState) -> bool {
    let generation = |state: &EntityState| state.desired.as_ref().map(|desired| desired.generation);
    generation(before).is_some() && generation(before) == generation(now)
}
