//! Removes blobs that nothing names.

use std::collections::HashSet;

use crate::{
    audit::{Bases, payloads, payloads_of},
    blob::{Blobs as _, DirBlobs},
    journal::{ChainedJournal, DamageWords, Entry, JournalError, MissingCause, Offset, Record},
    model::{Hash, Payload},
};

/// How many entries are read at the same time.
const PAGE: usize = 1_000;

/// The result of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The number of blobs that something names.
    pub named: usize,
    /// The number of blobs that were removed.
    pub removed: usize,
}

/// Why no blob was removed.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The journal or the blobs cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Something cannot be read, so it is unknown which blobs it names.
    #[error("no blob is removed while a part of the journal cannot be read: {0}")]
    Unreadable(String),
}

const NAMES_DAMAGE: &str = "`vsiflow audit verify` names everything that is damaged or missing";

impl SweepError {
    /// The documented code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Journal(JournalError::Newer { .. }) => "VSI0003",
            Self::Journal(error) if error.is_damage() => "VSI0004",
            Self::Journal(_) => "VSI0006",
            Self::Unreadable(_) => "VSI0913",
        }
    }

    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Journal(JournalError::Newer { .. }) => {
                "use the version that wrote it, or a newer one"
            }
            Self::Journal(error) if error.is_damage() => NAMES_DAMAGE,
            Self::Unreadable(_) => NAMES_DAMAGE,
            Self::Journal(_) => {
                "see that there is room and that this user may read and write there"
            }
        }
    }
}

/// Removes every blob that nothing names: no readable event, archived or not, no base and no
/// current state. Blobs named only by removed events are removed, because a base has the resulting
/// states. Nothing may append to the journal or put blobs at the same time.
///
/// Refuses while something cannot be read: a damaged range, a missing range without a base that
/// covers it, an event that cannot be decoded, or a lost blob that a state names.
///
/// Cancel safety: like a kill; the next sweep removes the rest.
///
/// # Errors
/// [`SweepError::Unreadable`], and when the journal or the blobs cannot be read or written.
pub async fn sweep(journal: &dyn ChainedJournal, blobs: &DirBlobs) -> Result<Swept, SweepError> {
    let bases = Bases::of(journal).await?;
    check_missing(journal, &bases).await?;
    let mut named = of_events(journal).await?;
    for at in bases
        .found
        .iter()
        .map(|(as_of, _)| Some(*as_of))
        .chain([None])
    {
        of_states(journal, at, blobs, &mut named).await?;
    }
    let count = named.len();
    let removed = blobs.retain(named).await?;
    Ok(Swept {
        named: count,
        removed,
    })
}

async fn check_missing(journal: &dyn ChainedJournal, bases: &Bases) -> Result<(), SweepError> {
    let damage = bases.damaged.as_ref().and_then(JournalError::damage);
    if let Some(DamageWords { place, why }) = damage {
        return Err(SweepError::Unreadable(format!("{place}: {why}")));
    }
    for range in journal.missing().await? {
        if range.cause == MissingCause::Damaged || bases.after(range.to).is_none() {
            let message = format!("{range}: the events are missing");
            return Err(SweepError::Unreadable(message));
        }
    }
    Ok(())
}

/// The blobs that events name. An event that cannot be decoded is an error.
async fn of_events(journal: &dyn ChainedJournal) -> Result<HashSet<Hash>, SweepError> {
    let (mut named, mut from) = (HashSet::new(), 0);
    loop {
        let page = journal.read_entries(from, PAGE).await?;
        let Some(last) = page.last().map(offset) else {
            return Ok(named);
        };
        from = last.saturating_add(1);
        for entry in page {
            let record = readable(entry)?;
            named.extend(payloads(&record.event.kind).into_iter().filter_map(blob));
        }
    }
}

fn offset(entry: &Entry) -> Offset {
    match entry {
        Entry::Event(record) => record.offset,
        Entry::Undecodable { offset, .. } => *offset,
    }
}

fn readable(entry: Entry) -> Result<Record, SweepError> {
    match entry {
        Entry::Event(record) => Ok(record),
        Entry::Undecodable {
            stream,
            seq,
            offset,
            why,
            ..
        } => {
            let message = format!("{stream} #{seq} (offset {offset}): {why}");
            Err(SweepError::Unreadable(message))
        }
    }
}

fn blob(payload: &Payload) -> Option<Hash> {
    match payload {
        Payload::Blob { hash, .. } => Some(*hash),
        Payload::Inline(_) => None,
    }
}

/// Adds the blobs that states name; each of them must exist.
async fn of_states(
    journal: &dyn ChainedJournal,
    at: Option<Offset>,
    blobs: &DirBlobs,
    named: &mut HashSet<Hash>,
) -> Result<(), SweepError> {
    let states = journal.states(at).await?;
    for state in &states.streams {
        for payload in payloads_of(state) {
            let content = blobs.get(payload).await;
            if let Some(DamageWords { place, why }) = content.err().and_then(|error| error.damage())
            {
                let message = format!("the {place} that {} names: {why}", state.stream());
                return Err(SweepError::Unreadable(message));
            }
            named.extend(blob(payload));
        }
    }
    Ok(())
}
