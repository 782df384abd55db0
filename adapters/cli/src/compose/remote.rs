//! A journal in a database, as this process holds it: the right to it, who renews that, and its end.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{task::JoinHandle, time::Instant};
use vsiflow_postgres::{Held, PostgresJournal};

use crate::ending::exit_at_once;

/// A journal in a database, as it is held.
pub(super) struct Remote {
    pub(super) journal: Arc<PostgresJournal>,
    pub(super) held: Option<Arc<Held>>,
}

/// The right that this process took for one command, and who renews it. That of a daemon is not here.
static TAKEN: Mutex<Vec<(Arc<Held>, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Renews the right as long as this process lives, or lets it go.
pub(super) fn keep(held: Arc<Held>) {
    let renewed = held.clone();
    let keeper = tokio::spawn(async move {
        renewed.keep().await;
        exit_at_once();
    });
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    taken.push((held, keeper));
}

/// Lets the right go, however the command ended: who comes next need not take it for one that died.
pub(crate) async fn release_leases() {
    let taken = std::mem::take(&mut *TAKEN.lock().unwrap_or_else(PoisonError::into_inner));
    for (held, keeper) in taken {
        keeper.abort();
        held.release().await;
    }
}

impl Remote {
    /// Finishes what waits to be written.
    pub(super) async fn close(&self) {
        self.journal.close().await;
        release_leases().await;
    }

    /// When something may be done to a host: not before calls of a holder that died are over.
    pub(super) fn acts_from(&self) -> Option<Instant> {
        let quiet = self.held.as_ref().map(|held| held.quiet())?;
        (!quiet.is_zero()).then(|| Instant::now() + quiet)
    }
}
