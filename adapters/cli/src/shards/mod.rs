//! Several processes that share the journals of one database: `serve --shards auto`.
//!
//! A database holds a set of journals ([`vsiflow_postgres::shards`]). A host belongs to one of them for good;
//! a VSI and its disks belong to the journal of their host. Each journal has its own engine and fleet, in the
//! process that has its lease. So objects never move between journals: only the lease of a whole journal
//! moves.
//!
//! - [`share`] (pure): how many journals are a process's share.
//! - [`rebalance`]: takes and releases journals; [`journal`]: works on one; [`answering`]: carries out the
//!   requests to it ([`journal_holder`]).
//! - [`front`]: routes a command on a set: it reads all journals, or sends requests to the holders of those
//!   that it concerns; [`ask`]: such a request and its answer.
//! - [`local_documents`]: the part of documents that belongs to a journal; [`claims`]: names that belong to
//!   one journal.
//! - [`consoles`]: consoles and screens, which the journals of VSIs record.
//! - [`adopting`]: adopts domains into the journals of their hosts.
//! - [`snapshots`]: the names of snapshots, and the journals that have them.
//! - [`networks`]: the journals that have a network, and how it ends in all of them.
//! - [`choose`]: journal 0 chooses hosts over all journals, and hands over; [`report`]: what a journal
//!   reports for that.
//! - [`members`]: requests of the pools and groups of journal 0 to all journals; [`object_requests`]: how
//!   these are found again.
//! - [`retry`]: retries pools and groups, whose stuck members may be in any journal.
//! - [`cluster`]: the custom resources of a Kubernetes cluster, of which each journal serves its own;
//!   [`decided`]: those that journal 0 decides about.
//! - [`api`]: requests to the API that change something in one journal.
//! - [`view`]: all journals, for the page and the API of a process.
//! - [`HostFence`]: the only access of a journal to hosts. It permits the journal's own hosts only.
//!
//! Guarantees, in addition to those of [`vsiflow_postgres::shards`]:
//! - **No host is acted on by two journals.** Before a journal's first call to a host, the database confirms
//!   that the host, and the machine that answers there, belong to this journal. And a journal has one writer,
//!   whose lease bounds what it does to hosts.
//! - **A process that loses one lease ends completely.** It was stopped or disconnected, so its other leases
//!   prove nothing.
//! - **A command on several journals succeeds or fails in each of them separately, and each result is
//!   reported.** It is atomic within one journal, but not over several.
//!
//! This module decides nothing about a VSI, records only through a fleet, and never half does what needs
//! several journals at the same time. Documents that name no host are refused (VSI0763), as are commands that
//! would show or change only a part (VSI0764).
//! name no host are refused (VSI0763), as are commands that would show or change a part only (VSI0764).

pub(crate) mod adopting;
mod answering;
mod api;
mod ask;
mod choose;
mod claims;
mod cluster;
pub(crate) mod consoles;
mod decided;
mod failure;
pub(crate) mod front;
mod journal;
mod journal_holder;
pub(crate) mod local_documents;
mod members;
mod networks;
mod object_requests;
mod read_journals;
mod rebalance;
mod remote_problem;
mod report;
mod retry;
mod share;
pub(crate) mod snapshots;
mod view;

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use vsiflow_engine::state_dir::BESIDE_SEVERAL;
use vsiflow_postgres::{
    Held,
    shards::{ShardError, ShardSet},
};
use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult};

use crate::{
    args::Common,
    compose::App,
    exit::{Exit, ExitProblem},
};

pub(crate) use rebalance::serve;

/// The number of the journal that decides over all of them.
const DECIDES: u16 = 0;

/// A set of journals, and its state directory.
#[derive(Clone)]
pub(crate) struct SetPlace {
    pub(crate) set: Arc<ShardSet>,
    place: PathBuf,
}

impl fmt::Debug for SetPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetPlace({})", self.set.place())
    }
}

impl SetPlace {
    /// The set, with its state directory.
    pub(crate) fn new(set: ShardSet, place: PathBuf) -> Self {
        let set = Arc::new(set);
        Self { set, place }
    }

    /// The state directory.
    fn folder(&self) -> &Path {
        &self.place
    }

    /// The options of a command, for one of the journals.
    pub(crate) fn member(&self, common: &Common, number: u16, held: Option<Arc<Held>>) -> Common {
        Common {
            journal: Some(self.set.member(number).into()),
            shard: Some(Membership {
                number,
                place: self.clone(),
                held,
                turn: Arc::default(),
            }),
            set: None,
            ..common.clone()
        }
    }

    /// Opens all journals for reading.
    pub(crate) async fn open_all_to_read(&self, common: &Common) -> Result<Vec<App>, ExitProblem> {
        let members = self.members(common);
        futures::future::try_join_all(members.iter().map(App::open_to_read_at)).await
    }

    /// The options of a command, for each of the journals.
    pub(crate) fn members(&self, common: &Common) -> Vec<Common> {
        let numbers = 0..self.set.journals();
        numbers
            .map(|number| self.member(common, number, None))
            .collect()
    }
}

/// One of the journals of a set.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) number: u16,
    place: SetPlace,
    /// The lease of this process, if it acts for the journal.
    held: Option<Arc<Held>>,
    /// Locked from the claim of names until something is recorded under them.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({} of {:?})", self.number, self.place)
    }
}

impl Membership {
    /// The state directory of the set.
    pub(crate) fn place(&self) -> &Path {
        &self.place.place
    }

    /// The state directory of this journal.
    pub(crate) fn folder(&self) -> PathBuf {
        let journals = self.place.place.join(BESIDE_SEVERAL);
        journals.join(self.number.to_string())
    }

    /// The set.
    pub(crate) fn set(&self) -> &Arc<ShardSet> {
        &self.place.set
    }
}

/// Permits a journal to reach only its own hosts.
pub(crate) struct HostFence {
    set: Arc<ShardSet>,
    number: u16,
    /// Cache of the hosts that belong to this journal; that never changes.
    own: Mutex<BTreeSet<String>>,
}

impl HostFence {
    /// The fence of a journal; `None` if this process only reads it.
    pub(crate) fn of(shard: &Membership) -> Option<Self> {
        shard.held.is_some().then(|| Self {
            set: shard.set().clone(),
            number: shard.number,
            own: Mutex::default(),
        })
    }

    fn knows(&self, what: &str) -> bool {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.contains(what)
    }

    fn learns(&self, what: String) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.insert(what);
    }

    /// Checks that a host belongs to this journal.
    pub(crate) async fn check(&self, id: &str) -> PortResult<()> {
        let what = format!("host {id}");
        if self.knows(&what) {
            return Ok(());
        }
        let refused = |kind, why: String| PortError::new(kind, id, "", why);
        match self.set.journal_of(id).await {
            Ok(Some(journal)) if journal == self.number => {
                self.learns(what);
                Ok(())
            }
            Ok(found) => {
                let why = match found {
                    Some(journal) => format!("the host belongs to journal {journal} of the set"),
                    None => "the host belongs to no journal of the set yet".to_owned(),
                };
                Err(refused(PortErrorKind::Denied, why))
            }
            Err(error) => Err(refused(PortErrorKind::Unreachable, error.to_string())),
        }
    }

    /// Checks that the machine that answers as a host belongs to this journal, and claims a new
    /// machine for it.
    pub(crate) async fn claim(&self, id: &str, machine: Option<&str>) -> PortResult<()> {
        let refused = |kind, why: String| PortError::new(kind, id, "", why);
        let Some(machine) = machine else {
            if id == "sim" || id.starts_with("sim:") {
                return Ok(());
            }
            let why = "it does not report which machine it is: permit the account to run `cat /etc/machine-id`";
            return Err(refused(PortErrorKind::Denied, why.to_owned()));
        };
        let what = format!("machine {machine} of {id}");
        if self.knows(&what) {
            return Ok(());
        }
        match self.set.take_machine(machine, id, self.number).await {
            Ok(()) => {
                self.learns(what);
                Ok(())
            }
            Err(error @ ShardError::Elsewhere { .. }) => {
                Err(refused(PortErrorKind::Denied, error.to_string()))
            }
            Err(error) => Err(refused(PortErrorKind::Unreachable, error.to_string())),
        }
    }
}

/// The problem to report for an error of a set.
pub(crate) fn problem(error: &ShardError) -> ExitProblem {
    let exit = match error {
        ShardError::Many { .. }
        | ShardError::Name { .. }
        | ShardError::Size { .. }
        | ShardError::IsJournal { .. } => Exit::Usage,
        ShardError::Elsewhere { .. } => Exit::Blocked,
        _ => Exit::Failed,
    };
    ExitProblem::new(exit, error.code(), error.to_string(), error.remedy())
}
