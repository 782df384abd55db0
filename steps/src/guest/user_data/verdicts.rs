//! Remembers what checks found: a document is checked for problems and for doubts, and a controller checks each one
//! again at every change of another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use super::InputProblem;

/// A shorter input is checked faster than it is looked up.
const SHORT: usize = 1024;
/// How many verdicts are remembered; the oldest is forgotten first. More than a large cluster has texts.
pub(super) const VERDICTS_MAX: usize = 65_536;

/// The verdicts of one kind of check, by the SHA-256 of what was checked.
pub(super) struct Verdicts {
    most: usize,
    remembered: Mutex<Option<Remembered>>,
}

#[derive(Default)]
struct Remembered {
    problems: HashMap<[u8; 32], Option<InputProblem>>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl Verdicts {
    /// Verdicts of which at most `most` are remembered.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            remembered: Mutex::new(None),
        }
    }

    /// Whether [`Verdicts::of`] returns at once.
    pub(super) fn has(&self, bytes: &[u8]) -> bool {
        let is_remembered = || {
            let digest: [u8; 32] = Sha256::digest(bytes).into();
            self.with(|remembered| remembered.problems.contains_key(&digest))
        };
        bytes.len() < SHORT || is_remembered()
    }

    /// What `check` finds, or found in the same bytes. It runs outside the lock.
    pub(super) fn of(
        &self,
        bytes: &[u8],
        check: impl FnOnce() -> Option<InputProblem>,
    ) -> Option<InputProblem> {
        if bytes.len() < SHORT {
            return check();
        }
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        if let Some(problem) = self.with(|remembered| remembered.problems.get(&digest).cloned()) {
            return problem;
        }
        let problem = check();
        self.with(|remembered| remembered.remember(digest, problem.clone(), self.most));
        problem
    }

    fn with<T>(&self, act: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        act(remembered.get_or_insert_default())
    }
}

impl Remembered {
    fn remember(&mut self, digest: [u8; 32], problem: Option<InputProblem>, most: usize) {
        if self.problems.insert(digest, problem).is_none() {
            self.oldest_first.push_back(digest);
        }
        if self.oldest_first.len() > most
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.problems.remove(&oldest);
        }
    }
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
            let bytes = format!("{number:SHORT$}");
            verdicts.of(bytes.as_bytes(), || {
                checks += 1;
                Some(InputProblem::new(number.to_string(), ""))
            })
        };
        for number in [0, 0, 1, 0] {
            assert_eq!(check(number).unwrap().message, number.to_string());
        }
        (0..=MOST).for_each(|number| _ = check(number));
        check(0);
        assert_eq!(checks, MOST + 2);
        assert!(verdicts.has(format!("{:SHORT$}", 0).as_bytes()));
        assert!(
            !verdicts.has(format!("{:SHORT$}", 1).as_bytes()),
            "forgotten"
        );
        assert!(verdicts.has(b"short"));
    }
}
