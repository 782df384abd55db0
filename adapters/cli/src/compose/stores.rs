//! The stores of a command: its journal, checkpoints, blobs and secrets, in a state directory or a database.

use std::sync::Arc;

use vsiflow_engine::{
    blob::Blobs,
    checkpoint::{Checkpoints, FileCheckpoints},
    journal::{ChainedJournal, DiskJournal},
    secret::Secrets,
    state_dir::StateDir,
};

use super::remote::Remote;
use crate::exit::ExitProblem;

/// The purpose for which a command opens the state directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenFor {
    /// Reads once: nothing is written.
    Look,
    /// Records something once.
    Record,
    /// Works until its own work is done.
    Work,
    /// Works until it is stopped.
    Serve,
}

/// The identity of a state directory.
pub(super) struct Origin {
    pub(super) journal_id: String,
    pub(super) incarnation: u32,
}

impl Origin {
    pub(super) fn of(state: &StateDir) -> Self {
        Self {
            journal_id: state.journal_id().to_owned(),
            incarnation: state.incarnation(),
        }
    }
}

/// The stores, in a state directory or elsewhere.
pub(super) struct Stores {
    pub(super) journal: Arc<dyn ChainedJournal>,
    /// `None` if no work is executed.
    pub(super) checkpoints: Option<Arc<dyn Checkpoints>>,
    pub(super) blobs: Arc<dyn Blobs>,
    /// The stored secrets; others may be held elsewhere.
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) backend: JournalBackend,
}

/// Where the journal is stored, and how it is closed.
pub(super) enum JournalBackend {
    Files {
        journal: Arc<DiskJournal>,
        checkpoints: Option<Arc<FileCheckpoints>>,
    },
    Database(Remote),
}

impl JournalBackend {
    /// The journal's files, if it has some.
    pub(super) fn files(&self) -> Option<&DiskJournal> {
        match self {
            Self::Files { journal, .. } => Some(journal),
            Self::Database(_) => None,
        }
    }

    /// Makes everything fail that waits for disk space, now and later.
    pub(super) fn wait_no_more(&self) {
        if let Self::Files {
            journal,
            checkpoints,
        } = self
        {
            journal.wait_no_more();
            if let Some(checkpoints) = checkpoints {
                checkpoints.wait_no_more();
            }
        }
    }

    /// Writes everything pending, and closes the journal.
    pub(super) async fn close(&self) {
        match self {
            Self::Files {
                journal,
                checkpoints,
            } => {
                journal.close().await;
                if let Some(checkpoints) = checkpoints {
                    checkpoints.close().await;
                }
            }
            Self::Database(remote) => remote.close().await,
        }
    }
}

impl Stores {
    /// Opens the files of a state directory.
    pub(super) async fn of(state: &StateDir, open_for: OpenFor) -> Result<Self, ExitProblem> {
        let looks = open_for == OpenFor::Look;
        let journal = match (looks, tolerates_damage()) {
            (false, _) => state.journal().await?,
            (true, false) => state.read_journal().await?,
            (true, true) => state.inspect().await?,
        };
        let checkpoints = if looks {
            None
        } else {
            Some(Arc::new(state.checkpoints().await?))
        };
        let journal = Arc::new(journal);
        Ok(Self {
            journal: journal.clone(),
            checkpoints: match &checkpoints {
                Some(checkpoints) => Some(checkpoints.clone()),
                None => None,
            },
            blobs: Arc::new(state.blobs().await?),
            secrets: Arc::new(state.secrets().await?),
            backend: JournalBackend::Files {
                journal,
                checkpoints,
            },
        })
    }
}

tokio::task_local! {
    static PAST_DAMAGE: ();
}

/// Runs a reading command that continues past damage in the journal.
pub(crate) async fn past_damage<T>(work: impl Future<Output = T>) -> T {
    PAST_DAMAGE.scope((), work).await
}

fn tolerates_damage() -> bool {
    PAST_DAMAGE.try_with(|()| ()).is_ok()
}
