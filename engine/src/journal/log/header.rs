//! The header of a segment.
//!
//! ```text
//! magic                                                     8 bytes
//! CRC32C of all that follows                                4
//! format                                                    4
//! salt, random: goes into the checksum of every frame       16
//! offset of the segment's first event                       8
//! position in the log of the segment's first frame          8
//! whether a batch comes before, and its link                1 + 80
//! length of the journal's identity, the identity            1 + 64
//! whether a repair made it                                  1
//! zeros up to                                               256
//! ```
//!
//! Numbers are big-endian. The position counts the bytes of all frames before, so it grows from
//! segment to segment. It may jump at a segment that a repair made in place of a lost one. The salt
//! is not part of an export, so a user who controls the content of a record cannot construct bytes
//! that look like a frame.

use super::frame::{LINK, link_bytes, link_of};
use crate::journal::{BatchLink, JournalError, Offset};

/// The length of a header, in bytes.
pub(super) const LEN: usize = 256;
const MAGIC: [u8; 8] = *b"VsLogSeg";
const FORMAT: u32 = 1;
/// The longest identity of a journal, in bytes.
const ID_MAX: usize = 64;

/// The content of a segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) salt: [u8; 16],
    /// The offset of its first event.
    pub(super) first: Offset,
    /// The position in the log of its first frame.
    pub(super) position: u64,
    /// The link of the newest batch before it.
    pub(super) before: Option<BatchLink>,
    /// The journal's identity.
    pub(super) journal: String,
    /// Whether a repair made it in place of a lost segment: its position may be later than the end of
    /// the previous segment.
    pub(super) repaired: bool,
}

/// Error: some bytes are not a header.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Only zeros: it was never written.
    Blank,
    Damaged(&'static str),
    Newer(u32),
}

impl HeaderError {
    pub(super) fn of_file(self, name: &str) -> JournalError {
        match self {
            Self::Blank => super::error::damaged(name, "its beginning was never written"),
            Self::Damaged(why) => super::error::damaged(name, why),
            Self::Newer(found) => JournalError::Newer {
                what: format!("the segment {name}"),
                found,
                known: FORMAT,
            },
        }
    }
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let journal = self.journal.as_bytes();
        let id = journal.get(..ID_MAX).unwrap_or(journal);
        let mut bytes = Vec::with_capacity(LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.first.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
        bytes.push(self.before.is_some().into());
        bytes.extend_from_slice(&self.before.map_or([0; LINK], |link| link_bytes(&link)));
        bytes.push(u8::try_from(id.len()).unwrap_or_default());
        bytes.extend_from_slice(id);
        bytes.push(self.repaired.into());
        bytes.resize(LEN, 0);
        let crc = bytes.get(12..).map_or(0, crc32c::crc32c).to_be_bytes();
        if let Some(slot) = bytes.get_mut(8..12) {
            slot.copy_from_slice(&crc);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Blank);
        }
        let mut bytes = HeaderBytes(bytes.get(..LEN).ok_or(CUT)?);
        if bytes.take()? != MAGIC {
            return Err(HeaderError::Damaged("it does not begin as a segment does"));
        }
        let crc = u32::from_be_bytes(bytes.take()?);
        if crc != crc32c::crc32c(bytes.0) {
            return Err(HeaderError::Damaged(
                "the checksum of its header does not match",
            ));
        }
        match u32::from_be_bytes(bytes.take()?) {
            FORMAT => bytes.header(),
            newer if newer > FORMAT => Err(HeaderError::Newer(newer)),
            _ => Err(HeaderError::Damaged("no version wrote its format")),
        }
    }
}

const CUT: HeaderError = HeaderError::Damaged("it ends within its header");

struct HeaderBytes<'a>(&'a [u8]);

impl HeaderBytes<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], HeaderError> {
        let (front, rest) = self.0.split_first_chunk::<N>().ok_or(CUT)?;
        self.0 = rest;
        Ok(*front)
    }

    fn header(&mut self) -> Result<SegmentHeader, HeaderError> {
        let (salt, first, position) = (self.take()?, self.take()?, self.take()?);
        let [has_before] = self.take()?;
        let link_before = link_of(&self.take()?);
        let [length] = self.take()?;
        let id = self.0.get(..usize::from(length)).ok_or(CUT)?;
        let journal = std::str::from_utf8(id);
        let repaired = self.0.get(usize::from(length));
        Ok(SegmentHeader {
            salt,
            first: u64::from_be_bytes(first),
            position: u64::from_be_bytes(position),
            before: link_before.filter(|_| has_before == 1),
            journal: journal
                .map_err(|_| HeaderError::Damaged("its journal's identity is not text"))?
                .to_owned(),
            repaired: repaired == Some(&1),
        })
    }
}
