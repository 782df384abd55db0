//! The circuit breaker: one probe for each lane that does not answer, and the nodes that wait for
//! it. See [`crate::lane`].

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use tokio::task::{AbortHandle, JoinSet};

use super::{config::Tuning, control::Control, retry::Retry, timers::Waiter};
use crate::{
    clock::Clock,
    lane::Lanes,
    model::{Failure, NodeState, Text},
};

const PANICKED: &str = "the look whether a host answers ended in a panic";

/// The lanes that do not answer.
pub(super) struct CircuitBreaker {
    lanes: Arc<dyn Lanes>,
    clock: Arc<dyn Clock>,
    tuning: Tuning,
    down: BTreeMap<Text, Down>,
    probes: JoinSet<Probed>,
}

struct Down {
    delays: Retry,
    probe: AbortHandle,
    waiters: BTreeSet<Waiter>,
}

/// The result of a probe.
pub(super) struct Probed {
    lane: Text,
    answer: Result<(), Failure>,
}

impl CircuitBreaker {
    pub(super) fn new(lanes: Arc<dyn Lanes>, clock: Arc<dyn Clock>, tuning: &Tuning) -> Self {
        let tuning = Tuning {
            longest_retry: tuning.longest_probe,
            ..tuning.clone()
        };
        Self {
            lanes,
            clock,
            tuning,
            down: BTreeMap::new(),
            probes: JoinSet::new(),
        }
    }

    /// Marks the lane as down if the failure says so, and starts its probe.
    pub(super) fn note(&mut self, lane: &Text, failure: &Failure) {
        if lane.is_empty() || self.down.contains_key(lane) || !self.lanes.is_down(failure) {
            return;
        }
        tracing::warn!(host = %lane, %failure, "the host does not answer: its work waits");
        self.lanes.note(lane, Some(failure));
        let mut delays = Retry::new(&self.tuning);
        let delay = delays.delay();
        let probe = self.spawn(lane.clone(), delay);
        let waiters = BTreeSet::new();
        self.down.insert(
            lane.clone(),
            Down {
                delays,
                probe,
                waiters,
            },
        );
    }

    /// Holds the node back until its lane answers; false if the lane is not down.
    pub(super) fn hold_back(&mut self, lane: &Text, waiter: &Waiter) -> bool {
        let Some(down) = self.down.get_mut(lane) else {
            return false;
        };
        down.waiters.insert(waiter.clone());
        true
    }

    /// Probes all down lanes immediately, because a user says that the cause is removed.
    pub(super) fn hurry(&mut self) {
        let lanes: Vec<Text> = self.down.keys().cloned().collect();
        for lane in lanes {
            let delays = Retry::new(&self.tuning);
            self.restart_probe(&lane, delays, Duration::ZERO);
        }
    }

    fn still_down(&mut self, lane: &Text, failure: &Failure) {
        self.lanes.note(lane, Some(failure));
        let Some(down) = self.down.get_mut(lane) else {
            return;
        };
        let mut delays = std::mem::replace(&mut down.delays, Retry::new(&self.tuning));
        let delay = delays.delay();
        self.restart_probe(lane, delays, delay);
    }

    fn restart_probe(&mut self, lane: &Text, delays: Retry, after: Duration) {
        let probe = self.spawn(lane.clone(), after);
        if let Some(down) = self.down.get_mut(lane) {
            down.probe.abort();
            (down.probe, down.delays) = (probe, delays);
        }
    }

    fn up(&mut self, lane: &Text) -> BTreeSet<Waiter> {
        self.lanes.note(lane, None);
        tracing::info!(host = %lane, "in reach again");
        self.down
            .remove(lane)
            .map_or_else(BTreeSet::new, |d| d.waiters)
    }

    fn spawn(&mut self, lane: Text, after: Duration) -> AbortHandle {
        let (lanes, clock) = (self.lanes.clone(), self.clock.clone());
        self.probes.spawn(async move {
            clock.sleep(after).await;
            let probed = AssertUnwindSafe(lanes.probe(&lane)).catch_unwind().await;
            let answer = probed.unwrap_or_else(|_| Err(Failure::defect(PANICKED)));
            Probed { lane, answer }
        })
    }

    /// The next result of a probe. Pending forever while no lane is down. Cancel safe.
    pub(super) async fn probed(&mut self) -> Probed {
        loop {
            match self.probes.join_next().await {
                Some(Ok(probed)) => return probed,
                Some(Err(_aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }

    pub(super) async fn shutdown(&mut self) {
        self.probes.shutdown().await;
    }
}

impl Control {
    /// Checks whether an attempt failed because its lane does not answer.
    pub(super) fn lane_failed(&mut self, lane: &Text, failure: &Failure) {
        let lane = if lane.is_empty() { &failure.host } else { lane };
        self.gate.lanes.note(lane, failure);
    }

    pub(super) async fn probed(&mut self, probed: Probed) {
        let Probed { lane, answer } = probed;
        match answer {
            Err(failure) if self.parts.lanes.is_down(&failure) => {
                self.gate.lanes.still_down(&lane, &failure);
            }
            // If anything else is wrong, the next attempts will fail with that error and its
            // remedy.
            Ok(()) | Err(_) => {
                let mut waiting = self.gate.lanes.up(&lane);
                waiting.extend(self.delayed_for(&lane));
                for waiter in waiting {
                    self.timers.disarm(&waiter);
                    self.due(&waiter).await;
                }
            }
        }
    }

    /// Nodes of open runs that are still delayed because of the lane.
    fn delayed_for(&self, lane: &Text) -> Vec<Waiter> {
        let projection = &self.recorder.projection;
        let runs = projection.entities.values().filter_map(|entry| {
            let run = entry.state.active.as_ref()?.run;
            Some((run, projection.run(run)?))
        });
        let waits = |state: &NodeState| match state {
            NodeState::Delayed { failure, .. } => {
                failure.host == *lane && self.parts.lanes.is_down(failure)
            }
            _ => false,
        };
        runs.flat_map(|(run, state)| {
            let nodes = state.nodes.iter().filter(|(_, state)| waits(state));
            nodes.map(move |(node, _)| (run, node.clone()))
        })
        .collect()
    }
}
