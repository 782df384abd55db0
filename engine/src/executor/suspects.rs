//! Makes a step wait during which the process ended several times ([`super::unclean_ends`]), and starts it
//! alone.

use futures::future::join_all;

use super::{
    control::Control,
    retry::wait,
    timers::Waiter,
    unclean_ends::{CODE, LIMIT, UncleanEnds},
};
use crate::model::{EventKind, Failure, Hash, NodeState, Wait};

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
        let bytes = checkpoint.ok().flatten()?;
        Some(Hash::of(&bytes).to_string())
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
        let uptime = self.parts.clock.monotonic();
        let tuning = &self.parts.tuning;
        let up = uptime.saturating_sub(self.suspects.begun);
        let missing = tuning.first_unclean_pause.saturating_sub(up);
        let delay = if self.suspects.is_other_in_its_first_minute(waiter, uptime) {
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
        let uptime = self.parts.clock.monotonic();
        if self.suspects.is_other_in_its_first_minute(waiter, uptime) {
            self.timers
                .arm_for(waiter.clone(), self.parts.tuning.first_retry);
            return false;
        }
        self.suspects.alone = Some((waiter.clone(), uptime));
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
