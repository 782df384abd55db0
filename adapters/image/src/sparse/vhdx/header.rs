//! Reads the current header, and checks that its log is empty.

use std::ops::Range;

use super::{KIB, MIB, has_checksum};
use crate::packing::vmdk::number;
use crate::sparse::error::{SparseFault, Unread};
use crate::sparse::ranges::Ranges;

/// The offsets of the two headers. The one with the larger sequence number is the current one.
const PLACES: [u64; 2] = [64 * KIB, 128 * KIB];
const LENGTH: u64 = 4 * KIB;
/// The length limit of a log that is not empty, in bytes. All known programs write 1 MiB.
const MAX_LOG_LEN: u64 = 64 * MIB;
/// Log entries begin at multiples of this many bytes.
const LOG_SECTOR: u64 = 4 * KIB;
/// Where in a log entry the log's GUID is.
const ENTRY_NAME: Range<usize> = 32..48;

/// A header.
pub(super) struct Header {
    sequence: u64,
    bytes: Vec<u8>,
    log: Range<u64>,
}

/// The valid header with the larger sequence number.
pub(super) async fn current(file: &mut impl Ranges) -> Result<Header, Unread> {
    let mut newest: Option<Header> = None;
    for place in PLACES {
        let bytes = file.exactly(place, LENGTH).await?;
        if !bytes.starts_with(b"head") || !has_checksum(&bytes) {
            continue;
        }
        let header = Header::read(bytes)?;
        match &newest {
            Some(present)
                if present.sequence == header.sequence && present.bytes != header.bytes =>
            {
                return Err(SparseFault::Wrong("two headers with one number").into());
            }
            Some(present) if present.sequence >= header.sequence => {}
            _ => newest = Some(header),
        }
    }
    newest.ok_or(Unread::Fault(SparseFault::Wrong(
        "neither of its headers is whole",
    )))
}

impl Header {
    fn read(bytes: Vec<u8>) -> Result<Self, SparseFault> {
        let (log_version, version) = (number::<2>(&bytes, 64), number::<2>(&bytes, 66));
        if (log_version, version) != (0, 1) {
            return Err(SparseFault::Wrong("its version is unknown"));
        }
        let (length, offset) = (number::<4>(&bytes, 68), number::<8>(&bytes, 72));
        let whole = offset.is_multiple_of(MIB) && length.is_multiple_of(MIB);
        let end = offset
            .checked_add(length)
            .filter(|_| whole && (length == 0 || offset >= MIB))
            .ok_or(SparseFault::Wrong("the place of its log"))?;
        Ok(Self {
            sequence: number::<8>(&bytes, 8),
            log: offset..end,
            bytes,
        })
    }

    /// The range of the log in the file.
    pub(super) fn log(&self) -> Range<u64> {
        self.log.clone()
    }

    /// Checks that the log has no pending writes.
    ///
    /// A log with a zero GUID is empty. In any other log, the entries with its GUID count as pending; whether
    /// they are complete is not checked.
    pub(super) async fn is_closed(&self, file: &mut impl Ranges) -> Result<(), Unread> {
        let name = self.bytes.get(48..64).unwrap_or_default();
        if name.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        if self.log.end.saturating_sub(self.log.start) > MAX_LOG_LEN {
            return Err(SparseFault::Open.into());
        }
        let mut position = self.log.start;
        while position < self.log.end {
            let entry = file.exactly(position, 64).await?;
            if entry.starts_with(b"loge") && entry.get(ENTRY_NAME) == Some(name) {
                return Err(SparseFault::Open.into());
            }
            position = position.saturating_add(LOG_SECTOR);
        }
        Ok(())
    }
}
