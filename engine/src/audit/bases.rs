//! Lists the bases that a journal has.

use crate::{
    journal::{Journal, JournalError, Offset, base_hash},
    model::Hash,
};

/// The bases that exist in a journal.
#[derive(Debug, Default)]
pub(crate) struct Bases {
    /// The readable bases: the offset that each is as of, and the hash of its states.
    pub(crate) found: Vec<(Offset, Hash)>,
    /// Place and reason if a base could not be read; `found` then has none of the older bases.
    pub(crate) damaged: Option<JournalError>,
}

impl Bases {
    /// Reads every base, newest first; the result is in the order of offsets.
    pub(crate) async fn of(journal: &(impl Journal + ?Sized)) -> Result<Self, JournalError> {
        let (mut bases, mut newest_wanted) = (Self::default(), Some(Offset::MAX));
        while let Some(limit) = newest_wanted {
            let states = match journal.states(Some(limit)).await {
                Err(error) if error.is_damage() => {
                    bases.damaged = Some(error);
                    break;
                }
                states => states?,
            };
            if states.as_of == 0 || states.as_of > limit {
                break;
            }
            bases.found.push((states.as_of, base_hash(&states)?));
            newest_wanted = states.as_of.checked_sub(1);
        }
        bases.found.reverse();
        Ok(bases)
    }

    /// The first base that covers everything before the offset `to`.
    pub(crate) fn after(&self, to: Offset) -> Option<Offset> {
        self.found
            .iter()
            .find(|(as_of, _)| *as_of >= to)
            .map(|(as_of, _)| *as_of)
    }
}
