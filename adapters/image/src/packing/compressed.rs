//! Unpacks gzip and zstd as the programs of that name do, and tells what xz needs.

use std::io::{self, BufRead, Read as _};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::{MEMORY, Outlet, copy};

/// An xz file with a larger dictionary, in bytes, needs more memory than [`MEMORY`].
const DICTIONARY: u64 = 32 * 1024 * 1024;

/// Whether an xz file that begins with these bytes needs more memory than [`MEMORY`].
pub(super) fn needs_much(head: &[u8]) -> bool {
    dictionary(head) > DICTIONARY
}

/// The size of an xz file's dictionary in bytes, by the header of its first block; 0 if it has none.
fn dictionary(head: &[u8]) -> u64 {
    const STREAM_HEADER: usize = 12;
    const LZMA2: [u8; 2] = [0x21, 1];
    let block = head.get(STREAM_HEADER..).unwrap_or_default();
    // The last four bytes of the header are its checksum.
    let length = block.first().map_or(0, |size| usize::from(*size) * 4);
    let block = block.get(..length).unwrap_or_default();
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
        if packed.fill_buf()?.first() == Some(&0) {
            return only_zeros(packed);
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
            return Err(io::Error::other("other data follows the packed data"));
        }
        packed.consume(length);
    }
}

/// Unpacks zstd, one frame after the other.
pub(super) fn unzstd(mut packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
    while !packed.fill_buf()?.is_empty() {
        let mut magic = [0; 4];
        packed.read_exact(&mut magic)?;
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18] = magic {
            skip_frame(&mut packed)?;
            continue;
        }
        let frame = magic.as_slice().chain(&mut packed);
        let frame = StreamingDecoder::new_with_max_window_size(frame, MEMORY);
        if !copy(&mut frame.map_err(io::Error::other)?, to)? {
            return Ok(());
        }
    }
    Ok(())
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
        assert!(!needs_much(&file(26)) && needs_much(&file(27)));
        assert_eq!(dictionary(&file(255)), 0);
        assert_eq!(dictionary(b"\xfd7zXZ"), 0);
    }
}
