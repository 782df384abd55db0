//! Checkpoints: positions within a step that survive the process, the latest one per run and node.
//!
//! They are not part of the history: each value overwrites the previous one, so they have their own
//! store. They are hints: a step compares them with the host before it uses them.

mod file_checkpoints;
mod memory;

pub use file_checkpoints::FileCheckpoints;
pub use memory::MemoryCheckpoints;

use async_trait::async_trait;

use crate::{
    journal::{JournalError, RECORD_MAX},
    model::{Name, RunId, StreamId},
};

/// A store of checkpoints.
#[async_trait]
pub trait Checkpoints: Send + Sync + 'static {
    /// Stores `value` for the node; durable when it returns. A value has at most [`RECORD_MAX`]
    /// bytes.
    ///
    /// # Errors
    /// [`JournalError::TooLong`] for a longer value, otherwise when the store cannot be written.
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError>;

    /// The newest value stored for the node.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError>;

    /// Deletes all values of the run.
    ///
    /// # Errors
    /// When the store cannot be written.
    async fn forget(&self, run: RunId) -> Result<(), JournalError>;
}

/// A step that has to store more than a position uses a blob.
fn check(run: RunId, value: &[u8]) -> Result<(), JournalError> {
    if value.len() <= RECORD_MAX {
        return Ok(());
    }
    let (stream, len) = (StreamId::Run(run), value.len());
    Err(JournalError::TooLong {
        stream,
        event: "checkpoint",
        len,
    })
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    async fn keeps_the_newest_value_by_run_and_node(store: &dyn Checkpoints) {
        let (one, two) = (RunId(Ulid::from_parts(1, 1)), RunId(Ulid::from_parts(1, 2)));
        let (a, ab) = (Name::of("a"), Name::of("ab"));
        for (run, node, value) in [
            (one, &a, "1"),
            (one, &a, "2"),
            (one, &ab, "3"),
            (two, &a, "4"),
        ] {
            store.put(run, node, value.into()).await.unwrap();
        }
        assert_eq!(store.get(one, &a).await, Ok(Some("2".into())));
        assert_eq!(store.get(two, &ab).await, Ok(None));
        store.forget(one).await.unwrap();
        store.forget(one).await.unwrap();
        assert_eq!(store.get(one, &ab).await, Ok(None));
        assert_eq!(store.get(two, &a).await, Ok(Some("4".into())));
        let long = store.put(one, &a, vec![0; RECORD_MAX + 1]).await;
        assert!(
            matches!(long, Err(JournalError::TooLong { .. })),
            "{long:?}"
        );
    }

    #[tokio::test]
    async fn memory_keeps_checkpoints() {
        keeps_the_newest_value_by_run_and_node(&MemoryCheckpoints::new()).await;
    }

    #[tokio::test]
    async fn a_folder_keeps_checkpoints_until_it_is_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileCheckpoints::open(dir.path().join("c")).await.unwrap();
        keeps_the_newest_value_by_run_and_node(&store).await;
        store.close().await;
        let (run, node) = (RunId(Ulid::from_parts(1, 2)), Name::of("a"));
        assert_eq!(store.get(run, &node).await, Err(JournalError::Closed));
        let reopened = FileCheckpoints::open(dir.path().join("c")).await.unwrap();
        assert_eq!(reopened.get(run, &node).await, Ok(Some("4".into())));
    }
}
