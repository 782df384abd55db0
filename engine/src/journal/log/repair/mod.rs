//! Repairs a damaged log, so that it can be appended to again.
//!
//! [`survey`] reads every byte of the log and the archive. For each damaged range it reports what can
//! be recovered, and from where; a batch is verified by its link, which covers all of it. [`mend`]
//! then rewrites the segments: whole frames stay byte for byte, recovered batches return to their
//! places, and a gap frame replaces the events that were not found.
//!
//! # Guarantees
//! - A damaged file is never deleted or changed: it is moved to its own name in `damaged/`.
//! - A crash at any moment leaves the damaged segment or the repaired one. Another survey finds the
//!   remaining work, with the same result.
//! - Nothing is invented. If the end of a lost range is unknown, it counts as at least one event.
//!
//! # What it never does
//! It records no events: the caller records that a range was lost.

mod batch;
mod fill;
mod log_files;
mod plan;
mod splice;
mod walk;
mod write;

pub(in crate::journal) use batch::FoundBatch;
pub use batch::RepairSource;

use self::{plan::RepairPlan, splice::Heads, walk::RepairWalk};
use super::{disk::LogDisk, error::damaged};
use crate::{
    journal::{JournalError, Offset, States, StreamHead, StreamState},
    model::{Hash, StreamId},
};

/// A range of events that were not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The offset of the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
}

/// A range of events that can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredRange {
    /// The offset of the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
    /// Where they were found.
    pub source: RepairSource,
}

/// A damaged range, and what can be recovered of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The offset of the first event in it.
    pub from: Offset,
    /// The offset after the last event; equal to `from` if it has no event, such as a part of a
    /// base.
    pub to: Offset,
    /// Whether its real end is unknown.
    pub open_ended: bool,
    /// The name of the file, with folder.
    pub file: String,
    /// What is wrong with the file.
    pub why: String,
    /// The streams that are known to lack events of it.
    pub streams: Vec<StreamId>,
    /// The events that can be recovered, in order.
    pub regained: Vec<RecoveredRange>,
    /// The events that were not found, in order.
    pub lost: Vec<Lost>,
}

impl DamagedRange {
    fn regain(&mut self, from: Offset, to: Offset, source: RepairSource) {
        match self.regained.last_mut() {
            Some(last) if last.to == from && last.source == source => last.to = to,
            _ => self.regained.push(RecoveredRange { from, to, source }),
        }
    }
}

/// A segment to be written, and the files to be set aside.
struct LogChange {
    /// The name and the new content of the segment.
    segment: Option<(String, Vec<u8>)>,
    aside: Vec<String>,
}

/// The end of the log according to the states of an index.
#[derive(Clone, Copy)]
struct IndexedEnd {
    as_of: Offset,
    hash: Hash,
}

/// The result of a survey: the damage, and the changes that repair it.
pub(in crate::journal) struct Surveyed {
    /// Every damaged range, by offset.
    pub(in crate::journal) findings: Vec<DamagedRange>,
    /// Whether the given states match the log, and so are the states after the lost events.
    pub(in crate::journal) states_fit: bool,
    changes: Vec<LogChange>,
}

/// Searches for damage, and for the lost events: in the files themselves, in the archive, and in the
/// batches `offered`. `states` are the states of an index. Changes nothing. Blocks.
///
/// # Errors
/// For segments of two journals, for a log of which nothing is left, for a newer format, and when
/// the disk cannot be read.
pub(in crate::journal) fn survey(
    disk: &dyn LogDisk,
    journal: &str,
    offered: &[FoundBatch],
    states: Option<&States>,
) -> Result<Surveyed, JournalError> {
    if let Some(states) = states.filter(|states| states.as_of > 0) {
        let indexed_end = IndexedEnd {
            as_of: states.as_of,
            hash: states.link.map(|link| link.hash).unwrap_or_default(),
        };
        let walk = RepairWalk::over(disk, journal, offered, Some(indexed_end))?;
        if fits(&walk, states) {
            let mut heads = Heads::beyond(heads_of(states), |stream| walk.streams.get(stream));
            let changes = changes(journal, &walk, &mut heads)?;
            if heads.all_recorded() {
                return Ok(surveyed(walk, changes, true));
            }
        }
    }
    let walk = RepairWalk::over(disk, journal, offered, None)?;
    let mut no_heads = Heads::beyond(std::iter::empty(), |_| None);
    let changes = changes(journal, &walk, &mut no_heads)?;
    Ok(surveyed(walk, changes, false))
}

fn changes(
    journal: &str,
    walk: &RepairWalk<'_>,
    heads: &mut Heads,
) -> Result<Vec<LogChange>, JournalError> {
    let (mut patched, aside): (Vec<&RepairPlan>, Vec<&RepairPlan>) = walk
        .plans
        .iter()
        .partition(|plan| splice::first(plan).is_some());
    patched.sort_by_key(|plan| splice::first(plan));
    let mut lay = |plan: &RepairPlan| splice::change_of(journal, plan, heads);
    let mut changes = patched
        .into_iter()
        .map(&mut lay)
        .collect::<Result<Vec<_>, _>>()?;
    // The newest segment is written first. If it is lost, only the table of an older segment shows
    // that it existed, and writing the older segment removes that table.
    changes.reverse();
    // Files that are only set aside come last: an interrupted repair may need them again.
    for plan in aside {
        changes.push(lay(plan)?);
    }
    Ok(changes)
}

fn surveyed(walk: RepairWalk<'_>, changes: Vec<LogChange>, states_fit: bool) -> Surveyed {
    let mut findings = walk.findings;
    findings.sort_by_key(|finding| finding.from);
    Surveyed {
        findings,
        states_fit,
        changes,
    }
}

/// Whether states match this log, and are as of an offset after all lost events.
fn fits(walk: &RepairWalk<'_>, states: &States) -> bool {
    let lost = walk.findings.iter().flat_map(|finding| &finding.lost);
    let covers = lost.map(|lost| lost.to).max().unwrap_or_default() <= states.as_of;
    let agrees = |(stream, indexed): (StreamId, StreamHead)| {
        let logged = walk.streams.get(&stream);
        logged.is_none_or(|logged| match indexed.next_seq.cmp(&logged.next_seq) {
            std::cmp::Ordering::Equal => indexed.hash == logged.hash,
            // The log has later events of the stream than the states.
            std::cmp::Ordering::Less => states.as_of < walk.next,
            std::cmp::Ordering::Greater => true,
        })
    };
    walk.known_fits && covers && heads_of(states).all(agrees)
}

fn heads_of(states: &States) -> impl Iterator<Item = (StreamId, StreamHead)> + '_ {
    states.streams.iter().map(|state| {
        let stream = state.stream();
        let (next_seq, hash) = match state {
            StreamState::Entity(_, folded) => (folded.next_seq, folded.hash),
            StreamState::Run(_, folded) => (folded.next_seq, folded.hash),
            StreamState::Journal { next_seq, hash } => (*next_seq, *hash),
        };
        let head = StreamHead {
            stream: stream.clone(),
            next_seq,
            hash,
        };
        (stream, head)
    })
}

impl Surveyed {
    /// Whether the log needs no repair.
    pub(in crate::journal) fn is_whole(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Carries out the repair; durable when it returns. Returns the new names of the damaged files,
/// relative to the state directory. Blocks.
///
/// # Errors
/// When the disk cannot be written, or the log is still damaged afterwards. Another survey finds the
/// remaining work.
pub(in crate::journal) fn mend(
    disk: &dyn LogDisk,
    journal: &str,
    surveyed: &Surveyed,
) -> Result<Vec<String>, JournalError> {
    let mut set_aside = Vec::new();
    for change in &surveyed.changes {
        set_aside.extend(write::carry_out(disk, change)?);
    }
    let repaired = survey(disk, journal, &[], None)?;
    match repaired.findings.first() {
        None => Ok(set_aside),
        Some(damage) => Err(damaged(
            &damage.file,
            format!("it is still damaged: {}", damage.why),
        )),
    }
}
