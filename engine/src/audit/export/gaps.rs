//! Collects what an export needs to know about the journal's missing ranges before it begins.

use std::collections::{HashMap, HashSet};

use super::super::{AuditError, Bases, BatchPiece, Batches};
use crate::{
    journal::{ChainedJournal, JournalError, Missing, Offset, Stored, StreamHead},
    model::{EventKind, Hash, StreamId},
};

/// How the journal continues after a missing range.
#[derive(Debug, Default)]
pub(super) struct After {
    /// The link that the next batch continues.
    pub(super) link: Hash,
    /// The next sequence and the newest hash of each stream there.
    pub(super) heads: Vec<StreamHead>,
}

/// The missing ranges of a journal, and the bases that cover them.
#[derive(Default)]
pub(super) struct Gaps {
    after: HashMap<Offset, After>,
    bases: HashSet<Offset>,
}

/// A missing range while the events after it are read.
struct OpenGap {
    range: Missing,
    /// Where readable events continue: another missing range may follow this one directly.
    end: Offset,
    link: Option<Hash>,
    /// The state of each stream before its first record after the range.
    heads: HashMap<StreamId, (u64, Hash)>,
}

impl Gaps {
    pub(super) async fn of(journal: &dyn ChainedJournal) -> Result<Self, AuditError> {
        let ranges = journal.missing().await?;
        let Some(first) = ranges.first() else {
            return Ok(Self::default());
        };
        let (mut open, mut commitments) = (opened(&ranges), HashSet::new());
        let mut batches = Batches::from(journal, first.from, None).await?;
        while let Some(piece) = batches.next().await? {
            let BatchPiece::Batch(link, records) = piece else {
                continue;
            };
            for range in open.iter_mut().filter(|range| range.end <= link.first) {
                range.link.get_or_insert(link.prev);
                records.iter().for_each(|stored| range.note(stored));
            }
            commitments.extend(records.iter().filter_map(commitment));
        }
        Ok(Self {
            bases: bases(journal, &ranges, &commitments).await?,
            after: close(journal, open).await?,
        })
    }

    /// How the journal continues after the range that begins at `from`.
    pub(super) fn after(&mut self, from: Offset) -> After {
        self.after.remove(&from).unwrap_or_default()
    }

    /// Whether the base as of that offset covers a missing range.
    pub(super) fn has_base(&self, as_of: Offset) -> bool {
        self.bases.contains(&as_of)
    }
}

fn opened(ranges: &[Missing]) -> Vec<OpenGap> {
    let open_gap = |range: &Missing| {
        let mut end = range.to;
        for later_range in ranges
            .iter()
            .filter(|later_range| later_range.from >= range.to)
        {
            end = if later_range.from == end {
                later_range.to
            } else {
                end
            };
        }
        OpenGap {
            range: range.clone(),
            end,
            link: None,
            heads: HashMap::new(),
        }
    };
    ranges.iter().map(open_gap).collect()
}

impl OpenGap {
    fn note(&mut self, stored: &Stored) {
        let stream = stored.stream.clone();
        self.heads
            .entry(stream)
            .or_insert((stored.seq, stored.prev));
    }
}

/// The base that an event commits to.
fn commitment(stored: &Stored) -> Option<(Offset, Hash)> {
    if stored.stream != StreamId::Journal {
        return None;
    }
    match stored.record().ok()?.event.kind {
        EventKind::BaseWritten { as_of, hash, .. } => Some((as_of, hash)),
        _ => None,
    }
}

/// For each range the first existing base after it that an event commits to.
async fn bases(
    journal: &dyn ChainedJournal,
    ranges: &[Missing],
    commitments: &HashSet<(Offset, Hash)>,
) -> Result<HashSet<Offset>, JournalError> {
    let mut bases = Bases::of(journal).await?;
    bases.found.retain(|base| commitments.contains(base));
    let covering = ranges.iter().filter_map(|range| bases.after(range.to));
    Ok(covering.collect())
}

/// Computes the stream heads after each range. A stream without a record after a range has its
/// newest head there.
async fn close(
    journal: &dyn ChainedJournal,
    open: Vec<OpenGap>,
) -> Result<HashMap<Offset, After>, JournalError> {
    let newest = journal.streams().await?;
    let end = journal.head().await?.map(|link| link.hash);
    let mut closed = HashMap::new();
    for range in open {
        let mut heads = Vec::new();
        for head in &newest {
            let (next_seq, hash) = match range.heads.get(&head.stream) {
                Some(recorded_head) => *recorded_head,
                None => (head.next_seq, head.hash),
            };
            let stream = head.stream.clone();
            heads.extend((next_seq > 0).then_some(StreamHead {
                stream,
                next_seq,
                hash,
            }));
        }
        let link = range.link.or(end).unwrap_or_default();
        closed.insert(range.range.from, After { link, heads });
    }
    Ok(closed)
}
