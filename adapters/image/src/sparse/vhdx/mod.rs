//! Reads VHDX, the disk format of Hyper-V: two headers, a region table, and the regions with the disk's
//! properties (metadata) and its block allocation table (BAT).
//!
//! Follows Microsoft's open specification \[MS-VHDX\]; all CRC-32C checksums are compared. A log that is not
//! empty has writes that must be applied before the file is used. vsiflow may not write to the file, so it is
//! refused.

mod bat;
mod header;
mod metadata;
mod regions;

use super::error::Unread;
use super::map::BlockTables;
use super::ranges::Ranges;

/// The first bytes of a VHDX.
pub(super) const MAGIC: &[u8] = b"vhdxfile";
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Reads the block tables of the disk.
pub(super) async fn tables(file: &mut impl Ranges) -> Result<BlockTables, Unread> {
    let header = header::current(file).await?;
    header.is_closed(file).await?;
    let regions = regions::read(file, header.log()).await?;
    let disk = metadata::read(file, &regions.metadata).await?;
    bat::read(file, &regions, &disk).await
}

/// Checks the CRC-32C at byte 4. It is computed with those four bytes set to zero.
fn has_checksum(bytes: &[u8]) -> bool {
    let (Some(before), Some(after)) = (bytes.get(..4), bytes.get(8..)) else {
        return false;
    };
    let sum = crc32c::crc32c(before);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    let sum = crc32c::crc32c_append(sum, after);
    bytes.get(4..8) == Some(&sum.to_le_bytes())
}

/// A GUID as files store it, from its usual notation.
const fn guid(text: u128) -> [u8; 16] {
    let b = text.to_be_bytes();
    [
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
        b[14], b[15],
    ]
}
