//! The checksum over all entries of an index, which shows whether they are what was written.
//!
//! It does not depend on their order. So a changed state costs only its own bytes: the share of the
//! old state is subtracted and the share of the new one is added. It protects against accidents
//! only: an attacker who can write the index can also write the log.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

/// Domain separation: makes these hashes differ from all others.
const KEY: &[u8] = b"vsiflow index 1";

/// The share of an entry, or the sum of many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sum(u128);

impl Sum {
    /// The length of a sum, in bytes.
    pub(super) const LEN: usize = 16;

    /// The share of one entry.
    pub(super) fn of(key: &[u8], value: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(KEY);
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
        let hash: [u8; 32] = hash.finalize().into();
        let half = hash.first_chunk().copied().unwrap_or_default();
        Self(u128::from_be_bytes(half))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    fn minus(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// The shares of all entries and their sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    total: Sum,
    /// By the hash of the entry's key, which needs less memory than the key.
    shares: HashMap<Sum, Sum>,
}

impl Sums {
    /// Updates the sum for an entry's new value, or for its removal.
    pub(super) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.put(Sum::of(key, &[]), value.map(|value| Sum::of(key, value)));
    }

    fn put(&mut self, key: Sum, share: Option<Sum>) {
        let old = match share {
            Some(share) => self.shares.insert(key, share),
            None => self.shares.remove(&key),
        };
        let less = self.total.minus(old.unwrap_or_default());
        self.total = less.plus(share.unwrap_or_default());
    }

    /// Adds the entries of another part of the same index.
    pub(super) fn join(&mut self, other: Self) {
        for (key, share) in other.shares {
            self.put(key, Some(share));
        }
    }

    /// The sum over all entries.
    pub(super) fn total(&self) -> Sum {
        self.total
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.shares.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn of_all(entries: &HashMap<u8, Vec<u8>>) -> Sum {
        let mut sums = Sums::default();
        for (key, value) in entries {
            sums.set(&[*key], Some(value));
        }
        sums.total()
    }

    proptest! {
        #[test]
        fn a_sum_that_followed_changes_is_that_of_what_they_led_to(
            changes in vec((0..9u8, option::of(vec(any::<u8>(), 0..3))), 0..60),
        ) {
            let (mut sums, mut entries) = (Sums::default(), HashMap::new());
            for (key, value) in changes {
                sums.set(&[key], value.as_deref());
                match value {
                    Some(value) => entries.insert(key, value),
                    None => entries.remove(&key),
                };
            }
            prop_assert_eq!(sums.total(), of_all(&entries));
            prop_assert_eq!(sums.len(), entries.len());
        }
    }

    #[test]
    fn a_key_is_told_from_its_value() {
        assert_ne!(Sum::of(b"ab", b"c"), Sum::of(b"a", b"bc"));
    }
}
