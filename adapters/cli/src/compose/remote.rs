//! The lease of a journal in a database, its renewal, and its release.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{task::JoinHandle, time::Instant};
use vsiflow_postgres::{Held, PostgresJournal};

use crate::ending::exit_at_once;

/// A journal in a database, with its lease if this process has it.
pub(super) struct Remote {
    pub(super) journal: Arc<PostgresJournal>,
    pub(super) held: Option<Arc<Held>>,
}

/// The leases that this process took for one command, and the tasks that renew them. A daemon's lease is not
/// here.
static TAKEN: Mutex<Vec<(Arc<Held>, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Renews the lease until this process ends or releases it.
pub(super) fn keep(held: Arc<Held>) {
    let renewed = held.clone();
    let keeper = tokio::spawn(async move {
        renewed.keep().await;
        exit_at_once();
    });
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.push((held, keeper));
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
