//! Reads consecutive batches of one segment.

use std::sync::Arc;

use super::{
    CHUNK, RECORD, Window,
    marks::{FrameMarks, NextRecord},
};
use crate::journal::{
    BatchLink, JournalError, Offset, RecordDamage, RecordPlace, Stored,
    log::{
        frame::{self, Body, FramePosition},
        scan::position_of,
        segment::Segment,
        table::BatchPlace,
    },
};

/// A reader that stops further than this in a frame leaves a mark. Reading less of a frame again is
/// cheaper than storing a mark in place of another reader's. In bytes.
const LONG: u32 = 64 << 10;

/// Consecutive batches of one segment.
pub(super) struct BatchRow {
    pub(super) segment: Arc<Segment>,
    pub(super) batches: Vec<BatchPlace>,
    /// Where the segment's frames end.
    pub(super) end: u32,
}

impl BatchRow {
    /// Adds a batch's records from `next` on to a page. The frame's checksum is not checked, because
    /// each record has its own.
    pub(super) fn records(
        &self,
        marks: &FrameMarks,
        batch: &BatchPlace,
        window: &mut Window,
        next: Offset,
        limit: usize,
        page: &mut Vec<Stored>,
    ) -> Result<(), JournalError> {
        let segment = self.segment.header.first;
        let mut position = match marks.before(segment, batch, next) {
            Some(position) => position,
            None => self.first_record(batch, window)?,
        };
        while position.offset <= batch.last && page.len() < limit {
            let record = self.record(position, window)?;
            let stored_len = u32::try_from(record.len().saturating_add(4)).unwrap_or(u32::MAX);
            if position.offset >= next {
                page.push(Stored::parse_at(position.offset, record.to_vec())?);
            }
            position.offset = position.offset.saturating_add(1);
            position.at = position.at.saturating_add(stored_len);
        }
        if position.offset <= batch.last && position.at.saturating_sub(batch.at) > LONG {
            marks.leave(segment, batch, position);
        }
        Ok(())
    }

    fn first_record(
        &self,
        batch: &BatchPlace,
        window: &mut Window,
    ) -> Result<NextRecord, JournalError> {
        let header_len = frame::HEADER.saturating_add(frame::LINK);
        Ok(NextRecord {
            offset: batch.first,
            at: (batch.at).saturating_add(u32::try_from(header_len).unwrap_or(u32::MAX)),
            end: self.frame_end(batch, window)?,
        })
    }

    fn record<'w>(
        &self,
        position: NextRecord,
        window: &'w mut Window,
    ) -> Result<&'w [u8], JournalError> {
        let NextRecord { offset, at, end } = position;
        let available = usize::try_from(end.saturating_sub(at)).unwrap_or_default();
        let bytes = window.get(&self.segment, at, available.min(RECORD), self.ahead(at))?;
        frame::record_at(bytes.get(..available).unwrap_or(bytes))
            .ok_or_else(|| self.damaged(offset, "the batch that holds it is not whole"))
    }

    pub(super) fn link(
        &self,
        batch: &BatchPlace,
        window: &mut Window,
    ) -> Result<BatchLink, JournalError> {
        let place = self.place(batch);
        match frame::decode(self.bytes(batch, window)?, place).map(|frame| frame.body) {
            Some(Body::Batch(link, _)) => Ok(link),
            _ => Err(self.damaged(
                batch.first,
                "the link of the batch that begins here was changed",
            )),
        }
    }

    /// Where a batch's frame ends, at most where the next frame begins.
    fn frame_end(&self, batch: &BatchPlace, window: &mut Window) -> Result<u32, JournalError> {
        let next = self.batches.iter().find(|next| next.at > batch.at);
        let most = next
            .map_or(self.end, |next| next.at)
            .saturating_sub(batch.at);
        let header = frame::HEADER.min(usize::try_from(most).unwrap_or(usize::MAX));
        let front = window.get(&self.segment, batch.at, header, self.ahead(batch.at))?;
        let claimed = frame::claimed_len(front).and_then(|len| u32::try_from(len).ok());
        Ok(batch.at.saturating_add(claimed.unwrap_or(most).min(most)))
    }

    /// The bytes of a batch's frame, as far as they exist.
    fn bytes<'w>(
        &self,
        batch: &BatchPlace,
        window: &'w mut Window,
    ) -> Result<&'w [u8], JournalError> {
        let len = self.frame_end(batch, window)?.saturating_sub(batch.at);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let bytes = window.get(&self.segment, batch.at, len, self.ahead(batch.at))?;
        Ok(bytes.get(..len).unwrap_or(bytes))
    }

    /// How many bytes to read at once from a place on.
    fn ahead(&self, at: u32) -> usize {
        let remaining = usize::try_from(self.end.saturating_sub(at));
        remaining.unwrap_or(CHUNK).min(CHUNK)
    }

    fn place(&self, batch: &BatchPlace) -> FramePosition<'_> {
        let frame_start = usize::try_from(batch.at).unwrap_or(usize::MAX);
        FramePosition {
            salt: &self.segment.header.salt,
            position: position_of(&self.segment.header, frame_start),
        }
    }

    fn damaged(&self, offset: Offset, why: &str) -> JournalError {
        let why = format!("{}: {why}", self.segment.name);
        RecordDamage::altered(RecordPlace::Offset(offset), why)
    }
}
