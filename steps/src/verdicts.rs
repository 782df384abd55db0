//! Remembers what checks of tenants' texts found: a document is checked for problems and for doubts, and a controller
//! checks each one again at every change of another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

/// How many verdicts of each kind are remembered; the oldest is forgotten first. More than a large cluster has texts.
pub(crate) const VERDICTS_MAX: usize = 65_536;

/// The verdicts of one kind of check, by the SHA-256 of what was checked.
pub(crate) struct Verdicts<V> {
    most: usize,
    remembered: Mutex<Option<Remembered<V>>>,
}

struct Remembered<V> {
    verdicts: HashMap<[u8; 32], V>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl<V: Clone> Verdicts<V> {
    /// Verdicts of which at most `most` are remembered.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            most,
            remembered: Mutex::new(None),
        }
    }

    /// What was found in these bytes, if that is remembered.
    pub(crate) fn get(&self, bytes: &[u8]) -> Option<V> {
        let key = digest(bytes);
        self.with(|remembered| remembered.verdicts.get(&key).cloned())
    }

    /// What `check` finds, or found in the same bytes. It runs outside the lock.
    pub(crate) fn of(&self, bytes: &[u8], check: impl FnOnce() -> V) -> V {
        if let Some(verdict) = self.get(bytes) {
            return verdict;
        }
        let verdict = check();
        let key = digest(bytes);
        self.with(|remembered| remembered.remember(key, verdict.clone(), self.most));
        verdict
    }

    fn with<T>(&self, act: impl FnOnce(&mut Remembered<V>) -> T) -> T {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(remembered.get_or_insert_with(|| Remembered {
            verdicts: HashMap::new(),
            oldest_first: VecDeque::new(),
        }))
    }
}

impl<V> Remembered<V> {
    fn remember(&mut self, digest: [u8; 32], verdict: V, most: usize) {
        if self.verdicts.insert(digest, verdict).is_none() {
            self.oldest_first.push_back(digest);
        }
        if self.oldest_first.len() > most
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.verdicts.remove(&oldest);
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_checked_once_until_many_others_were() {
        const MOST: usize = 50;
        let verdicts = Verdicts::new(MOST);
        let mut checks = 0_usize;
        let mut check = |number: usize| {
            verdicts.of(number.to_string().as_bytes(), || {
                checks += 1;
                number
            })
        };
        for number in [0, 0, 1, 0] {
            assert_eq!(check(number), number);
        }
        (0..=MOST).for_each(|number| _ = check(number));
        check(0);
        assert_eq!(checks, MOST + 2);
        assert_eq!(verdicts.get(b"0"), Some(0));
        assert_eq!(verdicts.get(b"1"), None, "forgotten");
    }
}
