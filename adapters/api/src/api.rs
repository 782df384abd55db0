//! The state that all answers share: the fleet, the port for commands, and limits on concurrent work.
//!
//! Reads cover one journal, or all journals of a set ([`JournalSet`]). Changes, and following a journal,
//! need the one journal; in a set, the process that has it does them ([`crate::forwarded`]), or a
//! command does ([`Commands`]).
//!
//! This module knows no routes and no pages. A handler takes a permit here first, and returns a problem
//! if none is free.

pub(crate) mod consoles;
pub(crate) mod moments;
pub(crate) mod page_consoles;
pub(crate) mod places;
mod turns;
pub(crate) mod watchers;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::task::JoinSet;
use vsiflow_engine::executor::By;
use vsiflow_workflows::{
    fleet::{ConsoleNote, Fleet, FleetError, Fleets, Moment, of_one_journal},
    kinds::ObjectKind,
};

use self::{
    consoles::ConsoleRegistry, moments::Moments, page_consoles::PageConsoles, turns::Turns,
    watchers::Watchers,
};
use crate::{
    Caller, Commands, DocumentWork, ForwardedAnswer, ForwardedRequest, JournalAudits, NoDocuments,
    Problem, SetAnswer, SetWork, commands::NoCommands, service::NoAudits,
};

/// Answers requests. Clones share the state; running commands end when the last clone is dropped.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

/// A reference to an API, for what its own tasks hold.
#[derive(Clone)]
pub(crate) struct WeakApi(Weak<Inner>);

impl WeakApi {
    /// The API; none if it has ended.
    pub(crate) fn upgrade(&self) -> Option<Api> {
        self.0.upgrade().map(|inner| Api { inner })
    }
}

/// All journals of a set, for reading.
#[async_trait]
pub trait JournalSet: Send + Sync + 'static {
    /// Their fleets; those of journals that other processes have are a few seconds old. Cancel safe.
    ///
    /// # Errors
    /// If a journal cannot be read.
    async fn fleets(&self) -> Result<Arc<Fleets>, Problem>;

    /// The journal alone that has the tokens: callers who show a wrong one must not have all journals read. Cancel safe.
    ///
    /// # Errors
    /// If it cannot be read.
    async fn with_tokens(&self) -> Result<Arc<Fleets>, Problem>;

    /// The journal that a name is claimed for; `None` of a name that is not, such as a snapshot's that a schedule made. Cancel
    /// safe.
    ///
    /// # Errors
    /// If that cannot be read.
    async fn claimed_by(
        &self,
        kind: ObjectKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<u16>, Problem>;

    /// Forwards a request to the process that has that journal. It is never carried out twice.
    ///
    /// # Errors
    /// If that process does not answer.
    async fn answer(
        &self,
        journal: u16,
        request: ForwardedRequest,
    ) -> Result<ForwardedAnswer, Problem>;

    /// Has the journals that documents concern do their parts. Journal 0 decides first if hosts are chosen, quotas count or
    /// members are made.
    ///
    /// # Errors
    /// If the documents cannot be read, or are not for a set.
    async fn carry_out(&self, work: SetWork<'_>) -> Result<SetAnswer, Problem>;

    /// Records an event of a console in a journal, by its number.
    ///
    /// # Errors
    /// If it is not recorded.
    async fn note_console(&self, journal: u16, note: ConsoleNote, by: By)
    -> Result<(), FleetError>;
}

/// The journals that are read.
enum Source {
    /// One journal, or all that were opened together.
    Journal {
        fleets: Arc<Fleets>,
        /// The journal's number in a set, if it is opened alone.
        number: Option<u16>,
    },
    Set(Arc<dyn JournalSet>),
    /// None: the journal is only inspected as it is stored.
    Stored,
}

/// What the composition of the program does for requests. The default does nothing of it.
pub struct ApiPorts {
    /// Runs command lines.
    pub commands: Arc<dyn Commands>,
    /// Reads the journal as it is stored.
    pub audits: Arc<dyn JournalAudits>,
    /// Reads documents, and applies them.
    pub documents: Arc<dyn DocumentWork>,
}

impl Default for ApiPorts {
    fn default() -> Self {
        Self {
            commands: Arc::new(NoCommands),
            audits: Arc::new(NoAudits),
            documents: Arc::new(NoDocuments),
        }
    }
}

struct Inner {
    source: Source,
    ports: ApiPorts,
    turns: Turns,
    watchers: Watchers,
    consoles: ConsoleRegistry,
    page_consoles: PageConsoles,
    moments: Arc<Moments>,
    tasks: Tasks,
}

/// Tasks that continue although no client reads their output.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a command panicked");
            }
        }
        tasks.spawn(task);
    }
}

impl Api {
    /// Answers from that fleet. Views of its past come from `moments`, which the commands share.
    pub fn new(fleet: Fleet, ports: ApiPorts, moments: Arc<Moments>) -> Self {
        let source = Source::Journal {
            fleets: Arc::new(fleet.into()),
            number: None,
        };
        Self::of(source, ports, moments)
    }

    /// Answers requests that inspect the stored journal, for the process that reads it, and no others.
    pub fn of_stored(audits: Arc<dyn JournalAudits>) -> Self {
        let ports = ApiPorts {
            audits,
            ..ApiPorts::default()
        };
        Self::of(Source::Stored, ports, Arc::default())
    }

    /// Answers requests of the service from these fleets, for the process that opened them.
    /// `number` is that of the journal in a set, if it is opened alone.
    pub fn of_fleets(
        fleets: Arc<Fleets>,
        number: Option<u16>,
        documents: Arc<dyn DocumentWork>,
    ) -> Self {
        let ports = ApiPorts {
            documents,
            ..ApiPorts::default()
        };
        Self::of(Source::Journal { fleets, number }, ports, Arc::default())
    }

    /// Answers from all journals of a set. For the process of one command, the ports may be those that do nothing.
    pub fn of_set(set: Arc<dyn JournalSet>, ports: ApiPorts) -> Self {
        Self::of(Source::Set(set), ports, Arc::default())
    }

    fn of(source: Source, ports: ApiPorts, moments: Arc<Moments>) -> Self {
        let inner = Inner {
            source,
            ports,
            turns: Turns::default(),
            watchers: Watchers::default(),
            consoles: ConsoleRegistry::default(),
            page_consoles: PageConsoles::default(),
            moments,
            tasks: Tasks::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A reference that does not keep its tasks alive.
    pub(crate) fn downgrade(&self) -> WeakApi {
        WeakApi(Arc::downgrade(&self.inner))
    }

    /// The fleet of the one journal, for changes and for following it.
    pub(crate) fn fleet(&self) -> Result<&Fleet, FleetError> {
        match &self.inner.source {
            Source::Journal { fleets, .. } => Ok(fleets.decides()),
            Source::Set(_) => {
                let why = "it works on one journal";
                let remedy = "name one journal of the set, or use the command that does it";
                Err(of_one_journal(why, remedy))
            }
            Source::Stored => Err(unopened()),
        }
    }

    /// The current fleets.
    pub(crate) async fn fleets(&self) -> Result<Arc<Fleets>, Problem> {
        match &self.inner.source {
            Source::Journal { fleets, .. } => Ok(fleets.clone()),
            Source::Set(set) => set.fleets().await,
            Source::Stored => Err(unopened().into()),
        }
    }

    /// The fleet that has the tokens.
    pub(crate) async fn with_tokens(&self) -> Result<Arc<Fleets>, Problem> {
        match &self.inner.source {
            Source::Journal { fleets, .. } => Ok(fleets.clone()),
            Source::Set(set) => set.with_tokens().await,
            Source::Stored => Err(unopened().into()),
        }
    }

    /// The fleets as they were at a moment, or the current ones if `moment` is none. A caller computes one moment at a time.
    pub(crate) async fn fleets_at(
        &self,
        caller: &Caller,
        moment: Option<Moment>,
    ) -> Result<Arc<Fleets>, Problem> {
        let fleets = self.fleets().await?;
        let Some(moment) = moment else {
            return Ok(fleets);
        };
        let moment = self.own_moment(moment);
        let past = self.inner.moments.for_caller(caller, &fleets, moment);
        Ok(past.await?)
    }

    /// A moment of the one journal, whose number it may name.
    fn own_moment(&self, moment: Moment) -> Moment {
        match (moment, &self.inner.source) {
            (
                Moment::Event { journal, offset },
                Source::Journal {
                    number: Some(number),
                    ..
                },
            ) if journal == *number => Moment::Offset(offset),
            (moment, _) => moment,
        }
    }

    /// The number of events in all journals that are read: it grows with each event.
    pub(crate) async fn end(&self) -> Result<u64, Problem> {
        let fleets = self.fleets().await?;
        let ends = fleets.all().map(|fleet| fleet.history().end());
        Ok(ends.fold(0, u64::saturating_add))
    }

    /// The set of journals, if there is one.
    pub(crate) fn set(&self) -> Option<&Arc<dyn JournalSet>> {
        match &self.inner.source {
            Source::Journal { .. } | Source::Stored => None,
            Source::Set(set) => Some(set),
        }
    }

    pub(crate) fn commands(&self) -> &Arc<dyn Commands> {
        &self.inner.ports.commands
    }

    pub(crate) fn documents(&self) -> &dyn DocumentWork {
        &*self.inner.ports.documents
    }

    pub(crate) fn audits(&self) -> &dyn JournalAudits {
        &*self.inner.ports.audits
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.inner.watchers
    }

    pub(crate) fn page_consoles(&self) -> &PageConsoles {
        &self.inner.page_consoles
    }

    pub(crate) fn consoles(&self) -> &ConsoleRegistry {
        &self.inner.consoles
    }

    /// Closes the open consoles, and waits until that is recorded. No console can be opened afterwards.
    pub async fn end_consoles(&self) {
        self.inner.consoles.end().await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }
}

fn unopened() -> FleetError {
    FleetError::defect("no fleet is opened to inspect a journal")
}
