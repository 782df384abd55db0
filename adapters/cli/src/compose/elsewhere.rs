//! A journal that is kept in a database: the right to it, its stores, and the folder beside it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use vsiflow_engine::state_dir::{JournalElsewhere, StateDir, StateDirError};
use vsiflow_postgres::{
    Held, JournalAddress, JournalIdentity, PostgresBlobs, PostgresCheckpoints, PostgresError,
    PostgresJournal, PostgresSecrets, hold,
};

use super::{
    journal_key,
    open::{Kept, Stay, Stores},
};
use crate::{
    args::Common,
    command::give_way,
    daemon,
    exit::{Exit, ExitProblem},
    output,
};

/// A command waits for so long: the holder may have died, and its lease passes.
const PATIENCE: Duration = hold::LASTS.saturating_add(Duration::from_secs(2));
/// A right that is held is asked for again that soon.
const AGAIN: Duration = Duration::from_millis(200);

/// A journal in a database, as it is held.
pub(super) struct Remote {
    journal: Arc<PostgresJournal>,
    held: Option<Arc<Held>>,
}

/// The right that this process took for one command, and who renews it. That of a daemon is not here.
static TAKEN: Mutex<Vec<(Arc<Held>, JoinHandle<()>)>> = Mutex::new(Vec::new());

/// Lets the right go, however the command ended: who comes next need not take it for one that died.
pub(crate) async fn let_go() {
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
        let_go().await;
    }

    /// When something may be done to a host: not before calls of a holder that died are over.
    pub(super) fn acts_from(&self) -> Option<Instant> {
        let quiet = self.held.as_ref().map(|held| held.quiet())?;
        (!quiet.is_zero()).then(|| Instant::now() + quiet)
    }
}

/// Opens the journal and the folder beside it. `held` is the right of a daemon, which renews it.
pub(super) async fn open(
    address: &JournalAddress,
    path: &Path,
    stay: Stay,
    held: Option<Arc<Held>>,
) -> Result<(StateDir, Stores), ExitProblem> {
    let sealer = journal_key::sealer().await?;
    let looks = stay == Stay::Look;
    let (held, renews) = match held {
        None if !looks => (Some(take(address, path).await?), true),
        held => (held, false),
    };
    if let Some(held) = held.clone().filter(|_| renews) {
        let renewed = held.clone();
        let keeper = tokio::spawn(async move {
            renewed.keep().await;
            give_way();
        });
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push((held, keeper));
    }
    let journal = match &held {
        Some(held) => PostgresJournal::open(held.clone()).await,
        None => to_look(address).await,
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
        kept: Kept::Elsewhere(Remote { journal, held }),
    };
    Ok((state, stores))
}

/// Opens a journal to look; one that is not there yet is made, as a state directory is.
async fn to_look(address: &JournalAddress) -> Result<PostgresJournal, PostgresError> {
    match PostgresJournal::open_to_read(address).await {
        Err(PostgresError::Missing { half: false, .. }) => {
            Held::take(address, hold::LASTS).await?.release().await;
            PostgresJournal::open_to_read(address).await
        }
        opened => opened,
    }
}

/// Takes the right; one whose holder may have died is waited for. A daemon in the folder is the
/// holder, or waits to be: the command is for it.
async fn take(address: &JournalAddress, path: &Path) -> Result<Arc<Held>, ExitProblem> {
    let until = Instant::now() + PATIENCE;
    let mut told = false;
    loop {
        match Held::take(address, hold::LASTS).await {
            Err(PostgresError::InUse { .. }) if daemon::is_answering(path) => {
                let path = path.to_owned();
                return Err(StateDirError::InUse { path, holder: None }.into());
            }
            Err(error @ PostgresError::InUse { .. }) if Instant::now() < until => {
                if !std::mem::replace(&mut told, true) {
                    output::note(&format!("waiting, since {error}"));
                }
            }
            taken => return taken.map_err(problem),
        }
        tokio::time::sleep(AGAIN).await;
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
            StateDir::look_beside(path, &journal)
        } else {
            StateDir::beside(path, &journal)
        }
    });
    Ok(opened.await.map_err(ExitProblem::defect)??)
}

/// What is wrong with a journal in a database.
pub(crate) fn problem(error: PostgresError) -> ExitProblem {
    let exit = match &error {
        PostgresError::Address(_) | PostgresError::Key(_) => Exit::Usage,
        PostgresError::Missing { .. } => Exit::NotFound,
        _ => Exit::Failed,
    };
    ExitProblem::new(exit, error.code(), error.to_string(), error.remedy())
}

/// Refuses what concerns the files of a state directory.
pub(crate) fn of_files(common: &Common, what: &str) -> Result<(), ExitProblem> {
    let Some(address) = common.journal()? else {
        return Ok(());
    };
    let message = format!("`{what}` works on files of a state directory; the journal is {address}");
    let remedy = "use the database's own means (backup, vacuum), or leave --journal out";
    Err(ExitProblem::new(Exit::Usage, "VSI0837", message, remedy))
}
