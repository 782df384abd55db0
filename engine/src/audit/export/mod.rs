//! Exports a journal as JSON Lines, and rebuilds a journal from an export.

mod fields;
mod gaps;
mod line;
mod lines;
mod offered;
mod omissions;
mod rebuild;
mod validate;
mod writer;

pub use rebuild::{Rebuilt, rebuild, rebuild_into};

pub(crate) use lines::{ExportLines, LineInput, parse};
pub(crate) use offered::offered;
pub(crate) use rebuild::{off_runtime, restore_journal};

#[cfg(test)]
pub(super) use {line::LINE_MAX, rebuild::restore};

use tokio::io::AsyncWrite;

use self::{
    gaps::Gaps,
    line::{HeadLine, HeaderLine},
    writer::ExportWriter,
};
use super::{Audit, AuditAnchor, AuditError, BatchPiece, Batches};
use crate::{
    journal::{Missing, Offset},
    model::{Hash, Timestamp},
};

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// How many events.
    pub events: u64,
    /// How many payloads beside them.
    pub blobs: u64,
    /// What the export lacks of what the journal once held.
    pub lacks: Omissions,
    /// The audit anchor at its end.
    pub head: AuditAnchor,
}

/// What an export, or a journal rebuilt from it, lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Omissions {
    /// Ranges of events that the journal misses.
    pub missing: Vec<Missing>,
    /// Payloads that are lost, by their SHA-256.
    pub blobs: Vec<Hash>,
    /// The offsets of events that could not be decoded. The export has them as they were stored.
    pub undecodable: Vec<Offset>,
}

impl Omissions {
    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Audit<'_> {
    /// Writes the whole journal, batch by batch; each batch is checked against the chain before it
    /// is written. The audit anchor at the end is taken at `now`. Omissions of the journal have
    /// their own lines. The first base after a missing range is included if an event commits to it.
    ///
    /// # Errors
    /// [`AuditError::Violation`] for the first thing that is wrong with the journal; other errors
    /// when it cannot be read or the export cannot be written. The output then has no head, and no
    /// rebuild accepts it.
    pub async fn export(
        &self,
        out: &mut (dyn AsyncWrite + Unpin + Send),
        now: Timestamp,
    ) -> Result<Exported, AuditError> {
        let mut writer = ExportWriter::new(self, out);
        writer.line(&HeaderLine::new(self.journal_id)).await?;
        let mut head = AuditAnchor::of_nothing(self.journal_id, now);
        let mut gaps = Gaps::of(self.journal).await?;
        let mut batches = Batches::of(self.journal).await?;
        while let Some(piece) = batches.next().await? {
            let next = match piece {
                BatchPiece::Batch(link, records) => {
                    writer.batch(&link, &records).await?;
                    head.reach(link.last, link.hash);
                    link.last.saturating_add(1)
                }
                BatchPiece::Missing(missing) => {
                    let continuation = gaps.after(missing.from);
                    let end = missing.to;
                    head.reach(end.saturating_sub(1), continuation.link);
                    writer.missing(missing, continuation).await?;
                    end
                }
            };
            if gaps.has_base(next) {
                writer.base(next).await?;
            }
        }
        writer.line(&HeadLine::new(&head)).await?;
        writer.finish(head).await
    }
}
