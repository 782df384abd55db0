//! Reads the block allocation table (BAT).

use super::MIB;
use super::metadata::{DiskMetadata, SECTOR};
use super::regions::Regions;
use crate::packing::vmdk::number;
use crate::sparse::error::{SparseFault, Unread};
use crate::sparse::map::{BLOCK_MEMORY, BlockTables, HOLE, blocks};
use crate::sparse::ranges::Ranges;

const ENTRY: u64 = 8;
/// How many bytes of the table are read at a time.
const PIECE: u64 = 64 << 10;
/// How many sectors one block of the sector bitmap describes.
const SECTORS_OF_BITMAP: u64 = 1 << 23;
/// How many low bits of an entry precede the block's position, which is in MiB.
const PLACE: u32 = 20;
const STATE: u64 = 0b111;

pub(super) async fn read(
    file: &mut impl Ranges,
    regions: &Regions,
    disk: &DiskMetadata,
) -> Result<BlockTables, Unread> {
    let count = blocks(disk.capacity, disk.block)?;
    // After every `ratio` blocks of the disk the table has an entry for a block of the sector bitmap, which
    // only disks with a parent have.
    let ratio = SECTORS_OF_BITMAP
        .saturating_mul(SECTOR)
        .checked_div(disk.block)
        .filter(|ratio| *ratio > 0)
        .ok_or(SparseFault::Wrong("a size is out of bounds"))?;
    let bitmaps = count
        .saturating_sub(1)
        .checked_div(ratio)
        .unwrap_or_default();
    let length = count.saturating_add(bitmaps).saturating_mul(ENTRY);
    if length > regions.bat.end.saturating_sub(regions.bat.start) {
        return Err(SparseFault::Wrong("the table of its blocks is too short").into());
    }
    let end = regions.bat.start.saturating_add(length);
    file.reserve(count.saturating_mul(BLOCK_MEMORY)).await?;
    let (mut at, mut number_of, mut places) = (regions.bat.start, 0_u64, Vec::new());
    while at < end {
        let piece = file.exactly(at, end.saturating_sub(at).min(PIECE)).await?;
        at = at.saturating_add(piece.len() as u64);
        for entry in piece.chunks_exact(8) {
            number_of = number_of.saturating_add(1);
            let is_bitmap = number_of.is_multiple_of(ratio.saturating_add(1));
            if !is_bitmap {
                places.push(place(number::<8>(entry, 0))?);
            }
        }
    }
    Ok(BlockTables {
        capacity: disk.capacity,
        block: disk.block,
        unit: MIB,
        places,
        file: file.length(),
        taken: regions.taken.clone(),
    })
}

/// The position of a block in MiB.
fn place(entry: u64) -> Result<u32, SparseFault> {
    match entry & STATE {
        // Not present, undefined, zero, unmapped: the block reads as zeros.
        0..=3 => Ok(HOLE),
        6 => match u32::try_from(entry >> PLACE) {
            Ok(HOLE) => Err(SparseFault::Wrong("a block has no place")),
            Ok(place) => Ok(place),
            Err(_) => Err(SparseFault::Short),
        },
        7 => Err(SparseFault::NotAlone),
        _ => Err(SparseFault::Wrong("a block is in an unknown state")),
    }
}
