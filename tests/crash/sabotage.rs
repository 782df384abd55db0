//! Deliberate defects of the product. The suite has to find each of them: a suite that cannot fail proves
//! nothing.

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

/// A deliberate defect of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A batch is acknowledged before it is written, so a crash loses the newest one.
    AckBeforeWrite,
    /// An event is never written to the journal.
    DroppedEvent,
    /// Steps act before their intent is durable.
    LateIntent,
    /// A domain is started before the clone of its boot disk is recorded.
    LateCloneRecord,
    /// A checkpoint is acknowledged and not stored.
    ForgottenCheckpoint,
    /// An error while reading an object is taken for its absence.
    UnknownIsAbsent,
    /// Deletions are not guarded: no object seems to be in use.
    BlindGuards,
    /// A start is reported as done before it has happened.
    EarlySuccess,
    /// Two engines write to one journal, and neither is refused.
    TwoWriters,
    /// After a while waits never end.
    LostWait,
    /// Secrets are reported as erased and are retained.
    KeptSecrets,
    /// `deletionPolicy: Retain` is not read.
    RetainIgnored,
    /// `stop`, `restart` and `retry` make the boot disk anew.
    PowerRebuilds,
    /// After retention forgot runs, a power command makes the boot disk anew.
    RetentionRebuilds,
    /// `retry` and power commands restore again the snapshot that was restored before.
    RestoresAgain,
    /// A boot that failed is followed by a new boot disk, unasked.
    FailureRebuilds,
    /// A guest whose disk is another file by now is taken for one that has the disk of its last definition.
    StaleBase,
    /// A layer that is over a disk is taken for one that was merged into it.
    LayersUnmerged,
    /// A document with the UID of another object is taken for that object.
    UidsTaken,
    /// A member's data disk goes by the policy of the earlier template.
    RetainRollsOut,
    /// A disk is exported although the guest writes to another file.
    ExportsUnseen,
    /// All cards have one MAC address.
    OneCard,
    /// The definition of a guest that was saved with its memory is made anew when it is stopped.
    DefinedAnew,
    /// A VSI that was never ready is made on another host without its deletion on the first.
    TwoHosts,
    /// The orders of a journal that was backed up are open once it is restored.
    OrdersOutliveRestore,
    /// States are written to the index before their events are in the log, and a start trusts them.
    IndexAhead,
}

/// The journal as the sabotaged product writes it.
pub fn journal(sabotage: Option<Defect>, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
    let node = |kind: &EventKind, name: &str| matches!(kind, EventKind::StepSucceeded { node, .. } if node.as_str() == name);
    match sabotage {
        Some(Defect::AckBeforeWrite) => Arc::new(HeldBack::new(inner, |_| true, |_| true)),
        Some(Defect::DroppedEvent) => {
            let define = move |kind: &EventKind| node(kind, "define_domain");
            Arc::new(HeldBack::new(inner, define, |_| false))
        }
        Some(Defect::LateIntent) => {
            let intent = |kind: &EventKind| matches!(kind, EventKind::Intent { .. });
            Arc::new(HeldBack::new(inner, intent, |_| true))
        }
        Some(Defect::LateCloneRecord) => {
            let clone = move |kind: &EventKind| node(kind, "clone_boot_disk");
            let end = move |kind: &EventKind| node(kind, "start_domain");
            Arc::new(HeldBack::new(inner, clone, end))
        }
        Some(Defect::TwoWriters) => Arc::new(unwritten::Rebased(inner)),
        _ => inner,
    }
}

/// The journal, with the index of the sabotaged product.
pub fn index(
    sabotage: Option<Defect>,
    journal: Arc<dyn Journal>,
    index: &Arc<index_ahead::StoredIndex>,
) -> Arc<dyn Journal> {
    match sabotage {
        Some(Defect::IndexAhead) => Arc::new(index_ahead::Ahead::new(journal, index.clone())),
        _ => journal,
    }
}

/// The checkpoints as the sabotaged product stores them.
pub fn checkpoints(sabotage: Option<Defect>, inner: Arc<dyn Checkpoints>) -> Arc<dyn Checkpoints> {
    match sabotage {
        Some(Defect::ForgottenCheckpoint) => Arc::new(Forgetful),
        _ => inner,
    }
}

/// The hosts as the sabotaged product sees them.
pub fn hosts(sabotage: Option<Defect>, inner: Arc<dyn Hosts>) -> Arc<dyn Hosts> {
    let twist = match sabotage {
        Some(Defect::UnknownIsAbsent) => Twist::UnknownIsAbsent,
        Some(Defect::BlindGuards) => Twist::Blind,
        Some(Defect::EarlySuccess) => Twist::EarlyStart,
        Some(Defect::StaleBase) => Twist::StaleBase,
        Some(Defect::LayersUnmerged) => Twist::LayersUnmerged,
        Some(Defect::OneCard) => Twist::OneCard,
        Some(Defect::DefinedAnew) => Twist::DefinedAnew,
        _ => return inner,
    };
    Arc::new(Twisted::new(inner, twist))
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

/// A store of secrets that erases none.
pub struct Keeping(pub Arc<dyn Secrets>);

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
pub fn secrets(sabotage: Option<Defect>, inner: Arc<dyn Secrets>) -> Arc<dyn Secrets> {
    match sabotage {
        Some(Defect::KeptSecrets) => Arc::new(Keeping(inner)),
        _ => inner,
    }
}
