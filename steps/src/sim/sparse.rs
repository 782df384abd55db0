//! A file in memory that stores no blocks of zeros, like a sparse file: most of a small disk is empty.

use std::{collections::BTreeMap, io};

const BLOCK: usize = 4_096;

/// A file that grows as it is written.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseFile {
    len: usize,
    /// Blocks by number; each has the full length and is not all zeros.
    blocks: BTreeMap<usize, Box<[u8]>>,
}

/// A range within one block.
struct BlockPart {
    block: usize,
    from: usize,
    len: usize,
}

/// The parts of a range, one for each block.
fn parts(start: usize, end: usize) -> impl Iterator<Item = BlockPart> {
    let mut position = start;
    std::iter::from_fn(move || {
        let remaining = end
            .checked_sub(position)
            .filter(|remaining| *remaining > 0)?;
        let from = position % BLOCK;
        let len = remaining.min(BLOCK.saturating_sub(from));
        let block = position / BLOCK;
        position = position.saturating_add(len);
        Some(BlockPart { block, from, len })
    })
}

impl SparseFile {
    /// Writes at `offset`; skipped bytes read as zeros.
    ///
    /// # Errors
    /// If the file would exceed the address space.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let end = start
            .checked_add(bytes.len())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let mut rest = bytes;
        for part in parts(start, end) {
            let (piece, later) = rest.split_at(part.len.min(rest.len()));
            rest = later;
            self.write_block(&part, piece);
        }
        self.len = self.len.max(end);
        Ok(())
    }

    fn write_block(&mut self, part: &BlockPart, piece: &[u8]) {
        let is_empty = piece.iter().all(|byte| *byte == 0);
        if is_empty && !self.blocks.contains_key(&part.block) {
            return;
        }
        let zeros = || vec![0; BLOCK].into_boxed_slice();
        let block = self.blocks.entry(part.block).or_insert_with(zeros);
        let place = part.from..part.from.saturating_add(part.len);
        if let Some(place) = block.get_mut(place) {
            place.copy_from_slice(piece);
        }
        if is_empty && block.iter().all(|byte| *byte == 0) {
            self.blocks.remove(&part.block);
        }
    }

    /// Reads at most `max` bytes from `offset`.
    pub(super) fn read(&self, offset: u64, max: u64) -> Vec<u8> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let end = start.saturating_add(max).min(self.len);
        let mut bytes = Vec::with_capacity(end.saturating_sub(start));
        for BlockPart { block, from, len } in parts(start, end) {
            let block = self.blocks.get(&block);
            let place = from..from.saturating_add(len);
            match block.and_then(|block| block.get(place)) {
                Some(piece) => bytes.extend_from_slice(piece),
                None => bytes.resize(bytes.len().saturating_add(len), 0),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_and_zeros_take_no_room(
            writes in prop::collection::vec((0..20_000_u64, 0..9_000_usize, 0..2_u8), 0..12),
            (at, max) in (0..30_000_u64, 0..30_000_u64),
        ) {
            let (mut file, mut plain) = (SparseFile::default(), Vec::new());
            for (offset, len, byte) in writes {
                file.write(offset, &vec![byte; len]).unwrap();
                let from = usize::try_from(offset).unwrap();
                plain.resize(plain.len().max(from + len), 0);
                plain[from..from + len].fill(byte);
            }
            let from = usize::try_from(at).unwrap().min(plain.len());
            let to = (from + usize::try_from(max).unwrap()).min(plain.len());
            prop_assert_eq!(file.read(at, max), &plain[from..to]);
            prop_assert!(file.blocks.values().all(|block| block.contains(&1)));
        }
    }
}
