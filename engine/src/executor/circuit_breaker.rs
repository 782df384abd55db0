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

use super::{config::Tuning, retry::Retry, timers::Waiter};
use crate::{
    clock::Clock,
    lane::Lanes,
    model::{Failure, Text},
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
    pub(super) lane: Text,
    pub(super) answer: Result<(), Failure>,
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

    pub(super) fn still_down(&mut self, lane: &Text, failure: &Failure) {
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

    pub(super) fn up(&mut self, lane: &Text) -> BTreeSet<Waiter> {
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
