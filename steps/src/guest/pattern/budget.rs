//! How much processor time the expressions of one guest may need, and the turns in which they are matched.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
    time::Duration,
};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::{
    runtime::{self, Handle},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use vsiflow_engine::low_priority;

/// How much may be matched without a pause.
const BURST: Duration = Duration::from_secs(2);
/// The budget grows by one part in so many of the time that passes.
const SHARE: u32 = 100;
/// With less than that nothing is begun.
const LEAST: Duration = Duration::from_millis(1);
/// How many bytes are matched in one turn.
pub(super) const PIECE: usize = 4 * 1024;

/// Each runtime has its own turns: one that only waits for the turn of another counts as idle, and its clock may be a
/// virtual one.
static TURNS: LazyLock<Mutex<HashMap<runtime::Id, Weak<MatchTurns>>>> =
    LazyLock::new(Mutex::default);

/// The turns in which pieces are matched: one at a time. Of each owner one piece waits for it, so that an owner with many
/// costly guests or searches delays another one by one piece.
struct MatchTurns {
    all: Arc<Semaphore>,
    owners: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

/// A turn, as long as it is held.
struct MatchTurn {
    _permits: [Option<OwnedSemaphorePermit>; 2],
    /// Others find these turns as long as somebody has one.
    _turns: Arc<MatchTurns>,
}

impl MatchTurns {
    /// The turns of the present runtime.
    fn current() -> Arc<Self> {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Handle::current().id();
        if let Some(own) = turns.get(&runtime).and_then(Weak::upgrade) {
            return own;
        }
        turns.retain(|_, others| others.strong_count() > 0);
        let own = Arc::new(Self {
            all: Arc::new(Semaphore::new(1)),
            owners: Mutex::default(),
        });
        turns.insert(runtime, Arc::downgrade(&own));
        own
    }

    async fn take(self: Arc<Self>, owner: &Arc<str>) -> MatchTurn {
        // They are never closed.
        let own = self.of_owner(owner).acquire_owned().await.ok();
        let all = self.all.clone().acquire_owned().await.ok();
        MatchTurn {
            _permits: [own, all],
            _turns: self,
        }
    }

    fn of_owner(&self, owner: &Arc<str>) -> Arc<Semaphore> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = owners.get(owner).and_then(Weak::upgrade) {
            return own;
        }
        owners.retain(|_, others| others.strong_count() > 0);
        let own = Arc::new(Semaphore::new(1));
        owners.insert(owner.clone(), Arc::downgrade(&own));
        own
    }
}

/// The processor time that is left for the expressions of one guest, or for one search.
#[derive(Debug)]
pub struct MatchBudget {
    /// Whose turns it takes.
    owner: Arc<str>,
    left: Duration,
    /// How much more was needed than there was.
    owed: Duration,
    at: Instant,
}

impl MatchBudget {
    /// The budget of one guest. It takes the turns of its namespace, so that the guests of one tenant delay those of
    /// another by one piece, also on one host. A run that was recorded by an earlier version names no namespace: its
    /// guest takes the turns of its host.
    pub fn of_guest(namespace: &str, host: &str) -> Self {
        match namespace {
            "" => Self::of(&format!("host/{host}")),
            namespace => Self::of(&format!("namespace/{namespace}")),
        }
    }

    /// The budget of one search. It takes the turns of its owner, the caller who searches.
    pub fn of(owner: &str) -> Self {
        Self {
            owner: owner.into(),
            left: BURST,
            owed: Duration::ZERO,
            at: Instant::now(),
        }
    }

    /// Whether more was used than there is now.
    pub fn is_used_up(&mut self) -> bool {
        self.grow();
        self.left.is_zero()
    }

    /// Adds the share of the time that has passed.
    fn grow(&mut self) {
        let grown = self.at.elapsed().checked_div(SHARE).unwrap_or_default();
        self.at = Instant::now();
        let left = grown.saturating_sub(self.owed);
        self.owed = self.owed.saturating_sub(grown);
        self.left = self.left.saturating_add(left).min(BURST);
    }

    /// Waits until something is left.
    async fn wait(&mut self) {
        while self.is_used_up() {
            let missing = self.owed.saturating_add(LEAST);
            sleep(missing.saturating_mul(SHARE)).await;
        }
    }

    fn spend(&mut self, spent: Duration) {
        self.owed = self.owed.saturating_add(spent.saturating_sub(self.left));
        self.left = self.left.saturating_sub(spent);
    }

    /// Runs `work`, which matches one piece, on a thread of low priority, once it is its turn and
    /// something is left. `None` if the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.wait().await;
        let turn = MatchTurns::current().take(&self.owner).await;
        let ended = low_priority::aside(move || {
            // Held by the work: a caller that waits no longer does not end it.
            let _turn = turn;
            let begun = processor_time();
            (work(), processor_time().saturating_sub(begun))
        });
        let (result, spent) = ended.await.ok()?;
        self.spend(spent);
        Some(result)
    }
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_uses_more_than_a_share_waits_as_long_as_the_share_takes_to_grow() {
        let mut budget = MatchBudget::of("host");
        budget.spend(BURST + Duration::from_millis(300));
        assert!(budget.is_used_up());
        let begun = Instant::now();
        budget.wait().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(!budget.is_used_up());
        sleep(Duration::from_secs(3_600)).await;
        budget.wait().await;
        assert_eq!(budget.left, BURST);
    }

    #[test]
    fn the_guests_of_a_namespace_share_turns_on_all_hosts_and_those_of_two_on_none() {
        let owner = |namespace, host| MatchBudget::of_guest(namespace, host).owner;
        assert_eq!(owner("a", "host1"), owner("a", "host2"));
        assert_ne!(owner("a", "host1"), owner("b", "host1"));
        assert_ne!(owner("a", "host1"), owner("", "a"), "recorded earlier");
        assert_eq!(owner("", "host1"), owner("", "host1"));
    }

    #[tokio::test]
    async fn an_owner_with_many_searches_delays_another_by_one_piece() {
        let turns = MatchTurns::current();
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
