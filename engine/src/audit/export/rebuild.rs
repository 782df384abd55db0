//! Rebuilds a journal from an export. Exports are untrusted input: everything is checked before it
//! is used.

use std::{path::Path, sync::Arc};

use super::{
    super::{AuditAnchor, AuditError, Flaw, Violation},
    Omissions,
    lines::{ExportLines, LineInput},
    validate::{ExportPart, ExportValidator},
};
use crate::{
    blob::Blobs,
    journal::{ChainedJournal, JournalError, Missing, States, StreamHead},
    model::Hash,
    state_dir::{Rebuilding, StateDirError},
};

/// What was rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The journal's identity; it remains the same.
    pub journal_id: String,
    /// How many events.
    pub events: u64,
    /// How many payloads beside them.
    pub blobs: u64,
    /// What the journal lacks of what the original journal once held.
    pub lacks: Omissions,
    /// The audit anchor that the export ended with.
    pub head: AuditAnchor,
}

/// Rebuilds a state directory from an export, at `dir`, which must be empty or absent. Link for
/// link it is the journal that was exported, with the same identity. Ranges missing there are
/// missing here, and the bases that cover them are included.
///
/// No export contains secrets: whatever needs a secret asks for it again. On failure nothing
/// remains at `dir`.
///
/// # Errors
/// [`AuditError::Line`] for the first invalid line, [`AuditError::Newer`] for an export of a newer
/// schema, [`AuditError::State`] when `dir` is not empty or cannot be written.
pub async fn rebuild(input: LineInput<'_>, dir: &Path) -> Result<Rebuilt, AuditError> {
    let mut lines = ExportLines::of(input);
    let header = lines.header().await?;
    let (dir, id) = (dir.to_owned(), header.journal.clone());
    let place = off_runtime(move || Rebuilding::begin(dir, &id)).await?;
    match fill(&mut lines, &place, header.journal).await {
        Ok(rebuilt) => {
            off_runtime(move || place.finish()).await?;
            Ok(rebuilt)
        }
        Err(error) => {
            // The first error is the one that matters; what remains at `dir` is not a usable
            // journal.
            let _ = off_runtime(move || place.abandon()).await;
            Err(error)
        }
    }
}

/// Writes the contents of an export into an empty journal, which `make` creates for the identity
/// that it receives. The caller closes the journal, and removes it if this fails.
///
/// # Errors
/// As for [`rebuild`].
pub async fn rebuild_into<Making>(
    input: LineInput<'_>,
    make: impl FnOnce(String) -> Making,
) -> Result<Rebuilt, AuditError>
where
    Making: Future<Output = Result<(Arc<dyn ChainedJournal>, Arc<dyn Blobs>), JournalError>>,
{
    let mut lines = ExportLines::of(input);
    let header = lines.header().await?;
    let (journal, blobs) = make(header.journal.clone()).await?;
    restore(&mut lines, &*journal, &*blobs, header.journal).await
}

async fn fill(
    lines: &mut ExportLines<'_>,
    place: &Rebuilding,
    journal_id: String,
) -> Result<Rebuilt, AuditError> {
    let (journal, blobs) = (place.journal().await?, place.blobs().await?);
    let filled = restore(lines, &journal, &blobs, journal_id).await;
    journal.close().await;
    filled
}

/// Writes the lines after the header into an empty journal, up to the last line.
pub(in crate::audit) async fn restore(
    lines: &mut ExportLines<'_>,
    journal: &dyn ChainedJournal,
    blobs: &dyn Blobs,
    journal_id: String,
) -> Result<Rebuilt, AuditError> {
    let rebuilt = restore_journal(lines, journal, blobs, journal_id).await?;
    lines.end().await?;
    Ok(rebuilt)
}

/// The same, but only up to the head; the caller reads the lines after it.
pub(crate) async fn restore_journal(
    lines: &mut ExportLines<'_>,
    journal: &dyn ChainedJournal,
    blobs: &dyn Blobs,
    journal_id: String,
) -> Result<Rebuilt, AuditError> {
    let mut reading = ExportValidator::new(journal_id.clone());
    while let Some(line) = lines.next().await? {
        let part = reading.take(&line).map_err(|e| lines.at(e))?;
        match part {
            ExportPart::Nothing => {}
            ExportPart::Blob(content) => {
                blobs.put_blob(&content).await?;
            }
            ExportPart::Batch(records) => {
                let bytes = records.into_iter().map(|record| record.bytes).collect();
                let written = journal.restore(bytes).await;
                written.map_err(|e| lines.at(e.into()))?;
            }
            ExportPart::Missing(range, link, heads) => {
                let written = leave_out(journal, range, link, heads).await;
                written.map_err(|e| lines.at(e))?;
            }
            ExportPart::Base(states) => {
                let written = write_base(journal, states).await;
                written.map_err(|e| lines.at(e))?;
            }
            ExportPart::Head(head) => {
                return Ok(Rebuilt {
                    journal_id,
                    events: reading.events(),
                    blobs: reading.blobs(),
                    lacks: reading.omissions(),
                    head,
                });
            }
        }
    }
    Err(lines.wrong(Flaw::RolledBack, "the export ends before its head"))
}

/// Continues after a missing range, if the journal supports that.
async fn leave_out(
    journal: &dyn ChainedJournal,
    range: Missing,
    link: Hash,
    heads: Vec<StreamHead>,
) -> Result<(), AuditError> {
    let (from, named) = (range.from, range.to_string());
    match journal.restore_missing(range, link, heads).await {
        Err(JournalError::Storage(why)) => {
            let message =
                format!("no journal can be made without the events it misses, {named}: {why}");
            Err(Violation::of(Flaw::Missing, message).at(from).into())
        }
        done => Ok(done?),
    }
}

/// Writes a base; an error if the journal stores no bases, because it cannot replace one that needs
/// them.
async fn write_base(journal: &dyn ChainedJournal, states: States) -> Result<(), AuditError> {
    let as_of = states.as_of;
    if journal.write_base(states).await?.is_some() {
        return Ok(());
    }
    let message = "the journal cannot be rebuilt without its missing events: it has no bases";
    Err(Violation::of(Flaw::Missing, message).at(as_of).into())
}

pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateDirError> + Send + 'static,
) -> Result<T, AuditError> {
    let ended = |e: tokio::task::JoinError| AuditError::Io {
        doing: "rebuilt",
        why: e.to_string(),
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(ended)??)
}
