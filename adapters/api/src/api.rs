//! What all answers share: the fleet, the port for commands, and bounded places for what takes long.
//!
//! What is looked at is that of one journal, or of all journals of a set ([`JournalSet`]). What changes something, or
//! follows a journal, is done with the one journal; in a set, by the process that has it ([`crate::forwarded`]), or by the
//! command that does it ([`Commands`]).
//!
//! This room knows no route and no page. Whoever answers takes a place here first, and finds the problem
//! that says so where there is none.

pub(crate) mod consoles;
mod moments;
pub(crate) mod page_consoles;
mod turns;
pub(crate) mod watchers;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::task::JoinSet;
use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{ConsoleNote, Fleet, FleetError, Fleets, Moment, of_one_journal};

use self::{
    consoles::ConsoleRegistry, moments::Moments, page_consoles::PageConsoles, turns::Turns,
    watchers::Watchers,
};
use crate::{Commands, ForwardedAnswer, ForwardedRequest, Problem};

/// What answers. Clones share it; commands under way end when the last one goes.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

/// The journals of a set, for whoever looks at all of them.
#[async_trait]
pub trait JournalSet: Send + Sync + 'static {
    /// Their fleets; those of journals that other processes have, as they were a few seconds ago. Cancel safe.
    ///
    /// # Errors
    /// When a journal cannot be read.
    async fn fleets(&self) -> Result<Arc<Fleets>, Problem>;

    /// Has the process answer a request that has that journal. Nothing of it is done twice.
    ///
    /// # Errors
    /// When it does not answer.
    async fn answer(
        &self,
        journal: u16,
        request: ForwardedRequest,
    ) -> Result<ForwardedAnswer, Problem>;

    /// Records something of a console in a journal, by its number.
    ///
    /// # Errors
    /// When it is not recorded.
    async fn note_console(&self, journal: u16, note: ConsoleNote, by: By)
    -> Result<(), FleetError>;
}

/// Whose journals are looked at.
enum Source {
    Journal(Arc<Fleets>),
    Set(Arc<dyn JournalSet>),
}

struct Inner {
    source: Source,
    commands: Arc<dyn Commands>,
    turns: Turns,
    watchers: Watchers,
    consoles: ConsoleRegistry,
    page_consoles: PageConsoles,
    moments: Moments,
    tasks: Tasks,
}

/// What goes on although nobody reads it.
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
    /// Answers out of that fleet, and has commands done by that.
    pub fn new(fleet: Fleet, commands: Arc<dyn Commands>) -> Self {
        Self::of(Source::Journal(Arc::new(fleet.into())), commands)
    }

    /// Answers out of all journals of a set, and has commands done by that.
    pub fn of_set(set: Arc<dyn JournalSet>, commands: Arc<dyn Commands>) -> Self {
        Self::of(Source::Set(set), commands)
    }

    fn of(source: Source, commands: Arc<dyn Commands>) -> Self {
        let inner = Inner {
            source,
            commands,
            turns: Turns::default(),
            watchers: Watchers::default(),
            consoles: ConsoleRegistry::default(),
            page_consoles: PageConsoles::default(),
            moments: Moments::default(),
            tasks: Tasks::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The fleet of the one journal, for what changes something or follows it.
    pub(crate) fn fleet(&self) -> Result<&Fleet, FleetError> {
        match &self.inner.source {
            Source::Journal(fleets) => Ok(fleets.decides()),
            Source::Set(_) => {
                let why = "it works on one journal";
                let remedy = "use the command that does it: the command line, or POST /v1/commands";
                Err(of_one_journal(why, remedy))
            }
        }
    }

    /// What is looked at, as it is.
    pub(crate) async fn fleets(&self) -> Result<Arc<Fleets>, Problem> {
        match &self.inner.source {
            Source::Journal(fleets) => Ok(fleets.clone()),
            Source::Set(set) => set.fleets().await,
        }
    }

    /// The same as it was at a moment; as it is, where none is asked for.
    pub(crate) async fn fleets_at(&self, moment: Option<Moment>) -> Result<Arc<Fleets>, Problem> {
        let fleets = self.fleets().await?;
        match moment {
            Some(moment) => self.inner.moments.at(&fleets, moment).await,
            None => Ok(fleets),
        }
    }

    /// How many events there are in what is looked at: it grows with each.
    pub(crate) async fn end(&self) -> Result<u64, Problem> {
        let fleets = self.fleets().await?;
        let ends = fleets.all().map(|fleet| fleet.history().end());
        Ok(ends.fold(0, u64::saturating_add))
    }

    /// The set whose journals are looked at, if it is one.
    pub(crate) fn set(&self) -> Option<&Arc<dyn JournalSet>> {
        match &self.inner.source {
            Source::Journal(_) => None,
            Source::Set(set) => Some(set),
        }
    }

    pub(crate) fn commands(&self) -> &Arc<dyn Commands> {
        &self.inner.commands
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

    /// Closes the consoles that are open, and waits until that is recorded. Nobody opens one
    /// afterwards.
    pub async fn end_consoles(&self) {
        self.inner.consoles.end().await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }
}
