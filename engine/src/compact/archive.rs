//! The archive that a compaction writes, reads back and names.

use super::{Step, off_runtime, plan::Plan, tell};
use crate::{
    audit::{Audit, AuditError},
    files,
    journal::{Archive, Journal as _, SledJournal},
    model::Timestamp,
    state_dir::{self, StateDir},
};

/// Writes what is between the horizons to a file, reads that back, and gives it its name.
pub(super) async fn archive(
    state: &StateDir,
    journal: &SledJournal,
    plan: &Plan,
    now: Timestamp,
    step: Step<'_>,
) -> Result<Archive, AuditError> {
    let dir = state.archives();
    let made = dir.clone();
    off_runtime("created", move || files::create_dir(&made)).await?;
    let blobs = state.blobs().await?;
    let audit = Audit {
        journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
        archives: Some(&dir),
    };
    let part = dir.join(state_dir::PART);
    let archive = audit.archive(&part, &plan.link, now).await?;
    tell(step, "the archive is written")?;
    let horizon = journal.horizon().await?;
    audit
        .check_archive(&part, &archive, horizon.as_ref())
        .await?;
    tell(step, "the archive is read back")?;
    let named = dir.join(archive.file_name());
    off_runtime("named", move || {
        std::fs::rename(&part, &named)?;
        files::sync_parent(&named)
    })
    .await?;
    tell(step, "the archive has its name")?;
    Ok(archive)
}
