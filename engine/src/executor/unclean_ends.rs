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

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{control::Control, retry::wait, timers::Waiter};
use crate::{
    checkpoint::Checkpoints,
    model::{EventKind, Failure, FailureClass, Hash, Name, NodeState, RunId, Wait},
};

/// The code of the failure that is recorded for such a step. It is stored.
const CODE: &str = "VSI0040";
/// How many unclean ends in a row make a step wait.
const LIMIT: u32 = 3;
/// How long another step of this kind has to wait for one that is in progress.
const ALONE: Duration = Duration::from_secs(60);
/// How long storing a count may hold up all other work.
const STORING: Duration = Duration::from_secs(2);

/// The unclean ends of a step so far, as stored. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct UncleanEnds {
    /// How many unclean ends in a row there were without progress.
    ends: u32,
    /// The hash of the step's checkpoint at the newest of them.
    progress: Option<String>,
    /// Whether an attempt is in progress whose start is in no event.
    is_open: bool,
    /// The attempt that an orderly end of the process interrupted.
    orderly: Option<u32>,
}

impl UncleanEnds {
    /// The count after one more unclean end.
    fn after(self, progress: Option<String>) -> Self {
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
    async fn load(checkpoints: &dyn Checkpoints, waiter: &Waiter) -> Self {
        let stored = checkpoints.get(waiter.0, &name_of_count(&waiter.1)).await;
        let stored = stored.ok().flatten().unwrap_or_default();
        serde_json::from_slice(&stored).unwrap_or_default()
    }

    /// Stores the count. Without it a step that kills the process is found later.
    async fn store(&self, checkpoints: &dyn Checkpoints, waiter: &Waiter) {
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

    fn failure(&self) -> Failure {
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
    begun: Duration,
    steps: BTreeSet<Waiter>,
    /// The step that started last, and when.
    alone: Option<(Waiter, Duration)>,
    counts: BTreeMap<Waiter, UncleanEnds>,
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

    fn is_other_in_its_first_minute(&self, waiter: &Waiter, now: Duration) -> bool {
        let is_recent = |since: &Duration| now.saturating_sub(*since) < ALONE;
        let other = self.alone.as_ref().filter(|(other, _)| other != waiter);
        other.is_some_and(|(_, since)| is_recent(since))
    }
}

impl Control {
    /// The event for an attempt that an earlier process left unfinished.
    pub(super) async fn unfinished(&mut self, waiter: &Waiter, attempt: u32) -> EventKind {
        let count = UncleanEnds::load(self.parts.checkpoints.as_ref(), waiter).await;
        let count = match count.orderly {
            Some(orderly) if orderly == attempt => UncleanEnds::default(),
            _ => count.after(self.progress_of(waiter).await),
        };
        let suspect = self.is_one_too_many(waiter, count).await;
        let node = waiter.1.clone();
        match suspect {
            None => EventKind::StepInterrupted { node, attempt },
            Some((failure, retry)) => EventKind::StepFailed {
                node,
                attempt,
                failure,
                retry: Some(retry),
            },
        }
    }

    /// Looks whether an earlier process ended uncleanly during an attempt that is in no event. Returns
    /// whether the step has to wait for that reason.
    pub(super) async fn waits_after_unclean_end(&mut self, waiter: &Waiter, attempt: u32) -> bool {
        if self.suspects.counts.contains_key(waiter) {
            return false;
        }
        let mut count = UncleanEnds::load(self.parts.checkpoints.as_ref(), waiter).await;
        if count.is_open {
            count = count.after(self.progress_of(waiter).await);
        } else {
            self.suspects.counts.insert(waiter.clone(), count);
            return false;
        }
        let Some((failure, retry)) = self.is_one_too_many(waiter, count).await else {
            return false;
        };
        let attempt = self.catch_up(waiter, Some(attempt));
        let kind = EventKind::StepFailed {
            node: waiter.1.clone(),
            attempt,
            failure,
            retry: Some(retry),
        };
        self.record_engine(waiter.0, kind);
        true
    }

    /// The hash of the step's checkpoint.
    async fn progress_of(&self, waiter: &Waiter) -> Option<String> {
        let checkpoint = self.parts.checkpoints.get(waiter.0, &waiter.1).await;
        let checkpoint = checkpoint.ok().flatten()?;
        Some(Hash::of(&checkpoint).to_string())
    }

    /// Notes the count. Returns the failure and the pause of the step if it has to wait.
    async fn is_one_too_many(
        &mut self,
        waiter: &Waiter,
        count: UncleanEnds,
    ) -> Option<(Failure, Wait)> {
        let ends = count.ends;
        self.suspects.counts.insert(waiter.clone(), count.clone());
        if ends < LIMIT {
            return None;
        }
        tracing::warn!(run = %waiter.0, node = %waiter.1, ends, "the step waits: the process ended during it");
        // Stored now, because this process may end before the step starts again.
        count.store(self.parts.checkpoints.as_ref(), waiter).await;
        self.suspects.steps.insert(waiter.clone());
        Some((count.failure(), self.pause_after(ends)))
    }

    fn pause_after(&self, ends: u32) -> Wait {
        let tuning = &self.parts.tuning;
        let times = 2_u32.saturating_pow(ends.saturating_sub(LIMIT));
        let pause = tuning.first_unclean_pause.saturating_mul(times);
        wait(
            pause.min(tuning.longest_unclean_pause),
            self.parts.clock.now(),
        )
    }

    /// Whether the node waits because the process ended during its step.
    pub(super) fn is_suspect(&self, waiter: &Waiter, state: Option<&NodeState>) -> bool {
        let failure = state.and_then(NodeState::failure);
        self.suspects.steps.contains(waiter)
            || failure.is_some_and(|failure| failure.code.as_str() == CODE)
    }

    /// The pause of such a node is over. Its start has to be recorded, so that it counts if the process
    /// ends again.
    pub(super) fn suspect_due(&mut self, waiter: &Waiter, state: Option<&NodeState>) {
        self.suspects.steps.insert(waiter.clone());
        if self.gate.pause.hold_back(waiter) || self.wait_for_turn(waiter) {
            return;
        }
        match state {
            Some(NodeState::Delayed { .. }) => {
                let node = waiter.1.clone();
                self.record_engine(waiter.0, EventKind::TimerDue { node });
            }
            _ => _ = self.dirty_runs.insert(waiter.0),
        }
    }

    /// Makes such a node wait while others start after a restart, or while another one is in its first
    /// minute. Returns whether it waits.
    fn wait_for_turn(&mut self, waiter: &Waiter) -> bool {
        let now = self.parts.clock.monotonic();
        let tuning = &self.parts.tuning;
        let up = now.saturating_sub(self.suspects.begun);
        let missing = tuning.first_unclean_pause.saturating_sub(up);
        let delay = if self.suspects.is_other_in_its_first_minute(waiter, now) {
            missing.max(tuning.first_retry)
        } else {
            missing
        };
        if delay.is_zero() {
            return false;
        }
        self.timers.arm_for(waiter.clone(), delay);
        true
    }

    /// Whether this node may start now. Only one of those that may kill the process starts at a time.
    pub(super) fn may_start_suspect(&mut self, waiter: &Waiter) -> bool {
        if !self.suspects.steps.contains(waiter) {
            return true;
        }
        let now = self.parts.clock.monotonic();
        if self.suspects.is_other_in_its_first_minute(waiter, now) {
            self.timers
                .arm_for(waiter.clone(), self.parts.tuning.first_retry);
            return false;
        }
        self.suspects.alone = Some((waiter.clone(), now));
        true
    }

    /// Stores that this process ended in order, so that its attempts in progress are not blamed.
    pub(super) async fn store_orderly_end(&self) {
        let checkpoints = self.parts.checkpoints.as_ref();
        let ends = self.in_flight.keys().map(|waiter| {
            let run = self.recorder.projection.run(waiter.0);
            let state = run.and_then(|run| run.nodes.get(&waiter.1));
            let count = UncleanEnds {
                orderly: state.map(NodeState::attempt),
                ..UncleanEnds::default()
            };
            async move { count.store(checkpoints, waiter).await }
        });
        join_all(ends).await;
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
