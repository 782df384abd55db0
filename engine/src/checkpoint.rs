//! Positions within a step that outlive the process: the latest value by run and node.
//!
//! They are no part of history: a value is overwritten by the next, so they live in a store of
//! their own. They are hints: a step checks them against the world before it believes them.

use async_trait::async_trait;

use crate::{
    journal::JournalError,
    model::{Name, RunId},
};

/// A store of checkpoints.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// Keeps `value` for the node; durable when it returns.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError>;

    /// The newest value kept for the node.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError>;

    /// Forgets everything kept for the run.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn forget(&self, run: RunId) -> Result<(), JournalError>;
}
