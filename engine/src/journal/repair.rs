//! Surveys and mends the log of a journal (see [`super::log::repair`]). The state directory records what is lost.

use std::{collections::HashSet, path::Path};

use super::{
    BatchLink, DiskJournal, Journal as _, JournalError, MissingCause, Offset, States,
    disk_journal::INDEX,
    index::Index,
    log::{
        LocalDisk, OpenMode,
        repair::{DamagedRange, FoundBatch, Lost, Surveyed, mend, survey},
    },
};
use crate::{
    model::{EventKind, StreamId},
    permit::WritePermit,
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
            let opened = DiskJournal::open_to_read(dir, journal).await?;
            self.untold = untold(&opened).await?;
            opened.close().await;
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

    /// Mends the log. Durable when it returns; the lost ranges are not recorded yet.
    pub(crate) async fn mend(
        self,
        dir: &Path,
        journal: &str,
        permit: WritePermit,
    ) -> Result<MendedLog, JournalError> {
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
        Ok(MendedLog {
            set_aside,
            journal: opened,
            states,
        })
    }
}

/// A journal whose log is mended.
pub(crate) struct MendedLog {
    /// The files that were set aside, relative to the state directory.
    pub(crate) set_aside: Vec<String>,
    /// The journal.
    pub(crate) journal: DiskJournal,
    /// The states after the lost events, if the index has them.
    pub(crate) states: Option<States>,
}

/// The lost ranges that no event records yet.
pub(crate) async fn untold(journal: &DiskJournal) -> Result<Vec<Lost>, JournalError> {
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
