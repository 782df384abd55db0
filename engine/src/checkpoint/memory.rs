//! Stores checkpoints in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Checkpoints, check};
use crate::{
    journal::JournalError,
    model::{Name, RunId},
};

type StoredCheckpoints = BTreeMap<(RunId, Name), Vec<u8>>;

/// Checkpoints in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryCheckpoints {
    values: Mutex<StoredCheckpoints>,
}

impl MemoryCheckpoints {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn values(&self) -> MutexGuard<'_, StoredCheckpoints> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Checkpoints for MemoryCheckpoints {
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError> {
        check(run, &value)?;
        self.values().insert((run, node.clone()), value);
        Ok(())
    }

    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.values().get(&(run, node.clone())).cloned())
    }

    async fn forget(&self, run: RunId) -> Result<(), JournalError> {
        self.values().retain(|(stored, _), _| *stored != run);
        Ok(())
    }
}
