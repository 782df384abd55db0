//! The journal as a whole: pages of its records and of its chain, in one sequential scan.

use sled::IVec;

use super::Store;
use crate::{
    durable::sled_error,
    journal::{BatchLink, JournalError, Offset, Stored, sled_keys as keys},
};

impl Store {
    /// A page of the whole journal, in one sequential scan.
    pub(in crate::journal) fn read_stored(
        &self,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        let mut page = Vec::new();
        if from < self.below() {
            page = self.read_kept(from, limit)?;
        }
        let left = limit.saturating_sub(page.len());
        page.extend(self.read_on(from.max(self.below()), left)?);
        Ok(page)
    }

    /// Records below the horizon, of which only some are there.
    fn read_kept(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let range = keys::record(from)..keys::record(self.below());
        let mut page = Vec::new();
        for entry in self.tree.range(range).take(limit) {
            let (key, value) = entry.map_err(sled_error)?;
            let offset =
                keys::number(&key).ok_or_else(|| keys::damaged(&key, "it is too short"))?;
            page.push(Stored::parse_at(offset, value.to_vec())?);
        }
        Ok(page)
    }

    /// Records above the horizon, where none may be missing.
    fn read_on(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let end = self.durable();
        if from >= end {
            return Ok(Vec::new());
        }
        let range = keys::record(from)..keys::record(end);
        let expected = end.saturating_sub(from).min(limit as u64);
        let mut page = Vec::new();
        for (entry, offset) in self
            .tree
            .range(range)
            .zip(from..from.saturating_add(expected))
        {
            let (key, value) = entry.map_err(sled_error)?;
            if keys::number(&key) != Some(offset) {
                return Err(missing(offset));
            }
            page.push(Stored::parse_at(offset, value.to_vec())?);
        }
        let short = from.saturating_add(page.len() as u64);
        if (page.len() as u64) < expected {
            Err(missing(short))
        } else {
            Ok(page)
        }
    }

    /// A page of the journal's chain.
    pub(in crate::journal) fn read_links(
        &self,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<BatchLink>, JournalError> {
        if from >= self.durable() {
            return Ok(Vec::new());
        }
        let range = keys::batch(from)..keys::batch(self.durable());
        let entries = self.tree.range(range).take(limit);
        let link = |entry: sled::Result<(IVec, IVec)>| {
            let (key, value) = entry.map_err(sled_error)?;
            keys::link_of(&key, &value)
        };
        entries.map(link).collect()
    }

    /// The link of the batch that begins at `first`.
    pub(in crate::journal) fn link_at(
        &self,
        first: Offset,
    ) -> Result<Option<BatchLink>, JournalError> {
        let key = keys::batch(first);
        let value = self.tree.get(key).map_err(sled_error)?;
        value.map(|value| keys::link_of(&key, &value)).transpose()
    }
}

fn missing(offset: Offset) -> JournalError {
    JournalError::Damaged {
        place: format!("offset {offset}"),
        why: "it is missing".to_owned(),
    }
}
