//! The cluster in which a game is played.

use std::{sync::Arc, time::Duration};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use vsiflow_workflows::fleet::Fleet;

use super::id;
use crate::{
    fake::FakeServer,
    operator::tests::rig::{Rig, Switched, VirtualClock},
};

/// A cluster that one journal serves, or the journals of a set.
pub(in crate::operator::tests) trait GameCluster: Sized {
    /// The names of its hosts.
    const HOSTS: &'static [&'static str];
    /// Whether quotas count a group as a whole. In a set each member counts when it is made.
    const COUNTS_GROUPS: bool;

    async fn begin() -> Self;

    fn server(&self) -> &FakeServer;

    fn hosts(&self) -> Arc<Switched>;

    /// The wall clock of its processes.
    fn clock(&self) -> &VirtualClock;

    /// The fleet that has the pools.
    fn fleet(&self) -> Fleet;

    /// Whether no run is in progress.
    fn is_idle(&self) -> bool;

    /// A process dies, and another one takes its place.
    async fn kill(&mut self, random: &mut StdRng);

    /// Takes a host out of use, as its administrator or an accident does. Returns it if its members move to others
    /// until it is opened.
    async fn close_host(&mut self, random: &mut StdRng) -> Option<&'static str>;

    /// A host that was closed takes members again.
    async fn open_host(&mut self, host: &'static str);

    async fn stop(&self);
}

impl GameCluster for Rig {
    const HOSTS: &'static [&'static str] = &["lpar1", "lpar2", "lpar3"];
    const COUNTS_GROUPS: bool = true;

    async fn begin() -> Self {
        Self::with_hosts(Self::HOSTS).await
    }

    fn server(&self) -> &FakeServer {
        &self.server
    }

    fn hosts(&self) -> Arc<Switched> {
        self.all_hosts()
    }

    fn clock(&self) -> &VirtualClock {
        Self::clock(self)
    }

    fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }

    fn is_idle(&self) -> bool {
        Self::is_idle(self)
    }

    async fn kill(&mut self, _random: &mut StdRng) {
        self.restart().await;
    }

    async fn close_host(&mut self, random: &mut StdRng) -> Option<&'static str> {
        let host = *Self::HOSTS.choose(random).unwrap();
        self.drain(&id(host)).await;
        Some(host)
    }

    async fn open_host(&mut self, host: &'static str) {
        self.uncordon(&id(host)).await;
    }

    async fn stop(&self) {
        Self::stop(self).await;
    }
}

/// How long something lasts.
pub(in crate::operator::tests) fn drawn_wait(random: &mut StdRng) -> Duration {
    Duration::from_millis(random.random_range(0..40_000))
}
