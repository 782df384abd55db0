//! Several processes that share the work: `serve --shards auto`.
//!
//! A database holds a set of journals ([`vsiflow_postgres::shards`]). A host belongs to one of them
//! for good; a VSI and its disks belong to the journal of their host. Each journal has an engine and a
//! fleet of its own, in whichever process has its lease. So nothing ever moves between journals: what
//! moves is the lease of a whole journal.
//!
//! - [`share`] (pure): how many journals are a process's share.
//! - [`rebalance`]: takes journals and lets them go; [`journal`]: works on one; [`answering`]: does what is asked of it ([`journal_holder`]).
//! - [`front`]: what a command on a set comes to: it looks at all journals, or asks the holders of those
//!   that it concerns; [`ask`] is such a question and its answer.
//! - [`local_documents`]: what of documents belongs to a journal; [`claims`]: names that are one journal's.
//! - [`consoles`]: consoles and screens, which the journals of VSIs record.
//! - [`adopting`]: what stands on hosts, taken into the journals of these.
//! - [`snapshots`]: under which names snapshots are taken, and where they are.
//! - [`networks`]: in which journals networks are, and how they end in all of them.
//! - [`choose`]: journal 0 chooses hosts over all journals, and hands over; [`report`]: what a journal says of itself
//!   for that.
//! - [`members`]: what the pools and groups of journal 0 ask of all journals; [`object_requests`]: how that is found again.
//! - [`retry`]: what is stuck of pools and groups, in whichever journals it is.
//! - [`cluster`]: the custom resources of a Kubernetes cluster, of which each journal serves its own; [`decided`]: those that
//!   journal 0 decides about.
//! - [`api`]: requests to the API that change something, each for one journal.
//! - [`view`]: all journals, for the page and the API of a process.
//! - [`HostFence`]: the one way of a journal to hosts. It lets through those that are its own.
//!
//! Guarantees, beside those of the database's side:
//! - **No host is acted on by two journals.** Before a journal's first call to a host, the database says
//!   that the host, and the machine that answers there, are this journal's. And a journal has one
//!   writer, whose lease bounds what it does to hosts.
//! - **A process that loses one lease ends whole.** It was stopped, or cut off; its other leases say no more.
//! - **What one command asks of several journals is done in each or not, and said for each.** In one
//!   journal it is all or nothing, as ever; over several it is not.
//!
//! What this room never does: it decides nothing about a VSI; it records nothing but through a fleet; it
//! never half does what needs several journals at once. Documents that
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

/// The journal that decides over all of them.
const DECIDES: u16 = 0;

/// A set, and the folder beside it.
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
    /// The set, with a folder beside it.
    pub(crate) fn new(set: ShardSet, place: PathBuf) -> Self {
        let set = Arc::new(set);
        Self { set, place }
    }

    /// The folder beside it.
    fn folder(&self) -> &Path {
        &self.place
    }

    /// What a command works with that concerns one of the journals.
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

    /// All of them, opened to be looked at.
    pub(crate) async fn open_all_to_read(&self, common: &Common) -> Result<Vec<App>, ExitProblem> {
        let members = self.members(common);
        futures::future::try_join_all(members.iter().map(App::open_to_read_at)).await
    }

    /// The same for each of them.
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
    /// The right of this process, where it acts for it.
    held: Option<Arc<Held>>,
    /// Held from the claim of names until what is recorded under them is.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({} of {:?})", self.number, self.place)
    }
}

impl Membership {
    /// The folder beside the set.
    pub(crate) fn place(&self) -> &Path {
        &self.place.place
    }

    /// The folder beside this journal.
    pub(crate) fn folder(&self) -> PathBuf {
        let journals = self.place.place.join(BESIDE_SEVERAL);
        journals.join(self.number.to_string())
    }

    /// The set.
    pub(crate) fn set(&self) -> &Arc<ShardSet> {
        &self.place.set
    }
}

/// Lets a journal to its own hosts alone.
pub(crate) struct HostFence {
    set: Arc<ShardSet>,
    number: u16,
    /// What was found to be its own: that never changes.
    own: Mutex<BTreeSet<String>>,
}

impl HostFence {
    /// That of a journal; none where nothing is acted on.
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

    /// Whether a host is this journal's.
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

    /// Whether the machine that answers as a host is this journal's; a new one is from now on.
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

/// What is wrong with a set.
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
