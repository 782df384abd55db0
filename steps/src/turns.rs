//! The turns in which work is done whose length outsiders decide: the expressions, contracts and keys of tenants, and
//! what their hosts describe.
//!
//! ```
//! use vsiflow_engine::low_priority;
//! use vsiflow_steps::turns::{WorkTurns, owner_of};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let turn = WorkTurns::current().take(&owner_of("team-a", "lpar1")).await;
//! let work = move || {
//!     // The turn lasts as long as the work, also if nobody waits for it any more.
//!     let _turn = turn;
//!     6 * 7
//! };
//! assert_eq!(low_priority::aside(work).await, Ok(42));
//! # }
//! ```

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use tokio::{
    runtime::{self, Handle},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Each runtime has its own turns: one that only waits for the turn of another counts as idle, and its clock may be a
/// virtual one.
static TURNS: LazyLock<Mutex<HashMap<runtime::Id, Weak<WorkTurns>>>> =
    LazyLock::new(Mutex::default);

/// The turns in which pieces of work are done: one at a time. Of each owner one piece waits for it, so that an owner with
/// much work delays another one by one piece.
#[derive(Debug)]
pub struct WorkTurns {
    all: Arc<Semaphore>,
    owners: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

/// A turn, as long as it is held.
#[derive(Debug)]
pub struct WorkTurn {
    _permits: [Option<OwnedSemaphorePermit>; 2],
    /// Others find these turns as long as somebody has one.
    _turns: Arc<WorkTurns>,
}

impl WorkTurns {
    /// The turns of the present runtime.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn current() -> Arc<Self> {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Handle::current().id();
        if let Some(turns_of_runtime) = turns.get(&runtime).and_then(Weak::upgrade) {
            return turns_of_runtime;
        }
        turns.retain(|_, others| others.strong_count() > 0);
        let new_turns = Arc::new(Self {
            all: Arc::new(Semaphore::new(1)),
            owners: Mutex::default(),
        });
        turns.insert(runtime, Arc::downgrade(&new_turns));
        new_turns
    }

    /// Waits for a turn of this owner. Give it to the work: it ends when it is dropped. Cancel safe.
    pub async fn take(self: Arc<Self>, owner: &Arc<str>) -> WorkTurn {
        // They are never closed.
        let owner_permit = self.of_owner(owner).acquire_owned().await.ok();
        let runtime_permit = self.all.clone().acquire_owned().await.ok();
        WorkTurn {
            _permits: [owner_permit, runtime_permit],
            _turns: self,
        }
    }

    fn of_owner(&self, owner: &Arc<str>) -> Arc<Semaphore> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = owners.get(owner).and_then(Weak::upgrade) {
            return semaphore;
        }
        owners.retain(|_, others| others.strong_count() > 0);
        let semaphore = Arc::new(Semaphore::new(1));
        owners.insert(owner.clone(), Arc::downgrade(&semaphore));
        semaphore
    }
}

/// The owner of what a namespace's guests, contracts and hosts need. A run that was recorded by an earlier version, and a
/// host of whoever runs this process, name no namespace: the owner is the host.
#[must_use]
pub fn owner_of(namespace: &str, host: &str) -> Arc<str> {
    match namespace {
        "" => format!("host/{host}").into(),
        namespace => format!("namespace/{namespace}").into(),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn the_guests_of_a_namespace_share_turns_on_all_hosts_and_those_of_two_on_none() {
        assert_eq!(owner_of("a", "host1"), owner_of("a", "host2"));
        assert_ne!(owner_of("a", "host1"), owner_of("b", "host1"));
        assert_ne!(
            owner_of("a", "host1"),
            owner_of("", "a"),
            "recorded earlier"
        );
        assert_eq!(owner_of("", "host1"), owner_of("", "host1"));
    }

    #[tokio::test]
    async fn an_owner_with_many_searches_delays_another_by_one_piece() {
        let turns = WorkTurns::current();
        let [busy, other]: [Arc<str>; 2] = ["busy".into(), "other".into()];
        let held = turns.clone().take(&busy).await;
        let mut waiting: Vec<_> = (0..20)
            .map(|_| Box::pin(turns.clone().take(&busy)))
            .collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        let mut of_other = Box::pin(turns.clone().take(&other));
        assert!((&mut of_other).now_or_never().is_none());
        drop(held);
        let at_once = waiting.iter_mut().filter_map(|one| one.now_or_never());
        let next: Vec<_> = at_once.collect();
        assert!(next.len() <= 1);
        drop(next);
        assert!(of_other.now_or_never().is_some());
    }
}
