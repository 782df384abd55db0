//! The quota demand of a change, and whether quotas permit it.

use std::collections::BTreeSet;

use vsiflow_engine::model::{Failure, FailureClass};

use super::{
    count::{Count, Taker, of_disk, of_vsi},
    members::{MembersUsage, PromisedUsage},
    record::Quotas,
};
use crate::{
    fleet::{ErrorKind, Fleet, FleetError},
    group::ItemRecord,
    pool::PoolRecord,
    quota::{Usage, excesses, grows},
    spec::{Resolved, ResolvedPool, quota::DesiredQuota},
};

/// The quota usage after a change, for what it concerns.
#[derive(Default)]
pub(super) struct Demand {
    taken: Vec<(String, Taker, Usage)>,
    pools: Vec<PoolDemand>,
    /// New VSIs and pools without a boot disk size: namespace and name.
    unsized_disks: Vec<(String, String)>,
}

/// What a pool promises after a change.
struct PoolDemand {
    namespace: String,
    name: String,
    usage: PromisedUsage,
}

impl Demand {
    fn add(&mut self, namespace: &str, taker: Taker, usage: Usage) {
        self.taken.push((namespace.to_owned(), taker, usage));
    }

    /// The demand of a pool's record, which an item of a group may make.
    pub(super) fn of_record(pool: &PoolRecord, item: Option<&ItemRecord>, count: &Count) -> Self {
        let mut demand = Self::default();
        let present = count.there.of_members(pool.uid);
        let mut usage = MembersUsage::of_record(pool).with(&present);
        if let Some(item) = item {
            usage = usage.max(MembersUsage::of_item(item, pool).with(&present));
        }
        let taker = Taker::Pool(pool.name.clone());
        let before = count.taken.by_taker.get(&pool.namespace, &taker);
        let grows = usage.members.vsis > before.vsis;
        if grows && pool.template.vsi.boot_disk.size.is_none() {
            let name = format!("pool/{}", pool.full_name());
            demand.unsized_disks.push((pool.namespace.clone(), name));
        }
        demand.pools.push(PoolDemand {
            namespace: pool.namespace.clone(),
            name: pool.name.clone(),
            usage,
        });
        demand
    }

    /// The demand of documents that make no pools. Members count as single VSIs.
    pub(super) fn of_singles(resolved: &Resolved, count: &Count) -> Self {
        let mut demand = Self::default();
        demand.add_alone(resolved, count, true);
        demand
    }

    /// Adds VSIs and data disks; members only if they count as single VSIs.
    fn add_alone(&mut self, resolved: &Resolved, count: &Count, members: bool) {
        for vsi in resolved.vsis.iter().map(|vsi| &vsi.desired) {
            if vsi.member_of.is_some() && !members {
                continue;
            }
            let taker = Taker::Vsi(vsi.name.clone());
            let before = count.taken.by_taker.get(&vsi.namespace, &taker);
            // A VSI with a known disk size may not become one without.
            let has_to_say = before == Usage::default() || before.disk > 0;
            if has_to_say && vsi.boot_disk.size.is_none() {
                let name = format!("vsi/{}", vsi.full_name());
                self.unsized_disks.push((vsi.namespace.clone(), name));
            }
            self.add(&vsi.namespace, taker, of_vsi(vsi));
        }
        let disks = resolved.data_disks.iter();
        for disk in disks.filter(|one| members || one.member_of.is_none()) {
            let taker = Taker::Disk(disk.name.clone());
            self.add(&disk.namespace, taker, of_disk(disk));
        }
    }

    /// Checks whether quotas permit the demand on top of the current usage.
    ///
    /// # Errors
    /// With the first limit that is exceeded.
    pub(super) fn judge(self, quotas: &Quotas, count: &Count) -> Result<(), FleetError> {
        let mut after = count.taken.clone();
        let mut namespaces = BTreeSet::new();
        for (namespace, taker, usage) in self.taken {
            after.by_taker.set(&namespace, taker, usage);
            namespaces.insert(namespace);
        }
        for pool in self.pools {
            let place = (pool.namespace.as_str(), pool.name.as_str());
            after.set_pool(place, pool.usage, &count.there);
            namespaces.insert(pool.namespace);
        }
        let (taken, after) = (&count.taken.by_taker, after.by_taker);
        for namespace in namespaces {
            let (before, then) = (taken.of(&namespace), after.of(&namespace));
            let mut lost = quotas.lost.iter();
            if let Some(lost) = lost.find(|one| one.namespace == namespace)
                && before.max(then) != before
            {
                let name = format!("quota/{namespace}/{}", lost.name);
                return Err(unknown(&name, &lost.failure));
            }
            let mut open = self.unsized_disks.iter();
            let open = open.find(|(its, _)| *its == namespace);
            let own = quotas.read.iter();
            for quota in own.filter(|quota| quota.namespace == namespace) {
                if let (Some(_), Some((_, name))) = (quota.hard.disk, open) {
                    return Err(unsized_disk(quota, name));
                }
                let over = excesses(&quota.hard, before, then);
                if !over.is_empty() {
                    let texts: Vec<_> = over.iter().map(ToString::to_string).collect();
                    return Err(exceeded(quota, &texts.join("; ")));
                }
                if let Some(uncounted) = count.uncounted_in(&namespace)
                    && grows(&quota.hard, before, then)
                {
                    return Err(unknown(&uncounted.entity.to_string(), &uncounted.failure));
                }
            }
        }
        Ok(())
    }
}

impl Fleet {
    /// The demand of documents.
    pub(super) async fn demand(
        &self,
        resolved: &Resolved,
        count: &Count,
    ) -> Result<Demand, FleetError> {
        let mut demand = Demand::default();
        demand.add_alone(resolved, count, false);
        let known = self.living::<PoolRecord>().await?;
        let stay = self.pools_that_stay(resolved).await?.into_iter();
        // What a group makes was admitted with it.
        for pool in stay.filter(|pool| pool.desired.of_group.is_none()) {
            let desired = &pool.desired;
            let same = known.iter().find(|known| {
                let its = &known.record;
                its.namespace == desired.namespace && its.name == desired.name
            });
            add_pool(
                pool,
                same.map(|same_pool| &same_pool.record),
                count,
                &mut demand,
            );
        }
        Ok(demand)
    }
}

fn add_pool(pool: &ResolvedPool, same: Option<&PoolRecord>, count: &Count, demand: &mut Demand) {
    let desired = &pool.desired;
    let members = same.map(|same| count.there.of_members(same.uid));
    let members = members.unwrap_or_default();
    let mut usage = MembersUsage::of_document(pool, same).with(&members);
    if let Some(same) = same.filter(|same| same.of_group.is_some()) {
        // Until the group rolls its item out, members are made as the pool has them.
        usage = usage.max(MembersUsage::of_record(same).with(&members));
    }
    let taker = Taker::Pool(desired.name.clone());
    let before = count.taken.by_taker.get(&desired.namespace, &taker);
    let grows = usage.members.vsis > before.vsis;
    let size = same.and_then(|same| same.template.vsi.boot_disk.size);
    if (grows || size.is_some()) && pool.template.desired.boot_disk.size.is_none() {
        let name = format!("pool/{}/{}", desired.namespace, desired.name);
        demand.unsized_disks.push((desired.namespace.clone(), name));
    }
    demand.pools.push(PoolDemand {
        namespace: desired.namespace.clone(),
        name: desired.name.clone(),
        usage,
    });
}

fn exceeded(quota: &DesiredQuota, excess: &str) -> FleetError {
    let message = format!(
        "the quota of namespace {} is exceeded: {excess}",
        quota.namespace
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0738", message)
        .of_object(format!("quota/{}/{}", quota.namespace, quota.name))
        .with_remedy(
            "ask for less, delete what is not needed, or have the quota raised; `vsiflow describe quota/NAME` shows what is used",
        );
    FleetError::new(ErrorKind::Blocked, failure)
}

fn unsized_disk(quota: &DesiredQuota, name: &str) -> FleetError {
    let message = format!(
        "quota {} limits disk, and the size of the boot disk is not known before it is made",
        quota.name
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0739", message)
        .of_object(name)
        .with_remedy("write bootDisk.size");
    FleetError::new(ErrorKind::Blocked, failure)
}

/// Refuses growth while the usage or the quota is unknown.
pub(super) fn unknown(object: &str, why: &Failure) -> FleetError {
    let message = format!(
        "the namespace has a quota, and it is unknown what {object} counts for: {}",
        why.message
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0748", message)
        .of_object(object)
        .with_remedy(format!(
            "{}; a quota that cannot be read is applied again or deleted, and `vsiflow delete UID --orphan` lets go \
             of a VSI",
            why.remedy
        ));
    FleetError::new(ErrorKind::Blocked, failure)
}
