//! Opens a journal in a database: takes its lease, and opens its stores and its state directory.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use vsiflow_engine::state_dir::{JournalElsewhere, StateDir, StateDirError};
use vsiflow_postgres::{
    Held, JournalAddress, JournalIdentity, PostgresBlobs, PostgresCheckpoints, PostgresError,
    PostgresJournal, PostgresSecrets, hold,
};

pub(crate) use super::remote::release_leases;
use super::{
    journal_key,
    remote::{self, Remote},
    stores::{JournalBackend, OpenFor, Stores},
};
pub(crate) use crate::exit::database_problem as problem;
use crate::{
    args::Common,
    daemon::socket::is_answering,
    exit::{Exit, ExitProblem},
    output,
};

/// How long a command waits: the holder may have died, and its lease then expires.
const TIMEOUT: Duration = hold::LEASE_DURATION.saturating_add(Duration::from_secs(2));
/// The delay before a lease that is held is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Opens the journal and its state directory. `held` is the lease of a daemon, which renews it.
pub(super) async fn open(
    address: &JournalAddress,
    path: &Path,
    open_for: OpenFor,
    held: Option<Arc<Held>>,
) -> Result<(StateDir, Stores), ExitProblem> {
    let sealer = journal_key::sealer().await?;
    let looks = open_for == OpenFor::Look;
    let (held, renews) = match held {
        None if !looks => (Some(take(address, path).await?), true),
        held => (held, false),
    };
    if let Some(held) = held.clone().filter(|_| renews) {
        remote::keep(held);
    }
    let journal = match &held {
        Some(held) => PostgresJournal::open(held.clone()).await,
        None => open_to_read(address).await,
    };
    let journal = Arc::new(journal.map_err(problem)?);
    let mut state = beside(path, journal.identity(), looks).await?;
    if let Some(held) = &held {
        state.hold_by(held.lease());
    }
    let stores = Stores {
        journal: journal.clone(),
        checkpoints: if looks {
            None
        } else {
            Some(Arc::new(PostgresCheckpoints::of(&journal)))
        },
        blobs: Arc::new(PostgresBlobs::of(&journal)),
        secrets: Arc::new(PostgresSecrets::of(&journal, sealer)),
        backend: JournalBackend::Database(Remote { journal, held }),
    };
    Ok((state, stores))
}

/// Opens a journal for reading; a missing one is made, like a state directory.
async fn open_to_read(address: &JournalAddress) -> Result<PostgresJournal, PostgresError> {
    match PostgresJournal::open_to_read(address).await {
        Err(PostgresError::Missing { half: false, .. }) => {
            Held::take(address, hold::LEASE_DURATION)
                .await?
                .release()
                .await;
            PostgresJournal::open_to_read(address).await
        }
        opened => opened,
    }
}

/// Takes the lease; waits for one whose holder may have died. If a daemon answers in the state
/// directory, it has the lease or waits for it, so the command is sent to it.
async fn take(address: &JournalAddress, path: &Path) -> Result<Arc<Held>, ExitProblem> {
    let until = Instant::now() + TIMEOUT;
    let mut reported = false;
    loop {
        match Held::take(address, hold::LEASE_DURATION).await {
            Err(PostgresError::InUse { .. }) if is_answering(path) => {
                let path = path.to_owned();
                return Err(StateDirError::InUse { path, holder: None }.into());
            }
            Err(error @ PostgresError::InUse { .. }) if Instant::now() < until => {
                if !std::mem::replace(&mut reported, true) {
                    output::note(&format!("waiting, since {error}"));
                }
            }
            taken => return taken.map_err(problem),
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn beside(
    path: &Path,
    identity: &JournalIdentity,
    looks: bool,
) -> Result<StateDir, ExitProblem> {
    let path: PathBuf = path.to_owned();
    let journal = JournalElsewhere {
        journal_id: identity.journal_id.clone(),
        incarnation: identity.incarnation,
        observe_only: identity.observe_only,
    };
    let opened = tokio::task::spawn_blocking(move || {
        if looks {
            StateDir::open_beside_to_read(path, &journal)
        } else {
            StateDir::beside(path, &journal)
        }
    });
    Ok(opened.await.map_err(ExitProblem::defect)??)
}

/// Refuses a command that works on the files of a state directory.
pub(crate) fn of_files(common: &Common, what: &str) -> Result<(), ExitProblem> {
    let Some(address) = common.journal()? else {
        return Ok(());
    };
    let message = format!("`{what}` works on files of a state directory; the journal is {address}");
    let remedy = "use the database's own means (backup, vacuum), or leave --journal out";
    Err(ExitProblem::new(Exit::Usage, "VSI0837", message, remedy))
}
