//! Quotas of namespaces: their records, what is taken of them, and the one place where growth is refused
//! (see [`crate::quota`]).
//!
//! Every command that may have a namespace take more comes by here before anything is recorded: documents,
//! `create` and clones by [`Fleet::apply`], `scale`, `rollback` and `approve` of pools by their record. What a
//! pool or a group makes was admitted with it. Who was admitted holds the turn until that is recorded: of two
//! at the same time, one would not see what the other was given.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Name, Precedence},
};

use super::{
    ErrorKind, Fleet, FleetError, Metadata,
    apply::{Applied, Change},
    store::DesiredUpdates,
    vsi::object::rfc3339,
};
use crate::{
    group::GroupRecord,
    phase,
    plan::{self, How},
    pool::{PoolRecord, TemplateRecord},
    quota::{Usage, excesses, limits},
    record::{DiskRecord, kind},
    spec::{
        DesiredDataDisk, DesiredVsi, Resolved, ResolvedPool, documents,
        pool::Strategy,
        quota::{DesiredQuota, QuotaLimits},
    },
};

/// A quota as the journal has it; without limits, one that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct QuotaRecord {
    namespace: String,
    name: String,
    #[serde(default)]
    hard: Option<QuotaLimits>,
}

/// A quota.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Who it is.
    pub metadata: Metadata,
    /// What it limits.
    pub spec: QuotaShown,
    /// What is taken of each limit.
    pub status: QuotaStatus,
}

/// What a quota limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaShown {
    /// The limits.
    pub hard: QuotaLimits,
}

/// What is taken of each limit, as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaStatus {
    /// The limits.
    pub hard: BTreeMap<String, String>,
    /// What is taken.
    pub used: BTreeMap<String, String>,
}

/// What takes something in a namespace. The members of a pool, and their disks, are the pool's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taker {
    Vsi(String),
    Disk(String),
    Pool(String),
}

/// What each of them takes.
#[derive(Clone, Debug, Default)]
struct Taken(BTreeMap<(String, Taker), Usage>);

impl Taken {
    fn add(&mut self, namespace: &str, taker: Taker, usage: Usage) {
        let sum = self.0.entry((namespace.to_owned(), taker)).or_default();
        *sum = sum.plus(usage);
    }

    fn get(&self, namespace: &str, taker: &Taker) -> Usage {
        let key = (namespace.to_owned(), taker.clone());
        self.0.get(&key).copied().unwrap_or_default()
    }

    fn set(&mut self, namespace: &str, taker: Taker, usage: Usage) {
        self.0.insert((namespace.to_owned(), taker), usage);
    }

    fn of(&self, namespace: &str) -> Usage {
        let all = self.0.iter().filter(|((its, _), _)| its == namespace);
        all.fold(Usage::default(), |sum, (_, usage)| sum.plus(*usage))
    }
}

/// What is there, beside what is promised to pools.
#[derive(Default)]
struct There {
    taken: Taken,
    /// What members take that are there, by the UIDs of their pools.
    members: BTreeMap<uuid::Uuid, Usage>,
}

/// What a change asks for, beside what is taken.
#[derive(Default)]
struct Demand {
    taken: Vec<(String, Taker, Usage)>,
    /// New ones that do not say how large their boot disks are: namespace and name.
    unsized_disks: Vec<(String, Taker, String)>,
}

impl Fleet {
    /// The turn of a change that quotas may refuse; none where there are none.
    pub(in crate::fleet) async fn quota_turn(
        &self,
        resolved: &Resolved,
    ) -> Option<MutexGuard<'_, ()>> {
        let none = self.entities_of(kind::QUOTA).is_empty() && resolved.quotas.is_empty();
        match none || is_admitted(resolved) && resolved.quotas.is_empty() {
            true => None,
            false => Some(self.quotas.lock().await),
        }
    }

    /// The same for a change of a pool.
    pub(in crate::fleet) async fn quota_turn_of_pool(&self) -> Option<MutexGuard<'_, ()>> {
        match self.entities_of(kind::QUOTA).is_empty() {
            true => None,
            false => Some(self.quotas.lock().await),
        }
    }

    /// Refuses documents that would have a namespace take more than its quotas allow.
    ///
    /// # Errors
    /// `VSI0738` with what is used, asked for and allowed; `VSI0739` where that cannot be counted.
    pub(in crate::fleet) async fn refuse_over_quota(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        if is_admitted(resolved) {
            return Ok(());
        }
        let mut quotas = self.quotas_with(&resolved.quotas).await?;
        let concerned = namespaces(resolved);
        quotas.retain(|quota| concerned.contains(quota.namespace.as_str()));
        if quotas.is_empty() {
            return Ok(());
        }
        let there = self.there().await?;
        let taken = self.taken(&there).await?;
        let demand = self.demand(resolved, &there, &taken).await?;
        judge(&quotas, &taken, demand)
    }

    /// Refuses what is about to be recorded of a pool, for the same reasons.
    ///
    /// # Errors
    /// As for documents.
    pub(in crate::fleet) async fn refuse_pool_over_quota(
        &self,
        pool: &PoolRecord,
    ) -> Result<(), FleetError> {
        let quotas = self.quotas_with(&[]).await?;
        if quotas.iter().all(|quota| quota.namespace != pool.namespace) {
            return Ok(());
        }
        let there = self.there().await?;
        let taken = self.taken(&there).await?;
        let members = there.members.get(&pool.uid).copied().unwrap_or_default();
        let usage = of_record(pool).max(members);
        let taker = Taker::Pool(pool.name.clone());
        let mut demand = Demand::default();
        let grows = usage.vsis > taken.get(&pool.namespace, &taker).vsis;
        if grows && pool.template.vsi.boot_disk.size.is_none() {
            let name = format!("pool/{}", pool.full_name());
            demand
                .unsized_disks
                .push((pool.namespace.clone(), taker.clone(), name));
        }
        demand.taken.push((pool.namespace.clone(), taker, usage));
        judge(&quotas, &taken, demand)
    }

    /// All quotas, with what is taken of them.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn quota_objects(&self) -> Result<Vec<QuotaObject>, FleetError> {
        let quotas = self.quotas_with(&[]).await?;
        if quotas.is_empty() {
            return Ok(Vec::new());
        }
        let there = self.there().await?;
        let taken = self.taken(&there).await?;
        let mut objects = Vec::new();
        for quota in quotas {
            let entity = quota_entity(&quota.namespace, &quota.name)?;
            let (created, _) = self.engine.times(&entity).unwrap_or_default();
            let state = self.engine.entity(&entity);
            let desired = state.as_ref().and_then(|state| state.desired.as_ref());
            let generation = desired.map_or(0, |desired| desired.generation);
            let limits = limits(&quota.hard, taken.of(&quota.namespace));
            let all = |text: fn(crate::quota::Limit) -> String| {
                let all = limits.iter();
                all.map(|one| (one.name.to_owned(), text(*one))).collect()
            };
            objects.push(QuotaObject {
                api_version: documents::VSIFLOW_API_VERSION,
                kind: documents::QUOTA,
                status: QuotaStatus {
                    hard: all(crate::quota::Limit::hard),
                    used: all(crate::quota::Limit::used),
                },
                metadata: Metadata {
                    name: quota.name,
                    namespace: quota.namespace,
                    uid: String::new(),
                    generation,
                    creation_timestamp: rfc3339(created),
                    labels: BTreeMap::new(),
                    annotations: BTreeMap::new(),
                },
                spec: QuotaShown { hard: quota.hard },
            });
        }
        Ok(objects)
    }

    /// Whether there is a quota of that name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn has_quota(&self, namespace: &str, name: &str) -> Result<bool, FleetError> {
        Ok(self.quota(namespace, name).await?.is_some())
    }

    /// Deletes a quota. What was made stays as it is.
    ///
    /// # Errors
    /// When there is none of that name, or the journal cannot be written.
    pub async fn delete_quota(
        &self,
        namespace: &str,
        name: &str,
        by: By,
    ) -> Result<(), FleetError> {
        if self.quota(namespace, name).await?.is_none() {
            return Err(FleetError::not_found(kind::QUOTA, name));
        }
        let mut updates = DesiredUpdates::default();
        record(&mut updates, namespace, name, None)?;
        self.record(updates, by).await
    }

    async fn quota(&self, namespace: &str, name: &str) -> Result<Option<QuotaLimits>, FleetError> {
        let Some(state) = self.engine.entity(&quota_entity(namespace, name)?) else {
            return Ok(None);
        };
        let record: Option<QuotaRecord> = self.wanted(&state).await?;
        Ok(record.and_then(|record| record.hard))
    }

    /// The quotas there are, those of documents in the place of those of the journal, by namespace and name.
    async fn quotas_with(
        &self,
        documents: &[DesiredQuota],
    ) -> Result<Vec<DesiredQuota>, FleetError> {
        let mut all = BTreeMap::new();
        for (_, _, record) in self.all_wanted::<QuotaRecord>(kind::QUOTA).await? {
            if let Some(hard) = record.hard {
                all.insert((record.namespace, record.name), hard);
            }
        }
        for quota in documents {
            let place = (quota.namespace.clone(), quota.name.clone());
            all.insert(place, quota.hard.clone());
        }
        let all = all
            .into_iter()
            .map(|((namespace, name), hard)| DesiredQuota {
                namespace,
                name,
                hard,
            });
        Ok(all.collect())
    }

    /// What becomes of each quota's document.
    pub(super) async fn take_in_quotas(
        &self,
        quotas: &[DesiredQuota],
        updates: &mut DesiredUpdates,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        for quota in quotas {
            let (namespace, name) = (&quota.namespace, &quota.name);
            let before = self.quota(namespace, name).await?;
            let change = match &before {
                None => Change::Created,
                Some(before) if *before == quota.hard => Change::Unchanged,
                Some(_) => Change::Configured,
            };
            // Nothing is worked on for it, so that nobody waits for it.
            let mut applied = Applied::unplanned(kind::QUOTA, namespace, name, None, change);
            if change == Change::Configured {
                applied
                    .plan
                    .changes
                    .push(changed(before.as_ref(), &quota.hard)?);
            }
            if change != Change::Unchanged {
                record(updates, namespace, name, Some(quota.hard.clone()))?;
            }
            all.push(applied);
        }
        Ok(all)
    }

    /// The VSIs and data disks that are not gone.
    async fn there(&self) -> Result<There, FleetError> {
        let mut there = There::default();
        for known in self.known().await? {
            if known.is_deleted() {
                continue;
            }
            let mut usage = of_vsi(&known.wanted.vsi);
            if let Some(proposed) = &known.wanted.proposed {
                usage = usage.max(of_vsi(&proposed.vsi));
            }
            let vsi = &known.wanted.vsi;
            match &vsi.member_of {
                Some(of) => there.add_member(of.uid, usage),
                None => there
                    .taken
                    .add(&vsi.namespace, Taker::Vsi(vsi.name.clone()), usage),
            }
        }
        for (entity, state, record) in self.all_wanted::<DiskRecord>(kind::DISK).await? {
            let disk = &record.disk;
            match &disk.member_of {
                _ if phase::is_gone(&entity, &state) => {}
                Some(of) => there.add_member(of.uid, of_disk(disk)),
                None => {
                    let taker = Taker::Disk(disk.name.clone());
                    there.taken.add(&disk.namespace, taker, of_disk(disk));
                }
            }
        }
        Ok(there)
    }

    /// What is taken: by what is there, and by pools and groups for all that they are to make.
    async fn taken(&self, there: &There) -> Result<Taken, FleetError> {
        let mut taken = there.taken.clone();
        let (pools, _) = self.known_records::<PoolRecord>().await?;
        let mut members = there.members.clone();
        for pool in &pools {
            let present = members.remove(&pool.wanted.uid);
            let promised = match pool.is_deleting() || pool.is_deleted() {
                true => Usage::default(),
                false => of_record(&pool.wanted),
            };
            let usage = promised.max(present.unwrap_or_default());
            let taker = Taker::Pool(pool.wanted.name.clone());
            taken.add(&pool.wanted.namespace, taker, usage);
        }
        let made: BTreeSet<_> = pools
            .iter()
            .filter(|pool| !pool.is_deleted())
            .map(|pool| (pool.wanted.namespace.clone(), pool.wanted.name.clone()))
            .collect();
        for group in self.living::<GroupRecord>().await? {
            let record = &group.wanted;
            if group.is_deleting() {
                continue;
            }
            for item in record.items() {
                let name = crate::group::pool_name(&record.name, &item.name);
                let place = (record.namespace.clone(), name);
                if !record.removed.contains(&item.name) && !made.contains(&place) {
                    let replicas = item.replicas.unwrap_or(1);
                    let usage = of_template(&item.template, item.strategy, replicas);
                    taken.add(&place.0, Taker::Pool(place.1), usage);
                }
            }
        }
        Ok(taken)
    }

    /// What documents ask for.
    async fn demand(
        &self,
        resolved: &Resolved,
        there: &There,
        taken: &Taken,
    ) -> Result<Demand, FleetError> {
        let mut demand = Demand::default();
        for vsi in resolved.vsis.iter().map(|vsi| &vsi.desired) {
            if vsi.member_of.is_some() {
                continue;
            }
            let taker = Taker::Vsi(vsi.name.clone());
            let before = taken.get(&vsi.namespace, &taker);
            // Nor may one that said it become one that nobody can count.
            let has_to_say = before == Usage::default() || before.disk > 0;
            if has_to_say && vsi.boot_disk.size.is_none() {
                let name = format!("vsi/{}", vsi.full_name());
                demand
                    .unsized_disks
                    .push((vsi.namespace.clone(), taker.clone(), name));
            }
            demand
                .taken
                .push((vsi.namespace.clone(), taker, of_vsi(vsi)));
        }
        for disk in resolved
            .data_disks
            .iter()
            .filter(|one| one.member_of.is_none())
        {
            let taker = Taker::Disk(disk.name.clone());
            demand
                .taken
                .push((disk.namespace.clone(), taker, of_disk(disk)));
        }
        let own = resolved.pools.iter();
        let own = own.filter(|pool| pool.desired.of_group.is_none());
        let items = resolved.groups.iter().flat_map(|group| group.items());
        let items = items.map(|item| &item.pool);
        let known = self.living::<PoolRecord>().await?;
        for pool in own.chain(items) {
            let desired = &pool.desired;
            let same = known.iter().find(|known| {
                let its = &known.wanted;
                its.namespace == desired.namespace && its.name == desired.name
            });
            let present = same.map_or(1, |known| known.wanted.replicas);
            let replicas = desired.replicas.unwrap_or(present);
            let members = same.and_then(|known| there.members.get(&known.wanted.uid));
            let usage = of_pool(pool, replicas).max(members.copied().unwrap_or_default());
            let taker = Taker::Pool(desired.name.clone());
            let grows = usage.vsis > taken.get(&desired.namespace, &taker).vsis;
            let said = same.and_then(|known| known.wanted.template.vsi.boot_disk.size);
            if (grows || said.is_some()) && pool.template.desired.boot_disk.size.is_none() {
                let name = format!("pool/{}/{}", desired.namespace, desired.name);
                demand
                    .unsized_disks
                    .push((desired.namespace.clone(), taker.clone(), name));
            }
            demand.taken.push((desired.namespace.clone(), taker, usage));
        }
        Ok(demand)
    }
}

impl There {
    fn add_member(&mut self, pool: uuid::Uuid, usage: Usage) {
        let sum = self.members.entry(pool).or_default();
        *sum = sum.plus(usage);
    }
}

/// Whether all of it was admitted with the pool or the group that makes it, or takes nothing.
fn is_admitted(resolved: &Resolved) -> bool {
    let vsis = resolved.vsis.iter();
    let pools = resolved.pools.iter();
    let disks = resolved.data_disks.iter();
    resolved.groups.is_empty()
        && vsis
            .map(|vsi| &vsi.desired)
            .all(|vsi| vsi.member_of.is_some())
        && pools
            .map(|pool| &pool.desired)
            .all(|pool| pool.of_group.is_some())
        && disks.map(|disk| &disk.member_of).all(Option::is_some)
}

/// The namespaces that may take more.
fn namespaces(resolved: &Resolved) -> BTreeSet<&str> {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired.namespace);
    let pools = resolved.pools.iter().map(|pool| &pool.desired.namespace);
    let groups = resolved.groups.iter().map(|group| &group.namespace);
    let disks = resolved.data_disks.iter().map(|disk| &disk.namespace);
    let all = vsis.chain(pools).chain(groups).chain(disks);
    all.map(String::as_str).collect()
}

fn judge(quotas: &[DesiredQuota], taken: &Taken, demand: Demand) -> Result<(), FleetError> {
    let mut after = taken.clone();
    let namespaces: BTreeSet<_> = demand
        .taken
        .iter()
        .map(|(space, _, _)| space.clone())
        .collect();
    for (namespace, taker, usage) in demand.taken {
        after.set(&namespace, taker, usage);
    }
    for quota in quotas
        .iter()
        .filter(|quota| namespaces.contains(&quota.namespace))
    {
        let mut open = demand.unsized_disks.iter();
        let open = open.find(|(namespace, _, _)| *namespace == quota.namespace);
        if let (Some(_), Some((_, _, name))) = (quota.hard.disk, open) {
            return Err(uncounted(quota, name));
        }
        let (before, then) = (taken.of(&quota.namespace), after.of(&quota.namespace));
        let over = excesses(&quota.hard, before, then);
        if !over.is_empty() {
            let told: Vec<_> = over.iter().map(ToString::to_string).collect();
            return Err(exceeded(quota, &told.join("; ")));
        }
    }
    Ok(())
}

fn exceeded(quota: &DesiredQuota, told: &str) -> FleetError {
    let message = format!(
        "the quota of namespace {} is exceeded: {told}",
        quota.namespace
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0738", message)
        .of_object(format!("quota/{}/{}", quota.namespace, quota.name))
        .with_remedy(
            "ask for less, delete what is not needed, or have the quota raised; `vsiflow describe quota/NAME` shows what is used",
        );
    FleetError::new(ErrorKind::Blocked, failure)
}

fn uncounted(quota: &DesiredQuota, name: &str) -> FleetError {
    let message = format!(
        "quota {} limits disk, and the size of the boot disk is not known before it is made",
        quota.name
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0739", message)
        .of_object(name)
        .with_remedy("write bootDisk.size");
    FleetError::new(ErrorKind::Blocked, failure)
}

fn of_vsi(vsi: &DesiredVsi) -> Usage {
    Usage {
        vsis: 1,
        cpus: u64::from(vsi.machine.cpus),
        memory: vsi.machine.memory_mib.saturating_mul(1 << 20),
        disk: vsi.boot_disk.size.unwrap_or_default(),
    }
}

fn of_disk(disk: &DesiredDataDisk) -> Usage {
    Usage {
        disk: disk.size,
        ..Usage::default()
    }
}

/// All members that a pool may have at one time, those of a surge included.
fn of_members(
    vsi: &DesiredVsi,
    disks: &[DesiredDataDisk],
    strategy: Strategy,
    replicas: u32,
) -> Usage {
    let surge = strategy.max_surge.min(replicas);
    let disks = disks.iter().map(of_disk);
    let one = disks.fold(of_vsi(vsi), Usage::plus);
    one.times(u64::from(replicas).saturating_add(u64::from(surge)))
}

fn of_template(template: &TemplateRecord, strategy: Strategy, replicas: u32) -> Usage {
    of_members(&template.vsi, &template.disks, strategy, replicas)
}

fn of_pool(pool: &ResolvedPool, replicas: u32) -> Usage {
    let desired = &pool.desired;
    of_members(
        &pool.template.desired,
        &desired.disks,
        desired.strategy,
        replicas,
    )
}

/// The most of the template, and of the one that waits for approval.
fn of_record(pool: &PoolRecord) -> Usage {
    let templates = std::iter::once(&pool.template).chain(&pool.proposed);
    let all = templates.map(|template| of_template(template, pool.strategy, pool.replicas));
    all.fold(Usage::default(), Usage::max)
}

fn changed(before: Option<&QuotaLimits>, after: &QuotaLimits) -> Result<plan::Change, FleetError> {
    let value = |limits: &QuotaLimits| {
        serde_json::to_value(limits).map_err(|error| FleetError::defect(error.to_string()))
    };
    Ok(plan::Change {
        path: "hard".to_owned(),
        before: before.map(value).transpose()?,
        after: Some(value(after)?),
        how: How::Recorded,
        why: "what is there stays as it is".to_owned(),
    })
}

fn quota_entity(namespace: &str, name: &str) -> Result<EntityId, FleetError> {
    let entity = EntityId::new(Name::of(kind::QUOTA), format!("{namespace}/{name}"));
    entity.map_err(|_| FleetError::not_found(kind::QUOTA, name))
}

fn record(
    updates: &mut DesiredUpdates,
    namespace: &str,
    name: &str,
    hard: Option<QuotaLimits>,
) -> Result<(), FleetError> {
    let record = QuotaRecord {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        hard,
    };
    let entity = quota_entity(namespace, name)?;
    updates.add(entity, kind::QUOTA, Precedence::Record, &record, None)
}
