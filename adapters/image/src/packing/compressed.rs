//! Unpacks gzip and zstd as the programs of that name do, and tells what xz needs.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{Outlet, ReservedMemory, Unpacking, XZ_MEMORY, ZSTD_MEMORY, copy};

/// What unpacking xz and zstd needs beside the dictionary or window, in bytes.
const BESIDE: u64 = 2 * 1024 * 1024;
/// What is reserved for xz at least, in bytes: a later block may have a dictionary of the usual 8 MiB.
const LEAST_XZ: u64 = 10 * 1024 * 1024;
/// The first byte of a member of gzip.
const GZIP: u8 = 0x1f;
/// The mark of a zstd frame.
const ZSTD: [u8; 4] = *b"\x28\xb5\x2f\xfd";
/// The length of the longest header of a zstd frame, with its magic number (RFC 8878, 3.1.1).
pub(crate) const MAX_FRAME_HEADER: usize = 18;

/// Unpacks xz that begins with `head`.
pub(super) fn unxz(head: &[u8], packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
    let needed = dictionary(head).saturating_add(BESIDE).max(LEAST_XZ);
    let permitted = needed.min(XZ_MEMORY);
    let _reserved = to.unpacking().reserve(permitted)?;
    let most = u32::try_from(permitted / 1024).unwrap_or(u32::MAX);
    match copy(&mut XzReader::new_mem_limit(packed, true, most), to) {
        // The xz library gives this kind to errors about memory alone.
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory && needed == permitted => {
            Err(io::Error::other(UnannouncedDictionary))
        }
        copied => copied.map(drop),
    }
}

/// The error when a later block of an xz file needs more memory than its first one.
#[derive(Debug, thiserror::Error)]
#[error("a later part of it needs more memory than its first one says; pack it anew as a whole")]
pub(super) struct UnannouncedDictionary;

/// The error when something follows the packed data that is none.
#[derive(Debug, thiserror::Error)]
#[error("other data follows the packed data")]
pub(super) struct FollowedByOther;

/// Reserves what a zstd frame with this header needs. Blocks.
pub(crate) fn reserve_window(
    unpacking: &Arc<Unpacking>,
    header: &[u8],
) -> io::Result<ReservedMemory> {
    let needed = window(header).unwrap_or(ZSTD_MEMORY).min(ZSTD_MEMORY);
    unpacking.reserve(needed.saturating_add(BESIDE))
}

/// Whether a zstd frame with this descriptor says the size of its content instead of that of its window.
fn is_single_segment(descriptor: u8) -> bool {
    descriptor & 0x20 != 0
}

/// The lengths of the dictionary's number and of the content's size in a zstd frame with this descriptor.
fn lengths(descriptor: u8) -> (usize, usize) {
    let size = match descriptor >> 6 {
        0 => usize::from(is_single_segment(descriptor)),
        flag => 1 << flag,
    };
    let number = match descriptor & 3 {
        3 => 4,
        number => usize::from(number),
    };
    (number, size)
}

/// How many bytes of a zstd frame's header follow its magic number and descriptor.
fn rest_of_header(begin: &[u8]) -> usize {
    begin.get(4).map_or(0, |descriptor| {
        let (number, size) = lengths(*descriptor);
        usize::from(!is_single_segment(*descriptor)) + number + size
    })
}

/// The size of the window of a zstd frame in bytes, by its header with the magic number; `None` if the header is
/// cut short.
fn window(header: &[u8]) -> Option<u64> {
    let descriptor = *header.get(4)?;
    if !is_single_segment(descriptor) {
        let window = *header.get(5)?;
        let base = 1_u64 << (10 + u64::from(window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let (number, size) = lengths(descriptor);
    let size = header.get(5 + number..)?.get(..size)?;
    let mut bytes = [0; 8];
    bytes.get_mut(..size.len())?.copy_from_slice(size);
    let added = if size.len() == 2 { 256 } else { 0 };
    Some(u64::from_le_bytes(bytes).saturating_add(added))
}

/// The size of an xz file's dictionary in bytes, by the header of its first block; 0 if it has none.
fn dictionary(head: &[u8]) -> u64 {
    const STREAM_HEADER: usize = 12;
    const LZMA2: [u8; 2] = [0x21, 1];
    let rest = head.get(STREAM_HEADER..).unwrap_or_default();
    // The last four bytes of the header are its checksum.
    let length = rest.first().map_or(0, |size| usize::from(*size) * 4);
    let block = rest.get(..length).unwrap_or_default();
    // The sizes before the filters are not needed, and the last filter is always this one.
    let filter = block
        .windows(3)
        .rev()
        .find(|three| three.starts_with(&LZMA2));
    match filter {
        Some([_, _, bits @ 0..=40]) => (2 | u64::from(bits & 1)) << (bits / 2 + 11),
        _ => 0,
    }
}

/// Unpacks gzip, one member after the other. Zeros may follow the last one, as tapes and block devices leave them.
pub(super) fn gunzip(mut packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
    while !packed.fill_buf()?.is_empty() {
        if !copy(&mut GzDecoder::new(&mut packed), to)? {
            return Ok(());
        }
        match packed.fill_buf()?.first() {
            Some(0) => return only_zeros(packed),
            Some(&GZIP) | None => {}
            Some(_) => return Err(io::Error::other(FollowedByOther)),
        }
    }
    Ok(())
}

fn only_zeros(mut packed: impl BufRead) -> io::Result<()> {
    loop {
        let buffered = packed.fill_buf()?;
        let length = buffered.len();
        if length == 0 {
            return Ok(());
        }
        if buffered.iter().any(|byte| *byte != 0) {
            return Err(io::Error::other(FollowedByOther));
        }
        packed.consume(length);
    }
}

/// Unpacks zstd, one frame after the other.
pub(super) fn unzstd(mut packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
    while !packed.fill_buf()?.is_empty() {
        let mut header = Vec::with_capacity(MAX_FRAME_HEADER);
        (&mut packed).take(4).read_to_end(&mut header)?;
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18] = header[..] {
            skip_frame(&mut packed)?;
            continue;
        }
        // Other frames were here before, or it would not be unpacked as zstd.
        if header != ZSTD {
            return Err(io::Error::other(FollowedByOther));
        }
        (&mut packed).take(1).read_to_end(&mut header)?;
        let rest = rest_of_header(&header) as u64;
        (&mut packed).take(rest).read_to_end(&mut header)?;
        let _reserved = reserve_window(to.unpacking(), &header)?;
        if !copy(&mut ZstdFrame::open(header.chain(&mut packed))?, to)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The content of one zstd frame. Its end is an error if the content is not what was packed: the decoder itself
/// compares neither the size nor the checksum.
pub(crate) struct ZstdFrame<R: Read> {
    decoder: StreamingDecoder<R, FrameDecoder>,
    length: u64,
}

impl<R: Read> ZstdFrame<R> {
    /// Opens a frame whose header is the next in `packed`.
    ///
    /// # Errors
    /// The header cannot be read, is none, or has a window that needs too much memory.
    pub(crate) fn open(packed: R) -> io::Result<Self> {
        let decoder = StreamingDecoder::new_with_max_window_size(packed, ZSTD_MEMORY);
        Ok(Self {
            decoder: decoder.map_err(io::Error::other)?,
            length: 0,
        })
    }

    /// What follows the frame, once it was read to its end.
    pub(crate) fn into_inner(self) -> R {
        self.decoder.into_inner()
    }

    fn check_whole(&self) -> io::Result<()> {
        let frame = &self.decoder.decoder;
        let stored = frame.get_checksum_from_data();
        if stored.is_some() && stored != frame.get_calculated_checksum() {
            return Err(io::Error::other(DamagedFrame::Checksum));
        }
        // Zero is also the size of a frame that says none.
        match frame.content_size() {
            0 => Ok(()),
            size if size == self.length => Ok(()),
            _ => Err(io::Error::other(DamagedFrame::Size)),
        }
    }
}

impl<R: Read> Read for ZstdFrame<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(into)?;
        self.length = self.length.saturating_add(length as u64);
        if length == 0 && !into.is_empty() {
            self.check_whole()?;
        }
        Ok(length)
    }
}

/// Why the content of a zstd frame is not what was packed.
#[derive(Debug, thiserror::Error)]
enum DamagedFrame {
    #[error("its content does not match the checksum that zstd wrote behind it")]
    Checksum,
    #[error("its content has another size than zstd wrote before it")]
    Size,
}

/// Skips a frame that holds no data, behind its magic number.
fn skip_frame(packed: &mut impl BufRead) -> io::Result<()> {
    let mut length = [0; 4];
    packed.read_exact(&mut length)?;
    let length = u64::from(u32::from_le_bytes(length));
    let skipped = io::copy(&mut packed.take(length), &mut io::sink())?;
    if skipped == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_an_xz_file_tells_its_dictionary() {
        // The stream's header, then the header of a block: size, flags, filter, padding, checksum.
        let block = |bits: u8| [2, 0, 0x21, 1, bits, 0, 0, 0, 0x21, 1, 40, 9];
        let file = |bits| [&b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46"[..], &block(bits)].concat();
        assert_eq!(dictionary(&file(22)), 8 << 20);
        assert_eq!(dictionary(&file(26)), 32 << 20);
        assert_eq!(dictionary(&file(28)), 64 << 20);
        assert_eq!(dictionary(&file(255)), 0);
        assert_eq!(dictionary(b"\xfd7zXZ"), 0);
    }
    #[test]
    fn the_header_of_a_zstd_frame_tells_its_window() {
        let magic = b"\x28\xb5\x2f\xfd";
        let header = |rest: &[u8]| [magic, rest].concat();
        // 8 MiB: exponent 13; then with an eighth more.
        assert_eq!(window(&header(&[0, 13 << 3])), Some(8 << 20));
        assert_eq!(window(&header(&[0, 13 << 3 | 1])), Some(9 << 20));
        // One segment, with the content's size in one, two and four bytes, and behind a dictionary's number.
        assert_eq!(window(&header(&[0x20, 7])), Some(7));
        assert_eq!(window(&header(&[0x60, 1, 0])), Some(257));
        assert_eq!(window(&header(&[0xa2, 9, 9, 0, 0, 1, 0])), Some(1 << 16));
        assert_eq!(window(&header(&[0xa0, 1])), None);
        for descriptor in 0..=u8::MAX {
            let begin = header(&[descriptor]);
            let whole = [begin.clone(), vec![0; rest_of_header(&begin)]].concat();
            assert!(whole.len() <= MAX_FRAME_HEADER);
            assert!(window(&whole).is_some());
        }
    }
}
