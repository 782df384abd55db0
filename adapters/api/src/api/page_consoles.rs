//! The consoles that pages have open: each belongs to whoever opened it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::body::Bytes;
use tokio::sync::mpsc;
use vsiflow_engine::model::Actor;

use crate::Problem;

/// The consoles that pages have open, by their names.
#[derive(Clone, Default)]
pub(crate) struct PageConsoles(Arc<Mutex<BTreeMap<String, PageConsole>>>);

/// Who has one open, and where what they type goes.
#[derive(Clone)]
pub(crate) struct PageConsole {
    pub(crate) actor: Actor,
    pub(crate) typed: mpsc::Sender<Bytes>,
}

impl PageConsoles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PageConsole>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps it as long as what is returned lives.
    pub(crate) fn register(&self, console: PageConsole) -> Result<KeptConsole, Problem> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| Problem::busy(&error.to_string()))?;
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.lock().insert(name.clone(), console);
        let all = self.clone();
        Ok(KeptConsole { all, name })
    }

    /// Where what is typed at that one goes, if it is that actor's.
    pub(crate) fn of(&self, name: &str, actor: &Actor) -> Option<mpsc::Sender<Bytes>> {
        let all = self.lock();
        let found = all.get(name).filter(|console| console.actor == *actor);
        found.map(|console| console.typed.clone())
    }
}

/// A console that a page has open, as long as it is held.
pub(crate) struct KeptConsole {
    all: PageConsoles,
    pub(crate) name: String,
}

impl Drop for KeptConsole {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}
