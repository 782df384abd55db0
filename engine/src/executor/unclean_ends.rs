//! Steps during which the process ended uncleanly, several times in a row.
//!
//! A step that kills its process (it needs more memory than there is, or the process aborts) would be
//! among the first that the next process starts, and no other work would ever be done. So unclean ends
//! are counted for each step. A step that was in progress at [`LIMIT`] of them in a row, without
//! recorded progress in between, waits for a pause that grows with each further end. Then it starts
//! when no other such step is in its first minute.
//!
//! Its recorded failure ([`CODE`]) shows that it waits. `retry` ends the pause.
//!
//! Progress is a new checkpoint of the step. A failed attempt is none: a source could fail before each
//! attempt that kills. An orderly end of the process interrupts the row. The counts are stored beside
//! the step's checkpoint, those of attempts that are in no event too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::timers::Waiter;
use crate::{
    checkpoint::Checkpoints,
    model::{Failure, FailureClass, Hash, Name, RunId},
};

/// The code of the failure that is recorded for such a step. It is stored.
pub(super) const CODE: &str = "VSI0040";
/// How many unclean ends in a row make a step wait.
pub(super) const LIMIT: u32 = 3;
/// How long another step of this kind has to wait for one that is in progress.
const ALONE: Duration = Duration::from_secs(60);
/// How long storing a count may hold up all other work.
const STORING: Duration = Duration::from_secs(2);

/// The unclean ends of a step so far, as stored. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UncleanEnds {
    /// How many unclean ends in a row there were without progress.
    pub(super) ends: u32,
    /// The hash of the step's checkpoint at the newest of them.
    pub(super) progress: Option<String>,
    /// Whether an attempt is in progress whose start is in no event.
    pub(super) is_open: bool,
    /// The attempt that an orderly end of the process interrupted.
    pub(super) orderly: Option<u32>,
}

impl UncleanEnds {
    /// The count after one more unclean end.
    pub(super) fn after(self, progress: Option<String>) -> Self {
        let is_in_row = self.progress == progress;
        Self {
            ends: if is_in_row {
                self.ends.saturating_add(1)
            } else {
                1
            },
            progress,
            is_open: false,
            orderly: None,
        }
    }

    /// The count while an attempt is in progress whose start is in no event.
    fn opened(&self) -> Self {
        Self {
            is_open: true,
            ..self.clone()
        }
    }

    /// Reads the count of a step. A count that cannot be read is 0.
    pub(super) async fn load(checkpoints: &dyn Checkpoints, waiter: &Waiter) -> Self {
        let stored = checkpoints.get(waiter.0, &name_of_count(&waiter.1)).await;
        let bytes = stored.ok().flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Stores the count. Without it a step that kills the process is found later.
    pub(super) async fn store(&self, checkpoints: &dyn Checkpoints, waiter: &Waiter) {
        let value = serde_json::to_vec(self).unwrap_or_default();
        let name = name_of_count(&waiter.1);
        match timeout(STORING, checkpoints.put(waiter.0, &name, value)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(run = %waiter.0, node = %waiter.1, %error, "unclean ends are not counted");
            }
            Err(_) => {
                tracing::warn!(run = %waiter.0, node = %waiter.1, "counting unclean ends takes too long");
            }
        }
    }

    pub(super) fn failure(&self) -> Failure {
        let ends = self.ends;
        let message = format!(
            "the process ended {ends} times in a row during this step, and the step recorded no progress"
        );
        Failure::new(FailureClass::Transient, CODE, message).with_remedy(
            "see why the process ended (memory, `journalctl`); `vsiflow retry` tries the step immediately",
        )
    }
}

/// The name under which the count of a node is stored.
fn name_of_count(node: &Name) -> Name {
    let hash = Hash::of(node.as_str().as_bytes()).to_string();
    let short: String = hash.chars().take(32).collect();
    Name::of(&format!("unclean.{short}"))
}

/// What an attempt stores of the unclean ends of its step.
pub(super) struct CountOfAttempt {
    count: UncleanEnds,
    is_recorded: bool,
}

impl CountOfAttempt {
    /// To be called before the attempt acts.
    pub(super) async fn begin(&self, checkpoints: &dyn Checkpoints, waiter: &Waiter) {
        if !self.is_recorded {
            self.count.opened().store(checkpoints, waiter).await;
        } else if self.count.ends > 0 {
            self.count.store(checkpoints, waiter).await;
        }
    }

    /// To be called when the attempt has ended.
    pub(super) async fn end(&self, checkpoints: &dyn Checkpoints, waiter: &Waiter) {
        if !self.is_recorded {
            self.count.store(checkpoints, waiter).await;
        }
    }
}

/// The steps that waited in this process, and the counts that it knows.
pub(super) struct SuspectSteps {
    /// When this process began, by the monotonic clock.
    pub(super) begun: Duration,
    pub(super) steps: BTreeSet<Waiter>,
    /// The step that started last, and when.
    pub(super) alone: Option<(Waiter, Duration)>,
    pub(super) counts: BTreeMap<Waiter, UncleanEnds>,
}

impl SuspectSteps {
    pub(super) fn new(begun: Duration) -> Self {
        Self {
            begun,
            steps: BTreeSet::new(),
            alone: None,
            counts: BTreeMap::new(),
        }
    }

    /// What an attempt has to store. `None` for a step that has neither failed nor been interrupted.
    pub(super) fn count_of(&self, waiter: &Waiter, is_recorded: bool) -> Option<CountOfAttempt> {
        let count = self.counts.get(waiter)?.clone();
        Some(CountOfAttempt { count, is_recorded })
    }

    /// Forgets the steps of a run that has ended.
    pub(super) fn forget(&mut self, run: RunId) {
        self.counts.retain(|(of, _), _| *of != run);
        self.steps.retain(|(of, _)| *of != run);
    }

    /// Notes that an attempt ended.
    pub(super) fn ended(&mut self, waiter: &Waiter) {
        self.steps.remove(waiter);
        if self
            .alone
            .as_ref()
            .is_some_and(|(other, _)| other == waiter)
        {
            self.alone = None;
        }
    }

    pub(super) fn is_other_in_its_first_minute(&self, waiter: &Waiter, now: Duration) -> bool {
        let is_recent = |since: &Duration| now.saturating_sub(*since) < ALONE;
        self.alone
            .as_ref()
            .is_some_and(|(other, since)| other != waiter && is_recent(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_a_row_count_until_there_is_progress() {
        let count = UncleanEnds::default().after(None).after(None);
        assert_eq!(count.ends, 2);
        let count = count.after(Some("a".to_owned()));
        assert_eq!(count.ends, 1);
        assert_eq!(count.after(Some("a".to_owned())).ends, 2);
    }
}
