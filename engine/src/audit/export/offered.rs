//! Reads the batches of an export or a backup that a repair needs.

use super::{
    super::{AuditError, Flaw},
    lines::{ExportLines, LineInput},
    validate::{ExportPart, ExportValidator},
};
use crate::journal::{BatchLink, Offset};

/// The batches of an export or a backup of that journal that hold events of the ranges. Each range
/// is its first offset and the offset after its last. The whole input is read and checked.
///
/// # Errors
/// [`AuditError::Line`] for the first invalid line, also if the export is of another journal.
pub(crate) async fn offered(
    input: LineInput<'_>,
    journal_id: &str,
    ranges: &[(Offset, Offset)],
) -> Result<Vec<(BatchLink, Vec<Vec<u8>>)>, AuditError> {
    let mut lines = ExportLines::of(input);
    let header = lines.any_header().await?;
    if header.journal != journal_id {
        return Err(lines.wrong(Flaw::Changed, "it is of another journal"));
    }
    let mut reading = ExportValidator::new(header.journal);
    let mut batches = Vec::new();
    while let Some(line) = lines.next().await? {
        match reading.take(&line).map_err(|e| lines.at(e))? {
            ExportPart::Batch(records) => {
                let Some(link) = reading.link() else { continue };
                let overlaps =
                    |(from, to): &(Offset, Offset)| link.first < *to && *from <= link.last;
                if ranges.iter().any(overlaps) {
                    let bytes = records.into_iter().map(|record| record.bytes).collect();
                    batches.push((link, bytes));
                }
            }
            ExportPart::Head(_) => return Ok(batches),
            _ => {}
        }
    }
    Err(lines.wrong(Flaw::RolledBack, "the export ends before its head"))
}
