//! The stored records of hosts' capacity and of placement choices. Fields are only ever added, with a
//! default.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The capacity of a host, as it last reported it. An absent value is unknown: neither zero nor enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityRecord {
    /// The host's id.
    pub host: String,
    /// Processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Its active pools by name.
    #[serde(default)]
    pub pools: BTreeMap<String, PoolCapacity>,
    /// Whether it can run guests of an architecture, for those that were asked about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub archs: BTreeMap<String, bool>,
}

/// The capacity of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCapacity {
    /// Its size in bytes.
    pub capacity: u64,
    /// Bytes still free.
    pub available: u64,
}

/// Changes of a pool's free space up to 1/100 of its size are not recorded.
const NOTICEABLE: u64 = 100;

impl CapacityRecord {
    /// Whether `newer` has no change that is worth an event. An architecture from an earlier answer
    /// counts although it is not in the newer one.
    pub fn is_much_like(&self, newer: &Self) -> bool {
        let fixed = |one: &Self| {
            (
                one.cpus,
                one.memory,
                one.pools.keys().cloned().collect::<Vec<_>>(),
            )
        };
        let pool = |(name, was): (&String, &PoolCapacity)| {
            newer.pools.get(name).is_some_and(|now| {
                let moved = now.available.abs_diff(was.available);
                now.capacity == was.capacity && moved <= was.capacity / NOTICEABLE
            })
        };
        fixed(self) == fixed(newer)
            && self.pools.iter().all(pool)
            && newer
                .archs
                .iter()
                .all(|(arch, can)| self.archs.get(arch) == Some(can))
    }
}

/// Which host was chosen for a VSI, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The host's id.
    pub host: String,
    /// What spoke for it.
    pub why: String,
    /// What spoke against the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub against: Vec<Rejected>,
}

/// Hosts that were not chosen for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejected {
    /// The reason.
    pub why: String,
    /// The first of them, by id.
    pub hosts: Vec<String>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// How many hosts are named for each reason; the others are only counted.
const MAX_NAMED: usize = 32;

impl Rejected {
    pub(super) fn new(why: String, hosts: &[&str]) -> Self {
        let named = hosts.iter().take(MAX_NAMED);
        Self {
            why,
            hosts: named.map(|host| (*host).to_owned()).collect(),
            more: hosts.len().saturating_sub(MAX_NAMED),
        }
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.hosts.join(", "))?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        write!(f, ": {}", self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worth_an_event_is_recorded_anew() {
        let pool = |available| PoolCapacity {
            capacity: 1000,
            available,
        };
        let host = |available| CapacityRecord {
            host: "a".to_owned(),
            cpus: Some(4),
            memory: Some(1 << 30),
            pools: BTreeMap::from([("images".to_owned(), pool(available))]),
            archs: BTreeMap::from([("x86_64".to_owned(), true)]),
        };
        assert!(host(500).is_much_like(&host(495)));
        assert!(!host(500).is_much_like(&host(480)));
        let unknown = CapacityRecord {
            memory: None,
            ..host(500)
        };
        assert!(!host(500).is_much_like(&unknown));
        let other = CapacityRecord {
            archs: BTreeMap::from([("s390x".to_owned(), false)]),
            ..host(500)
        };
        assert!(!host(500).is_much_like(&other));
        assert!(host(500).is_much_like(&CapacityRecord {
            archs: BTreeMap::new(),
            ..host(500)
        }));
    }
}
