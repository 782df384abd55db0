//! Maps the blocks of a disk to their positions in the file.

use std::ops::Range;

use super::error::SparseFault;

/// How many blocks a disk may have. They are held in memory, in four bytes each.
pub(super) const MAX_BLOCKS: u64 = 4 << 20;
/// The size limit of a disk: 64 TiB.
pub(super) const LARGEST: u64 = 64 << 40;
/// How many bytes a block needs in memory.
pub(super) const BLOCK_MEMORY: u64 = 4;
/// The position of a block that is a hole.
pub(super) const HOLE: u32 = 0;

/// The positions of a disk's blocks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BlockMap {
    /// The disk's length in bytes.
    capacity: u64,
    /// A block's length in bytes.
    block: u64,
    /// The unit of positions in bytes.
    unit: u64,
    /// The position of each block, or [`HOLE`].
    places: Vec<u32>,
}

/// A part of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SparseExtent {
    /// This many zeros.
    Hole(u64),
    /// This many bytes of the file.
    Data { at: u64, length: u64 },
}

/// How many blocks a disk has, if they are within the limits.
pub(super) fn blocks(capacity: u64, block: u64) -> Result<u64, SparseFault> {
    if capacity == 0 || capacity > LARGEST || block == 0 {
        return Err(SparseFault::Wrong("a size is out of bounds"));
    }
    let blocks = capacity.div_ceil(block);
    if blocks > MAX_BLOCKS {
        return Err(SparseFault::Blocks);
    }
    Ok(blocks)
}

/// What the tables of a file say, before anything of it is checked.
#[derive(Debug)]
pub(super) struct BlockTables {
    /// The disk's length, a block's length and the unit of positions, in bytes.
    pub(super) capacity: u64,
    pub(super) block: u64,
    pub(super) unit: u64,
    /// The position of each block, or [`HOLE`].
    pub(super) places: Vec<u32>,
    /// The length of the file in bytes.
    pub(super) file: u64,
    /// The ranges of the file that hold other data.
    pub(super) taken: Vec<Range<u64>>,
}

impl BlockTables {
    /// The map, if no block overlaps another one or other data. Computes for some tenths of a second, and needs as
    /// much memory again meanwhile.
    pub(super) fn checked(self) -> Result<BlockMap, SparseFault> {
        if self.places.len() as u64 != blocks(self.capacity, self.block)? || self.unit == 0 {
            return Err(SparseFault::Wrong("its tables are of another length"));
        }
        let map = BlockMap {
            capacity: self.capacity,
            block: self.block,
            unit: self.unit,
            places: self.places,
        };
        let mut used = Vec::new();
        for (number, place) in (0_u64..).zip(&map.places) {
            if *place != HOLE {
                map.check(number, *place, self.file, &self.taken)?;
                used.push(*place);
            }
        }
        used.sort_unstable();
        let apart = map.block.div_ceil(map.unit);
        let near = |pair: &[u32]| match pair {
            [one, next] => u64::from(next.saturating_sub(*one)) < apart,
            _ => false,
        };
        if used.windows(2).any(near) {
            return Err(SparseFault::Wrong("two blocks share a place in the file"));
        }
        Ok(map)
    }
}

impl BlockMap {
    /// Checks that a block is within the file and overlaps no table.
    fn check(
        &self,
        number: u64,
        place: u32,
        file: u64,
        tables: &[Range<u64>],
    ) -> Result<(), SparseFault> {
        let start = number.saturating_mul(self.block);
        let needed = self.capacity.saturating_sub(start).min(self.block);
        let start_in_file = u64::from(place).saturating_mul(self.unit);
        let end = start_in_file.saturating_add(needed);
        if end > file {
            return Err(SparseFault::Short);
        }
        if tables
            .iter()
            .any(|table| start_in_file < table.end && table.start < end)
        {
            return Err(SparseFault::Wrong("a block is where a table is"));
        }
        Ok(())
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The extent at a byte of the disk, with at most `most` bytes; `None` at the end of the disk.
    pub(super) fn extent(&self, position: u64, most: u64) -> Option<SparseExtent> {
        let first = self.run(position, most)?;
        let mut length = first.1;
        while length < most
            && let Some((place, more)) =
                self.run(position.saturating_add(length), most.saturating_sub(length))
            && continues(first.0, length, place)
        {
            length = length.saturating_add(more);
        }
        Some(match first.0 {
            Some(at) => SparseExtent::Data { at, length },
            None => SparseExtent::Hole(length),
        })
    }

    /// The offset in the file (`None` for a hole), and how many bytes of one block follow it.
    fn run(&self, position: u64, most: u64) -> Option<(Option<u64>, u64)> {
        let remaining = self
            .capacity
            .checked_sub(position)
            .filter(|remaining| *remaining > 0)?;
        let number = position.checked_div(self.block)?;
        let within = position.checked_rem(self.block)?;
        let place = *self.places.get(usize::try_from(number).ok()?)?;
        let length = self.block.saturating_sub(within).min(remaining).min(most);
        let block_start = u64::from(place).saturating_mul(self.unit);
        let offset = (place != HOLE).then(|| block_start.saturating_add(within));
        Some((offset, length))
    }
}

/// Whether `next` directly follows an extent of `length` bytes at `first`.
fn continues(first: Option<u64>, length: u64, next: Option<u64>) -> bool {
    match (first, next) {
        (Some(first), Some(next)) => first.checked_add(length) == Some(next),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(places: &[u32]) -> Result<BlockMap, SparseFault> {
        let tables = BlockTables {
            capacity: 10 * 512,
            block: 1_024,
            unit: 512,
            places: places.to_vec(),
            file: 20 * 512,
            taken: vec![Range {
                start: 0,
                end: 1_024,
            }],
        };
        tables.checked()
    }

    #[test]
    fn neighbours_in_disk_and_file_are_one() {
        let map = map(&[4, 6, 0, 0, 2]).unwrap();
        let data = |at, length| Some(SparseExtent::Data { at, length });
        assert_eq!(map.extent(0, 10_000), data(2_048, 2_048));
        assert_eq!(map.extent(100, 200), data(2_148, 200));
        assert_eq!(map.extent(2_048, 10_000), Some(SparseExtent::Hole(2_048)));
        assert_eq!(map.extent(4_000, 96), Some(SparseExtent::Hole(96)));
        assert_eq!(map.extent(4_096, 10_000), data(1_024, 1_024));
        assert_eq!(map.extent(5_120, 10_000), None);
        assert_eq!(map.extent(u64::MAX, 10_000), None);
    }

    #[test]
    fn blocks_outside_of_the_file_over_tables_and_over_one_another_are_refused() {
        assert!(map(&[2, 4, 6, 18, 16]).is_ok());
        assert_eq!(map(&[0, 0, 0, 0, 19]), Err(SparseFault::Short));
        assert_eq!(map(&[u32::MAX, 0, 0, 0, 0]), Err(SparseFault::Short));
        let table = Err(SparseFault::Wrong("a block is where a table is"));
        assert_eq!(map(&[1, 0, 0, 0, 0]), table);
        let shared = Err(SparseFault::Wrong("two blocks share a place in the file"));
        assert_eq!(map(&[2, 0, 2, 0, 0]), shared);
        assert_eq!(map(&[7, 0, 6, 0, 0]), shared);
        assert!(map(&[2, 4, 6, 8]).is_err());
        assert_eq!(blocks(LARGEST, 512), Err(SparseFault::Blocks));
        assert!(blocks(0, 512).is_err() && blocks(1, 0).is_err());
        assert!(blocks(LARGEST + 1, 1 << 28).is_err());
    }
}
