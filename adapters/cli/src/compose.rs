//! Puts everything together: state directory, journal, engine, hosts and image sources.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast, time::Instant};
use vsiflow_engine::{
    Notice,
    audit::Audit,
    backup::Backup,
    blob::DirBlobs,
    checkpoint::SledCheckpoints,
    clock::SystemClock,
    executor::Tuning,
    journal::SledJournal,
    lease::Lease,
    secret::{DirSecrets, HeldSecrets},
    state_dir::{StateDir, StateDirError},
};
use vsiflow_workflows::{
    fleet::{Fleet, FleetParts},
    hosts::HostDirectory,
};

use crate::{
    args::Common,
    command, daemon,
    exit::{Exit, Problem},
    metrics::{Metrics, Timed},
    output,
};

mod hosts;
mod images;

/// Everything a command works with; clones share it. [`App::close`] ends it in order.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) fleet: Fleet,
    inner: Arc<Inner>,
    /// It belongs to the command that opened the state directory, not to this one.
    borrowed: bool,
}

struct Inner {
    journal: Arc<SledJournal>,
    blobs: Arc<DirBlobs>,
    /// Those that are stored.
    secrets: Arc<DirSecrets>,
    /// Where secrets are instead.
    elsewhere: bool,
    origin: Origin,
    checkpoints: Arc<SledCheckpoints>,
    notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    state: Mutex<Option<StateDir>>,
    path: PathBuf,
    stays: bool,
    metrics: Arc<Metrics>,
    /// What is seen of the cluster that is served.
    view: OnceLock<vsiflow_kube::View>,
}

/// How long a command has the state directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// It looks, and is gone.
    Look,
    /// Until its own work is done.
    Work,
    /// Until it is told to end.
    Serve,
}

/// What a state directory says of itself.
struct Origin {
    journal_id: String,
    archives: PathBuf,
    incarnation: u32,
}

impl Origin {
    fn of(state: &StateDir) -> Self {
        Self {
            journal_id: state.journal_id().to_owned(),
            archives: state.archives(),
            incarnation: state.incarnation(),
        }
    }
}

tokio::task_local! {
    static HELD: App;
}

impl App {
    /// Runs a caller's command with what this process holds open.
    pub(crate) async fn lend<T>(self, work: impl Future<Output = T>) -> T {
        HELD.scope(self, work).await
    }

    /// Opens the state directory and the engine on it; nothing is worked on yet. A caller's
    /// command works with what the holder of the directory has open.
    pub(crate) async fn open(common: &Common) -> Result<Self, Problem> {
        match HELD.try_with(Self::clone) {
            Ok(app) => Ok(app),
            Err(_) => {
                Box::pin(Self::open_own(
                    common,
                    Stay::Look,
                    None,
                    Metrics::new(),
                    false,
                ))
                .await
            }
        }
    }

    /// As [`App::open`], for a command that may stay a while: what is old is archived first.
    pub(crate) async fn open_to_work(common: &Common) -> Result<Self, Problem> {
        match HELD.try_with(Self::clone) {
            Ok(app) => Ok(app),
            Err(_) => {
                Box::pin(Self::open_own(
                    common,
                    Stay::Work,
                    None,
                    Metrics::new(),
                    false,
                ))
                .await
            }
        }
    }

    /// As [`App::open_to_work`], for a daemon; with a lease, in lease mode. Where secrets are kept
    /// elsewhere, none is stored, and what was stored is erased.
    pub(crate) async fn open_to_serve(
        common: &Common,
        lease: Option<Arc<Lease>>,
        metrics: Arc<Metrics>,
        elsewhere: bool,
    ) -> Result<Self, Problem> {
        let stay = Stay::Serve;
        Box::pin(Self::open_own(common, stay, lease, metrics, elsewhere)).await
    }

    async fn open_own(
        common: &Common,
        stay: Stay,
        lease: Option<Arc<Lease>>,
        metrics: Arc<Metrics>,
        elsewhere: bool,
    ) -> Result<Self, Problem> {
        let path = state_path(common)?;
        let mut state = open_state(common, &path).await?;
        if let Some(lease) = lease {
            state.hold_by(lease);
        }
        if stay != Stay::Look {
            command::compact::if_due(common, &state).await?;
        }
        Box::pin(Self::on(state, stay, metrics, elsewhere)).await
    }

    /// Opens the engine on a state directory that this process holds.
    async fn on(
        state: StateDir,
        stay: Stay,
        metrics: Arc<Metrics>,
        elsewhere: bool,
    ) -> Result<Self, Problem> {
        let path = state.path().to_owned();
        let journal = Arc::new(state.journal().await?);
        let checkpoints = Arc::new(state.checkpoints().await?);
        let blobs = Arc::new(state.blobs().await?);
        let secrets = Arc::new(state.secrets().await?);
        let origin = Origin::of(&state);
        let directory = Arc::new(HostDirectory::default());
        let parts = FleetParts {
            journal: Arc::new(Timed {
                inner: journal.clone(),
                seconds: metrics.append_seconds.clone(),
            }),
            blobs: blobs.clone(),
            checkpoints: checkpoints.clone(),
            secrets: match elsewhere {
                true => Arc::new(held_instead_of(&secrets, state.journal_id()).await?),
                false => secrets.clone(),
            },
            clock: Arc::new(SystemClock),
            journal_id: state.journal_id().into(),
            tuning: Tuning::default(),
            room: state.room(),
            lease: state.lease(),
            hosts: Arc::new(hosts::AllHosts::new(
                directory.clone(),
                path.join("sim"),
                state.lease(),
            )),
            images: images::sources(directory.clone())?,
            directory,
        };
        let fleet = match state.observes_only() {
            true => Fleet::observe(parts).await?,
            false => Fleet::open(parts).await?,
        };
        if let Some(seen) = fleet.short_of_room() {
            output::room(seen);
        }
        let notices = Mutex::new(Some(fleet.notices()));
        let state = Mutex::new(Some(state));
        let inner = Arc::new(Inner {
            journal,
            blobs,
            secrets,
            elsewhere,
            origin,
            checkpoints,
            notices,
            state,
            path,
            stays: stay == Stay::Serve,
            metrics,
            view: OnceLock::new(),
        });
        Ok(Self {
            fleet,
            inner,
            borrowed: false,
        })
    }

    /// The engine's notices since it was opened; they can be taken once.
    pub(crate) fn notices(&self) -> broadcast::Receiver<Notice> {
        if self.borrowed {
            return self.fleet.notices();
        }
        let mut kept = self
            .inner
            .notices
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.take().unwrap_or_else(|| self.fleet.notices())
    }

    /// What the holder of the state directory has open, for a caller's command.
    pub(crate) fn held() -> Option<Self> {
        HELD.try_with(Self::clone).ok()
    }

    /// A cluster is served: this is what is seen of it.
    pub(crate) fn see(&self, view: vsiflow_kube::View) {
        let _ = self.inner.view.set(view);
    }

    /// What is seen of the cluster that is served, if one is.
    pub(crate) fn view(&self) -> Option<&vsiflow_kube::View> {
        self.inner.view.get()
    }

    /// The journal, to be proved and exported.
    pub(crate) fn audit(&self) -> Audit<'_> {
        Audit {
            journal: &*self.inner.journal,
            blobs: &*self.inner.blobs,
            journal_id: &self.inner.origin.journal_id,
            archives: Some(&self.inner.origin.archives),
        }
    }

    /// What a backup is made of.
    pub(crate) fn backup(&self) -> Backup<'_> {
        Backup {
            audit: self.audit(),
            secrets: &*self.inner.secrets,
            incarnation: self.inner.origin.incarnation,
        }
    }

    /// Where the state is.
    pub(crate) fn state_path(&self) -> &Path {
        &self.inner.path
    }

    /// The same for a caller's command, which must not close it.
    pub(crate) fn for_others(&self) -> Self {
        Self {
            borrowed: true,
            ..self.clone()
        }
    }

    /// Whether the holder of the state directory is a daemon.
    pub(crate) fn stays(&self) -> bool {
        self.inner.stays
    }

    /// Whether this is a caller's command.
    pub(crate) fn is_borrowed(&self) -> bool {
        self.borrowed
    }

    /// Ends the engine, closes the journal and lets go of the state directory. What is under way
    /// goes on at the next start.
    pub(crate) async fn close(&self) {
        if !self.borrowed {
            drop(self.close_all().await);
        }
    }

    /// Closes everything but the state directory, which this process goes on to hold.
    async fn close_all(&self) -> Option<StateDir> {
        self.fleet.close().await;
        self.inner.journal.close().await;
        self.inner.checkpoints.close().await;
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether so many events are old enough to be archived.
    pub(crate) async fn is_compaction_due(&self, common: &Common, least: u64) -> bool {
        command::compact::is_due(common, &*self.inner.journal, least).await
    }

    /// A daemon's journal is closed, what is old of it archived, and opened again, while nobody
    /// else can take the state directory.
    pub(crate) async fn compacted(self, common: &Common, least: u64) -> Result<Self, Problem> {
        let Some(state) = self.close_all().await else {
            return Ok(self);
        };
        command::compact::now(common, &state, least).await;
        let (metrics, elsewhere) = (self.inner.metrics.clone(), self.inner.elsewhere);
        Box::pin(Self::on(state, Stay::Serve, metrics, elsewhere)).await
    }
}

async fn held_instead_of(stored: &DirSecrets, journal_id: &str) -> Result<HeldSecrets, Problem> {
    let held = HeldSecrets::instead_of(stored, journal_id).await;
    held.map_err(|error| {
        let remedy = "see that the state directory has room and can be written and read";
        Problem::new(Exit::Failed, "VSI0006", error.to_string(), remedy)
    })
}

/// Opens the state directory. One that is held by a command that only reads is free again in a
/// moment; a holder that stays says so by its socket.
pub(crate) async fn open_state(common: &Common, path: &Path) -> Result<StateDir, Problem> {
    let until = Instant::now() + PATIENCE;
    let open: fn(PathBuf) -> Result<StateDir, StateDirError> =
        match common.allow_network_file_system {
            true => StateDir::open_anywhere,
            false => StateDir::open,
        };
    loop {
        let at = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open(at)).await;
        let opened = opened.map_err(|error| {
            Problem::new(
                Exit::Failed,
                "VSI0001",
                error.to_string(),
                "please report this",
            )
        })?;
        match opened {
            Err(StateDirError::InUse { .. })
                if Instant::now() < until && !daemon::is_answering(path) =>
            {
                tokio::time::sleep(AGAIN).await;
            }
            opened => return Ok(opened?),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(25);

/// Where the state is: as said, else by XDG, or `/var/lib/vsiflow` for root.
pub(crate) fn state_path(common: &Common) -> Result<PathBuf, Problem> {
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
