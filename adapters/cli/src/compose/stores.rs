//! What a command works with of a state directory: its journal, checkpoints, blobs and secrets, and where they are.

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

/// What a command opens the state directory for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenFor {
    /// It looks, and is gone: nothing is written.
    Look,
    /// It records something, and is gone.
    Record,
    /// Until its own work is done.
    Work,
    /// Until it is told to end.
    Serve,
}

/// What a state directory says of itself.
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

/// What is kept, in a state directory or elsewhere.
pub(super) struct Stores {
    pub(super) journal: Arc<dyn ChainedJournal>,
    /// None where nothing is worked on.
    pub(super) checkpoints: Option<Arc<dyn Checkpoints>>,
    pub(super) blobs: Arc<dyn Blobs>,
    /// Those that are stored; others may be held elsewhere.
    pub(super) secrets: Arc<dyn Secrets>,
    pub(super) backend: JournalBackend,
}

/// Where the journal is, and how it is closed.
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

    /// What waits for room from now on fails.
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

    /// Finishes what waits to be written, and lets go.
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
    /// The files of a state directory.
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

/// Runs a command that only reads past everything that is damaged in the journal.
pub(crate) async fn past_damage<T>(work: impl Future<Output = T>) -> T {
    PAST_DAMAGE.scope((), work).await
}

fn tolerates_damage() -> bool {
    PAST_DAMAGE.try_with(|()| ()).is_ok()
}
