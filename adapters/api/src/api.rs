//! What all answers share: the fleet, the port for commands, and bounded places for what takes long.
//!
//! This room knows no route and no page. Whoever answers takes a place here first, and finds the problem
//! that says so where there is none.

pub(crate) mod consoles;
mod moments;
pub(crate) mod page_consoles;
mod turns;
pub(crate) mod watchers;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;
use vsiflow_workflows::fleet::{Fleet, Moment};

use self::{
    consoles::ConsoleRegistry, moments::Moments, page_consoles::PageConsoles, turns::Turns,
    watchers::Watchers,
};
use crate::{Commands, Problem};

/// What answers. Clones share it; commands under way end when the last one goes.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    fleet: Fleet,
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
        let inner = Inner {
            fleet,
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

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.inner.fleet
    }

    /// The fleet as it was at a moment; as it is, where none is asked for.
    pub(crate) async fn fleet_at(&self, moment: Option<Moment>) -> Result<Fleet, Problem> {
        match moment {
            Some(moment) => self.inner.moments.at(&self.inner.fleet, moment).await,
            None => Ok(self.inner.fleet.clone()),
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
