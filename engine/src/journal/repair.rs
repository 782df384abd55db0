//! Mending a journal in a state directory: the log (see [`super::log::repair`]), and the events that
//! tell of what is lost.

use std::{collections::HashSet, path::Path};

use super::{
    Append, BatchLink, DiskJournal, Journal as _, JournalError, MissingCause, Offset, States,
    disk_journal::INDEX,
    index::Index,
    log::{
        LocalDisk, OpenMode,
        repair::{DamagedRange, FoundBatch, Lost, Surveyed, mend, survey},
    },
};
use crate::{
    audit::{SigningKey, sign_base},
    model::{Event, EventKind, Hash, StreamId, Text},
    permit::Permit,
};

/// What a journal lacks, and what can be had of it.
pub struct Survey {
    surveyed: Surveyed,
    /// Of an index, where they fit the log.
    states: Option<States>,
    /// Lost ranges of an earlier repair that no event tells of yet.
    untold: Vec<Lost>,
}

impl Survey {
    /// Looks what is damaged. Nothing is changed, but for what sled writes when it opens the index.
    /// Blocks.
    pub(crate) fn of(
        dir: &Path,
        journal: &str,
        offered: Vec<(BatchLink, Vec<Vec<u8>>)>,
    ) -> Result<Self, JournalError> {
        let disk = LocalDisk::new(dir);
        let offered: Vec<_> = offered
            .into_iter()
            .map(|(link, records)| FoundBatch::offered(link, records))
            .collect();
        let states = Index::peek(&dir.join(INDEX)).ok();
        let surveyed = survey(&*disk, journal, &offered, states.as_ref())?;
        Ok(Self {
            states: states.filter(|_| surveyed.states_fit),
            surveyed,
            untold: Vec::new(),
        })
    }

    /// Looks which lost ranges an interrupted repair did not tell of.
    pub(crate) async fn note_untold(
        &mut self,
        dir: &Path,
        journal: &str,
    ) -> Result<(), JournalError> {
        if self.surveyed.is_whole() {
            let read = DiskJournal::open_to_read(dir, journal).await?;
            self.untold = untold(&read).await?;
            read.close().await;
        }
        Ok(())
    }

    /// Every damaged range, by offset.
    pub fn findings(&self) -> &[DamagedRange] {
        &self.surveyed.findings
    }

    /// Lost ranges of an earlier repair that was interrupted before any event told of them.
    pub fn untold(&self) -> &[Lost] {
        &self.untold
    }

    /// Whether nothing is to be done.
    pub fn is_whole(&self) -> bool {
        self.surveyed.is_whole() && self.untold.is_empty()
    }

    /// Whether the index tells what the lost events came to.
    pub fn knows_states(&self) -> bool {
        self.states.is_some()
    }

    /// The ranges to look for elsewhere, each by its first offset and the one after its last.
    pub(crate) fn missing_ranges(&self) -> Vec<(Offset, Offset)> {
        let range = |finding: &DamagedRange| {
            if finding.open_ended {
                (finding.from, Offset::MAX)
            } else {
                (finding.from, finding.to)
            }
        };
        self.findings().iter().map(range).collect()
    }

    fn loses(&self) -> bool {
        !self.untold.is_empty()
            || self
                .findings()
                .iter()
                .any(|finding| !finding.lost.is_empty())
    }

    /// Mends the log, then records what is lost and, where that is known, what it came to. Durable
    /// when it returns. The files that were set aside, relative to the state directory.
    pub(crate) async fn mend(
        self,
        dir: &Path,
        journal: &str,
        how: &(dyn Fn(EventKind) -> Event + Send + Sync),
        key: Option<&SigningKey>,
        permit: Permit,
    ) -> Result<(Vec<String>, Vec<Lost>), JournalError> {
        let (root, id) = (dir.to_owned(), journal.to_owned());
        let loses = self.loses();
        let (surveyed, states) = (self.surveyed, self.states);
        let forget = loses && states.is_none();
        let (kept, opened) = crate::blocking::blocking(move || {
            if forget {
                // It knows of events that the log does not have.
                let put = Index::discard(&root.join(INDEX));
                put.map_err(|e| JournalError::Storage(format!("{INDEX}: {e}")))?;
            }
            let disk = LocalDisk::new(&root);
            let kept = mend(&*disk, &id, &surveyed)?;
            Ok((
                kept,
                DiskJournal::start(disk, &id, OpenMode::Append, permit)?,
            ))
        })
        .await?;
        let noted = record_losses(&opened, journal, states, how, key).await;
        opened.close().await;
        Ok((kept, noted?))
    }
}

/// Records the lost ranges that no event tells of. A base comes first, so that the event that
/// commits to it is durable together with them.
async fn record_losses(
    journal: &DiskJournal,
    id: &str,
    states: Option<States>,
    how: &(dyn Fn(EventKind) -> Event + Send + Sync),
    key: Option<&SigningKey>,
) -> Result<Vec<Lost>, JournalError> {
    let untold = untold(journal).await?;
    if untold.is_empty() {
        return Ok(untold);
    }
    let base = match states {
        Some(states) => {
            let as_of = states.as_of;
            let hash = journal.write_base(states).await?;
            hash.map(|hash| committed(id, as_of, hash, key))
        }
        None => None,
    };
    let lost = untold.iter().map(|lost| EventKind::RangeLost {
        from: lost.from,
        to: lost.to,
    });
    let heads = journal.streams().await?;
    let own = heads.iter().find(|head| head.stream == StreamId::Journal);
    let append = Append {
        stream: StreamId::Journal,
        expected_seq: own.map_or(0, |head| head.next_seq),
        events: lost.chain(base).map(how).collect(),
    };
    journal.append(vec![append]).await?;
    Ok(untold)
}

fn committed(id: &str, as_of: Offset, hash: Hash, key: Option<&SigningKey>) -> EventKind {
    EventKind::BaseWritten {
        as_of,
        hash,
        signature: key.map_or_else(Text::default, |key| sign_base(id, as_of, hash, key)),
    }
}

async fn untold(journal: &DiskJournal) -> Result<Vec<Lost>, JournalError> {
    let missing = journal.missing().await?;
    let lost = missing
        .iter()
        .filter(|range| range.cause == MissingCause::Lost)
        .map(|range| (range.from, range.to));
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let recorded = journal.read(&StreamId::Journal, 0, usize::MAX).await?;
    let recorded: HashSet<_> = recorded
        .iter()
        .filter_map(|record| match record.event.kind {
            EventKind::RangeLost { from, to } => Some((from, to)),
            _ => None,
        })
        .collect();
    let untold = lost.into_iter().filter(|range| !recorded.contains(range));
    Ok(untold.map(|(from, to)| Lost { from, to }).collect())
}
