//! Watches only the hosts, and counts how many guests there are not serving.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_steps::{ports::DomainState, sim::SimHosts};

/// How often the observer looks: more often than any guest boots.
const EVERY: Duration = Duration::from_millis(100);
/// How long after it was first seen a guest counts as serving: it boots in 1.4 s, and started before that.
const BOOTS: Duration = Duration::from_millis(1_250);

/// Watches hosts until it is dropped.
pub struct Observer {
    most: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Observer {
    /// Watches these hosts, on which this many guests should serve.
    pub fn of(hosts: Arc<SimHosts>, ids: Vec<String>, guests: usize) -> Self {
        let most = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(observe(hosts, ids, guests, most.clone()));
        Self { most, task }
    }

    /// The most guests that were not serving at the same time.
    pub fn most_away(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

async fn observe(hosts: Arc<SimHosts>, ids: Vec<String>, guests: usize, most: Arc<AtomicUsize>) {
    let begun = Instant::now();
    let mut seen = HashMap::<(Uuid, u64), Instant>::new();
    // Guests that run when the observer starts already serve.
    for start in running(&hosts, &ids).await {
        seen.insert(start, begun.checked_sub(BOOTS).unwrap());
    }
    loop {
        let now = Instant::now();
        let there = running(&hosts, &ids).await;
        let serve = there.into_iter().filter(|start| {
            let since = *seen.entry(*start).or_insert(now);
            now.duration_since(since) >= BOOTS
        });
        let away = guests.saturating_sub(serve.count());
        most.fetch_max(away, Ordering::Relaxed);
        tokio::time::sleep(EVERY).await;
    }
}

/// The running guests, each with the time of its start.
async fn running(hosts: &SimHosts, ids: &[String]) -> Vec<(Uuid, u64)> {
    let mut all = Vec::new();
    for id in ids {
        let sim = hosts.sim(id).await.unwrap();
        let found = sim.with(|state| {
            let domains = state.domains.iter();
            let running = domains.filter(|(_, domain)| domain.state == DomainState::Running);
            let starts =
                running.filter_map(|(uuid, domain)| Some((*uuid, domain.live.as_ref()?.started)));
            starts.collect::<Vec<_>>()
        });
        all.extend(found.await);
    }
    all
}
