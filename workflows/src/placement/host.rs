//! A host, its capacity and its promises.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    CapacityRecord,
    reason::{HostResource, PlacementObstacle},
};
use crate::spec::{LabelSelector, host::HostLimits};

/// The resources that a VSI needs of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// The sizes of its disks in bytes, by pool; unknown sizes are not counted.
    pub pools: BTreeMap<String, u64>,
}

/// The resources promised on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// The sum of all promises.
    pub all: Needs,
    /// The part of the pools that is not made yet, so the free space that the host reports still
    /// includes it.
    pub unmade: BTreeMap<String, u64>,
}

impl Needs {
    /// The larger of each value.
    #[must_use]
    pub fn max(mut self, other: &Self) -> Self {
        self.cpus = self.cpus.max(other.cpus);
        self.memory = self.memory.max(other.memory);
        for (pool, size) in &other.pools {
            let own = self.pools.entry(pool.clone()).or_default();
            *own = (*own).max(*size);
        }
        self
    }
}

impl Promised {
    /// Adds a VSI's needs. `made` says whether its disks exist.
    pub fn add(&mut self, needs: &Needs, made: bool) {
        self.all.cpus = self.all.cpus.saturating_add(needs.cpus);
        self.all.memory = self.all.memory.saturating_add(needs.memory);
        for (pool, size) in &needs.pools {
            self.add_disk(pool, *size, made);
        }
    }

    /// Adds a disk.
    pub fn add_disk(&mut self, pool: &str, size: u64, made: bool) {
        let mut to = vec![&mut self.all.pools];
        if !made {
            to.push(&mut self.unmade);
        }
        for pools in to {
            let sum = pools.entry(pool.to_owned()).or_default();
            *sum = sum.saturating_add(size);
        }
    }
}

/// A VSI that is on a host, or will be made there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedVsi {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The pool that made it, if one did.
    pub pool: Option<String>,
    /// The VSIs that must not be on the same host.
    #[serde(with = "shared_selector")]
    pub anti_affinity: Option<Arc<LabelSelector>>,
}

/// A selector that the members of a pool share in memory, stored like any other.
mod shared_selector {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::spec::LabelSelector;

    pub(super) fn serialize<S: Serializer>(
        selector: &Option<Arc<LabelSelector>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        selector.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<LabelSelector>>, D::Error> {
        let selector = Option::<LabelSelector>::deserialize(deserializer)?;
        Ok(selector.map(Arc::new))
    }
}

/// A host that may be chosen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PlacementHost {
    /// The id.
    pub id: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Why it is cordoned; `None` if it is not.
    pub cordoned: Option<String>,
    /// Why it does not answer; `None` if it does.
    pub unreachable: Option<String>,
    /// Its capacity.
    pub capacity: CapacityRecord,
    /// The limits in its settings.
    pub limits: HostLimits,
    /// What is promised on it.
    pub promised: Promised,
    /// The VSIs on it.
    pub vsis: Vec<PlacedVsi>,
}

/// How full a host would be, in millionths.
pub(super) type Fullness = u64;
const WHOLE: u128 = 1_000_000;

impl PlacementHost {
    /// How full the host would be with these needs, by its scarcest resource.
    ///
    /// # Errors
    /// The resource that it lacks.
    pub(super) fn fullness(&self, needs: &Needs) -> Result<Fullness, PlacementObstacle> {
        let (all, over) = (&self.promised.all, &self.limits.overcommit);
        let cpus = self.capacity.cpus.map(u64::from);
        let cpus = cpus.map(|has| over.cpus.of(has));
        let memory = self.capacity.memory.map(|has| over.memory.of(has));
        let cpus = share(HostResource::Cpus, cpus, all.cpus, needs.cpus)?;
        let memory = share(HostResource::Memory, memory, all.memory, needs.memory)?;
        for (pool, size) in &needs.pools {
            self.has_room(pool, *size)?;
        }
        Ok(cpus.max(memory))
    }

    fn has_room(&self, pool: &str, size: u64) -> Result<(), PlacementObstacle> {
        if self.capacity.cpus.is_none() && self.capacity.pools.is_empty() {
            return Err(PlacementObstacle::Unknown(HostResource::Pool(
                pool.to_owned(),
            )));
        }
        let Some(has) = self.capacity.pools.get(pool) else {
            return Err(PlacementObstacle::NoPool(pool.to_owned()));
        };
        let sum = |of: &BTreeMap<String, u64>| of.get(pool).copied().unwrap_or_default();
        let limit = self.limits.overcommit.pool.of(has.capacity);
        let left = limit.saturating_sub(sum(&self.promised.all.pools));
        let there = has.available.saturating_sub(sum(&self.promised.unmade));
        let free = left.min(there);
        if size > free {
            Err(PlacementObstacle::Insufficient {
                of: HostResource::Pool(pool.to_owned()),
                needs: size,
                free,
            })
        } else {
            Ok(())
        }
    }
}

/// The share of `limit` that would be promised, in millionths.
fn share(
    of: HostResource,
    limit: Option<u64>,
    promised: u64,
    needs: u64,
) -> Result<u64, PlacementObstacle> {
    let Some(limit) = limit else {
        return Err(PlacementObstacle::Unknown(of));
    };
    let free = limit.saturating_sub(promised);
    if needs > free {
        return Err(PlacementObstacle::Insufficient { of, needs, free });
    }
    let all = u128::from(promised.saturating_add(needs)).saturating_mul(WHOLE);
    let share = all.checked_div(u128::from(limit)).unwrap_or(WHOLE);
    Ok(u64::try_from(share).unwrap_or(u64::MAX))
}
