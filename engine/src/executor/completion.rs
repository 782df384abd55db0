//! Handles ended attempts: records results, retries and repeated failures.

use super::{
    admission::{Admission, WorkRequest},
    control::Control,
    entities::NEXT_TRY,
    loop_state::Effect,
    notice::Notice,
    retry::{Retry, wait},
    timers::Waiter,
};
use crate::model::{
    EventKind, Failure, FailureClass, Name, NodeState, Outcome, Payload, Wait, Work,
};

impl Control {
    pub(super) fn attempt_ended(
        &mut self,
        waiter: &Waiter,
        result: Result<(Outcome, Payload), Failure>,
    ) {
        let Some(attempt) = self.in_flight.remove(waiter) else {
            return;
        };
        self.gate.give_back(&attempt.lane);
        self.suspects.ended(waiter);
        self.dirty_runs.insert(waiter.0);
        let unrecorded = attempt.unrecorded;
        match result {
            Ok((outcome, output)) => {
                let number = self.catch_up(waiter, unrecorded);
                self.retries.remove(waiter);
                let node = waiter.1.clone();
                let kind = EventKind::StepSucceeded {
                    node,
                    attempt: number,
                    outcome,
                    output,
                };
                self.record_engine(waiter.0, kind);
            }
            Err(_) if attempt.stop.is_cancelled() && unrecorded.is_some() => {}
            Err(_) if attempt.stop.is_cancelled() => {
                let next_attempt = self.catch_up(waiter, None);
                let kind = EventKind::StepInterrupted {
                    node: waiter.1.clone(),
                    attempt: next_attempt,
                };
                self.record_engine(waiter.0, kind);
            }
            Err(failure) => {
                self.lane_failed(&attempt.lane, &failure);
                self.attempt_failed(waiter, unrecorded, failure);
            }
        }
    }

    /// Records the start of an attempt if that was not recorded yet; returns the attempt's number.
    pub(super) fn catch_up(&mut self, waiter: &Waiter, unrecorded: Option<u32>) -> u32 {
        let node = || waiter.1.clone();
        let Some(attempt) = unrecorded else {
            let run = self.recorder.projection.run(waiter.0);
            return run
                .and_then(|run| run.nodes.get(&waiter.1))
                .map_or(0, NodeState::attempt);
        };
        let run = self.recorder.projection.run(waiter.0);
        let state = run.and_then(|run| run.nodes.get(&waiter.1));
        if matches!(
            state,
            Some(NodeState::Delayed { .. } | NodeState::Blocked { .. })
        ) {
            let timed = !matches!(state, Some(NodeState::Blocked { recheck: None, .. }));
            if timed {
                self.record_engine(waiter.0, EventKind::TimerDue { node: node() });
            }
        }
        self.record_engine(
            waiter.0,
            EventKind::StepStarted {
                node: node(),
                attempt,
            },
        );
        attempt
    }

    fn attempt_failed(&mut self, waiter: &Waiter, unrecorded: Option<u32>, failure: Failure) {
        let now = self.parts.clock.now();
        let tuning = self.parts.tuning.clone();
        let retry = self
            .retries
            .entry(waiter.clone())
            .or_insert_with(|| Retry::new(&tuning));
        let next = match failure.class {
            FailureClass::Transient => Some(retry.next(now)),
            FailureClass::Recheck => Some(wait(tuning.recheck, now)),
            FailureClass::Blocked | FailureClass::Failed => None,
        };
        if let (Some(attempt), Some(next)) = (unrecorded, next)
            && self.is_blocked_at(waiter, &failure)
        {
            self.count_repeat(waiter, attempt, failure, next);
            return;
        }
        let attempt = self.catch_up(waiter, unrecorded);
        if let Some(counted) = self.retries.get_mut(waiter) {
            counted.repeats = 0;
            counted.attempt = attempt;
        }
        self.record_failure(waiter, attempt, failure, next);
    }

    fn record_failure(
        &mut self,
        waiter: &Waiter,
        attempt: u32,
        failure: Failure,
        next: Option<Wait>,
    ) {
        let node = waiter.1.clone();
        let kind = match failure.class {
            FailureClass::Transient | FailureClass::Failed => EventKind::StepFailed {
                node,
                attempt,
                failure,
                retry: next,
            },
            FailureClass::Recheck | FailureClass::Blocked => EventKind::StepBlocked {
                node,
                attempt,
                failure,
                recheck: next,
            },
        };
        self.record_engine(waiter.0, kind);
    }

    fn is_blocked_at(&self, waiter: &Waiter, failure: &Failure) -> bool {
        let run = self.recorder.projection.run(waiter.0);
        let state = run.and_then(|run| run.nodes.get(&waiter.1));
        state.and_then(NodeState::failure) == Some(failure)
    }

    /// Counts a failure equal to the recorded one, so that the journal does not grow with each
    /// repetition.
    fn count_repeat(&mut self, waiter: &Waiter, attempt: u32, failure: Failure, next: Wait) {
        if let Some(retry) = self.retries.get_mut(waiter) {
            retry.repeats = retry.repeats.saturating_add(1);
            retry.attempt = attempt;
        }
        self.timers.arm(waiter.clone(), next);
        let (run, node) = waiter.clone();
        let delay_ms = next.delay_ms;
        let notice = Notice::Repeated {
            run,
            node,
            attempt,
            failure,
            delay_ms,
        };
        self.effects.push(Effect::Notice(notice));
    }

    /// A wait is over: attempts the node again; the start is not recorded yet.
    pub(super) async fn due(&mut self, waiter: &Waiter) {
        if waiter.1 == Name::of(NEXT_TRY) {
            self.next_try_due(waiter.0);
            return;
        }
        let Some(run) = self.recorder.projection.run(waiter.0).cloned() else {
            return;
        };
        let node_state = run.nodes.get(&waiter.1);
        if run.result().is_none() && run.cancel.is_none() && self.is_suspect(waiter, node_state) {
            self.suspect_due(waiter, node_state);
            return;
        }
        let waits = matches!(
            node_state,
            Some(NodeState::Delayed { .. } | NodeState::Blocked { .. })
        );
        if run.result().is_some() || run.cancel.is_some() || !waits {
            return;
        }
        let Some(graph) = run.graph.clone() else {
            return;
        };
        let Some(node) = graph.node(&waiter.1) else {
            return;
        };
        let Work::Step { step, version, .. } = &node.work else {
            return;
        };
        let Ok(step_code) = self.parts.registry.find(step, *version) else {
            return;
        };
        if self.in_flight.contains_key(waiter) {
            return;
        }
        let recorded = node_state.map_or(0, NodeState::attempt);
        let counted = self.retries.get(waiter).map_or(0, |retry| retry.attempt);
        let attempt = recorded.max(counted).saturating_add(1);
        if self.waits_after_unclean_end(waiter, attempt).await {
            return;
        }
        let failure = node_state.and_then(NodeState::failure);
        let next = WorkRequest::NextAttempt {
            waiter,
            lane: &node.lane,
            failed_at: failure.map(|failure| &failure.host),
        };
        match self.gate.admit(next) {
            Admission::Granted => {}
            Admission::Waits => return,
            Admission::AskAgain => {
                self.timers
                    .arm_for(waiter.clone(), self.parts.tuning.first_retry);
                return;
            }
        }
        self.launch(waiter.clone(), &run, node, step_code, attempt, true);
    }
}
