//! Frames: the units that are written to a segment.
//!
//! ```text
//! magic                                                           4 bytes
//! CRC32C of the segment's salt, the position and all that follows 4
//! length of all that follows                                      4
//! kind                                                            1, and 3 zeros
//! position up to which the log was synced when this was written   8
//! a batch:  its link (first and last offset, previous hash, hash), then
//!           for each record its length (4 bytes) and its bytes
//! a base:   its offset, number of this part, number of parts, then the part's bytes
//! a mark:   nothing; it states everything before it as synced
//! a gap:    the link of the missing batches, why they are missing (1 byte), then the head of each
//!           stream after them: next sequence (8), hash (32), length of the name (4), name
//! ```
//!
//! Numbers are big-endian. Frames begin at multiples of [`ALIGN`].

use crate::{
    journal::{BatchLink, MissingCause, Offset, StreamHead},
    model::Hash,
};

/// Frames begin at multiples of this, in bytes.
pub(super) const ALIGN: usize = 16;
/// The length of a link, in bytes.
pub(super) const LINK: usize = 80;
const MAGIC: [u8; 4] = *b"VsFr";
/// The bytes up to the end of the length field.
const PREFIX: usize = 12;
/// The bytes before the body, which depends on the kind.
pub(super) const HEADER: usize = 24;
/// The bytes of a base's body before its part.
const BASE: usize = 16;
/// The least bytes of a frame with an empty body.
pub(super) const FILLER: usize = HEADER.next_multiple_of(ALIGN);

const BATCH_KIND: u8 = 1;
const BASE_KIND: u8 = 2;
const GAP_KIND: u8 = 3;
const MARK_KIND: u8 = 4;

/// Where a frame is. Its checksum depends on this.
#[derive(Clone, Copy)]
pub(super) struct FramePosition<'a> {
    pub(super) salt: &'a [u8; 16],
    /// The position in the log.
    pub(super) position: u64,
}

impl FramePosition<'_> {
    fn crc(self, covered: &[u8]) -> u32 {
        let salted = crc32c::crc32c(self.salt);
        let placed = crc32c::crc32c_append(salted, &self.position.to_be_bytes());
        crc32c::crc32c_append(placed, covered)
    }
}

/// A whole frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// The position up to which the log was synced when the frame was written.
    pub(super) synced: u64,
    /// Its length with padding, up to the next frame, in bytes.
    pub(super) len: usize,
    pub(super) body: Body<'a>,
}

/// The content of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// A durable batch; [`records`] parses the bytes.
    Batch(BatchLink, &'a [u8]),
    /// A part of a base.
    Base(FramePart, &'a [u8]),
    /// Missing batches, as one link; [`heads`] parses the bytes.
    Gap(BatchLink, MissingCause, &'a [u8]),
    /// Empty: it states everything before it as synced, when a log is closed properly.
    Mark,
}

impl Body<'_> {
    /// The link of its batches; none for a base or a mark.
    pub(super) fn link(&self) -> Option<BatchLink> {
        match self {
            Self::Batch(link, _) | Self::Gap(link, ..) => Some(*link),
            Self::Base(..) | Self::Mark => None,
        }
    }
}

/// Identifies a part of a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct FramePart {
    /// The offset of the base.
    pub(super) as_of: Offset,
    /// The number of the part, from 0.
    pub(super) number: u32,
    /// How many parts the base has.
    pub(super) of: u32,
}

/// The length of a frame for a batch whose records have these lengths, in bytes.
pub(super) fn batch_len(records: impl Iterator<Item = usize>) -> usize {
    let records_len = records.map(|len| len.saturating_add(4)).sum::<usize>();
    aligned(records_len.saturating_add(HEADER + LINK))
}

/// The length of a frame for a part of a base, in bytes.
pub(super) fn part_len(bytes: usize) -> usize {
    aligned(bytes.saturating_add(HEADER + BASE))
}

fn aligned(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// Appends a frame with a batch to `out`.
pub(super) fn encode_batch<'a>(
    out: &mut Vec<u8>,
    place: FramePosition<'_>,
    synced: u64,
    link: &BatchLink,
    records: impl Iterator<Item = &'a [u8]>,
) {
    encode(out, place, synced, BATCH_KIND, |out| {
        out.extend_from_slice(&link_bytes(link));
        for record in records {
            let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(record);
        }
    });
}

/// Appends a frame with a part of a base to `out`.
pub(super) fn encode_part(
    out: &mut Vec<u8>,
    place: FramePosition<'_>,
    synced: u64,
    part: FramePart,
    bytes: &[u8],
) {
    encode(out, place, synced, BASE_KIND, |out| {
        out.extend_from_slice(&part.as_of.to_be_bytes());
        out.extend_from_slice(&part.number.to_be_bytes());
        out.extend_from_slice(&part.of.to_be_bytes());
        out.extend_from_slice(bytes);
    });
}

/// Appends a mark to `out`.
pub(super) fn encode_mark(out: &mut Vec<u8>, place: FramePosition<'_>, synced: u64) {
    encode(out, place, synced, MARK_KIND, |_| {});
}

/// Appends a mark of exactly `len` bytes to `out`, which fills a place whose old content is not
/// needed. `len` is a multiple of [`ALIGN`], and at least [`FILLER`].
pub(super) fn encode_filler(out: &mut Vec<u8>, place: FramePosition<'_>, synced: u64, len: usize) {
    encode(out, place, synced, MARK_KIND, |out| {
        let end = out.len().saturating_add(len.saturating_sub(HEADER));
        out.resize(end, 0);
    });
}

/// Appends a frame with a gap to `out`.
pub(super) fn encode_gap(
    out: &mut Vec<u8>,
    place: FramePosition<'_>,
    synced: u64,
    link: &BatchLink,
    cause: MissingCause,
    heads: &[StreamHead],
) {
    encode_gap_of(out, place, synced, link, cause, heads, 0);
}

/// Appends a frame with a gap of at least `len` bytes to `out`, filled up with zeros after the
/// streams. `len` is a multiple of [`ALIGN`].
pub(super) fn encode_gap_of(
    out: &mut Vec<u8>,
    place: FramePosition<'_>,
    synced: u64,
    link: &BatchLink,
    cause: MissingCause,
    heads: &[StreamHead],
    len: usize,
) {
    let begin = out.len();
    encode(out, place, synced, GAP_KIND, |out| {
        out.extend_from_slice(&link_bytes(link));
        out.push(cause_byte(cause));
        for head in heads {
            let name = head.stream.to_string();
            out.extend_from_slice(&head.next_seq.to_be_bytes());
            out.extend_from_slice(&head.hash.0);
            out.extend_from_slice(&u32::try_from(name.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        let end = begin.saturating_add(len).max(out.len());
        out.resize(end, 0);
    });
}

/// The length of a frame for a gap, in bytes.
pub(super) fn gap_len(heads: &[StreamHead]) -> usize {
    let heads_len = heads.iter().map(head_len).sum::<usize>();
    aligned(heads_len.saturating_add(HEADER + LINK + 1))
}

/// The length of a stream's head in a gap, in bytes.
pub(super) fn head_len(head: &StreamHead) -> usize {
    head.stream.to_string().len().saturating_add(8 + 32 + 4)
}

pub(super) fn cause_byte(cause: MissingCause) -> u8 {
    match cause {
        MissingCause::Removed => 1,
        MissingCause::Lost => 2,
        MissingCause::Damaged => 3,
    }
}

pub(super) fn cause_of(byte: u8) -> Option<MissingCause> {
    let causes = [
        MissingCause::Removed,
        MissingCause::Lost,
        MissingCause::Damaged,
    ];
    causes.into_iter().find(|cause| cause_byte(*cause) == byte)
}

/// The stream heads in a gap.
pub(super) fn heads(mut bytes: &[u8]) -> Vec<StreamHead> {
    let mut heads = Vec::new();
    while let Some((head, rest)) = head(bytes) {
        heads.push(head);
        bytes = rest;
    }
    heads
}

fn head(bytes: &[u8]) -> Option<(StreamHead, &[u8])> {
    let (next_seq, rest) = bytes.split_first_chunk::<8>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let name = record_at(rest)?;
    let head = StreamHead {
        stream: std::str::from_utf8(name).ok()?.parse().ok()?,
        next_seq: u64::from_be_bytes(*next_seq),
        hash: Hash(*hash),
    };
    Some((head, rest.get(name.len().checked_add(4)?..)?))
}

fn encode(
    out: &mut Vec<u8>,
    place: FramePosition<'_>,
    synced: u64,
    kind: u8,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let begin = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&synced.to_be_bytes());
    body(out);
    let length = out.len().saturating_sub(begin).saturating_sub(PREFIX);
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    if let Some(slot) = out.get_mut(begin.saturating_add(8)..begin.saturating_add(PREFIX)) {
        slot.copy_from_slice(&length);
    }
    let covered = out.get(begin.saturating_add(8)..).unwrap_or_default();
    let crc = place.crc(covered).to_be_bytes();
    if let Some(slot) = out.get_mut(begin.saturating_add(4)..begin.saturating_add(8)) {
        slot.copy_from_slice(&crc);
    }
    let end = begin.saturating_add(aligned(out.len().saturating_sub(begin)));
    out.resize(end, 0);
}

/// The length, with padding, that the frame at the front of some bytes claims to have. Its checksum
/// is not checked.
pub(super) fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (length, _) = rest.get(4..)?.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    Some(aligned(length.checked_add(PREFIX)?))
}

/// The frame at the front of some bytes; none if it is not whole.
pub(super) fn decode<'a>(bytes: &'a [u8], place: FramePosition<'_>) -> Option<Frame<'a>> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (crc, after_crc) = rest.split_first_chunk::<4>()?;
    let (length, _) = after_crc.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let covered = after_crc.get(..length.checked_add(4)?)?;
    if place.crc(covered) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (kind, after_kind) = covered.get(4..)?.split_first_chunk::<4>()?;
    let (synced, body) = after_kind.split_first_chunk::<8>()?;
    Some(Frame {
        synced: u64::from_be_bytes(*synced),
        len: aligned(length.checked_add(PREFIX)?),
        body: body_of(*kind, body)?,
    })
}

fn body_of(kind: [u8; 4], bytes: &[u8]) -> Option<Body<'_>> {
    match kind {
        [BATCH_KIND, 0, 0, 0] => {
            let (link, records) = bytes.split_first_chunk::<LINK>()?;
            Some(Body::Batch(link_of(link)?, records))
        }
        [BASE_KIND, 0, 0, 0] => {
            let (as_of, rest) = bytes.split_first_chunk::<8>()?;
            let (number, rest) = rest.split_first_chunk::<4>()?;
            let (of, rest) = rest.split_first_chunk::<4>()?;
            let part = FramePart {
                as_of: u64::from_be_bytes(*as_of),
                number: u32::from_be_bytes(*number),
                of: u32::from_be_bytes(*of),
            };
            Some(Body::Base(part, rest))
        }
        [MARK_KIND, 0, 0, 0] => Some(Body::Mark),
        [GAP_KIND, 0, 0, 0] => {
            let (link, rest) = bytes.split_first_chunk::<LINK>()?;
            let (cause, heads) = rest.split_first()?;
            Some(Body::Gap(link_of(link)?, cause_of(*cause)?, heads))
        }
        _ => None,
    }
}

pub(super) fn link_bytes(link: &BatchLink) -> [u8; LINK] {
    let mut bytes = [0; LINK];
    let parts = [
        &link.first.to_be_bytes()[..],
        &link.last.to_be_bytes(),
        &link.prev.0,
        &link.hash.0,
    ];
    for (slot, byte) in bytes.iter_mut().zip(parts.concat()) {
        *slot = byte;
    }
    bytes
}

/// Decodes a link; none if it ends before it begins, or if no offset is left after it.
pub(super) fn link_of(bytes: &[u8; LINK]) -> Option<BatchLink> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let (last, rest) = rest.split_first_chunk::<8>()?;
    let (prev, rest) = rest.split_first_chunk::<32>()?;
    let link = BatchLink {
        first: u64::from_be_bytes(*first),
        last: u64::from_be_bytes(*last),
        prev: Hash(*prev),
        hash: Hash(rest.try_into().ok()?),
    };
    (link.first <= link.last && link.last < Offset::MAX).then_some(link)
}

/// The record at the front of some bytes, which begin with its length.
pub(super) fn record_at(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The records of a batch, each with the place of its length field, from the beginning of the frame.
pub(super) fn records(bytes: &[u8]) -> FrameRecords<'_> {
    FrameRecords {
        rest: bytes,
        at: HEADER + LINK,
    }
}

/// See [`records`]. Ends early at a length that does not fit.
pub(super) struct FrameRecords<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for FrameRecords<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (record, rest) = rest.split_at_checked(length)?;
        let start = self.at;
        self.at = start.saturating_add(length).saturating_add(4);
        self.rest = rest;
        Some((start, record))
    }
}
