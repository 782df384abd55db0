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
/// How many verdicts are remembered; the oldest is forgotten first.
const VERDICTS_MAX: usize = 4096;

/// The verdicts of one kind of check, by the SHA-256 of what was checked.
pub(super) struct Verdicts(Mutex<Option<Remembered>>);

#[derive(Default)]
struct Remembered {
    problems: HashMap<[u8; 32], Option<InputProblem>>,
    oldest_first: VecDeque<[u8; 32]>,
}

impl Verdicts {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
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
        self.with(|remembered| remembered.remember(digest, problem.clone()));
        problem
    }

    fn with<T>(&self, act: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(remembered.get_or_insert_default())
    }
}

impl Remembered {
    fn remember(&mut self, digest: [u8; 32], problem: Option<InputProblem>) {
        if self.problems.insert(digest, problem).is_none() {
            self.oldest_first.push_back(digest);
        }
        if self.oldest_first.len() > VERDICTS_MAX
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
        let verdicts = Verdicts::new();
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
        (0..=VERDICTS_MAX).for_each(|number| _ = check(number));
        check(0);
        assert_eq!(checks, VERDICTS_MAX + 2);
    }
}
