//! The world of a crash test: the journal, stores and hosts that outlive a process, and the start of one.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;
use vsiflow_engine::{
    blob::Blobs,
    checkpoint::{Checkpoints, MemoryCheckpoints},
    executor::{By, Tuning},
    journal::Journal,
    lease::Lease,
    low_priority,
    model::{Actor, Text, Who},
    room::Room,
    secret::{MemorySecrets, Secrets},
};
use vsiflow_steps::{
    ports::Hosts,
    sim::{Network, SimHosts},
};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, FleetError, Verdict},
    hosts::HostDirectory,
};

use super::{
    audit::CrashAudit,
    clock::TestClock,
    gate::CrashGate,
    journals::{Medium, WorldJournals},
    late::LateAnswers,
    ownership,
    ports::Through,
    sabotage::{self, Defect},
    sim::TokenWatch,
    source::GatedSource,
    stores::{Audited, Gated, LossyBlobs},
};

pub const HOSTS: [&str; 3] = ["sim:a", "sim:b", "sim:c"];
pub const JOURNAL: &str = "journal-a";

/// How a world is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Where the journal is stored.
    pub medium: Medium,
    /// The deliberate defect of the product, if any.
    pub sabotage: Option<Defect>,
}

impl Setup {
    /// The journal in memory.
    pub const MEMORY: Self = Self {
        medium: Medium::Memory,
        sabotage: None,
    };
    /// The journal on disk, as in production.
    pub const DISK: Self = Self {
        medium: Medium::Disk,
        sabotage: None,
    };

    /// The same with a defect.
    pub fn with(self, sabotage: Defect) -> Self {
        let sabotage = Some(sabotage);
        Self { sabotage, ..self }
    }
}

/// Everything that outlives a process.
pub struct CrashWorld {
    pub journals: WorldJournals,
    pub checkpoints: Arc<MemoryCheckpoints>,
    pub blobs: Arc<LossyBlobs>,
    pub secrets: Arc<MemorySecrets>,
    pub hosts: Arc<SimHosts>,
    pub clock: Arc<TestClock>,
    pub audit: Arc<CrashAudit>,
    pub sabotage: Option<Defect>,
    /// What watches the tokens of guests, in a game that has them.
    pub watch: Option<Arc<TokenWatch>>,
    /// The hosts that answer late, in a test that has some.
    pub late: Option<Arc<LateAnswers>>,
    /// Where a sabotaged product stores its index.
    pub index: Arc<sabotage::index_ahead::StoredIndex>,
}

impl CrashWorld {
    pub async fn new(sabotage: Option<Defect>) -> Self {
        Self::of(Setup {
            medium: Medium::Memory,
            sabotage,
        })
        .await
    }

    pub async fn of(setup: Setup) -> Self {
        let Setup { medium, sabotage } = setup;
        let hosts = Arc::new(SimHosts::in_memory());
        for host in HOSTS {
            let (active, prefix) = (true, "10.0.0".to_owned());
            let sim = hosts.sim(host).await.unwrap();
            sim.with(|state| {
                state.networks.insert(
                    "second".to_owned(),
                    Network {
                        active,
                        prefix,
                        dhcp: true,
                        lent: Default::default(),
                        made: None,
                        hosts: Vec::new(),
                        names: Vec::new(),
                    },
                )
            })
            .await;
        }
        let clock = TestClock::new();
        if sabotage == Some(Defect::LostWait) {
            clock.grant_only(4);
        }
        Self {
            journals: WorldJournals::new(medium),
            checkpoints: Arc::default(),
            blobs: Arc::default(),
            secrets: Arc::default(),
            audit: CrashAudit::new(hosts.clone()),
            hosts,
            clock: Arc::new(clock),
            sabotage,
            watch: None,
            late: None,
            index: Arc::default(),
        }
    }

    /// Starts a process whose calls all pass through the gate.
    pub async fn start(&self, gate: &Arc<CrashGate>) -> Result<Fleet, FleetError> {
        let audited: Arc<dyn Journal> = Arc::new(Audited {
            inner: self.journals.current(),
            audit: self.audit.clone(),
        });
        let hosts: Arc<dyn Hosts> = match &self.watch {
            None => self.hosts.clone(),
            Some(watch) => Arc::new(Through {
                inner: self.hosts.clone(),
                way: watch.clone(),
            }),
        };
        let hosts: Arc<dyn Hosts> = match &self.late {
            None => hosts,
            Some(late) => Arc::new(Through {
                inner: hosts,
                way: late.clone(),
            }),
        };
        let watched: Arc<dyn Hosts> = Arc::new(Through {
            inner: hosts,
            way: self.audit.clone(),
        });
        let checkpoints: Arc<dyn Checkpoints> = self.checkpoints.clone();
        let blobs: Arc<dyn Blobs> = self.blobs.clone();
        let mut secrets: Arc<dyn Secrets> = self.secrets.clone();
        if self.watch.is_some() {
            // The game restores backups, and a backup has the secrets of its moment.
            secrets = Arc::new(sabotage::Keeping(secrets));
        }
        let tuning = Tuning {
            jitter: 0.0,
            attempts_per_lane: 4,
            ..Tuning::default()
        };
        Fleet::open(FleetConfig {
            journal: sabotage::index(
                self.sabotage,
                Gated::new(sabotage::journal(self.sabotage, audited), gate),
                &self.index,
            ),
            blobs: Gated::new(blobs, gate),
            checkpoints: Gated::new(sabotage::checkpoints(self.sabotage, checkpoints), gate),
            secrets: Gated::new(sabotage::secrets(self.sabotage, secrets), gate),
            clock: self.clock.clone(),
            journal_id: JOURNAL.into(),
            tuning,
            room: Room::boundless(),
            lease: Lease::endless(),
            hosts: Arc::new(Through {
                inner: sabotage::hosts(self.sabotage, watched),
                way: gate.clone(),
            }),
            images: Arc::new(GatedSource::new(gate)),
            directory: Arc::new(HostDirectory::default()),
        })
        .await
    }
}

/// The user of all tests.
pub fn user() -> By {
    By {
        actor: Actor::Unix {
            uid: 1000,
            name: Who::new("somebody"),
        },
        reason: Text::new("a test"),
    }
}

/// Runs a future in virtual time, on this thread.
pub fn in_virtual_time<T>(life: impl Future<Output = T>) -> T {
    low_priority::stay_on_this_thread();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(life)
}

/// Waits until a VSI is as it was ordered.
pub async fn reached(fleet: &Fleet, vsi: Uuid) {
    let decided = fleet.decided(&ownership::entity(vsi)).await;
    assert_eq!(decided.unwrap(), Verdict::Reached);
}

/// Longer than any story takes in virtual time.
pub const FOREVER: Duration = Duration::from_secs(12 * 3600);
