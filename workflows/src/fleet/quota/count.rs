//! Counts the quota usage of namespaces: by existing objects, and by what pools and groups will make.
//!
//! An object that cannot be read counts by its last readable record. If it has none, its usage is
//! unknown, and it is returned as [`Uncounted`].

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState, Failure};

use super::{
    cache::CountedUsage,
    members::{MembersUsage, PresentMembers, PromisedUsage},
};
use crate::{
    fleet::{
        Fleet, FleetError,
        unreadable::{DesiredReading, LostState},
    },
    group::{self, GroupRecord},
    phase,
    pool::PoolRecord,
    quota::Usage,
    record::{DiskRecord, VsiRecord, kind},
    spec::{DesiredDataDisk, DesiredVsi},
};

/// Owner of quota usage in a namespace. The usage of a pool's members belongs to the pool. Each data disk is an owner,
/// also that of a member, because it may stay without its member, its pool, and its name in the template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Taker {
    Vsi(String),
    Disk(String),
    Pool(String),
    /// The pool of that UID; only its members can be read.
    Unread(Uuid),
}

/// The usage of each owner.
#[derive(Clone, Debug, Default)]
pub(super) struct UsageByTaker(BTreeMap<(String, Taker), Usage>);

impl UsageByTaker {
    fn add(&mut self, namespace: &str, taker: Taker, usage: Usage) {
        let sum = self.0.entry((namespace.to_owned(), taker)).or_default();
        *sum = sum.plus(usage);
    }

    pub(super) fn get(&self, namespace: &str, taker: &Taker) -> Usage {
        let key = (namespace.to_owned(), taker.clone());
        self.0.get(&key).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, namespace: &str, taker: Taker, usage: Usage) {
        self.0.insert((namespace.to_owned(), taker), usage);
    }

    /// Raises the usage of an owner to at least this.
    fn raise(&mut self, namespace: &str, taker: Taker, usage: Usage) {
        let its = self.0.entry((namespace.to_owned(), taker)).or_default();
        *its = its.max(usage);
    }

    /// The usage of each owner in a namespace.
    pub(super) fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&Taker, Usage)> {
        let all = self.0.iter().filter(move |((its, _), _)| its == namespace);
        all.map(|((_, taker), usage)| (taker, *usage))
    }

    pub(super) fn of(&self, namespace: &str) -> Usage {
        let all = self.0.iter().filter(|((its, _), _)| its == namespace);
        all.fold(Usage::default(), |sum, (_, usage)| sum.plus(*usage))
    }
}

/// An object whose usage is unknown.
pub(super) struct Uncounted {
    pub(super) entity: EntityId,
    /// Its namespace, if known from another source.
    pub(super) namespace: Option<String>,
    pub(super) failure: Failure,
}

/// The usage of all owners, and which data disks pools promise.
#[derive(Clone, Debug, Default)]
pub(super) struct TakenUsage {
    pub(super) by_taker: UsageByTaker,
    /// The names of the data disks that each pool promises, by the pool's namespace and name.
    promised: BTreeMap<(String, String), BTreeSet<String>>,
}

impl TakenUsage {
    fn of_objects(there: &CountedObjects) -> Self {
        Self {
            by_taker: there.taken.clone(),
            promised: BTreeMap::new(),
        }
    }

    /// Adds what a pool promises to what other pools of its name have.
    fn add_pool(&mut self, pool: (&str, &str), usage: PromisedUsage) {
        let (namespace, name) = pool;
        let taker = Taker::Pool(name.to_owned());
        self.by_taker.add(namespace, taker, usage.members);
        self.add_disks(pool, usage.disks);
    }

    /// Raises what a pool promises to at least this.
    fn raise_pool(&mut self, pool: (&str, &str), usage: PromisedUsage) {
        let (namespace, name) = pool;
        let taker = Taker::Pool(name.to_owned());
        self.by_taker.raise(namespace, taker, usage.members);
        self.add_disks(pool, usage.disks);
    }

    /// Sets what a pool promises in the place of what it promised.
    pub(super) fn set_pool(
        &mut self,
        pool: (&str, &str),
        usage: PromisedUsage,
        there: &CountedObjects,
    ) {
        let (namespace, name) = pool;
        let place = (namespace.to_owned(), name.to_owned());
        for disk in self.promised.remove(&place).unwrap_or_default() {
            let taker = Taker::Disk(disk);
            let present = there.taken.get(namespace, &taker);
            self.by_taker.set(namespace, taker, present);
        }
        let taker = Taker::Pool(name.to_owned());
        self.by_taker.set(namespace, taker, usage.members);
        self.add_disks(pool, usage.disks);
    }

    fn add_disks(&mut self, (namespace, pool): (&str, &str), disks: BTreeMap<String, Usage>) {
        if disks.is_empty() {
            return;
        }
        let place = (namespace.to_owned(), pool.to_owned());
        let promised = self.promised.entry(place).or_default();
        for (disk, usage) in disks {
            promised.insert(disk.clone());
            self.by_taker.raise(namespace, Taker::Disk(disk), usage);
        }
    }
}

/// The usage of existing objects, without what pools will make.
#[derive(Default)]
pub(super) struct CountedObjects {
    taken: UsageByTaker,
    /// The usage of existing members, and its namespace, by the UIDs of their pools.
    members: BTreeMap<Uuid, (String, PresentMembers)>,
    /// Whether members count as VSIs of their own, because one pool's members are in several journals.
    alone: bool,
    uncounted: Vec<Uncounted>,
}

impl CountedObjects {
    /// The existing members of a pool.
    pub(super) fn of_members(&self, pool: Uuid) -> PresentMembers {
        let members = self.members.get(&pool);
        members.map_or_else(PresentMembers::default, |(_, present)| present.clone())
    }

    fn add(&mut self, counted: CountedUsage) {
        match counted.member_of {
            Some(pool) if !self.alone => {
                let empty = || (counted.namespace, PresentMembers::default());
                let (_, present) = self.members.entry(pool).or_insert_with(empty);
                present.usage = present.usage.plus(counted.usage);
                present.numbers.extend(counted.number);
            }
            _ => self
                .taken
                .add(&counted.namespace, counted.taker, counted.usage),
        }
    }
}

/// A pool that exists, and its existing members.
struct MadePool {
    record: PoolRecord,
    present: PresentMembers,
}

/// The existing pools, by namespace and name.
type MadePools = BTreeMap<(String, String), MadePool>;

/// All usage, and the objects that cannot be counted.
pub(super) struct Count {
    pub(super) there: CountedObjects,
    pub(super) taken: TakenUsage,
}

impl Count {
    /// An object of unknown usage that is, or may be, in this namespace.
    pub(super) fn uncounted_in(&self, namespace: &str) -> Option<&Uncounted> {
        let mut all = self.there.uncounted.iter();
        all.find(|one| one.namespace.as_deref().is_none_or(|its| its == namespace))
    }
}

impl Fleet {
    /// Counts the usage in all namespaces.
    pub(super) async fn count(&self) -> Result<Count, FleetError> {
        let mut there = self.there().await?;
        let mut taken = TakenUsage::of_objects(&there);
        if self.pools.is_of_set() {
            return Ok(Count { there, taken });
        }
        let made = self.add_pools(&mut there, &mut taken).await?;
        self.add_groups(&made, &mut there, &mut taken).await?;
        Ok(Count { there, taken })
    }

    /// The VSIs and data disks that are not deleted.
    async fn there(&self) -> Result<CountedObjects, FleetError> {
        let (mut there, mut lost) = (CountedObjects::default(), Vec::new());
        there.alone = self.pools.is_of_set();
        for kind in [kind::VSI, kind::DISK] {
            for (entity, state) in self.entities_of(kind) {
                let is_gone = phase::is_gone(&entity, &state);
                if is_gone && self.engine.unreadable(&entity).is_none() {
                    self.quotas.counts.forget(&entity);
                    continue;
                }
                match self.counted(&entity, &state).await? {
                    DesiredReading::Record(counted) => there.add(counted),
                    DesiredReading::Nothing => {}
                    DesiredReading::Lost(failure) => lost.push((entity, state, failure)),
                }
            }
        }
        for object in self.named(lost).await {
            match self.counted_before(&object.entity).await {
                Some(counted) => there.add(counted),
                None => there.uncounted.push(Uncounted {
                    entity: object.entity,
                    namespace: object.name.map(|(namespace, _)| namespace),
                    failure: object.failure,
                }),
            }
        }
        Ok(there)
    }

    /// The usage of one entity, by its newest record.
    async fn counted(
        &self,
        entity: &EntityId,
        state: &EntityState,
    ) -> Result<DesiredReading<CountedUsage>, FleetError> {
        if let Some(known) = self.quotas.counts.get(entity, state) {
            return Ok(DesiredReading::Record(known));
        }
        let found = match entity.kind().as_str() {
            kind::DISK => {
                let read: DesiredReading<DiskRecord> = self.read_desired(entity, state).await?;
                read.map(|record| CountedUsage::of_disk(&record))
            }
            _ => {
                let read: DesiredReading<VsiRecord> = self.read_desired(entity, state).await?;
                read.map(|record| CountedUsage::of_vsi(&record))
            }
        };
        if let DesiredReading::Record(counted) = &found {
            self.quotas.counts.put(entity, state, counted);
        }
        Ok(found)
    }

    async fn counted_before(&self, entity: &EntityId) -> Option<CountedUsage> {
        match entity.kind().as_str() {
            kind::DISK => {
                let record = self.previous_desired::<DiskRecord>(entity).await;
                record.map(|record| CountedUsage::of_disk(&record))
            }
            _ => {
                let record = self.previous_desired::<VsiRecord>(entity).await;
                record.map(|record| CountedUsage::of_vsi(&record))
            }
        }
    }

    /// Adds pools, with all members that they will make. Returns the existing pools.
    async fn add_pools(
        &self,
        there: &mut CountedObjects,
        taken: &mut TakenUsage,
    ) -> Result<MadePools, FleetError> {
        let (pools, lost) = self.known_records::<PoolRecord>().await?;
        let (mut made, mut members) = (MadePools::new(), there.members.clone());
        let mut add = |record: &PoolRecord, is_promised: bool| {
            let present = members.remove(&record.uid).map(|(_, present)| present);
            let present = present.unwrap_or_default();
            let usage = if is_promised {
                MembersUsage::of_record(record).with(&present)
            } else {
                PromisedUsage {
                    members: present.usage,
                    ..PromisedUsage::default()
                }
            };
            taken.add_pool((&record.namespace, &record.name), usage);
            present
        };
        for pool in pools {
            let present = add(&pool.record, !pool.is_deleting() && !pool.is_deleted());
            if !pool.is_deleted() {
                insert(&mut made, pool.record, present);
            }
        }
        let mut unread = Vec::new();
        for (entity, _, failure) in lost {
            match self.previous_desired::<PoolRecord>(&entity).await {
                Some(record) => {
                    let present = add(&record, true);
                    insert(&mut made, record, present);
                }
                None => unread.push((entity, failure)),
            }
        }
        for (pool, (namespace, present)) in members {
            let taker = Taker::Unread(pool);
            taken.by_taker.add(&namespace, taker, present.usage);
        }
        there.uncounted.extend(unread.into_iter().map(uncounted));
        Ok(made)
    }

    /// Adds groups, with their pools that are not made yet.
    async fn add_groups(
        &self,
        made: &MadePools,
        there: &mut CountedObjects,
        taken: &mut TakenUsage,
    ) -> Result<(), FleetError> {
        let (groups, lost) = self.known_records::<GroupRecord>().await?;
        for group in groups {
            if !group.is_deleting() && !group.is_deleted() {
                add_group(&group.record, made, taken);
            }
        }
        for (entity, _, failure) in lost as Vec<LostState> {
            match self.previous_desired::<GroupRecord>(&entity).await {
                Some(record) => add_group(&record, made, taken),
                None => there.uncounted.push(uncounted((entity, failure))),
            }
        }
        Ok(())
    }
}

fn insert(made: &mut MadePools, record: PoolRecord, present: PresentMembers) {
    let place = (record.namespace.clone(), record.name.clone());
    made.insert(place, MadePool { record, present });
}

fn uncounted((entity, failure): (EntityId, Failure)) -> Uncounted {
    Uncounted {
        entity,
        namespace: None,
        failure,
    }
}

fn add_group(record: &GroupRecord, made: &MadePools, taken: &mut TakenUsage) {
    for item in record.items() {
        let name = group::pool_name(&record.name, &item.name);
        let place = (record.namespace.clone(), name);
        if record.removed.contains(&item.name) {
            continue;
        }
        let usage = match made.get(&place) {
            // What the item wants was admitted, and may not be rolled out yet.
            Some(pool) => MembersUsage::of_item(item, &pool.record).with(&pool.present),
            None => {
                let replicas = item.replicas.unwrap_or(1);
                let (template, strategy) = (&item.template, item.strategy);
                let usage = MembersUsage::of_template(&place.1, template, strategy, replicas);
                usage.with(&PresentMembers::default())
            }
        };
        taken.raise_pool((&place.0, &place.1), usage);
    }
}

pub(super) fn of_vsi(vsi: &DesiredVsi) -> Usage {
    Usage {
        vsis: 1,
        cpus: u64::from(vsi.machine.cpus),
        memory: vsi.machine.memory_mib.saturating_mul(1 << 20),
        disk: vsi.boot_disk.size.unwrap_or_default(),
    }
}

pub(super) fn of_disk(disk: &DesiredDataDisk) -> Usage {
    Usage {
        disk: disk.size,
        ..Usage::default()
    }
}
