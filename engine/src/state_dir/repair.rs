//! Repairs the journal of a state directory.

use std::path::PathBuf;

use super::StateDir;
use crate::{
    audit::{AuditError, LineInput, SigningKey, off_runtime, offered},
    journal::{JournalError, Lost, Survey},
    model::{Actor, Event, EventKind, Text, Timestamp},
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
        let at = self.path.clone();
        off_runtime(move || {
            Survey::of(&dir, &id, batches).map_err(|e| super::StateDirError::journal(&at, e))
        })
        .await
    }

    /// Carries out what a survey found possible; durable when it returns. Damaged files are
    /// retained under other names, and an event reports each lost range. A crash at any instant
    /// leaves a journal that the next repair brings to the same result. With `key`, the base that
    /// replaces lost events is signed.
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
        let (kept, lost) = survey.mend(dir, id, &event, key, self.permit()).await?;
        let kept = kept.into_iter().map(|name| self.path.join(name)).collect();
        Ok(Repaired { kept, lost })
    }
}
