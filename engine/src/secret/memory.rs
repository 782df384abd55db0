//! Stores secrets in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Secret, SecretError, Secrets, random_id};
use crate::model::Name;

/// Secrets in memory, for tests.
#[derive(Debug, Default)]
pub struct MemorySecrets {
    secrets: Mutex<BTreeMap<Name, Secret>>,
}

impl MemorySecrets {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn secrets(&self) -> MutexGuard<'_, BTreeMap<Name, Secret>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Secrets for MemorySecrets {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        let id = random_id();
        self.secrets().insert(id.clone(), secret);
        Ok(id)
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        self.secrets()
            .get(id)
            .cloned()
            .ok_or_else(|| SecretError::Missing(id.clone()))
    }

    async fn erase(&self, id: &Name) -> Result<(), SecretError> {
        self.secrets().remove(id);
        Ok(())
    }

    async fn put_back(&self, id: &Name, secret: Secret) -> Result<(), SecretError> {
        self.secrets().insert(id.clone(), secret);
        Ok(())
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        Ok(self.secrets().keys().cloned().collect())
    }

    async fn has(&self, id: &Name) -> Result<bool, SecretError> {
        Ok(self.secrets().contains_key(id))
    }
}
