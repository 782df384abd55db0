//! Opens the state directory, and the engine on it, for a command.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use vsiflow_engine::{
    checkpoint::MemoryCheckpoints,
    clock::SystemClock,
    executor::Tuning,
    journal::{Damage, DiskJournal},
    lease::Lease,
    secret::{DirSecrets, HeldSecrets, SecretError},
    state_dir::StateDir,
};
use vsiflow_kube::id_key::{self, IdKeyError};
use vsiflow_postgres::Held;
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig},
    hosts::HostDirectory,
};

use super::{
    App, AppInner, SharedWork,
    bounds::{IdKeyPlace, ReadBounds},
    bundles::AppliedBundles,
    console_marks, database,
    host_fence::HostFence,
    hosts, images, retention,
    state_lock::{lock_to_read, open_state, state_path},
    stores::{JournalBackend, OpenFor, Origin, Stores},
};
use crate::{
    args::Common,
    exit::{Exit, ExitProblem},
    membership::Membership,
    metrics::{Metrics, Timed},
    output::{self, folding::Folding},
};

/// The leases that a daemon has won before it opens anything.
#[derive(Clone, Default)]
pub(crate) struct Right {
    /// The lease to act: that of a cluster, or of this process's own clock.
    pub(crate) lease: Option<Arc<Lease>>,
    /// The lease of a journal in a database.
    pub(crate) held: Option<Arc<Held>>,
}

/// How many events must be older than the retention before a working command archives them.
const MANY: u64 = 10_000;

impl App {
    /// Opens the state directory and the engine for reading: nothing is written. A caller's command
    /// uses what this process has open.
    pub(crate) async fn open(common: &Common) -> Result<Self, ExitProblem> {
        Self::held_or_own(common, OpenFor::Look).await
    }

    /// Opens them to record something, without executing work.
    pub(crate) async fn open_to_record(common: &Common) -> Result<Self, ExitProblem> {
        Self::held_or_own(common, OpenFor::Record).await
    }

    /// As [`App::open`], for a command that may run for a while: old events are archived first.
    pub(crate) async fn open_to_work(common: &Common) -> Result<Self, ExitProblem> {
        Self::held_or_own(common, OpenFor::Work).await
    }

    /// As [`App::open`], for a journal other than the one that this process may have open.
    pub(crate) async fn open_to_read_at(common: &Common) -> Result<Self, ExitProblem> {
        let (right, bounds) = (Right::default(), ReadBounds::default());
        let looking = Self::open_own(common, OpenFor::Look, right, Metrics::new(), bounds);
        Box::pin(looking).await
    }

    async fn held_or_own(common: &Common, open_for: OpenFor) -> Result<Self, ExitProblem> {
        match Self::held() {
            Some(app) => Ok(app),
            None => {
                Box::pin(Self::open_own(
                    common,
                    open_for,
                    Right::default(),
                    Metrics::new(),
                    ReadBounds::default(),
                ))
                .await
            }
        }
    }

    /// As [`App::open_to_work`], for a daemon; in lease mode if it has a lease. If secrets are
    /// stored elsewhere, none is stored here, and stored ones are erased.
    pub(crate) async fn open_to_serve(
        common: &Common,
        right: Right,
        metrics: Arc<Metrics>,
        bounds: ReadBounds,
    ) -> Result<Self, ExitProblem> {
        let open_for = OpenFor::Serve;
        Box::pin(Self::open_own(common, open_for, right, metrics, bounds)).await
    }

    async fn open_own(
        common: &Common,
        open_for: OpenFor,
        right: Right,
        metrics: Arc<Metrics>,
        bounds: ReadBounds,
    ) -> Result<Self, ExitProblem> {
        let path = state_path(common)?;
        let (state, stores) = match common.journal()? {
            Some(address) => Box::pin(database::open(address, &path, open_for, right.held)).await?,
            None => {
                let mut state = match open_for {
                    OpenFor::Look => lock_to_read(common, &path).await?,
                    _ => open_state(common, &path).await?,
                };
                if let Some(lease) = right.lease {
                    state.hold_by(lease);
                }
                let stores = Stores::of(&state, open_for).await?;
                (state, stores)
            }
        };
        let on = Self::on(state, stores, open_for, &metrics, &bounds, common);
        let app = Box::pin(on).await?;
        if open_for != OpenFor::Look {
            console_marks::record_lost(&app).await;
        }
        if matches!(open_for, OpenFor::Work | OpenFor::Serve) {
            retention::archive_if_due(&app, common, MANY).await;
        }
        Ok(app)
    }

    /// Opens the engine on a state directory that this process holds.
    pub(super) async fn on(
        state: StateDir,
        stores: Stores,
        open_for: OpenFor,
        metrics: &Metrics,
        bounds: &ReadBounds,
        common: &Common,
    ) -> Result<Self, ExitProblem> {
        let folding = Folding::of(&state, &*stores.journal, common.quiet).await?;
        let shard = common.shard.clone();
        let open = (&state, &stores);
        let parts = parts(open, metrics, bounds, folding.clone(), shard.clone()).await?;
        let fleet = match open_for {
            OpenFor::Look => Fleet::open_to_read(parts).await?,
            _ if state.observes_only() => Fleet::observe(parts).await?,
            _ => Fleet::open(parts).await?,
        };
        if shard.is_some() {
            fleet.be_of_set();
        }
        if let Some(folding) = folding {
            folding.end();
            state.describe_holder_work(None);
        }
        if let (OpenFor::Look, Some(files)) = (open_for, stores.backend.files()) {
            report_damage(files).await?;
        }
        if let Some(seen) = fleet.short_of_room() {
            output::room(seen);
        }
        let inner = AppInner {
            stores,
            origin: Origin::of(&state),
            notices: Mutex::new(Some(fleet.notices())),
            path: state.path().to_owned(),
            state: Mutex::new(Some(state)),
            stays: open_for == OpenFor::Serve,
            shard,
            view: OnceLock::new(),
            verification: SharedWork::default(),
            moments: Arc::default(),
        };
        Ok(Self {
            fleet,
            inner: Arc::new(inner),
            borrowed: false,
        })
    }
}

/// Warns about damaged ranges, which a reading command does not show.
async fn report_damage(journal: &DiskJournal) -> Result<(), ExitProblem> {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    let damage = journal.damage().await.map_err(|error| {
        let remedy = "see that the disk can be read";
        ExitProblem::new(Exit::Failed, "VSI0006", error.to_string(), remedy)
    })?;
    // Warned once: a command that follows something opens the journal repeatedly.
    if damage.is_empty() || REPORTED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    for Damage {
        from,
        to,
        file,
        why,
    } in damage
    {
        let last = to.saturating_sub(1).max(from);
        output::warning(&format!(
            "{file}: offsets {from} to {last} are missing: {why}"
        ));
    }
    output::note(
        "`vsiflow journal repair` says what can be had of them; nothing is recorded before",
    );
    Ok(())
}

async fn parts(
    (state, stores): (&StateDir, &Stores),
    metrics: &Metrics,
    bounds: &ReadBounds,
    folding: Option<Arc<Folding>>,
    shard: Option<Membership>,
) -> Result<FleetConfig, ExitProblem> {
    let directory = Arc::new(HostDirectory::default());
    // Simulated hosts are shared by the whole set.
    let sim = match &shard {
        Some(shard) => shard.place().join("sim"),
        None => state.path().join("sim"),
    };
    let acts_from = match &stores.backend {
        JournalBackend::Database(remote) => remote.acts_from(),
        JournalBackend::Files { .. } => None,
    };
    if let Some(from) = acts_from {
        let left = from.saturating_duration_since(tokio::time::Instant::now());
        output::note(&format!(
            "the process that had the journal before died: hosts are left alone for {} s",
            left.as_secs()
        ));
    }
    let lease = state.lease();
    let fence = shard.and_then(|shard| HostFence::of(&shard));
    let hosts = hosts::AllHosts::new(
        directory.clone(),
        sim,
        lease,
        acts_from,
        bounds.clone(),
        fence,
    );
    Ok(FleetConfig {
        journal: Arc::new(Timed {
            inner: stores.journal.clone(),
            seconds: metrics.append_seconds.clone(),
            folding,
        }),
        blobs: stores.blobs.clone(),
        checkpoints: match &stores.checkpoints {
            Some(checkpoints) => checkpoints.clone(),
            None => Arc::new(MemoryCheckpoints::new()),
        },
        secrets: if bounds.elsewhere {
            // Only the key of their IDs is a file here; replicas agree on one in the cluster.
            let key = state.secrets().await?;
            Arc::new(held_instead_of(&key, state.journal_id(), bounds).await?)
        } else {
            stores.secrets.clone()
        },
        clock: Arc::new(SystemClock),
        journal_id: state.journal_id().into(),
        tuning: Tuning::default(),
        room: state.room(),
        lease: state.lease(),
        hosts: Arc::new(hosts),
        images: images::sources(
            directory.clone(),
            bounds.clone(),
            Some(AppliedBundles::of(state.path())),
        )?,
        directory,
    })
}

async fn held_instead_of(
    stored: &DirSecrets,
    journal_id: &str,
    bounds: &ReadBounds,
) -> Result<HeldSecrets, ExitProblem> {
    let unusable = |error: SecretError| {
        let remedy = "see that the state directory has room and can be written and read";
        ExitProblem::new(Exit::Failed, "VSI0006", error.to_string(), remedy)
    };
    if let Some(place) = &bounds.id_key {
        let own = HeldSecrets::key_of(stored).await.map_err(unusable)?;
        let at = (place.namespace.as_str(), place.name.as_str());
        match id_key::agree(&place.client, at, &own).await {
            Ok(key) => {
                let held = HeldSecrets::with_key(stored, journal_id, &key).await;
                return held.map_err(|error| no_key(place, &error.to_string()));
            }
            Err(IdKeyError::NotThere(why)) => output::warning(&format!(
                "the key of the IDs of secrets remains in the state directory: {why}"
            )),
            Err(IdKeyError::Unknown(why)) => return Err(no_key(place, &why)),
        }
    }
    let held = HeldSecrets::instead_of(stored, journal_id).await;
    held.map_err(unusable)
}

fn no_key(place: &IdKeyPlace, why: &str) -> ExitProblem {
    let message = format!("the key of the IDs of secrets is not known: {place:?}: {why}");
    let remedy = "no action is needed if the API server was away: the process starts again; else \
                  empty that Secret's field `key`, and a new key is made";
    ExitProblem::new(Exit::Failed, "VSI1004", message, remedy)
}
