//! Compares the states stored in a journal with the states of its events.

use std::collections::BTreeSet;

use super::{ReplayError, StateMismatch, start::Start};
use crate::{
    audit::{AuditError, Flaw, Violation},
    fold::Fold,
    journal::{BatchLink, ChainedJournal, Offset, States, Stored},
    model::StreamId,
};

/// The fold, and the stored states that have not been compared with it yet.
pub(super) struct CheckedStates<'a> {
    journal: &'a dyn ChainedJournal,
    fold: Fold,
    next: Offset,
    index: Option<States>,
    /// The offsets of the bases that have not been compared yet.
    bases: BTreeSet<Offset>,
}

impl<'a> CheckedStates<'a> {
    pub(super) async fn by(
        journal: &'a dyn ChainedJournal,
        start: &Start,
    ) -> Result<Self, ReplayError> {
        let index = journal.states(None).await.map_err(AuditError::from)?;
        let later = start.bases.found.iter().map(|(as_of, _)| *as_of);
        let bases = later.filter(|as_of| *as_of > start.states.as_of);
        let mut held = Self {
            journal,
            fold: Fold::of(&start.states),
            next: start.states.as_of,
            index: Some(index),
            bases: bases.collect(),
        };
        held.check(start.states.link.as_ref()).await?;
        Ok(held)
    }

    /// Folds the next batch.
    pub(super) async fn batch(
        &mut self,
        link: &BatchLink,
        records: &[Stored],
    ) -> Result<(), ReplayError> {
        (records.iter())
            .try_for_each(|stored| self.fold.take(stored))
            .map_err(AuditError::from)?;
        self.next = link.last.saturating_add(1);
        self.check(Some(link)).await
    }

    /// Compares the stored states as of the next offset.
    async fn check(&mut self, link: Option<&BatchLink>) -> Result<(), ReplayError> {
        if let Some(index) = self.index.take_if(|index| index.as_of == self.next) {
            self.compare(&index, link, false)?;
        }
        if self.bases.remove(&self.next) {
            let base = self.journal.states(Some(self.next)).await;
            self.compare(&base.map_err(AuditError::from)?, link, true)?;
        }
        Ok(())
    }

    fn compare(
        &self,
        states: &States,
        link: Option<&BatchLink>,
        in_base: bool,
    ) -> Result<(), ReplayError> {
        let moved = (states.link.as_ref() != link)
            .then(|| (StreamId::Journal, "its link differs".to_owned()));
        let mismatch = moved
            .into_iter()
            .chain(self.fold.differences(states))
            .next();
        mismatch.map_or(Ok(()), |(stream, what)| {
            Err(ReplayError::StateMismatch(StateMismatch {
                stream,
                as_of: states.as_of,
                in_base,
                what,
            }))
        })
    }

    /// An error if any stored states are as of an offset at which no batch ends.
    pub(super) fn end(self) -> Result<(), ReplayError> {
        let index = self.index.map(|index| index.as_of);
        let unmatched = index.into_iter().chain(self.bases).next();
        unmatched.map_or(Ok(()), |as_of| {
            let message = format!("there are states as of offset {as_of}, where no batch ends");
            let violation = Violation::of(Flaw::Reordered, message).at(as_of);
            Err(AuditError::from(violation).into())
        })
    }
}
