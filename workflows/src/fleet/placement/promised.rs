//! Counts what is promised on hosts: to VSIs and data disks that are there, and to members that will
//! move there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vsiflow_engine::model::{EntityId, EntityState};

use crate::{
    fleet::{
        Fleet, FleetError,
        placement::requests::{evicted, needs_with_disks},
        unreadable::DesiredReading,
    },
    phase::{self, Phase},
    placement::{Needs, PlacedVsi, Promised},
    pool::PoolRecord,
    record::{DiskRecord, VsiRecord, kind},
    spec::DesiredVsi,
};

/// The promises on one host.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct HostPromises {
    /// The sum of the promises.
    pub(in crate::fleet) sum: Promised,
    /// How many VSIs are not deleted.
    pub(in crate::fleet) living: usize,
    /// The VSIs.
    pub(super) vsis: Vec<PlacedVsi>,
}

/// The resources of one VSI or data disk.
#[derive(Clone)]
struct Footprint {
    host: String,
    vsi: Option<PlacedVsi>,
    needs: Needs,
    made: bool,
}

/// A footprint, with the generation of the desired state that it was read from.
type ReadFootprint = (u64, Footprint);

/// Cache of footprints: a record is read again only when its generation changes.
#[derive(Default)]
pub(in crate::fleet) struct Footprints(Mutex<BTreeMap<EntityId, ReadFootprint>>);

/// The promises on all hosts.
pub(in crate::fleet) async fn host_promises(
    fleet: &Fleet,
) -> Result<BTreeMap<String, HostPromises>, FleetError> {
    fleet.promised(|_| true).await
}

impl Fleet {
    /// The promises on these hosts.
    pub(super) async fn promises(
        &self,
        hosts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, HostPromises>, FleetError> {
        self.promised(|host| hosts.contains(host)).await
    }

    async fn promised(
        &self,
        counts: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, HostPromises>, FleetError> {
        let mut all = BTreeMap::<String, HostPromises>::new();
        for kind in [kind::VSI, kind::DISK] {
            for (entity, state) in self.read_footprints(kind).await? {
                let is_deleted = Phase::recorded(&state) == Some(Phase::Deleted);
                let found = self.footprint(&entity, &state).await?;
                if let Some(found) = found.filter(|found| counts(&found.host)) {
                    let host = all.entry(found.host).or_default();
                    host.sum.add(&found.needs, found.made);
                    if found.vsi.is_some() && !is_deleted {
                        host.living = host.living.saturating_add(1);
                    }
                    host.vsis.extend(found.vsi);
                }
                if is_deleted && kind == kind::VSI {
                    let host = self.host_of_unreadable(entity, state).await?;
                    if let Some(host) = host.filter(|host| counts(host)) {
                        let host = all.entry(host).or_default();
                        host.living = host.living.saturating_add(1);
                    }
                }
            }
        }
        for (host, vsi) in self.reserved().await? {
            if counts(&host) {
                let host = all.entry(host).or_default();
                host.sum.add(&needs_with_disks(&vsi), false);
                host.vsis.push(placed(&vsi));
            }
        }
        Ok(all)
    }

    /// The host of a VSI that counts as deleted in the index, but whose unreadable parts say otherwise.
    async fn host_of_unreadable(
        &self,
        entity: EntityId,
        state: Arc<EntityState>,
    ) -> Result<Option<String>, FleetError> {
        // A deleted VSI needs no blobs any more.
        if phase::is_gone(&entity, &state) && self.engine.unreadable(&entity).is_none() {
            return Ok(None);
        }
        Ok(match self.read_known(entity, state).await? {
            DesiredReading::Record(known) if !known.is_deleted() => {
                Some(known.record.vsi.host.clone())
            }
            _ => None,
        })
    }

    /// Members that leave a host and are not made again yet, with their new hosts.
    async fn reserved(&self) -> Result<Vec<(String, DesiredVsi)>, FleetError> {
        let mut all = Vec::new();
        for pool in self.living::<PoolRecord>().await? {
            let evicting = &pool.record.evicting;
            if evicting.is_empty() || pool.is_deleting() {
                continue;
            }
            let members = self.known_of_pool(pool.record.uid).await?;
            for (uid, eviction) in evicting {
                let made = members.iter().any(|known| {
                    let of = known.record.vsi.member_of.as_ref();
                    let same = of.is_some_and(|of| of.number == eviction.number);
                    same && !known.is_deleted() && known.record.uid != *uid
                });
                if let (Some(to), false) = (&eviction.to, made) {
                    let vsi = evicted(&pool.record, eviction.number);
                    all.push((to.host.clone(), vsi));
                }
            }
        }
        Ok(all)
    }

    /// All entities of a kind; fills the cache with their footprints.
    async fn read_footprints(
        &self,
        kind: &str,
    ) -> Result<Vec<(EntityId, Arc<EntityState>)>, FleetError> {
        let all = self.entities_of(kind);
        let unread = all.iter().filter(|(entity, state)| {
            !phase::is_gone(entity, state) && !self.footprints.has(entity, state)
        });
        let unread = unread.cloned().collect();
        let read = self.in_pieces(unread, |fleet, some| async move {
            for (entity, state) in some {
                fleet.footprint(&entity, &state).await?;
            }
            Ok(Vec::<()>::new())
        });
        read.await?;
        Ok(all)
    }

    /// The footprint of an entity; `None` if it is deleted, or cannot be read, so that its host is
    /// unknown.
    async fn footprint(
        &self,
        entity: &EntityId,
        state: &Arc<EntityState>,
    ) -> Result<Option<Footprint>, FleetError> {
        if phase::is_gone(entity, state) {
            self.footprints.forget(entity);
            return Ok(None);
        }
        let made = state.reached > 0;
        let found = match self.footprints.get(entity, state) {
            Some(known) => Some(known),
            None => {
                let found = self.read_footprint(entity, state).await?;
                if let Some(found) = &found {
                    self.footprints.put(entity, state, found);
                }
                found
            }
        };
        Ok(found.map(|found| Footprint { made, ..found }))
    }

    async fn read_footprint(
        &self,
        entity: &EntityId,
        state: &Arc<EntityState>,
    ) -> Result<Option<Footprint>, FleetError> {
        let made = state.reached > 0;
        if entity.kind().as_str() == kind::DISK {
            let read: DesiredReading<DiskRecord> = self.read_desired(entity, state).await?;
            return Ok(match read {
                DesiredReading::Record(record) => Some(of_disk(record, made)),
                DesiredReading::Nothing | DesiredReading::Lost(_) => None,
            });
        }
        let read: DesiredReading<VsiRecord> = self.read_desired(entity, state).await?;
        Ok(match read {
            DesiredReading::Record(record) => Some(of_vsi(&record, made)),
            DesiredReading::Nothing | DesiredReading::Lost(_) => None,
        })
    }
}

impl Footprints {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EntityId, ReadFootprint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, entity: &EntityId, state: &EntityState) -> bool {
        self.find(entity, state, |_| ()).is_some()
    }

    fn get(&self, entity: &EntityId, state: &EntityState) -> Option<Footprint> {
        self.find(entity, state, Footprint::clone)
    }

    fn find<T>(
        &self,
        entity: &EntityId,
        state: &EntityState,
        look: impl FnOnce(&Footprint) -> T,
    ) -> Option<T> {
        let desired = state.desired.as_ref()?;
        let all = self.lock();
        let (generation, found) = all.get(entity)?;
        (*generation == desired.generation).then(|| look(found))
    }

    fn put(&self, entity: &EntityId, state: &EntityState, found: &Footprint) {
        if let Some(desired) = &state.desired {
            let read = (desired.generation, found.clone());
            self.lock().insert(entity.clone(), read);
        }
    }

    fn forget(&self, entity: &EntityId) {
        self.lock().remove(entity);
    }
}

fn of_disk(record: DiskRecord, made: bool) -> Footprint {
    let disk = record.disk;
    Footprint {
        host: disk.host,
        vsi: None,
        needs: Needs {
            pools: BTreeMap::from([(disk.pool, disk.size)]),
            ..Needs::default()
        },
        made,
    }
}

/// The larger of its desired state and its proposed one.
fn of_vsi(record: &VsiRecord, made: bool) -> Footprint {
    let mut needs = needs(&record.vsi);
    if let Some(proposed) = &record.proposed {
        let machine = self::needs(&proposed.vsi);
        needs.cpus = needs.cpus.max(machine.cpus);
        needs.memory = needs.memory.max(machine.memory);
    }
    Footprint {
        host: record.vsi.host.clone(),
        vsi: Some(placed(&record.vsi)),
        needs,
        made,
    }
}

/// What a VSI needs itself; its data disks are counted separately. The size of a boot disk without
/// `size` is its image's, which is unknown here, and counts as 0.
pub(super) fn needs(vsi: &DesiredVsi) -> Needs {
    Needs {
        cpus: u64::from(vsi.machine.cpus),
        memory: vsi.machine.memory_mib.saturating_mul(1 << 20),
        pools: BTreeMap::from([(vsi.pool.clone(), vsi.boot_disk.size.unwrap_or_default())]),
    }
}

/// A VSI, as far as the placement of others depends on it.
pub(super) fn placed(vsi: &DesiredVsi) -> PlacedVsi {
    let placement = vsi.placement.as_ref();
    PlacedVsi {
        namespace: vsi.namespace.clone(),
        name: vsi.name.clone(),
        labels: vsi.labels.clone(),
        pool: vsi.member_of.as_ref().map(|of| of.pool.clone()),
        anti_affinity: placement
            .and_then(|one| one.request.anti_affinity.clone())
            .map(Arc::new),
    }
}
