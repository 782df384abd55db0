//! The starting point of a replay: the journal's beginning or, if events are missing, the first
//! base after them.

use super::ReplayError;
use crate::{
    audit::{AuditError, Bases, Batches, Flaw, Violation},
    journal::{ChainedJournal, States},
};

/// The states that a replay continues from, and all existing bases.
pub(super) struct Start {
    pub(super) states: States,
    pub(super) bases: Bases,
}

impl Start {
    pub(super) async fn of(journal: &dyn ChainedJournal) -> Result<Self, ReplayError> {
        let missing = journal.missing().await.map_err(AuditError::from)?;
        let bases = Bases::of(journal).await.map_err(AuditError::from)?;
        let Some(last) = missing.last() else {
            let states = States::default();
            return Ok(Self { states, bases });
        };
        let Some(as_of) = bases.after(last.to) else {
            let message = format!("{last}: the events are missing, and no base replaces them");
            let violation = Violation::of(Flaw::Missing, message).at(last.from);
            return Err(AuditError::from(violation).into());
        };
        let states = journal
            .states(Some(as_of))
            .await
            .map_err(AuditError::from)?;
        Ok(Self { states, bases })
    }

    pub(super) async fn batches<'a>(
        &self,
        journal: &'a dyn ChainedJournal,
    ) -> Result<Batches<'a>, AuditError> {
        let prev = self.states.link.map(|link| link.hash).unwrap_or_default();
        Batches::from(journal, self.states.as_of, Some(prev)).await
    }
}
