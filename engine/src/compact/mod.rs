//! Compaction: what is old leaves the journal for an archive, and what it came to stays.
//!
//! Everything below an offset, the [horizon](crate::journal::Horizon), is written to an archive,
//! in the documented form of an export (see [`crate::audit`]), and read back and held against the
//! chain before anything is dropped. Then new files of the journal are made beside the old ones
//! (nothing is ever removed from a sled database: what it frees it writes over in place), and put
//! in their place by two renames. In them
//!
//! - each stream that had events below the horizon has one [`Seal`] in their
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

pub(crate) mod fold;
mod plan;
#[cfg(test)]
pub(crate) mod tests;

pub use plan::IsGone;

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use self::plan::{Plan, plan};
use crate::{
    audit::{Audit, AuditError, Batches, payloads},
    blob::DirBlobs,
    blocking::blocking,
    files,
    journal::{
        Archive, ChainedJournal, Commitment, Horizon, Journal, JournalError, Offset, Rest, Seal,
        SledBuilder, SledJournal, Stored,
    },
    model::{Actor, Event, EventKind, Hash, Payload, StreamId, Text, Timestamp},
    state_dir::{self, StateDir},
};

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

// ---- the archive ----

/// Writes what is between the horizons to a file, reads that back, and gives it its name.
async fn archive(
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

async fn horizon(
    journal: &dyn ChainedJournal,
    plan: &Plan,
    archive: Archive,
) -> Result<Horizon, AuditError> {
    let before = journal.horizon().await?;
    let mut archives = before.map(|horizon| horizon.archives).unwrap_or_default();
    archives.push(archive);
    let mut commitment = Commitment::new(&plan.link, &archives);
    plan.seals
        .iter()
        .try_for_each(|seal| commitment.add(seal))?;
    Ok(Horizon {
        offset: plan.link.last.saturating_add(1),
        link: plan.link,
        archives,
        sealed: commitment.hash(),
    })
}

// ---- the new files ----

async fn build(
    dir: &Path,
    journal: &dyn ChainedJournal,
    plan: &Plan,
    horizon: &Horizon,
    now: Timestamp,
) -> Result<(), AuditError> {
    let next = dir.to_owned();
    let (dir, at, seals) = (next.clone(), horizon.clone(), plan.seals.clone());
    let mut builder = blocking(move || {
        let cleared = state_dir::remove(&dir);
        cleared.map_err(|e| JournalError::Storage(format!("{}: {e}", dir.display())))?;
        let mut builder = SledBuilder::begin(&dir, &at)?;
        seals.iter().try_for_each(|seal| builder.seal(seal))?;
        Ok(builder)
    })
    .await?;
    builder = keep(builder, journal, plan, horizon.offset).await?;
    builder = copy(builder, journal, horizon.offset).await?;
    let event = compacted(horizon, now);
    blocking(move || builder.finish(&next, event)).await?;
    Ok(())
}

/// Takes over the records below the horizon that stay.
async fn keep(
    builder: SledBuilder,
    journal: &dyn ChainedJournal,
    plan: &Plan,
    horizon: Offset,
) -> Result<SledBuilder, AuditError> {
    let kept = plan.seals.iter().filter(|seal| seal.is_kept());
    let kept: HashSet<_> = kept.map(|seal| seal.stream.clone()).collect();
    let (mut builder, mut from) = (builder, 0);
    loop {
        let page = journal.read_stored(from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.offset.saturating_add(1);
        let stays = |stored: &Stored| stored.offset < horizon && kept.contains(&stored.stream);
        let page: Vec<_> = page.into_iter().filter(stays).collect();
        builder = blocking(move || {
            page.iter().try_for_each(|stored| builder.keep(stored))?;
            Ok(builder)
        })
        .await?;
        if from >= horizon {
            break;
        }
    }
    Ok(builder)
}

/// Takes over everything from the horizon on.
async fn copy(
    builder: SledBuilder,
    journal: &dyn ChainedJournal,
    horizon: Offset,
) -> Result<SledBuilder, AuditError> {
    let (mut builder, mut batches) = (builder, Batches::of(journal).await?);
    while let Some((link, records)) = batches.next().await? {
        if link.first < horizon {
            continue;
        }
        builder = blocking(move || {
            builder.batch(link, &records)?;
            Ok(builder)
        })
        .await?;
    }
    Ok(builder)
}

fn compacted(horizon: &Horizon, now: Timestamp) -> Event {
    let archive = horizon.archives.last();
    Event {
        at: now,
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::Compacted {
            horizon: horizon.offset,
            sealed: horizon.sealed,
            archive: archive.map_or_else(Hash::default, |archive| archive.sha256),
        },
    }
}

/// What is read at once.
const PAGE: usize = 1_000;

// ---- what is of no use any more ----

/// Removes blobs that nothing in the journal names, and archives that an earlier attempt left.
async fn sweep(state: &StateDir, archive: &Archive) -> Result<(), AuditError> {
    let journal = state.journal().await?;
    let named = named_blobs(&journal).await;
    journal.close().await;
    let named = named?;
    let blobs: DirBlobs = state.blobs().await?;
    blobs.retain(named).await?;
    let (dir, archive) = (state.archives(), *archive);
    off_runtime("cleared", move || remove_others(&dir, &archive)).await
}

async fn named_blobs(journal: &SledJournal) -> Result<HashSet<Hash>, AuditError> {
    let mut named = HashSet::new();
    let mut note = |payload: &Payload| {
        if let Payload::Blob { hash, .. } = payload {
            named.insert(*hash);
        }
    };
    let mut after: Option<StreamId> = None;
    loop {
        let page = journal.seals(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.stream.clone());
        page.iter().filter_map(wanted).for_each(&mut note);
    }
    let mut from = 0;
    loop {
        let page = journal.read_all(from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.offset.saturating_add(1);
        let kinds = page.iter().map(|record| &record.event.kind);
        kinds.flat_map(payloads).for_each(&mut note);
    }
    Ok(named)
}

/// What is still wanted of a sealed entity.
fn wanted(seal: &Seal) -> Option<&Payload> {
    match &seal.rest {
        Rest::Entity(snapshot) => snapshot
            .state
            .desired
            .as_ref()
            .map(|wanted| &wanted.desired),
        _ => None,
    }
}

/// Removes archives that begin where this one does: killed attempts wrote them, and what they
/// hold is in this one, too. Blocks.
fn remove_others(dir: &Path, archive: &Archive) -> io::Result<()> {
    let (own, begin) = (archive.file_name(), format!("{:012}-", archive.first));
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let other = name.to_str().is_some_and(|name| {
            name != own && name.starts_with(&begin) && name.ends_with(".jsonl.gz")
        });
        // One that reaches further belongs to a journal that was put back to an older copy.
        let shorter = name.to_str().is_some_and(|name| *name < *own);
        if other && shorter {
            std::fs::remove_file(dir.join(name))?;
        }
    }
    files::sync_dir(dir)
}
