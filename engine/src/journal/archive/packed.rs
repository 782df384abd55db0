//! The file format of one compressed segment.
//!
//! ```text
//! blocks of 128 KiB, each compressed separately (zlib)
//! for each block: its end in the file (8 bytes), CRC32C of its uncompressed content (4)
//! number of blocks (4), length of the segment (8), CRC32C of the index (4), magic (8)
//! ```
//!
//! Numbers are big-endian.

use std::{
    io::{self, Read as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use crate::journal::{
    JournalError,
    log::{DiskFile, LogDisk, SegmentSource},
};

/// The uncompressed size of a block, in bytes.
const BLOCK: usize = 128 << 10;
/// The most bytes of a compressed block (worst case of zlib: five bytes for each stored 16 KiB, and
/// six around them).
const PACKED_MAX: u64 = (BLOCK as u64) + (4 << 10);
const MAGIC: [u8; 8] = *b"VsLogArc";
const FOOTER: usize = 24;
const ENTRY: usize = 12;

/// The range of a block in the file, and the checksum of its uncompressed content.
#[derive(Clone, Copy)]
struct Block {
    begin: u64,
    end: u64,
    crc: u32,
}

/// A compressed segment, open for random access.
pub(in crate::journal) struct PackedSegment {
    name: String,
    file: Arc<dyn DiskFile>,
    blocks: Vec<Block>,
    len: u64,
    /// The block that was read last, uncompressed, and its number.
    recent: Mutex<Option<(usize, Arc<Vec<u8>>)>>,
}

/// Writes `bytes`, compressed, to an empty file.
pub(super) fn write(file: &dyn DiskFile, bytes: &[u8]) -> io::Result<()> {
    let (mut out, mut index) = (Vec::new(), Vec::new());
    for block in bytes.chunks(BLOCK) {
        let mut encoder = ZlibEncoder::new(out, Compression::default());
        encoder.write_all(block)?;
        out = encoder.finish()?;
        index.extend_from_slice(&(out.len() as u64).to_be_bytes());
        index.extend_from_slice(&crc32c::crc32c(block).to_be_bytes());
    }
    let count = u32::try_from(bytes.chunks(BLOCK).len()).map_err(io::Error::other)?;
    let crc = crc32c::crc32c(&index);
    out.extend_from_slice(&index);
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(&crc.to_be_bytes());
    out.extend_from_slice(&MAGIC);
    file.write_at(&out, 0)
}

impl PackedSegment {
    /// Opens a compressed segment.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if its index is damaged.
    pub(in crate::journal) fn open(disk: &dyn LogDisk, name: &str) -> Result<Self, JournalError> {
        let storage = |e: io::Error| JournalError::Storage(format!("{name}: {e}"));
        let file = disk.open(name, false).map_err(storage)?;
        let index = index(&*file).map_err(storage)?;
        let (blocks, len) = index.ok_or_else(|| JournalError::Damaged {
            place: name.to_owned(),
            why: "it does not end as an archived segment does".to_owned(),
        })?;
        Ok(Self {
            name: name.to_owned(),
            file,
            blocks,
            len,
            recent: Mutex::default(),
        })
    }

    /// The uncompressed length of the segment, in bytes.
    pub(in crate::journal) fn len(&self) -> u64 {
        self.len
    }

    fn block(&self, number: usize) -> io::Result<Arc<Vec<u8>>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = recent.as_ref().filter(|(at, _)| *at == number) {
            return Ok(bytes.clone());
        }
        let bytes = Arc::new(self.unpack(number)?);
        *recent = Some((number, bytes.clone()));
        Ok(bytes)
    }

    fn unpack(&self, number: usize) -> io::Result<Vec<u8>> {
        let block = self
            .blocks
            .get(number)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let len = block.end.saturating_sub(block.begin);
        let mut packed = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let bytes_read = self.file.read_at(&mut packed, block.begin)?;
        packed.truncate(bytes_read);
        let mut bytes = Vec::with_capacity(BLOCK);
        // One byte more than a block can have, to detect one that unpacks to too much.
        let most = (BLOCK as u64).saturating_add(1);
        let unpacked = ZlibDecoder::new(packed.as_slice())
            .take(most)
            .read_to_end(&mut bytes);
        if unpacked.is_err() || bytes.len() > BLOCK || crc32c::crc32c(&bytes) != block.crc {
            let why = format!("block {number} of {} was changed", self.name);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(bytes)
    }
}

/// The blocks and the uncompressed length of the segment; none if the index is damaged.
fn index(file: &dyn DiskFile) -> io::Result<Option<(Vec<Block>, u64)>> {
    let size = file.size()?;
    let Some(footer_start) = size.checked_sub(FOOTER as u64) else {
        return Ok(None);
    };
    let mut footer = [0; FOOTER];
    if file.read_at(&mut footer, footer_start)? != FOOTER {
        return Ok(None);
    }
    let Some((count, len, crc)) = footer_of(&footer) else {
        return Ok(None);
    };
    let bytes = u64::from(count).saturating_mul(ENTRY as u64);
    let Some(begin) = footer_start.checked_sub(bytes) else {
        return Ok(None);
    };
    let mut index = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    let bytes_read = file.read_at(&mut index, begin)?;
    if bytes_read != index.len() || crc32c::crc32c(&index) != crc {
        return Ok(None);
    }
    let blocks = blocks_of(&index);
    Ok(fits(&blocks, begin, len).then_some((blocks, len)))
}

/// Whether an index fits a file whose blocks end at `end` and unpack to `len` bytes. It is checked
/// because memory is allocated according to it.
fn fits(blocks: &[Block], end: u64, len: u64) -> bool {
    let packed = |block: &Block| block.end.checked_sub(block.begin);
    blocks
        .iter()
        .all(|block| packed(block).is_some_and(|packed| packed <= PACKED_MAX))
        && blocks.last().map_or(0, |last| last.end) == end
        && len.div_ceil(BLOCK as u64) == blocks.len() as u64
}

fn footer_of(footer: &[u8; FOOTER]) -> Option<(u32, u64, u32)> {
    let (count, rest) = footer.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<8>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    (rest == MAGIC).then_some((
        u32::from_be_bytes(*count),
        u64::from_be_bytes(*len),
        u32::from_be_bytes(*crc),
    ))
}

fn blocks_of(index: &[u8]) -> Vec<Block> {
    let (mut begin, mut blocks) = (0, Vec::new());
    for entry in index.chunks_exact(ENTRY) {
        let Some((end, rest)) = entry.split_first_chunk::<8>() else {
            break;
        };
        let crc = rest.first_chunk::<4>().copied().unwrap_or_default();
        let end = u64::from_be_bytes(*end);
        let crc = u32::from_be_bytes(crc);
        blocks.push(Block { begin, end, crc });
        begin = end;
    }
    blocks
}

impl SegmentSource for PackedSegment {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (mut done, size) = (0, buffer.len());
        while done < size {
            let from = at.saturating_add(done as u64);
            if from >= self.len {
                break;
            }
            let number = usize::try_from(from / BLOCK as u64).map_err(io::Error::other)?;
            let skip = usize::try_from(from % BLOCK as u64).map_err(io::Error::other)?;
            let block = self.block(number)?;
            let piece = block.get(skip..).unwrap_or_default();
            let rest = buffer.get_mut(done..).unwrap_or_default();
            let len = piece.len().min(rest.len());
            if len == 0 {
                break;
            }
            rest.iter_mut()
                .zip(piece)
                .for_each(|(to, source)| *to = *source);
            done = done.saturating_add(len);
        }
        Ok(done)
    }
}
