//! VHDX, the disks of Hyper-V: two headers, a table of regions, and in these the disk's properties
//! (metadata) and the table of its blocks (BAT).
//!
//! After Microsoft's open specification \[MS-VHDX\]. What has a CRC-32C there is compared with it. A log
//! that is not empty has writes that are not in their place yet; who opens such a file writes them
//! there first, and since the file is not ours to write to, it is refused.

mod bat;
mod header;
mod metadata;
mod regions;

use super::error::Unread;
use super::map::BlockMap;
use super::ranges::Ranges;

/// The first bytes.
pub(super) const MAGIC: &[u8] = b"vhdxfile";
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Where the disk's blocks are.
pub(super) async fn map(file: &mut impl Ranges) -> Result<BlockMap, Unread> {
    let header = header::current(file).await?;
    header.is_closed(file).await?;
    let regions = regions::read(file, header.log()).await?;
    let disk = metadata::read(file, &regions.metadata).await?;
    bat::read(file, &regions, &disk).await
}

/// The file's bytes with its checksum, four of them at byte 4, taken for zeros.
fn has_checksum(bytes: &[u8]) -> bool {
    let (Some(before), Some(after)) = (bytes.get(..4), bytes.get(8..)) else {
        return false;
    };
    let sum = crc32c::crc32c(before);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    let sum = crc32c::crc32c_append(sum, after);
    bytes.get(4..8) == Some(&sum.to_le_bytes())
}

/// A name of 16 bytes, as it is written in files, from its usual text.
const fn guid(text: u128) -> [u8; 16] {
    let b = text.to_be_bytes();
    [
        b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13],
        b[14], b[15],
    ]
}
