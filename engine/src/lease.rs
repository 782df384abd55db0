//! A lease: the right to act, valid until a known time unless it is renewed.
//!
//! An engine in lease mode asks a third party (in Kubernetes, a `Lease` object) for the right to
//! act, and renews it long before it ends. The process may be stopped at any instant (`SIGSTOP`, a
//! frozen machine, a suspended laptop) and continue much later, when a successor already acts.
//! Therefore the lease is checked immediately before anything that others could see: before a batch
//! is written, before each call of a port, and before each write to a connection.
//!
//! Its time is measured with `CLOCK_BOOTTIME`, which continues while the machine sleeps and cannot
//! be set. It counts from the moment *before* the renewal was requested. **Once expired, a lease
//! remains expired**: a process that wakes up must not renew what a successor may have held since.
//!
//! What remains is the time between the check and the next system call, which no program can close
//! on its own. Therefore a successor waits for the lease and the longest control call, and observes
//! a host before it acts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// A moment of `CLOCK_BOOTTIME`: the time since the machine started, including sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// The current moment.
    pub fn now() -> Self {
        let boot_time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(boot_time.tv_sec).unwrap_or_default();
        let nanos = u32::try_from(boot_time.tv_nsec).unwrap_or_default();
        Self(Duration::new(seconds, nanos))
    }

    fn plus(self, lasts: Duration) -> Self {
        Self(self.0.saturating_add(lasts))
    }

    fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }
}

/// The lease has expired: another process may be acting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease has expired: another process may be acting for this state directory")]
pub struct LeaseLost;

/// The right to act. Shared by all parts of the process that act.
#[derive(Debug)]
pub struct Lease {
    /// When the lease ends; `None` if it does not end.
    until: watch::Sender<Option<BootInstant>>,
    lost: AtomicBool,
    now: fn() -> BootInstant,
}

impl Lease {
    /// A lease without an end, for an engine that has no successor while it lives.
    pub fn endless() -> Arc<Self> {
        Self::with_clock(None, BootInstant::now)
    }

    /// A lease that was requested at `requested` and granted for `lasts`.
    pub fn new(requested: BootInstant, lasts: Duration) -> Arc<Self> {
        Self::with_clock(Some(requested.plus(lasts)), BootInstant::now)
    }

    fn with_clock(until: Option<BootInstant>, now: fn() -> BootInstant) -> Arc<Self> {
        Arc::new(Self {
            until: watch::Sender::new(until),
            lost: AtomicBool::new(false),
            now,
        })
    }

    /// Extends the lease by a renewal that was requested at `requested` and granted for `lasts`.
    ///
    /// # Errors
    /// When the lease had expired by then: the grant is void, and the process has to end.
    pub fn renew(&self, requested: BootInstant, lasts: Duration) -> Result<(), LeaseLost> {
        self.check()?;
        // If the process is stopped here, the new end also passes: it counts from before the
        // request.
        let until = Some(requested.plus(lasts));
        self.until.send_if_modified(|held| {
            let later = held.is_some() && *held < until;
            if later {
                *held = until;
            }
            later
        });
        self.check()
    }

    /// Checks that the lease is valid now.
    ///
    /// # Errors
    /// When the lease has expired; after that always.
    pub fn check(&self) -> Result<(), LeaseLost> {
        match self.left() {
            None => Ok(()),
            Some(Duration::ZERO) => Err(LeaseLost),
            Some(_) => Ok(()),
        }
    }

    /// How long the lease still lasts; `None` if it has no end.
    pub fn left(&self) -> Option<Duration> {
        let until = (*self.until.borrow())?;
        if self.lost.load(Ordering::Acquire) {
            return Some(Duration::ZERO);
        }
        let remaining = (self.now)().until(until);
        if remaining.is_zero() {
            self.give_up();
        }
        Some(remaining)
    }

    /// Gives the lease up, so that a successor need not wait.
    pub fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
        self.until.send_modify(|_| {});
    }

    /// Waits until the lease ends; pending forever if it has no end. Cancel safe.
    pub async fn ended(&self) {
        let mut renewed = self.until.subscribe();
        loop {
            let Some(remaining) = self.left() else {
                return std::future::pending().await;
            };
            if remaining.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(remaining) => {}
                _ = renewed.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<u64> = const { Cell::new(1_000) };
    }

    fn at(seconds: u64) -> BootInstant {
        BootInstant(Duration::from_secs(seconds))
    }

    fn set(seconds: u64) {
        NOW.set(seconds);
    }

    fn lease(requested: u64, lasts: u64) -> Arc<Lease> {
        let until = at(requested).plus(Duration::from_secs(lasts));
        Lease::with_clock(Some(until), || at(NOW.get()))
    }

    #[test]
    fn a_lease_ends_when_it_is_not_renewed() {
        set(1_000);
        let lease = lease(1_000, 15);
        assert_eq!(lease.check(), Ok(()));
        set(1_010);
        lease.renew(at(1_010), Duration::from_secs(15)).unwrap();
        set(1_024);
        assert_eq!(lease.left(), Some(Duration::from_secs(1)));
        set(1_025);
        assert_eq!(lease.check(), Err(LeaseLost));
    }

    #[test]
    fn a_process_that_slept_past_its_lease_cannot_renew_it() {
        set(1_000);
        let lease = lease(1_000, 15);
        set(5_000);
        let woken = lease.renew(at(5_000), Duration::from_secs(15));
        assert_eq!(woken, Err(LeaseLost));
        set(1_001);
        assert_eq!(lease.check(), Err(LeaseLost), "once past it stays past");
    }

    #[test]
    fn a_renewal_whose_answer_came_too_late_counts_from_when_it_was_asked_for() {
        set(1_000);
        let lease = lease(1_000, 15);
        set(1_014);
        lease.renew(at(1_004), Duration::from_secs(15)).unwrap();
        assert_eq!(lease.left(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn an_older_renewal_takes_nothing_away() {
        set(1_000);
        let lease = lease(1_000, 15);
        lease.renew(at(990), Duration::from_secs(15)).unwrap();
        assert_eq!(lease.left(), Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_lease_without_an_end_is_always_held() {
        let lease = Lease::endless();
        assert_eq!(lease.check(), Ok(()));
        lease.give_up();
        assert_eq!(lease.check(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_end_learns_when_it_is_given_up() {
        set(1_000);
        let lease = lease(1_000, 15);
        let waits = lease.clone();
        let waiter = tokio::spawn(async move { waits.ended().await });
        tokio::task::yield_now().await;
        lease.give_up();
        tokio::time::timeout(Duration::from_secs(1), waiter)
            .await
            .unwrap()
            .unwrap();
    }
}
