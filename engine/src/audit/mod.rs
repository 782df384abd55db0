//! Proves what a journal says: verify it, anchor it, export it, rebuild it.
//!
//! Two chains stand behind it (see [`crate::journal::chain`]): each stream's, and the one of the
//! durable batches. [`Audit::verify`] recomputes both and names everything that was changed,
//! removed, reordered or inserted relative to the newest link. What the newest link itself cannot
//! tell, that the end was cut off or the whole put back to an older copy, is told by a [`AuditAnchor`]
//! kept elsewhere. [`Audit::export`] writes the journal as JSON Lines with every stored record
//! verbatim, and [`rebuild()`] makes a journal of them again, link for link. What a journal misses
//! is named by all of them, each time.
//!
//! Unsigned, all of this guards against accident and outsiders, not against the owner of the
//! disk, who can compute every link anew.
//!
//! What this module never does: it never writes to a journal that it looks at, and no secret
//! goes into an export, since none is in a journal.

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

/// A journal to be proved, with what belongs to it.
#[derive(Clone, Copy)]
pub struct Audit<'a> {
    /// The journal.
    pub journal: &'a dyn ChainedJournal,
    /// The payloads that its events name.
    pub blobs: &'a dyn Blobs,
    /// The journal's identity.
    pub journal_id: &'a str,
}
