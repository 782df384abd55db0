//! The usage of a namespace's VSIs, and whether it may grow. Pure.
//!
//! Only growth is refused: existing objects stay, and shrinking is permitted, even if more is used than
//! a limit allows. Promises count, not what runs: a pool counts with all members that it may have at
//! one time, a VSI that is off counts, and one that is being deleted counts until it is deleted.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::{Quantity, quota::QuotaLimits};

/// What is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// VSIs.
    pub vsis: u64,
    /// Virtual processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// The sizes of disks in bytes, as far as they are known.
    pub disk: u64,
}

impl Usage {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            vsis: self.vsis.saturating_add(other.vsis),
            cpus: self.cpus.saturating_add(other.cpus),
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
        }
    }

    /// This usage, multiplied by `count`.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self {
            vsis: self.vsis.saturating_mul(count),
            cpus: self.cpus.saturating_mul(count),
            memory: self.memory.saturating_mul(count),
            disk: self.disk.saturating_mul(count),
        }
    }

    /// The larger of each value.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            vsis: self.vsis.max(other.vsis),
            cpus: self.cpus.max(other.cpus),
            memory: self.memory.max(other.memory),
            disk: self.disk.max(other.disk),
        }
    }
}

/// One limit, with its usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The name of the field.
    pub name: &'static str,
    /// Whether it counts bytes.
    pub is_size: bool,
    /// The usage.
    pub used: u64,
    /// The highest permitted usage.
    pub hard: u64,
}

impl Limit {
    fn text(self, value: u64) -> String {
        if self.is_size {
            Quantity(value).to_string()
        } else {
            value.to_string()
        }
    }

    /// The usage, as people write it.
    pub fn used(self) -> String {
        self.text(self.used)
    }

    /// The limit, as people write it.
    pub fn hard(self) -> String {
        self.text(self.hard)
    }
}

/// The limits of a quota, with the usage of each.
pub fn limits(hard: &QuotaLimits, used: Usage) -> Vec<Limit> {
    let number = |value: Option<u32>| value.map(u64::from);
    let size = |value: Option<Quantity>| value.map(Quantity::bytes);
    let all = [
        ("vsis", false, used.vsis, number(hard.vsis)),
        ("cpus", false, used.cpus, number(hard.cpus)),
        ("memory", true, used.memory, size(hard.memory)),
        ("disk", true, used.disk, size(hard.disk)),
    ];
    let set = all.into_iter().filter_map(|(name, is_size, taken, most)| {
        Some(Limit {
            name,
            is_size,
            used: taken,
            hard: most?,
        })
    });
    set.collect()
}

/// A limit that would be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// The limit, with the current usage.
    pub limit: Limit,
    /// The additional usage that is asked for.
    pub requested: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self.limit;
        write!(
            f,
            "{}: {} used, {} more asked for, {} allowed",
            limit.name,
            limit.used(),
            limit.text(self.requested),
            limit.hard()
        )
    }
}

/// The limits that growing values would exceed.
pub fn excesses(hard: &QuotaLimits, before: Usage, after: Usage) -> Vec<Excess> {
    let (now, then) = (limits(hard, before), limits(hard, after));
    let both = now.into_iter().zip(then);
    let over = both.filter(|(is, would_be)| would_be.used > is.used && would_be.used > is.hard);
    over.map(|(is, would_be)| Excess {
        limit: is,
        requested: would_be.used.saturating_sub(is.used),
    })
    .collect()
}

/// Whether the usage grows in a value that has a limit.
pub fn grows(hard: &QuotaLimits, before: Usage, after: Usage) -> bool {
    let (now, then) = (limits(hard, before), limits(hard, after));
    let mut both = now.into_iter().zip(then);
    both.any(|(is, would_be)| would_be.used > is.used)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usage(vsis: u64, cpus: u64) -> Usage {
        Usage {
            vsis,
            cpus,
            memory: cpus << 30,
            disk: 0,
        }
    }

    fn hard() -> QuotaLimits {
        QuotaLimits {
            vsis: Some(3),
            memory: Some(Quantity(8 << 30)),
            ..QuotaLimits::default()
        }
    }

    #[test]
    fn growth_beyond_a_limit_says_what_is_used_asked_for_and_allowed() {
        assert_eq!(excesses(&hard(), usage(2, 2), usage(3, 8)), []);
        let over = excesses(&hard(), usage(2, 6), usage(4, 9));
        let texts: Vec<_> = over.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "vsis: 2 used, 2 more asked for, 3 allowed",
                "memory: 6Gi used, 3Gi more asked for, 8Gi allowed"
            ]
        );
    }

    fn any_usage() -> impl Strategy<Value = Usage> {
        (0_u64..20, 0_u64..20, 0_u64..20, 0_u64..20).prop_map(|(vsis, cpus, memory, disk)| Usage {
            vsis,
            cpus,
            memory,
            disk,
        })
    }

    proptest! {
        /// Shrinking or equal values are permitted, and growth stays within every limit.
        #[test]
        fn growth_alone_is_refused(
            before in any_usage(), after in any_usage(), vsis in 0_u32..20, disk in 0_u64..20,
        ) {
            let hard = QuotaLimits { vsis: Some(vsis), disk: Some(Quantity(disk)), ..QuotaLimits::default() };
            let over = excesses(&hard, before, after);
            let names: Vec<_> = over.iter().map(|one| one.limit.name).collect();
            let grows = |old: u64, new: u64, limit: u64| new > old && new > limit;
            prop_assert_eq!(names.contains(&"vsis"), grows(before.vsis, after.vsis, u64::from(vsis)));
            prop_assert_eq!(names.contains(&"disk"), grows(before.disk, after.disk, disk));
            prop_assert!(excesses(&hard, before, before).is_empty());
        }
    }
}
