//! Compaction: what is old leaves the journal for an archive, and what it came to stays.
//!
//! Everything below an offset, the [horizon](crate::journal::Horizon), is written to an archive,
//! in the documented form of an export (see [`crate::audit`]), and read back and held against the
//! chain before anything is dropped. Then new files of the journal are made beside the old ones
//! (nothing is ever removed from a sled database: what it frees it writes over in place), and put
//! in their place by two renames. In them
//!
//! - each stream that had events below the horizon has one [seal](crate::journal::Seal) in their
//!   place: how many there were, the link of the last one, where they were, and of an entity what
//!   they fold to;
//! - runs that are open, and the runs that a living entity goes by, keep their events;
//! - everything above the horizon is as it was, byte for byte: streams go on at the next sequence
//!   and with the same link, and the journal's chain goes on from the last link below;
//! - a `compacted` event of the journal's own stream says what was sealed, so that the newest link
//!   covers it.
//!
//! What has to hold after a kill between any two instructions:
//!
//! | killed | what the next start finds |
//! |---|---|
//! | while the archive is written | the journal as it was; a file `….part`, which is written over |
//! | while new files are made | the journal as it was, and an archive that nothing names yet; the folder `journal.next` is removed |
//! | between the renames | no `journal`, but `journal.old` and a whole `journal.next`, which gets its name |
//! | later | the new journal; what is left of the old one is removed, blobs that only archived events name are removed by the next compaction |
//!
//! The engine loses nothing it decides by: states folded from a compacted journal are those
//! folded before, without the runs that were archived.
//!
//! What this module never does: it removes no event that was not read back from an archive, it
//! changes no record and no link, and it never touches an archive that the journal names.

mod archive;
mod build;
pub(crate) mod fold;
mod plan;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;

pub use plan::IsGone;

use std::{io, path::PathBuf};

use self::{
    archive::archive,
    build::{build, horizon},
    plan::{Plan, plan},
    sweep::sweep,
};
use crate::{
    audit::AuditError,
    journal::{Archive, Journal, JournalError, Offset, SledJournal},
    model::Timestamp,
    state_dir::{self, StateDir},
};

/// What is read at once.
const PAGE: usize = 1_000;

/// What is to be compacted.
#[derive(Clone, Copy)]
pub struct Compaction<'a> {
    /// Events are archived up to the first that was recorded at this moment or later.
    pub before: Timestamp,
    /// The moment of the compaction.
    pub now: Timestamp,
    /// Nothing is done for fewer events than that.
    pub least: u64,
    /// Which entities are gone for good: of their runs nothing has to stay.
    pub is_gone: IsGone<'a>,
}

/// What was compacted, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The new horizon.
    pub horizon: Offset,
    /// How many events left the journal.
    pub events: u64,
    /// How many streams have a seal now.
    pub seals: u64,
    /// The archive that was written; none where nothing was done.
    pub archive: Option<PathBuf>,
}

/// Told each step of a compaction once it is done; what it returns ends the compaction there, as
/// a kill would.
type Step<'a> = &'a mut (dyn FnMut(&'static str) -> io::Result<()> + Send);

/// Whether at least that many events are old enough; costs one look.
///
/// # Errors
/// When the journal cannot be read.
pub async fn is_due(
    journal: &dyn Journal,
    before: Timestamp,
    least: u64,
) -> Result<bool, JournalError> {
    let horizon = journal.horizon().await?.map_or(0, |horizon| horizon.offset);
    let at = horizon.saturating_add(least.saturating_sub(1));
    let record = journal.read_all(at, 1).await?;
    Ok(record
        .first()
        .is_some_and(|record| record.event.at < before))
}

/// Says what a compaction would do. Nobody else may have the journal open.
///
/// # Errors
/// As for [`compact`].
pub async fn look(
    state: &StateDir,
    compaction: Compaction<'_>,
) -> Result<Option<Compacted>, AuditError> {
    let journal = state.journal().await?;
    let planned = plan(&journal, compaction.before, compaction.is_gone).await;
    journal.close().await;
    let planned = planned?.filter(|plan| plan.events >= compaction.least);
    Ok(planned.map(|plan| plan.told(None)))
}

/// Compacts the journal of a state directory; none where there was too little to do. Nobody else
/// may have the journal open. Takes about as much room as the journal and its archive need.
///
/// Cancel safety: as a kill; the next opening of the state directory finds one journal or the
/// other.
///
/// # Errors
/// [`AuditError::Violation`] when the journal is not sound, and nothing was changed then;
/// [`AuditError::Io`] and [`AuditError::State`] when files cannot be written.
pub async fn compact(
    state: &StateDir,
    compaction: Compaction<'_>,
) -> Result<Option<Compacted>, AuditError> {
    let done = steps(state, compaction, &mut |_| Ok(())).await;
    if done.is_err() {
        // What was begun is of no use and takes room; the error is what matters.
        let path = state.path().to_owned();
        let _ = off_runtime("cleared", move || state_dir::abandon(&path)).await;
    }
    done
}

async fn steps(
    state: &StateDir,
    compaction: Compaction<'_>,
    step: Step<'_>,
) -> Result<Option<Compacted>, AuditError> {
    let journal = state.journal().await?;
    let made = make(state, &journal, compaction, step).await;
    journal.close().await;
    let Some((told, archive)) = made? else {
        return Ok(None);
    };
    tell(step, "the journal is closed")?;
    let path = state.path().to_owned();
    off_runtime("put in place", move || state_dir::put_aside(&path)).await?;
    tell(step, "the old journal is aside")?;
    let path = state.path().to_owned();
    off_runtime("put in place", move || state_dir::put_in_place(&path)).await?;
    tell(step, "the new journal is in place")?;
    let path = state.path().to_owned();
    off_runtime("cleared", move || state_dir::clear_old(&path)).await?;
    tell(step, "the old journal is removed")?;
    sweep(state, &archive).await?;
    Ok(Some(told))
}

fn tell(step: Step<'_>, what: &'static str) -> Result<(), AuditError> {
    step(what).map_err(|e| io_error("compacted", &e))
}

fn io_error(doing: &'static str, error: &io::Error) -> AuditError {
    AuditError::Io {
        doing,
        why: error.to_string(),
    }
}

async fn off_runtime<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, AuditError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(io::Error::other).and_then(|done| done);
    done.map_err(|e| io_error(doing, &e))
}

/// Writes the archive and the new files.
async fn make(
    state: &StateDir,
    journal: &SledJournal,
    compaction: Compaction<'_>,
    step: Step<'_>,
) -> Result<Option<(Compacted, Archive)>, AuditError> {
    let planned = plan(journal, compaction.before, compaction.is_gone).await?;
    let Some(plan) = planned.filter(|plan| plan.events >= compaction.least) else {
        return Ok(None);
    };
    tell(step, "it is planned")?;
    let archive = archive(state, journal, &plan, compaction.now, step).await?;
    let horizon = horizon(journal, &plan, archive).await?;
    let next = state.path().join(state_dir::NEXT);
    build(&next, journal, &plan, &horizon, compaction.now).await?;
    tell(step, "the new files are made")?;
    let path = state.archives().join(archive.file_name());
    Ok(Some((plan.told(Some(path)), archive)))
}

impl Plan {
    fn told(&self, archive: Option<PathBuf>) -> Compacted {
        Compacted {
            horizon: self.link.last.saturating_add(1),
            events: self.events,
            seals: self.seals.len() as u64,
            archive,
        }
    }
}
