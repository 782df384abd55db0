//! Mends a log that is damaged, so that it can be appended to again.
//!
//! [`survey`] reads every byte of the log and the archive and says of each damaged range what can
//! be had, and from where: a batch is believed by its link, which covers all of it. [`mend`] then
//! writes the segments anew: what is whole stays byte for byte, what was regained stands where it
//! stood, and a gap that names itself closes what nobody has.
//!
//! # Guarantees
//! - A damaged file is never deleted or changed: it gets a name of its own in `damaged/`.
//! - A crash at any instant leaves the damaged segment or the mended one; who surveys again finds
//!   what is left to do, and comes to the same.
//! - Nothing is invented. Where it is not known how far a lost range goes it is said to hold at
//!   least one event.
//!
//! # What it never does
//! It knows no event: that a range was lost is recorded by whoever calls it.

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

/// Events that nobody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The offset of the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
}

/// Events that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveredRange {
    /// The offset of the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
    /// Where.
    pub source: RepairSource,
}

/// A damaged range, and what can be had of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    /// The offset of the first event in it.
    pub from: Offset,
    /// The offset after the last; that of the first where it holds no event, such as a part of a
    /// base.
    pub to: Offset,
    /// Whether nobody can tell how far it really went.
    pub open_ended: bool,
    /// The file, its folder before it.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
    /// The streams that are known to lack events of it.
    pub streams: Vec<StreamId>,
    /// What can be had, in order.
    pub regained: Vec<RecoveredRange>,
    /// What nobody has, in order.
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
    /// Its name and its content.
    segment: Option<(String, Vec<u8>)>,
    aside: Vec<String>,
}

/// What states say of the log's end.
#[derive(Clone, Copy)]
struct IndexedEnd {
    as_of: Offset,
    hash: Hash,
}

/// What is damaged, and what is to be done about it.
pub(in crate::journal) struct Surveyed {
    /// Every damaged range, by offset.
    pub(in crate::journal) findings: Vec<DamagedRange>,
    /// Whether the states that were given fit the log and tell what lost events came to.
    pub(in crate::journal) states_fit: bool,
    changes: Vec<LogChange>,
}

/// Looks what is damaged and what can be had of it: in the files themselves, in the archive, and
/// among the batches `offered`. `states` are those of an index. Nothing is changed. Blocks.
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
        let known = IndexedEnd {
            as_of: states.as_of,
            hash: states.link.map(|link| link.hash).unwrap_or_default(),
        };
        let walk = RepairWalk::over(disk, journal, offered, Some(known))?;
        if fits(&walk, states) {
            let mut heads = Heads::beyond(heads_of(states), |stream| walk.streams.get(stream));
            let changes = changes(journal, &walk, &mut heads)?;
            if heads.all_recorded() {
                return Ok(surveyed(walk, changes, true));
            }
        }
    }
    let walk = RepairWalk::over(disk, journal, offered, None)?;
    let mut none = Heads::beyond(std::iter::empty(), |_| None);
    let changes = changes(journal, &walk, &mut none)?;
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
    let patched = patched.into_iter().map(&mut lay);
    let mut changes = patched.collect::<Result<Vec<LogChange>, _>>()?;
    // The newest comes first: without it nothing shows any more that one was there once the table
    // beside an older one is gone.
    changes.reverse();
    // What is only set aside comes last: until then it may be wanted again.
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

/// Whether states are of this log, and as of a moment after everything that was lost.
fn fits(walk: &RepairWalk<'_>, states: &States) -> bool {
    let lost = walk.findings.iter().flat_map(|finding| &finding.lost);
    let covers = lost.map(|lost| lost.to).max().unwrap_or_default() <= states.as_of;
    let agrees = |(stream, known): (StreamId, StreamHead)| {
        let seen = walk.streams.get(&stream);
        seen.is_none_or(|seen| match known.next_seq.cmp(&seen.next_seq) {
            std::cmp::Ordering::Equal => known.hash == seen.hash,
            // Later events of it stand in the log.
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
    /// Whether there is nothing to be written.
    pub(in crate::journal) fn is_whole(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Mends the log; durable when it returns. The names under which damaged files stay, relative to
/// the state directory. Blocks.
///
/// # Errors
/// When the disk cannot be written; who surveys again finds what is left to do.
pub(in crate::journal) fn mend(
    disk: &dyn LogDisk,
    journal: &str,
    surveyed: &Surveyed,
) -> Result<Vec<String>, JournalError> {
    let mut kept = Vec::new();
    for change in &surveyed.changes {
        kept.extend(write::carry_out(disk, change)?);
    }
    let again = survey(disk, journal, &[], None)?;
    match again.findings.first() {
        None => Ok(kept),
        Some(left) => Err(damaged(
            &left.file,
            format!("it is still damaged: {}", left.why),
        )),
    }
}
