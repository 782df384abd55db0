//! Audits a journal: verifies it, anchors it, exports it and rebuilds it.
//!
//! Two kinds of chains prove a journal (see [`crate::journal::chain`]): one per stream, and one
//! over the durable batches. [`Audit::verify`] recomputes both and names everything that was
//! changed, removed, reordered or inserted relative to the newest link. The newest link itself
//! cannot show that the end was cut off or that the whole journal was replaced by an older copy. An
//! [`AuditAnchor`] stored elsewhere shows that. [`Audit::export`] writes the journal as JSON Lines
//! with every stored record verbatim, and [`rebuild()`] makes a journal from them again, link for
//! link. All of them report what is missing in the journal, each time.
//!
//! Without signatures, all of this protects against accidents and outsiders, but not against the
//! owner of the disk, who can recompute every link.
//!
//! This module never writes to the journal that it audits. No export contains a secret, because no
//! journal does.

mod anchor;
mod bases;
mod batches;
mod error;
mod export;
pub(crate) mod payloads;
mod verify;
mod violation;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use anchor::{
    AuditAnchor, InvalidHead, InvalidKey, PublicKey, Seal, SigningKey, check_base, sign_base,
};
pub use error::AuditError;
pub use export::{Exported, Omissions, Rebuilt, rebuild, rebuild_into};
pub use verify::{RemovedRange, VerifyReport};
pub use violation::{Flaw, Violation};

pub(crate) use bases::Bases;
pub(crate) use batches::{BatchPiece, Batches};
pub(crate) use export::{ExportLines, LineInput, off_runtime, offered, parse, restore_journal};
pub(crate) use payloads::{payloads, payloads_of};

use crate::{blob::Blobs, journal::ChainedJournal};

/// A journal to be audited, with its blobs and its identity.
#[derive(Clone, Copy)]
pub struct Audit<'a> {
    /// The journal.
    pub journal: &'a dyn ChainedJournal,
    /// The payloads that its events name.
    pub blobs: &'a dyn Blobs,
    /// The journal's identity.
    pub journal_id: &'a str,
}
