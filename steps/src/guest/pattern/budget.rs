//! How much processor time the expressions of one guest may need.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::{
    runtime::{self, Handle},
    time::{Instant, sleep},
};
use uuid::Uuid;
use vsiflow_engine::low_priority;

use crate::turns::{WorkTurns, owner_of};

/// How much may be matched without a pause.
const BURST: Duration = Duration::from_secs(2);
/// The budget grows by one part in so many of the time that passes.
const SHARE: u32 = 100;
/// With less than that nothing is begun.
const LEAST: Duration = Duration::from_millis(1);
/// How many bytes are matched in one turn.
pub(super) const PIECE: usize = 4 * 1024;

/// From how many guests on the accounts of those are forgotten that have all that they may have.
const FORGET_FROM: usize = 256;

/// The accounts of the guests for which something was matched. Each runtime has its own, because its clock may be a
/// virtual one.
static ACCOUNTS: LazyLock<Mutex<GuestAccounts>> = LazyLock::new(Mutex::default);

type GuestAccounts = HashMap<(runtime::Id, Uuid), Arc<Mutex<Account>>>;

/// The processor time that is left for the expressions of one guest, or for one search. Everything that is asked of one
/// guest, by its probes and by gates, is matched on one account.
#[derive(Debug)]
pub struct MatchBudget {
    /// Whose turns it takes.
    owner: Arc<str>,
    /// Whose account it is; `None` for one of its own.
    guest: Option<Uuid>,
    /// Looked up at the first use: only a task knows whose clock is its own.
    account: OnceLock<Arc<Mutex<Account>>>,
}

impl MatchBudget {
    /// The budget of one guest. It takes the turns of its namespace, so that the guests of one tenant delay those of
    /// another by one piece, also on one host. A run that was recorded by an earlier version names no namespace: its
    /// guest takes the turns of its host.
    pub fn of_guest(uuid: Uuid, namespace: &str, host: &str) -> Self {
        Self {
            owner: owner_of(namespace, host),
            guest: Some(uuid),
            account: OnceLock::new(),
        }
    }

    /// The budget of one search. It takes the turns of its owner, the caller who searches.
    pub fn of(owner: &str) -> Self {
        Self {
            owner: owner.into(),
            guest: None,
            account: OnceLock::new(),
        }
    }

    /// Whether more was used than there is now.
    pub fn is_used_up(&self) -> bool {
        self.account().grown().is_zero()
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        let guest_account = || self.guest.map_or_else(Arc::default, account_of);
        let account = self.account.get_or_init(guest_account);
        account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is left.
    async fn wait(&self) {
        loop {
            let missing = {
                let mut account = self.account();
                if !account.grown().is_zero() {
                    return;
                }
                account.owed.saturating_add(LEAST)
            };
            sleep(missing.saturating_mul(SHARE)).await;
        }
    }

    /// Runs `work`, which matches one piece, on a thread of low priority, once it is its turn and
    /// something is left. `None` if the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.wait().await;
        let turn = WorkTurns::current().take(&self.owner).await;
        let ended = low_priority::aside(move || {
            // Held by the work: a caller that waits no longer does not end it.
            let _turn = turn;
            let begun = processor_time();
            (work(), processor_time().saturating_sub(begun))
        });
        let (result, spent) = ended.await.ok()?;
        self.account().spend(spent);
        Some(result)
    }
}

/// How much processor time may be used now.
#[derive(Debug)]
struct Account {
    left: Duration,
    /// How much more was needed than there was.
    owed: Duration,
    at: Instant,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            left: BURST,
            owed: Duration::ZERO,
            at: Instant::now(),
        }
    }
}

impl Account {
    /// Adds the share of the time that has passed, and returns what is left then.
    fn grown(&mut self) -> Duration {
        let grown = self.at.elapsed().checked_div(SHARE).unwrap_or_default();
        self.at = Instant::now();
        let gain = grown.saturating_sub(self.owed);
        self.owed = self.owed.saturating_sub(grown);
        self.left = self.left.saturating_add(gain).min(BURST);
        self.left
    }

    fn spend(&mut self, spent: Duration) {
        self.owed = self.owed.saturating_add(spent.saturating_sub(self.left));
        self.left = self.left.saturating_sub(spent);
    }
}

/// The account of this guest in the present runtime.
fn account_of(uuid: Uuid) -> Arc<Mutex<Account>> {
    let mut accounts = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = Handle::current().id();
    if accounts.len() >= FORGET_FROM {
        accounts.retain(|_, account| Arc::strong_count(account) > 1 || !is_whole(account));
    }
    accounts.entry((runtime, uuid)).or_default().clone()
}

fn is_whole(account: &Mutex<Account>) -> bool {
    let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
    account.grown() == BURST
}

/// The processor time that this thread has used.
fn processor_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_uses_more_than_a_share_waits_as_long_as_the_share_takes_to_grow() {
        let budget = MatchBudget::of("host");
        budget.account().spend(BURST + Duration::from_millis(300));
        assert!(budget.is_used_up());
        let begun = Instant::now();
        budget.wait().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(!budget.is_used_up());
        sleep(Duration::from_secs(3_600)).await;
        budget.wait().await;
        assert_eq!(budget.account().left, BURST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_used_up_its_budget_has_none_for_the_next_question_either() {
        let uuid = Uuid::from_u128(1);
        let of_guest = || MatchBudget::of_guest(uuid, "tenant", "host");
        of_guest().account().spend(BURST * 2);
        assert!(of_guest().is_used_up());
        let others = MatchBudget::of_guest(Uuid::from_u128(2), "tenant", "host");
        assert!(!others.is_used_up());
        sleep(BURST * (SHARE + 1)).await;
        assert!(!of_guest().is_used_up());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_is_whole_again_is_forgotten_and_no_other() {
        let of_guest = |number| MatchBudget::of_guest(Uuid::from_u128(number), "", "host");
        of_guest(0).account().spend(BURST * 2);
        for number in 1..1_000 {
            of_guest(number).is_used_up();
        }
        assert!(of_guest(0).is_used_up());
        let accounts = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime = Handle::current().id();
        let own = accounts.keys().filter(|(of, _)| *of == runtime).count();
        assert!(own <= FORGET_FROM + 1);
    }
}
