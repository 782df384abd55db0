//! Plants damage in a journal in memory, for tests.

use std::sync::Arc;

use super::MemoryJournal;
use crate::{
    journal::{
        Append, BatchLink, Missing, Offset, Stored, StreamState,
        stage::{StagedDraft, StagedHead},
    },
    model::{Event, StreamId},
};

/// The record as another version might have written it: with a correct checksum, and one byte more
/// than this version understands.
fn undecodable(stored: &Stored) -> Stored {
    let mut bytes = stored.bytes.clone();
    bytes.push(0);
    let sum = crc32c::crc32c(&bytes[4..]).to_be_bytes();
    bytes[..4].copy_from_slice(&sum);
    Stored::parse(bytes).unwrap()
}

impl MemoryJournal {
    /// Removes a range of events; it has to begin and end where batches do.
    pub(crate) fn plant_missing(&self, missing: Missing) {
        let mut state = self.state();
        let range = missing.from..missing.to;
        let gone = state.links.range(range.clone());
        let (first, last) = (gone.clone().next().unwrap().1, gone.last().unwrap().1);
        assert_eq!((first.first, last.last + 1), (missing.from, missing.to));
        state
            .links
            .retain(|batch_first, _| !range.contains(batch_first));
        state.records.retain(|offset, _| !range.contains(offset));
        for places in state.streams.values_mut() {
            places.retain(|_, offset| !range.contains(offset));
        }
        state.missing.push(missing);
        state.missing.sort_by_key(|gap| gap.from);
    }

    /// Appends an event that cannot be decoded to a stream.
    pub(crate) fn plant_undecodable(&self, stream: &StreamId, event: Event) -> Offset {
        let mut state = self.state();
        let append = Append {
            stream: stream.clone(),
            expected_seq: state.head(stream).next_seq,
            events: vec![event],
        };
        let mut stage = state.stage();
        let request = StagedDraft::all(vec![append]).unwrap();
        stage
            .admit(request, |appended| Ok(state.head(appended)))
            .unwrap();
        let mut batch = stage.seal().unwrap();
        let stored = undecodable(&batch.records[0]);
        let BatchLink {
            prev, first, last, ..
        } = batch.link;
        batch.link = BatchLink::new(prev, first, last, [&stored.hash]);
        let head = StagedHead {
            next_seq: stored.seq + 1,
            hash: stored.hash,
        };
        Arc::make_mut(&mut batch.heads).insert(stream.clone(), head);
        batch.records = vec![stored];
        state.retain(batch);
        first
    }

    /// Changes the base as of an offset.
    pub(crate) fn change_base(&self, as_of: Offset, change: impl FnOnce(&mut Vec<StreamState>)) {
        change(&mut self.state().bases.get_mut(&as_of).unwrap().streams);
    }

    /// Removes the base as of an offset.
    pub(crate) fn remove_base(&self, as_of: Offset) {
        self.state().bases.remove(&as_of).unwrap();
    }
}
