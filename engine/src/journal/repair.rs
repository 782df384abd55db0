//! Repairs the journal of a state directory: its log (see [`super::log::repair`]), and the events
//! that record lost ranges.

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

/// The damage of a journal, and how much of it can be recovered.
pub struct Survey {
    surveyed: Surveyed,
    /// The states of the index, if they match the log.
    states: Option<States>,
    /// Lost ranges of an earlier repair that no event records yet.
    untold: Vec<Lost>,
}

impl Survey {
    /// Searches for damage. Changes nothing, except for what sled writes when it opens the index.
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

    /// Searches for lost ranges that an interrupted repair did not record.
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

    /// Lost ranges of an earlier repair that was interrupted before it recorded them.
    pub fn untold(&self) -> &[Lost] {
        &self.untold
    }

    /// Whether there is nothing to repair.
    pub fn is_whole(&self) -> bool {
        self.surveyed.is_whole() && self.untold.is_empty()
    }

    /// Whether the index has the states after the lost events.
    pub fn knows_states(&self) -> bool {
        self.states.is_some()
    }

    /// The ranges to look for in other sources: the first offset, and the offset after the last.
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

    /// Mends the log, then records the lost ranges and, if the index has them, the states after
    /// these ranges. Durable when it returns. Returns the files that were set aside, relative to the
    /// state directory, and the lost ranges that were recorded.
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
        let (set_aside, opened) = crate::blocking::blocking(move || {
            if forget {
                // The index includes events that the log does not have.
                let put = Index::discard(&root.join(INDEX));
                put.map_err(|e| JournalError::Storage(format!("{INDEX}: {e}")))?;
            }
            let disk = LocalDisk::new(&root);
            let set_aside = mend(&*disk, &id, &surveyed)?;
            Ok((
                set_aside,
                DiskJournal::start(disk, &id, OpenMode::Append, permit)?,
            ))
        })
        .await?;
        let noted = record_losses(&opened, journal, states, how, key).await;
        opened.close().await;
        Ok((set_aside, noted?))
    }
}

/// Records the lost ranges that no event records yet. The base is written first, so that its
/// `BaseWritten` event is durable together with theirs.
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
