//! Stores blobs in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{Blobs, checked, payload_of};
use crate::{
    journal::JournalError,
    model::{Hash, Payload},
};

/// Blobs in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: Mutex<BTreeMap<Hash, Vec<u8>>>,
}

impl MemoryBlobs {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeMap<Hash, Vec<u8>>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Blobs for MemoryBlobs {
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        self.blobs().insert(Hash::of(bytes), bytes.to_vec());
        Ok(payload_of(bytes))
    }

    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        let bytes = self.blobs().get(&hash).cloned();
        checked(bytes.ok_or(JournalError::MissingBlob(hash))?, hash, len)
    }
}
