//! The table of a segment: the places of its batches by offset, of its streams' records, and of its
//! bases.
//!
//! The newest segment's table grows in memory. Once a segment is full, its table is written to a file
//! beside it. A table that is missing or damaged is made again by scanning the segment.

use std::collections::HashMap;

use bincode::{Decode, Encode};

use super::frame::{self, FramePart, LINK, link_bytes, link_of};
use crate::{
    journal::{BatchLink, MissingCause, Offset, StreamHead, stage::StagedHead},
    model::{Hash, StreamId},
};

const MAGIC: [u8; 8] = *b"VsLogTab";
/// A table of another format is made again, like a missing one.
const FORMAT: u32 = 2;
/// The place of a lost record.
pub(super) const NOWHERE: u32 = u32::MAX;
/// The most lost records that a table notes: a segment cannot have contained more.
const LOST_MAX: u64 = 1 << 20;
/// The most bytes that a decoder may allocate for a table.
const DECODE_LIMIT: usize = 256 << 20;

/// The records of one stream in a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The sequence of the first record.
    pub(super) first_seq: u64,
    /// Where each record's length field begins in the file; [`NOWHERE`] for a lost record.
    pub(super) at: Vec<u32>,
    /// The link of the last record.
    pub(super) last: Hash,
}

impl Places {
    /// The head of the stream after these records.
    pub(super) fn head(&self) -> StagedHead {
        StagedHead {
            next_seq: self.first_seq.saturating_add(self.at.len() as u64),
            hash: self.last,
        }
    }

    /// The places from a sequence on.
    pub(super) fn from(&self, seq: u64) -> &[u32] {
        let skip = usize::try_from(seq.saturating_sub(self.first_seq)).unwrap_or(usize::MAX);
        self.at.get(skip..).unwrap_or_default()
    }

    /// Notes that the stream continues at `seq`; the records skipped are lost. Adds a place for each
    /// of them, at most `most`, and returns how many.
    fn skip_to(&mut self, seq: u64, hash: Hash, most: u64) -> u64 {
        if self.at.is_empty() {
            self.first_seq = seq;
        }
        let lost = seq.saturating_sub(self.head().next_seq).min(most);
        self.at.extend((0..lost).map(|_| NOWHERE));
        self.last = hash;
        lost
    }

    /// How many of its records are lost.
    fn lost(&self) -> u64 {
        self.at.iter().filter(|place| **place == NOWHERE).count() as u64
    }
}

/// A batch and the place of its frame in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) at: u32,
}

/// The table of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentTable {
    pub(super) batches: Vec<BatchPlace>,
    pub(super) streams: HashMap<StreamId, Places>,
    /// How many records of all streams are lost.
    pub(super) lost: u64,
    /// Parts of bases and the places of their frames.
    pub(super) bases: Vec<(FramePart, u32)>,
    /// Missing batches, and why they are missing.
    pub(super) gaps: Vec<(BatchLink, MissingCause)>,
    /// The ranges of unrepaired damage: the first offset, and the one after the last. Never written
    /// to the disk.
    pub(super) damage: Vec<(Offset, Offset)>,
    /// Where the frames end in the file.
    pub(super) end: u32,
    /// The newest link.
    pub(super) link: Option<BatchLink>,
}

impl SegmentTable {
    /// Notes a batch's frame.
    pub(super) fn add_batch(&mut self, at: u32, link: BatchLink) {
        let BatchLink { first, last, .. } = link;
        self.batches.push(BatchPlace { first, last, at });
        self.link = Some(link);
    }

    /// Notes a record of the batch added last.
    pub(super) fn add_record(&mut self, stream: &StreamId, seq: u64, at: u32, hash: Hash) {
        self.continue_at(stream, seq, Some(at), hash);
    }

    /// Notes that a stream continues at a sequence, with a record at `at` if there is one.
    fn continue_at(&mut self, stream: &StreamId, seq: u64, at: Option<u32>, hash: Hash) {
        let places = match self.streams.get_mut(stream) {
            Some(places) => places,
            None => self.streams.entry(stream.clone()).or_default(),
        };
        let most = LOST_MAX.saturating_sub(self.lost);
        self.lost = self.lost.saturating_add(places.skip_to(seq, hash, most));
        places.at.extend(at);
    }

    /// Notes missing batches, and the heads of streams after them.
    pub(super) fn add_gap(&mut self, link: BatchLink, cause: MissingCause, heads: &[StreamHead]) {
        self.gaps.push((link, cause));
        self.link = Some(link);
        for head in heads {
            self.continue_at(&head.stream, head.next_seq, None, head.hash);
        }
    }

    /// The number of the first batch that contains an offset or comes after it.
    pub(super) fn batch_at(&self, offset: Offset) -> usize {
        self.batches.partition_point(|batch| batch.last < offset)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let body = encoded(&self.stored());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&body);
        let crc = bytes.get(12..).map_or(0, crc32c::crc32c).to_be_bytes();
        if let Some(slot) = bytes.get_mut(8..12) {
            slot.copy_from_slice(&crc);
        }
        bytes
    }

    /// Decodes a table; none if it is damaged or has another format.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = decode_all::<StoredTable>(body_of(bytes)?)?;
        let streams = decode_all::<Vec<StoredPlaces>>(&stored.streams)?;
        let streams = streams
            .into_iter()
            .map(StoredPlaces::restore)
            .collect::<Option<HashMap<_, _>>>()?;
        Some(Self {
            lost: streams.values().map(Places::lost).sum(),
            streams,
            ..stored.restore()?
        })
    }

    /// Decodes a table without its streams, which are most of its bytes.
    pub(super) fn decode_head(bytes: &[u8]) -> Option<Self> {
        decode_all::<StoredTable>(body_of(bytes)?)?.restore()
    }

    fn stored(&self) -> StoredTable {
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_by_key(|(_, places)| places.at.first().copied());
        let streams: Vec<_> = streams
            .into_iter()
            .map(|(stream, places)| StoredPlaces::of(stream, places))
            .collect();
        StoredTable {
            end: self.end,
            link: self.link.map(|link| link_bytes(&link)),
            batches: deltas(&self.batches),
            bases: self.bases.iter().map(stored_part).collect(),
            gaps: self
                .gaps
                .iter()
                .map(|(link, cause)| (link_bytes(link), frame::cause_byte(*cause)))
                .collect(),
            streams: encoded(&streams),
        }
    }
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to a vector does not fail.
    let written = bincode::encode_into_std_write(value, &mut bytes, codec());
    debug_assert!(written.is_ok());
    bytes
}

/// The bytes after the checksum and the format, if both are correct.
fn body_of(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (crc, covered) = rest.split_first_chunk::<4>()?;
    if u32::from_be_bytes(*crc) != crc32c::crc32c(covered) {
        return None;
    }
    covered.strip_prefix(&FORMAT.to_be_bytes())
}

fn decode_all<T: Decode<()>>(bytes: &[u8]) -> Option<T> {
    let (value, used) = bincode::decode_from_slice(bytes, codec()).ok()?;
    (used == bytes.len()).then_some(value)
}

const fn codec() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// The stored form of a table. Growing numbers are stored as differences.
#[derive(Encode, Decode)]
struct StoredTable {
    end: u32,
    link: Option<[u8; LINK]>,
    batches: Vec<(u64, u64, u32)>,
    bases: Vec<(u64, u32, u32, u32)>,
    gaps: Vec<([u8; LINK], u8)>,
    /// An encoded list of [`StoredPlaces`]. It is separate because few readers need it.
    streams: Vec<u8>,
}

#[derive(Encode, Decode)]
struct StoredPlaces {
    stream: String,
    first_seq: u64,
    last: [u8; 32],
    /// The difference of each place to the previous one, plus one; zero for a lost record.
    at: Vec<u32>,
}

fn deltas(batches: &[BatchPlace]) -> Vec<(u64, u64, u32)> {
    let mut previous = (0_u64, 0_u32);
    let deltas = batches.iter().map(|batch| {
        let BatchPlace { first, last, at } = *batch;
        let delta = (
            first.saturating_sub(previous.0),
            last.saturating_sub(first),
            at.saturating_sub(previous.1),
        );
        previous = (first, at);
        delta
    });
    deltas.collect()
}

fn stored_part((part, at): &(FramePart, u32)) -> (u64, u32, u32, u32) {
    (part.as_of, part.number, part.of, *at)
}

impl StoredPlaces {
    fn of(stream: &StreamId, places: &Places) -> Self {
        let mut previous = 0;
        let deltas = places.at.iter().map(|place| match *place {
            NOWHERE => 0,
            place => {
                let delta = place.saturating_sub(previous).saturating_add(1);
                previous = place;
                delta
            }
        });
        Self {
            stream: stream.to_string(),
            first_seq: places.first_seq,
            last: places.last.0,
            at: deltas.collect(),
        }
    }

    fn restore(self) -> Option<(StreamId, Places)> {
        let mut place = 0_u32;
        let places = self.at.into_iter().map(|delta| match delta.checked_sub(1) {
            None => NOWHERE,
            Some(delta) => {
                place = place.saturating_add(delta);
                place
            }
        });
        let restored = Places {
            first_seq: self.first_seq,
            at: places.collect(),
            last: Hash(self.last),
        };
        Some((self.stream.parse().ok()?, restored))
    }
}

fn gap_of((link, cause): &([u8; LINK], u8)) -> Option<(BatchLink, MissingCause)> {
    Some((link_of(link)?, frame::cause_of(*cause)?))
}

/// Whether each batch begins after the previous one, because readers go from one to the next.
fn is_in_order(batches: &[BatchPlace]) -> bool {
    let in_order = |pair: &[BatchPlace]| match pair {
        [one, other] => one.last < other.first && one.at < other.at,
        _ => true,
    };
    batches.windows(2).all(in_order) && batches.last().is_none_or(|last| last.last < Offset::MAX)
}

impl StoredTable {
    fn restore(self) -> Option<SegmentTable> {
        let mut previous = (0_u64, 0_u32);
        let batches = self.batches.into_iter().map(|(first, count, at)| {
            previous = (
                previous.0.saturating_add(first),
                previous.1.saturating_add(at),
            );
            let (batch_first, batch_at) = previous;
            BatchPlace {
                first: batch_first,
                last: batch_first.saturating_add(count),
                at: batch_at,
            }
        });
        let batches: Vec<_> = batches.collect();
        let part = |(as_of, number, of, at)| (FramePart { as_of, number, of }, at);
        is_in_order(&batches).then_some(())?;
        Some(SegmentTable {
            batches,
            bases: self.bases.into_iter().map(part).collect(),
            gaps: self.gaps.iter().map(gap_of).collect::<Option<_>>()?,
            end: self.end,
            link: match self.link {
                Some(link) => Some(link_of(&link)?),
                None => None,
            },
            ..SegmentTable::default()
        })
    }
}
