//! A set of journals, and which of them a command works on.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use vsiflow_engine::state_dir::BESIDE_SEVERAL;
use vsiflow_postgres::{Held, shards::ShardSet};

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
    pub(crate) fn folder(&self) -> &Path {
        &self.place
    }
}

/// One of the journals of a set.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) number: u16,
    pub(crate) place: SetPlace,
    /// The lease of this process, if it acts for the journal.
    pub(crate) held: Option<Arc<Held>>,
    /// Locked from the claim of names until something is recorded under them.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
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
