//! Holds the states that a journal has against what its events come to.

use std::collections::BTreeSet;

use super::{ReplayError, StateMismatch, start::Start};
use crate::{
    audit::{AuditError, Flaw, Violation},
    fold::Fold,
    journal::{BatchLink, ChainedJournal, Offset, States, Stored},
    model::StreamId,
};

/// The fold, and the states that are still to be held against it.
pub(super) struct CheckedStates<'a> {
    journal: &'a dyn ChainedJournal,
    fold: Fold,
    next: Offset,
    index: Option<States>,
    /// The offsets that bases are as of.
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
        held.hold(start.states.link.as_ref()).await?;
        Ok(held)
    }

    /// Takes in the next batch.
    pub(super) async fn batch(
        &mut self,
        link: &BatchLink,
        records: &[Stored],
    ) -> Result<(), ReplayError> {
        let taken = records.iter().try_for_each(|stored| self.fold.take(stored));
        taken.map_err(AuditError::from)?;
        self.next = link.last.saturating_add(1);
        self.hold(Some(link)).await
    }

    /// Holds what is as of the offset that comes next.
    async fn hold(&mut self, link: Option<&BatchLink>) -> Result<(), ReplayError> {
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
        let moved = (states.link.as_ref() != link).then(|| {
            let what = "its link differs";
            (StreamId::Journal, what.to_owned())
        });
        let found = moved
            .into_iter()
            .chain(self.fold.differences(states))
            .next();
        found.map_or(Ok(()), |(stream, what)| {
            Err(ReplayError::StateMismatch(StateMismatch {
                stream,
                as_of: states.as_of,
                in_base,
                what,
            }))
        })
    }

    /// Everything has to have been as of an offset where a batch ends.
    pub(super) fn end(self) -> Result<(), ReplayError> {
        let index = self.index.map(|index| index.as_of);
        let left = index.into_iter().chain(self.bases).next();
        left.map_or(Ok(()), |as_of| {
            let what = format!("there are states as of offset {as_of}, where no batch ends");
            let found = Violation::of(Flaw::Reordered, what).at(as_of);
            Err(AuditError::from(found).into())
        })
    }
}
