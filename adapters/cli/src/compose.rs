//! Puts everything together: state directory, journal, engine, hosts and image sources.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast;
use vsiflow_engine::{
    Notice, checkpoint::SledCheckpoints, clock::SystemClock, executor::Tuning,
    journal::SledJournal, state_dir::StateDir,
};
use vsiflow_workflows::{
    fleet::{Fleet, FleetParts},
    hosts::HostDirectory,
};

use crate::{
    args::Common,
    exit::{Exit, Problem},
};

mod hosts;
mod images;

/// Everything a command works with. [`App::close`] ends it in order.
pub(crate) struct App {
    pub(crate) fleet: Fleet,
    journal: Arc<SledJournal>,
    checkpoints: Arc<SledCheckpoints>,
    notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    _state: StateDir,
}

impl App {
    /// Opens the state directory and the engine on it. Nothing is worked on yet.
    pub(crate) async fn open(common: &Common) -> Result<Self, Problem> {
        let path = state_path(common)?;
        let state = open_state(&path).await?;
        let journal = Arc::new(state.journal().await?);
        let checkpoints = Arc::new(state.checkpoints().await?);
        let secrets = Arc::new(state.secrets().await?);
        let directory = Arc::new(HostDirectory::default());
        let parts = FleetParts {
            journal: journal.clone(),
            blobs: Arc::new(state.blobs().await?),
            checkpoints: checkpoints.clone(),
            secrets,
            clock: Arc::new(SystemClock),
            journal_id: state.journal_id().into(),
            tuning: Tuning::default(),
            hosts: Arc::new(hosts::AllHosts::new(directory.clone(), path.join("sim"))),
            images: images::sources()?,
            directory,
        };
        let fleet = Fleet::open(parts).await?;
        let notices = Mutex::new(Some(fleet.notices()));
        Ok(Self {
            fleet,
            journal,
            checkpoints,
            notices,
            _state: state,
        })
    }

    /// The engine's notices since it was opened; they can be taken once.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Notice> {
        let mut kept = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().unwrap_or_else(|| self.fleet.notices())
    }

    /// Ends the engine and closes the journal. What is under way goes on at the next start.
    pub(crate) async fn close(&self) {
        self.fleet.close().await;
        self.journal.close().await;
        self.checkpoints.close().await;
    }
}

async fn open_state(path: &Path) -> Result<StateDir, Problem> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || StateDir::open(path)).await;
    let opened = opened.map_err(|error| {
        Problem::new(
            Exit::Failed,
            "VSI0001",
            error.to_string(),
            "please report this",
        )
    })?;
    Ok(opened?)
}

/// Where the state is: as said, else by XDG, or `/var/lib/vsiflow` for root.
fn state_path(common: &Common) -> Result<PathBuf, Problem> {
    if let Some(path) = &common.state {
        return Ok(path.clone());
    }
    if rustix::process::getuid().is_root() {
        return Ok(PathBuf::from("/var/lib/vsiflow"));
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("vsiflow")).ok_or_else(|| {
        let message = "neither --state nor $HOME says where the state is kept";
        Problem::new(
            Exit::Usage,
            "VSI0802",
            message,
            "name a folder with --state or $VSIFLOW_STATE",
        )
    })
}
