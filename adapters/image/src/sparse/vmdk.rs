//! Reads sparse VMDKs in one file (`monolithicSparse`), the form for use: a directory of tables, and tables
//! of grains. All of them, and the description, precede the first grain.
//!
//! Follows VMware's "Virtual Disk Format 5.0", which calls such a file a hosted sparse extent.

use super::error::{SparseFault, Unread};
use super::map::{BLOCK_MEMORY, BlockTables, HOLE, blocks};
use super::ranges::Ranges;
use crate::packing::vmdk::{CreateType, MAGIC, SECTOR, STREAM, is_standalone, number};

const NEW_LINES_ARE_TESTED: u64 = 1;
const ZERO_GRAINS: u64 = 1 << 2;
const NEW_LINES: &[u8] = b"\n \r\n";
/// The table entry of a grain of zeros.
const ZERO_GRAIN: u64 = 1;
/// The length limit of a description, in bytes.
const MAX_DESCRIPTION_LEN: u64 = 1 << 20;
/// The permitted lengths of grains, in bytes.
const GRAINS: std::ops::RangeInclusive<u64> = 4_096..=1 << 20;
/// How many entries a table may have; all known programs write 512. Each table may be anywhere before the
/// grains, so smaller tables of a large disk would need millions of requests.
const ENTRIES: std::ops::RangeInclusive<u64> = 512..=4_096;

/// Whether a file that begins with these bytes is a VMDK that is not stream-optimised.
pub(super) fn is_sparse(head: &[u8]) -> bool {
    let flags = number::<4>(head, 8);
    head.starts_with(MAGIC) && flags & u64::from(STREAM) != u64::from(STREAM)
}

/// Reads the block tables of the disk.
pub(super) async fn tables(file: &mut impl Ranges) -> Result<BlockTables, Unread> {
    let header = file.exactly(0, SECTOR).await?;
    let extent = VmdkHeader::read(&header, file.length())?;
    let description = extent.description(file).await?;
    is_standalone(&description, CreateType::MonolithicSparse).map_err(|_| SparseFault::NotAlone)?;
    let mut places = Vec::new();
    let mut remaining = blocks(extent.capacity, extent.grain)?;
    file.reserve(remaining.saturating_mul(BLOCK_MEMORY)).await?;
    let tables = remaining.div_ceil(extent.entries);
    let directory = extent.before(file, extent.directory, tables.saturating_mul(4));
    for table in directory.await?.chunks_exact(4) {
        let count = remaining.min(extent.entries);
        remaining = remaining.saturating_sub(count);
        let entries = match number::<4>(table, 0) {
            0 => vec![0; usize::try_from(count.saturating_mul(4)).unwrap_or_default()],
            sector => {
                let entries = extent.before(file, sector, count.saturating_mul(4));
                entries.await?
            }
        };
        for entry in entries.chunks_exact(4) {
            places.push(extent.place(number::<4>(entry, 0))?);
        }
    }
    let overhead = 0..extent.overhead;
    Ok(BlockTables {
        capacity: extent.capacity,
        block: extent.grain,
        unit: SECTOR,
        places,
        file: file.length(),
        taken: std::iter::once(overhead).collect(),
    })
}

/// The header of an extent. Lengths are in bytes, positions in sectors.
struct VmdkHeader {
    /// The size that a guest sees.
    capacity: u64,
    grain: u64,
    /// The length before the first grain.
    overhead: u64,
    /// The sector of the grain directory.
    directory: u64,
    /// How many entries each table has.
    entries: u64,
    description: (u64, u64),
    has_zero_grains: bool,
}

impl VmdkHeader {
    fn read(header: &[u8], file: u64) -> Result<Self, SparseFault> {
        let (short, long) = (
            |offset| number::<4>(header, offset),
            |offset| number::<8>(header, offset),
        );
        let flags = short(8);
        let packed = flags & u64::from(STREAM) != 0 || number::<2>(header, 77) != 0;
        if !header.starts_with(MAGIC) || !(1..=3).contains(&short(4)) || packed {
            return Err(SparseFault::Wrong("its version or flags"));
        }
        if flags & NEW_LINES_ARE_TESTED != 0 && header.get(73..77) != Some(NEW_LINES) {
            return Err(SparseFault::Wrong("it was copied as a text"));
        }
        if number::<1>(header, 72) != 0 {
            return Err(SparseFault::Open);
        }
        let bytes = |sectors: u64| {
            let bytes = sectors.checked_mul(SECTOR);
            bytes.ok_or(SparseFault::Wrong("a size is out of bounds"))
        };
        let (grain, overhead) = (bytes(long(20))?, bytes(long(64))?);
        if !GRAINS.contains(&grain) || !grain.is_power_of_two() {
            return Err(SparseFault::Wrong("a size is out of bounds"));
        }
        if overhead > file {
            return Err(SparseFault::Short);
        }
        let entries = short(44);
        if !ENTRIES.contains(&entries) {
            return Err(SparseFault::Wrong("its tables"));
        }
        Ok(Self {
            capacity: bytes(long(12))?,
            grain,
            overhead,
            directory: long(56),
            entries,
            description: (long(28), bytes(long(36))?),
            has_zero_grains: flags & ZERO_GRAINS != 0,
        })
    }

    async fn description(&self, file: &mut impl Ranges) -> Result<Vec<u8>, Unread> {
        let (sector, length) = self.description;
        // One of several extents has no description; another file holds it.
        if sector == 0 || length == 0 {
            return Err(SparseFault::NotAlone.into());
        }
        if length > MAX_DESCRIPTION_LEN {
            return Err(SparseFault::Wrong("its description is too long").into());
        }
        self.before(file, sector, length).await
    }

    /// `length` bytes from a sector on, which must be between header and grains.
    async fn before(
        &self,
        file: &mut impl Ranges,
        sector: u64,
        length: u64,
    ) -> Result<Vec<u8>, Unread> {
        let start = sector.checked_mul(SECTOR).filter(|start| *start >= SECTOR);
        let end = start.and_then(|start| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.overhead => file.exactly(start, length).await,
            _ => Err(SparseFault::Wrong("a table is outside of its place").into()),
        }
    }

    /// The position that a table's entry names.
    fn place(&self, entry: u64) -> Result<u32, SparseFault> {
        if entry == 0 || entry == ZERO_GRAIN && self.has_zero_grains {
            return Ok(HOLE);
        }
        u32::try_from(entry).map_err(|_| SparseFault::Short)
    }
}
