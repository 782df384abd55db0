//! Repairs the journal of a state directory.

use std::path::PathBuf;

use super::StateDir;
use crate::{
    audit::{AuditError, LineInput, SigningKey, off_runtime, offered, sign_base},
    executor::disowned_entities,
    journal::{Append, DiskJournal, Journal as _, JournalError, Lost, States, Survey, untold},
    model::{Actor, Event, EventKind, StreamId, Text, Timestamp},
};

/// The actor, reason and time of a repair.
#[derive(Clone, Debug)]
pub struct Repairer {
    /// The actor.
    pub actor: Actor,
    /// The reason.
    pub reason: Text,
    /// The current time.
    pub now: Timestamp,
}

/// The result of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The files to which damaged files were moved.
    pub kept: Vec<PathBuf>,
    /// The ranges that are lost for good; an event now reports each.
    pub lost: Vec<Lost>,
}

impl StateDir {
    /// Finds out what in the journal is damaged, and what can be recovered: from the files
    /// themselves, from the archive, and from a backup or an export if one is given. Nothing is
    /// changed.
    ///
    /// # Errors
    /// When the log cannot be read at all, and for the first invalid line of the backup.
    pub async fn survey(&self, from: Option<LineInput<'_>>) -> Result<Survey, AuditError> {
        let mut survey = self.survey_with(Vec::new()).await?;
        if let Some(input) = from.filter(|_| !survey.findings().is_empty()) {
            let batches = offered(input, self.journal_id(), &survey.missing_ranges()).await?;
            survey = self.survey_with(batches).await?;
        }
        survey.note_untold(&self.path, self.journal_id()).await?;
        Ok(survey)
    }

    async fn survey_with(
        &self,
        batches: Vec<(crate::journal::BatchLink, Vec<Vec<u8>>)>,
    ) -> Result<Survey, AuditError> {
        let (dir, id) = (self.path.clone(), self.journal_id().to_owned());
        let path = self.path.clone();
        off_runtime(move || {
            Survey::of(&dir, &id, batches).map_err(|e| super::StateDirError::journal(&path, e))
        })
        .await
    }

    /// Carries out what a survey found possible; durable when it returns. Damaged files are
    /// retained under other names, and an event reports each lost range. A crash at any instant
    /// leaves a journal that the next repair brings to the same result. With `key`, the base that
    /// replaces lost events is signed.
    ///
    /// If a range is lost, no order to destroy anything holds any more: it may be carried out already, or
    /// cancelled, by an event that is lost.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub async fn repair(
        &self,
        survey: Survey,
        by: Repairer,
        key: Option<&SigningKey>,
    ) -> Result<Repaired, JournalError> {
        let event = move |kind: EventKind| Event {
            at: by.now,
            actor: by.actor.clone(),
            reason: by.reason.clone(),
            kind,
        };
        let (dir, id) = (&self.path, self.journal_id());
        let mended = survey.mend(dir, id, self.permit()).await?;
        let losses = LossRecord {
            journal: &mended.journal,
            id,
            event: &event,
            key,
        };
        let recorded = losses.append(mended.states).await;
        mended.journal.close().await;
        let (set_aside, lost) = (mended.set_aside, recorded?);
        let paths = set_aside
            .into_iter()
            .map(|name| self.path.join(name))
            .collect();
        Ok(Repaired { kept: paths, lost })
    }
}

/// Records what a repair could not recover.
struct LossRecord<'a> {
    journal: &'a DiskJournal,
    /// The journal's identity.
    id: &'a str,
    /// The event of this kind, by whom repairs.
    event: &'a (dyn Fn(EventKind) -> Event + Send + Sync),
    /// Signs the base.
    key: Option<&'a SigningKey>,
}

impl LossRecord<'_> {
    /// Records the lost ranges that no event records yet, at once with the end of all orders. The base is written
    /// first, so that its `BaseWritten` event is durable together with theirs.
    async fn append(&self, states: Option<States>) -> Result<Vec<Lost>, JournalError> {
        let lost = untold(self.journal).await?;
        if lost.is_empty() {
            return Ok(lost);
        }
        let base = match states {
            Some(states) => self.write_base(states).await?,
            None => None,
        };
        let ranges = lost.iter().map(|lost| EventKind::RangeLost {
            from: lost.from,
            to: lost.to,
        });
        let heads = self.journal.streams().await?;
        let journal_head = heads.iter().find(|head| head.stream == StreamId::Journal);
        let mut appends = self.disowned().await?;
        appends.push(Append {
            stream: StreamId::Journal,
            expected_seq: journal_head.map_or(0, |head| head.next_seq),
            events: ranges.chain(base).map(self.event).collect(),
        });
        self.journal.append(appends).await?;
        Ok(lost)
    }

    async fn write_base(&self, states: States) -> Result<Option<EventKind>, JournalError> {
        let as_of = states.as_of;
        let hash = self.journal.write_base(states).await?;
        Ok(hash.map(|hash| EventKind::BaseWritten {
            as_of,
            hash,
            signature: self
                .key
                .map_or_else(Text::default, |key| sign_base(self.id, as_of, hash, key)),
        }))
    }

    async fn disowned(&self) -> Result<Vec<Append>, JournalError> {
        let entities = disowned_entities(self.journal).await?.into_iter();
        let appends = entities.map(|disowned| disowned.append(&self.event));
        Ok(appends.collect())
    }
}
