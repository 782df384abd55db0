//! The lease of a journal in a database, its renewal, and its release.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    task::{AbortHandle, JoinError},
    time::Instant,
};
use vsiflow_engine::lease::LeaseLost;
use vsiflow_postgres::{Held, PostgresJournal};

use crate::ending::exit_at_once;

/// A journal in a database, with its lease if this process has it.
pub(super) struct Remote {
    pub(super) journal: Arc<PostgresJournal>,
    pub(super) held: Option<Arc<Held>>,
}

/// The leases that this process took for one command, and the tasks that renew them. A daemon's lease is not
/// here.
static TAKEN: Mutex<Vec<(Arc<Held>, AbortHandle)>> = Mutex::new(Vec::new());

/// Renews the lease until this process ends or releases it.
pub(super) fn keep(held: Arc<Held>) {
    let renewed = held.clone();
    let keeper = tokio::spawn(async move { renewed.keep().await });
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.push((held, keeper.abort_handle()));
    drop(taken);
    tokio::spawn(async move {
        if is_lost(&keeper.await) {
            exit_at_once();
        }
    });
}

/// Whether the end of a task that renews a lease is the end of the lease: it lost it or panicked. One that
/// was aborted is followed by a release.
fn is_lost(end: &Result<LeaseLost, JoinError>) -> bool {
    end.as_ref().err().is_none_or(JoinError::is_panic)
}

/// Releases the leases, however the command ended, so that the next process does not have to assume a crash.
pub(crate) async fn release_leases() {
    let taken = std::mem::take(&mut *TAKEN.lock().unwrap_or_else(PoisonError::into_inner));
    for (held, keeper) in taken {
        keeper.abort();
        held.release().await;
    }
}

impl Remote {
    /// Writes everything pending, and closes the journal.
    pub(super) async fn close(&self) {
        self.journal.close().await;
        release_leases().await;
    }

    /// The time from which hosts may be acted on: not before the calls of a holder that died are over.
    pub(super) fn acts_from(&self) -> Option<Instant> {
        let quiet = self.held.as_ref().map(|held| held.quiet())?;
        (!quiet.is_zero()).then(|| Instant::now() + quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_whose_renewal_panics_is_lost_and_one_that_is_released_is_not() {
        let lost = tokio::spawn(async { LeaseLost });
        assert!(is_lost(&lost.await));
        let panicked = tokio::spawn(async { panic!("the test asked for it") });
        assert!(is_lost(&panicked.await));
        let released = tokio::spawn(std::future::pending::<LeaseLost>());
        released.abort();
        assert!(!is_lost(&released.await));
    }
}
