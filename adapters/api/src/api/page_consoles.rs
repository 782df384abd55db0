//! The consoles that pages have open: each belongs to the user who opened it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use tokio::sync::mpsc;
use vsiflow_engine::model::Actor;

use crate::Problem;

/// The consoles that pages have open, by their IDs.
#[derive(Clone, Default)]
pub(crate) struct PageConsoles(Arc<Mutex<BTreeMap<String, PageConsole>>>);

/// The user who opened a console, and the queue for typed bytes.
#[derive(Clone)]
pub(crate) struct PageConsole {
    pub(crate) actor: Actor,
    pub(crate) typed: mpsc::Sender<Bytes>,
}

impl PageConsoles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PageConsole>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a console until the returned value is dropped.
    pub(crate) fn register(&self, console: PageConsole) -> Result<RegisteredConsole, Problem> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| Problem::busy(&error.to_string()))?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.lock().insert(name.clone(), console);
        let all = self.clone();
        Ok(RegisteredConsole { all, name })
    }

    /// The queue for typed bytes of a console, if it belongs to that actor.
    pub(crate) fn of(&self, name: &str, actor: &Actor) -> Option<mpsc::Sender<Bytes>> {
        let all = self.lock();
        let found = all.get(name).filter(|console| console.actor == *actor);
        found.map(|console| console.typed.clone())
    }
}

/// A registered console; dropping it removes the console from the registry.
pub(crate) struct RegisteredConsole {
    all: PageConsoles,
    pub(crate) name: String,
}

impl Drop for RegisteredConsole {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}
