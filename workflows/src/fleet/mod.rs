//! The fleet: the single API over desired state, runs and their results.
//!
//! The command line, the Kubernetes operator and the daemon call nothing else. Desired state goes in by
//! [`Fleet::apply`], [`Fleet::retry`] and [`Fleet::cancel`]. Results come out by [`Fleet::history`] and
//! [`Fleet::decided`]. Methods for one kind of object are on the handle of that kind:
//! `fleet.disks().delete(..)`.
//!
//! The fleet never acts on a host itself, except to read a console. It writes the journal only through the
//! engine.

mod apply;
mod catalogue;
mod concurrent;
mod disk;
mod error;
mod group;
mod handle;
mod history;
mod host;
mod image;
mod index;
mod inquiries;
mod known;
mod merged;
mod named;
mod network;
mod object;
mod overview;
mod past;
mod placement;
mod pool;
mod queries;
mod quota;
mod server_types;
mod snapshot;
mod store;
mod tokens;
mod unreadable;
mod verdict;
mod vsi;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

pub use apply::prune::LeftOut;
pub use apply::{Applied, Change, RetainedTemplates};
pub use disk::export::DiskToExport;
pub use disk::object::{DiskObject, DiskStatus};
pub use error::{FleetError, FleetErrorKind as ErrorKind};
pub use group::over_journals::{
    GuestAnswer, GuestGate, GuestQuestion, GuestQuestions, GuestReports,
};
pub use group::{
    FoundOutput, GroupItem, GroupMember, GroupObject, GroupOutput, GroupStatus, GroupWave,
};
pub use handle::{
    DiskHandle, GroupHandle, HistoryHandle, HostHandle, ImageHandle, NetworkHandle,
    PlacementHandle, PoolHandle, QuotaHandle, ServerTypeHandle, SnapshotHandle, TokenHandle,
    VsiHandle,
};
pub use history::events::{EventReader, HistoryError, HistoryLine, LinePage, took};
pub use history::evidence::EvidencePlace;
pub use history::listings::{HostObject, HostRoom, PoolRoom, RunObject};
pub use history::logs::{ConsoleLog, LogChunk};
pub use history::object_graph::ObjectGraph;
pub use history::page::{EventTime, EventsPage, EventsQuery};
pub use history::run_graphs::{GraphStep, RunGraph};
pub use history::unfinished::UnfinishedStep;
pub use host::check::{CheckOutcome, Checking, HostCheck};
pub use host::drain::DrainedVsi;
pub use host::inventory::{InventoryItem, Owner};
pub use host::scan::DriftReport;
pub use host::usage::GuestUsage;
pub use host::watch::{HostScan, SCAN_QUEUE};
pub use image::local::UnfitImage;
pub use image::meter::Meter;
pub use image::object::ImageObject;
pub use image::progress::UploadProgress;
pub use image::sourced::SourcedImage;
pub use merged::{Fleets, newest_of, of_one_journal};
pub use named::NamedObject;
pub use network::object::{MadeNetwork, NetworkObject, NetworkState};
pub use network::over_journals::{
    EndedGroup, NetworkEnd, NetworkName, NetworkQuestion, NetworkReport, in_use as network_in_use,
};
pub use overview::{FleetOverview, HostOverview, StepOverview, UploadOverview, VsiOverview};
pub use past::{
    difference::{Difference, differences, differences_of},
    moment::{InvalidMoment, Moment},
};
pub use placement::over_journals::{
    ChoiceTurn, ChosenHost, ForDecision, JournalReport, OpenRecord, ReportQuestions, is_open,
    put_hosts,
};
pub use pool::over_journals::{
    MemberDeletion, MemberJournals, MemberQuestions, MemberReports, MembersReport, MembersRequest,
    Obstacle, OtherJournal, ReportedDisk, ReportedMember, RequestStatus,
};
pub use pool::{PoolMember, PoolMembership, PoolObject, PoolStatus, ShownMember, ShownPool};
pub use queries::EntityPresence;
pub use quota::over_journals::{AdmissionRecord, ObjectUsage, RecordedUsage, usage_of};
pub use quota::{QuotaObject, QuotaStatus};
pub use server_types::ServerTypeObject;
pub use snapshot::{
    names::may_be_scheduled,
    object::{SnapshotDisk, SnapshotMemory, SnapshotObject, SnapshotStatus},
    restore::{RestoreOptions, RestoreScope},
    schedule::{ScheduleNote, SeenSchedules, SnapshotScheduleStatus},
    take::{SnapshotRequest, TakenSnapshot},
};
pub use tokens::{CLOCK_SET_BACK, NewToken, TokenObject, TokenRole};
pub use verdict::Verdict;
pub use vsi::adopt::{Adopting, Adoption};
pub use vsi::approve::Proposal;
pub use vsi::conditions::Condition;
pub use vsi::console::{ConsoleAccess, ConsoleNote, ConsoleWay, OpenConsole};
pub use vsi::control::DeletionMode;
pub use vsi::disk_room::{NeededRoom, ReplacementPlace};
pub use vsi::generations::VsiGeneration;
pub use vsi::object::{Metadata, VsiObject, VsiProgress, VsiStatus};
pub use vsi::power::ShutdownPolicy;
pub use vsi::rollback::EarlierVsi;
pub use vsi::summary::VsiSummary;
pub use vsiflow_steps::ports::NetworkInfo;

use futures::FutureExt as _;
use vsiflow_engine::{
    Engine, EngineConfig,
    audit::SigningKey,
    backup,
    blob::Blobs,
    checkpoint::Checkpoints,
    clock::Clock,
    executor::Tuning,
    journal::Journal,
    lease::Lease,
    model::{EntityId, Name, Timestamp},
    room::{DiskReading, Level, Room},
    secret::Secrets,
};
use vsiflow_steps::ports::{Hosts, ImageSource};

use self::index::Known;
use crate::{
    credentials::{ImageCredentials, WithCredentials},
    hosts::HostDirectory,
    reach::Reach,
    steps,
    workflow::VsiWorkflows,
};

/// How far a recorded time may be in the future, in milliseconds: clocks are corrected by less.
const AHEAD_MS: u64 = 60_000;

/// The parts that a fleet is built from.
pub struct FleetConfig {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// The store of larger payloads.
    pub blobs: Arc<dyn Blobs>,
    /// The store of the steps' checkpoints.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// The store of secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The journal's identity.
    pub journal_id: Arc<str>,
    /// Delays and limits.
    pub tuning: Tuning,
    /// The free space for the journal.
    pub room: Arc<Room>,
    /// The right to act on hosts.
    pub lease: Arc<Lease>,
    /// The hosts' ports.
    pub hosts: Arc<dyn Hosts>,
    /// Where base images come from.
    pub images: Arc<dyn ImageSource>,
    /// The hosts' settings, shared with the code that makes the ports.
    pub directory: Arc<HostDirectory>,
}

/// The mode that a fleet is opened in.
enum Opening {
    Working,
    Observing,
    Looking,
}

/// Every VSI, image and host of one journal. Cheap to clone.
#[derive(Clone)]
pub struct Fleet {
    pub(crate) engine: Engine,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) secrets: Arc<dyn Secrets>,
    images: Arc<dyn ImageSource>,
    pub(crate) hosts: Arc<dyn Hosts>,
    pub(crate) directory: Arc<HostDirectory>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) credentials: Arc<ImageCredentials>,
    clock: Arc<dyn Clock>,
    journal_id: Arc<str>,
    uploads: Arc<image::progress::ImageProgress>,
    addresses: Arc<network::object::SeenAddresses>,
    health: Arc<host::guests::GuestHealth>,
    catalogue: Arc<catalogue::ObjectCatalogue>,
    seen_blobs: Arc<unreadable::SeenBlobs>,
    summaries: Arc<vsi::summary::Summaries>,
    /// The VSIs that [`Fleet::open_to_read`] read. Each is taken out when it is first asked for.
    read: Arc<index::AlreadyRead>,
    pools: Arc<pool::Board>,
    capacities: Arc<placement::Capacities>,
    footprints: Arc<placement::Footprints>,
    /// Held from the choice of addresses until they are recorded.
    drawing: Arc<tokio::sync::Mutex<()>>,
    quotas: Arc<quota::QuotaState>,
    /// The background task that panicked, if one did.
    panicked: Arc<OnceLock<&'static str>>,
    /// Background tasks end when the last fleet that holds this sender is dropped.
    owner: Option<Arc<tokio::sync::watch::Sender<()>>>,
}

impl Fleet {
    /// Opens the engine on the journal, registers the hosts that the journal knows, and erases secrets that
    /// a crash left without a reference. No run is driven yet.
    ///
    /// # Errors
    /// When the journal cannot be read or is inconsistent.
    pub async fn open(parts: FleetConfig) -> Result<Self, FleetError> {
        let (fleet, known, is_whole) = Self::start(parts, Opening::Working).await?;
        fleet.sweep_secrets(&known, is_whole).await?;
        Ok(fleet)
    }

    /// Opens a state directory that was restored and not confirmed: everything can be read, and nothing is
    /// done.
    ///
    /// # Errors
    /// As for [`Fleet::open`].
    pub async fn observe(parts: FleetConfig) -> Result<Self, FleetError> {
        Ok(Self::start(parts, Opening::Observing).await?.0)
    }

    /// Opens a journal that this process only reads. The fleet shows the state as of now and does not
    /// change.
    ///
    /// # Errors
    /// As for [`Fleet::open`].
    pub async fn open_to_read(parts: FleetConfig) -> Result<Self, FleetError> {
        let (fleet, known, _) = Self::start(parts, Opening::Looking).await?;
        fleet.read.put(known);
        Ok(fleet)
    }

    /// Signs every commit to bases of the journal with this key from now on.
    pub fn sign_bases_with(&self, key: Arc<SigningKey>) {
        self.engine.sign_bases_with(key);
    }

    /// Checks that this fleet may act. For code that acts without going through the engine.
    ///
    /// # Errors
    /// When this fleet only observes.
    pub(crate) fn may_act(&self) -> Result<(), FleetError> {
        if self.engine.observes_only() {
            Err(vsiflow_engine::EngineError::ObservesOnly.into())
        } else {
            Ok(())
        }
    }

    /// Opens the fleet. Also returns the VSIs that it knows, and whether all of them could be read.
    async fn start(
        parts: FleetConfig,
        opening: Opening,
    ) -> Result<(Self, Vec<Known>, bool), FleetError> {
        let credentials = Arc::new(ImageCredentials::default());
        let images: Arc<dyn ImageSource> = Arc::new(WithCredentials {
            source: parts.images,
            secrets: parts.secrets.clone(),
            credentials: credentials.clone(),
            host: None,
        });
        let reach = Reach::new(parts.hosts, parts.directory.clone());
        let hosts: Arc<dyn Hosts> = reach.clone();
        let parts_of_engine = EngineConfig {
            journal: parts.journal.clone(),
            blobs: parts.blobs.clone(),
            checkpoints: parts.checkpoints,
            registry: steps::registry(&hosts, &images, &parts.secrets),
            workflows: Arc::new(VsiWorkflows),
            lanes: reach.clone(),
            clock: parts.clock.clone(),
            journal_id: parts.journal_id.clone(),
            tuning: parts.tuning,
            room: parts.room,
            lease: parts.lease,
        };
        let engine = match opening {
            Opening::Working => Engine::open(parts_of_engine).await?,
            Opening::Observing => Engine::observe(parts_of_engine).await?,
            Opening::Looking => Engine::open_to_read(&parts_of_engine).await?,
        };
        if was_restored(&engine, &parts.journal_id) {
            reach.set_restored();
        }
        let fleet = Self {
            engine,
            journal: parts.journal,
            blobs: parts.blobs,
            secrets: parts.secrets,
            images,
            hosts,
            reach,
            directory: parts.directory,
            credentials,
            clock: parts.clock,
            journal_id: parts.journal_id,
            uploads: Arc::default(),
            addresses: Arc::default(),
            health: Arc::default(),
            catalogue: Arc::default(),
            seen_blobs: Arc::default(),
            summaries: Arc::default(),
            read: Arc::default(),
            pools: Arc::default(),
            capacities: Arc::default(),
            footprints: Arc::default(),
            drawing: Arc::default(),
            quotas: Arc::default(),
            panicked: Arc::default(),
            owner: Some(Arc::default()),
        };
        let listens = fleet.uploads.clone().listen(fleet.engine.notices());
        fleet.spawn("the listener to uploads", listens);
        fleet.register_machines().await?;
        let (known, lost) = fleet.known_and_lost().await?;
        for (entity, _, failure) in &lost {
            tracing::warn!(%entity, %failure, "it is left out");
        }
        fleet.register_hosts(&known).await?;
        fleet.register_credentials(&known);
        Ok((fleet, known, lost.is_empty()))
    }

    /// Subscribes to the engine's notices: events, progress, counted failures.
    pub fn notices(&self) -> tokio::sync::broadcast::Receiver<vsiflow_engine::Notice> {
        self.engine.notices()
    }

    /// The newest reading of the state directory's disk if it is short of space. New work is refused then.
    pub fn short_of_room(&self) -> Option<DiskReading> {
        let seen = self.engine.room();
        (seen.level != Level::Plenty).then_some(seen)
    }

    /// Runs a task until it ends, or the last fleet with an owner is dropped. A panic in it ends the
    /// engine, and with it everything that waits for the engine's notices.
    fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let Some(mut owner) = self.owner.as_ref().map(|owner| owner.subscribe()) else {
            return;
        };
        let work = self.observed(name, work);
        tokio::spawn(async move {
            let dropped = async { while owner.changed().await.is_ok() {} };
            tokio::select! {
                biased;
                () = dropped => {}
                () = work => {}
            }
        });
    }

    /// The work of a task. A panic in it ends the engine.
    fn observed(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (engine, panicked) = (self.engine.clone(), self.panicked.clone());
        async move {
            if AssertUnwindSafe(work).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked: the engine ends");
                let _ = panicked.set(name);
                engine.close().await;
            }
        }
    }

    /// Whether a recorded time is in the future, by more than clocks are corrected: the clock was set back since.
    fn is_in_future(&self, recorded: Timestamp) -> bool {
        recorded.0 > self.clock.now().0.saturating_add(AHEAD_MS)
    }

    /// The defect that ended the engine, if a background task panicked.
    pub fn task_panicked(&self) -> Option<FleetError> {
        let task = self.panicked.get()?;
        Some(FleetError::defect(format!("{task} panicked")))
    }

    /// Ends the engine and disconnects from the hosts. Unfinished work continues at the next start.
    pub async fn close(&self) {
        if let Err(error) = self.record_machines().await {
            tracing::warn!(%error, "which machines hosts are was not recorded");
        }
        self.engine.close().await;
        self.hosts.leave().await;
    }
}

/// Whether the journal is a copy that was restored from a backup. The original may have made things since that this copy
/// does not know.
fn was_restored(engine: &Engine, journal_id: &str) -> bool {
    let entity = EntityId::new(Name::of("journal"), journal_id).ok();
    let recorded = entity.and_then(|entity| engine.entity(&entity)?.state.clone());
    let states = [backup::RESTORED, backup::CONFIRMED];
    recorded.is_some_and(|(state, _)| states.contains(&state.as_str()))
}
