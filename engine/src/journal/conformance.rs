//! The conformance suite that every journal implementation has to pass before the engine may use it.
//!
//! An implementation gives the suite a [`Subject`] and expects an empty list of complaints:
//!
//! ```
//! # use std::sync::Arc;
//! use vsiflow_engine::journal::{ChainedJournal, MemoryJournal, conformance};
//!
//! struct Memory;
//!
//! #[async_trait::async_trait]
//! impl conformance::Subject for Memory {
//!     async fn make(&self) -> Result<Arc<dyn ChainedJournal>, String> {
//!         Ok(Arc::new(MemoryJournal::new()))
//!     }
//!     async fn reopen(
//!         &self,
//!         journal: Arc<dyn ChainedJournal>,
//!     ) -> Result<Arc<dyn ChainedJournal>, String> {
//!         Ok(journal)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! assert_eq!(conformance::run(&Memory).await, Vec::<String>::new());
//! # }
//! ```
//!
//! The suite cannot check durability. Each implementation needs its own tests that acknowledged
//! events survive a kill and a power cut.

mod chains;
mod missing;
mod reading;
mod support;
mod writing;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::ChainedJournal;

/// Creates the journals that the suite tests.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Creates an empty journal that shares nothing with earlier ones.
    ///
    /// # Errors
    /// When it cannot be created.
    async fn make(&self) -> Result<Arc<dyn ChainedJournal>, String>;

    /// Closes a journal and opens it again, as another process would.
    ///
    /// # Errors
    /// When it cannot be opened again.
    async fn reopen(
        &self,
        journal: Arc<dyn ChainedJournal>,
    ) -> Result<Arc<dyn ChainedJournal>, String>;
}

type Run = for<'a> fn(&'a dyn Subject) -> BoxFuture<'a, Result<(), String>>;

/// One property that every journal must have.
#[derive(Clone, Copy)]
pub struct Check {
    name: &'static str,
    run: Run,
}

impl Check {
    /// The name of the property, such as `a_conflict_writes_nothing`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Checks the property on new journals.
    ///
    /// # Errors
    /// A description of the violation.
    pub async fn run(&self, subject: &dyn Subject) -> Result<(), String> {
        (self.run)(subject).await
    }
}

/// Every check, from simple to complex.
pub fn checks() -> Vec<Check> {
    [
        writing::CHECKS,
        reading::CHECKS,
        chains::CHECKS,
        missing::CHECKS,
    ]
    .concat()
}

/// Runs every check and returns a line for each that failed.
pub async fn run(subject: &dyn Subject) -> Vec<String> {
    let mut complaints = Vec::new();
    for check in checks() {
        if let Err(why) = check.run(subject).await {
            complaints.push(format!("{}: {why}", check.name));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tempfile::TempDir;

    use super::*;
    use crate::journal::{DiskJournal, MemoryJournal};

    const ID: &str = "01JXAMPLE0000000000000000";

    struct InMemory;

    #[async_trait]
    impl Subject for InMemory {
        async fn make(&self) -> Result<Arc<dyn ChainedJournal>, String> {
            Ok(Arc::new(MemoryJournal::new()))
        }

        async fn reopen(
            &self,
            journal: Arc<dyn ChainedJournal>,
        ) -> Result<Arc<dyn ChainedJournal>, String> {
            Ok(journal)
        }
    }

    #[derive(Default)]
    struct OnDisk {
        newest: Mutex<Option<TempDir>>,
    }

    #[async_trait]
    impl Subject for OnDisk {
        async fn make(&self) -> Result<Arc<dyn ChainedJournal>, String> {
            let dir = tempfile::tempdir().unwrap();
            let journal = DiskJournal::open(dir.path(), ID).await.unwrap();
            *self.newest.lock().unwrap() = Some(dir);
            Ok(Arc::new(journal))
        }

        async fn reopen(
            &self,
            journal: Arc<dyn ChainedJournal>,
        ) -> Result<Arc<dyn ChainedJournal>, String> {
            drop(journal);
            let dir = self
                .newest
                .lock()
                .unwrap()
                .as_ref()
                .unwrap()
                .path()
                .to_owned();
            Ok(Arc::new(
                DiskJournal::open(dir, ID)
                    .await
                    .map_err(|e| e.to_string())?,
            ))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_journal_in_memory_passes() {
        assert_eq!(run(&InMemory).await, Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_journal_on_disk_passes() {
        assert_eq!(run(&OnDisk::default()).await, Vec::<String>::new());
    }
}
