//! Deliberate faults of the product itself, each of which the suite has to find: a suite that
//! cannot fail proves nothing.

pub mod index_ahead;
mod twisted;
mod unwritten;

use std::sync::Arc;

use async_trait::async_trait;
use vsiflow_engine::{
    checkpoint::Checkpoints,
    journal::{Journal, JournalError},
    model::{EventKind, Name, RunId},
    secret::{Secret, SecretError, Secrets},
};
use vsiflow_steps::ports::Hosts;

use twisted::{Twist, Twisted};
use unwritten::HeldBack;

/// What is wrong with the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A batch is acknowledged before it is written: a crash loses the newest.
    AckBeforeWrite,
    /// An event never gets into the journal.
    DroppedEvent,
    /// Steps act before their intent is durable.
    LateIntent,
    /// A domain is started while the clone of its boot disk is not on record.
    LateCloneRecord,
    /// A checkpoint is acknowledged and not kept.
    ForgottenCheckpoint,
    /// An error while looking for an object is taken for its absence.
    UnknownIsAbsent,
    /// Deletions are not guarded: nobody seems to use anything.
    BlindGuards,
    /// A start is reported done before it has happened.
    EarlySuccess,
    /// Two engines work on one journal, and neither is refused.
    TwoWriters,
    /// After a while a wait never ends.
    LostWait,
    /// Secrets are said to be erased and are kept.
    KeptSecrets,
    /// States get into the index before their events are in the log, and are believed there.
    IndexAhead,
}

/// The journal as the sabotaged product writes it.
pub fn journal(sabotage: Option<Sabotage>, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
    let node = |kind: &EventKind, name: &str| matches!(kind, EventKind::StepSucceeded { node, .. } if node.as_str() == name);
    match sabotage {
        Some(Sabotage::AckBeforeWrite) => Arc::new(HeldBack::new(inner, |_| true, |_| true)),
        Some(Sabotage::DroppedEvent) => {
            let define = move |kind: &EventKind| node(kind, "define_domain");
            Arc::new(HeldBack::new(inner, define, |_| false))
        }
        Some(Sabotage::LateIntent) => {
            let intent = |kind: &EventKind| matches!(kind, EventKind::Intent { .. });
            Arc::new(HeldBack::new(inner, intent, |_| true))
        }
        Some(Sabotage::LateCloneRecord) => {
            let clone = move |kind: &EventKind| node(kind, "clone_boot_disk");
            let end = move |kind: &EventKind| node(kind, "start_domain");
            Arc::new(HeldBack::new(inner, clone, end))
        }
        Some(Sabotage::TwoWriters) => Arc::new(unwritten::Rebased(inner)),
        _ => inner,
    }
}

/// The journal with the index that the sabotaged product has beside it.
pub fn index(
    sabotage: Option<Sabotage>,
    journal: Arc<dyn Journal>,
    index: &Arc<index_ahead::Index>,
) -> Arc<dyn Journal> {
    match sabotage {
        Some(Sabotage::IndexAhead) => Arc::new(index_ahead::Ahead::new(journal, index.clone())),
        _ => journal,
    }
}

/// The checkpoints as the sabotaged product keeps them.
pub fn checkpoints(
    sabotage: Option<Sabotage>,
    inner: Arc<dyn Checkpoints>,
) -> Arc<dyn Checkpoints> {
    match sabotage {
        Some(Sabotage::ForgottenCheckpoint) => Arc::new(Forgetful),
        _ => inner,
    }
}

/// The hosts as the sabotaged product sees them.
pub fn hosts(sabotage: Option<Sabotage>, inner: Arc<dyn Hosts>) -> Arc<dyn Hosts> {
    let twist = match sabotage {
        Some(Sabotage::UnknownIsAbsent) => Twist::UnknownIsAbsent,
        Some(Sabotage::BlindGuards) => Twist::Blind,
        Some(Sabotage::EarlySuccess) => Twist::EarlyStart,
        _ => return inner,
    };
    Arc::new(Twisted { inner, twist })
}

struct Forgetful;

#[async_trait]
impl Checkpoints for Forgetful {
    async fn put(&self, _: RunId, _: &Name, _: Vec<u8>) -> Result<(), JournalError> {
        Ok(())
    }

    async fn get(&self, _: RunId, _: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(None)
    }

    async fn forget(&self, _: RunId) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Secrets that are kept whatever is said.
struct Keeping(Arc<dyn Secrets>);

#[async_trait]
impl Secrets for Keeping {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        self.0.put(secret).await
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        self.0.get(id).await
    }

    async fn erase(&self, _: &Name) -> Result<(), SecretError> {
        Ok(())
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        self.0.ids().await
    }

    async fn has(&self, id: &Name) -> Result<bool, SecretError> {
        self.0.has(id).await
    }
}

/// The secrets as the sabotaged product erases them.
pub fn secrets(sabotage: Option<Sabotage>, inner: Arc<dyn Secrets>) -> Arc<dyn Secrets> {
    match sabotage {
        Some(Sabotage::KeptSecrets) => Arc::new(Keeping(inner)),
        _ => inner,
    }
}
