//! Games of the reference model over the journals of a set.

use std::sync::{Arc, atomic::Ordering};

use rand::{Rng as _, rngs::StdRng};
use vsiflow_workflows::fleet::Fleet;

use super::{JOURNALS, RigStores, SharedRig};
use crate::{
    fake::FakeServer,
    operator::tests::{
        oracle::{GameCluster, drawn_wait, groups, play_games, pools},
        rig::{Switched, VirtualClock},
    },
};

impl SharedRig {
    /// The processes of the journals from this one on die.
    async fn kill_from(&mut self, first: u16) -> Vec<RigStores> {
        let mut stores = Vec::new();
        for journal in self.journals.drain(usize::from(first)..) {
            journal.serving.abort();
            journal.fleet.close().await;
            stores.push(journal.stores);
        }
        self.set.silent.lock().unwrap().extend(first..JOURNALS);
        stores
    }

    /// Others take the journals from this one on.
    async fn take_from(&mut self, first: u16, stores: Vec<RigStores>) {
        for (number, of_journal) in (first..).zip(stores) {
            let journal = self.begin(number, of_journal).await;
            self.journals.push(journal);
        }
    }
}

impl GameCluster for SharedRig {
    const HOSTS: &'static [&'static str] = &["lpar0", "lpar1"];
    const COUNTS_GROUPS: bool = false;

    async fn begin() -> Self {
        Self::new().await
    }

    fn server(&self) -> &FakeServer {
        &self.server
    }

    fn hosts(&self) -> Arc<Switched> {
        self.hosts.clone()
    }

    fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    fn fleet(&self) -> Fleet {
        self.journals[0].fleet.clone()
    }

    fn is_idle(&self) -> bool {
        let mut journals = self.journals.iter();
        journals.all(|journal| journal.fleet.working().is_empty())
    }

    async fn kill(&mut self, random: &mut StdRng) {
        let first = random.random_range(0..JOURNALS);
        let stores = self.kill_from(first).await;
        self.take_from(first, stores).await;
    }

    /// No process holds the journal of one host for a while, or the journals report late.
    async fn close_host(&mut self, random: &mut StdRng) -> Option<&'static str> {
        if random.random_bool(0.5) {
            self.set.is_slow.fetch_xor(true, Ordering::Relaxed);
            return None;
        }
        let last = JOURNALS - 1;
        let stores = self.kill_from(last).await;
        tokio::time::sleep(drawn_wait(random)).await;
        self.take_from(last, stores).await;
        None
    }

    async fn open_host(&mut self, _host: &'static str) {}

    async fn stop(&self) {
        self.watching.abort();
        for journal in &self.journals {
            journal.serving.abort();
            journal.fleet.close().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pools_over_journals_keep_what_their_page_promises() {
    play_games(pools::play::<SharedRig>).await;
}

#[tokio::test(start_paused = true)]
async fn groups_over_journals_keep_what_their_page_promises() {
    play_games(groups::play::<SharedRig>).await;
}
