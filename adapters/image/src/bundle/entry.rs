//! One tar entry of a bundle: its header, its bytes, and zeros up to a whole block.

use tar::{EntryType, Header};

use super::BundleError;

/// The length of a header in bytes. Every entry is padded to a multiple of it.
pub(super) const BLOCK: u64 = 512;
/// The length of the archive's end: two blocks of zeros.
pub(super) const END: u64 = 2 * BLOCK;

/// The header of an entry; `None` if the name does not fit.
pub(super) fn header(name: &str, length: u64) -> Option<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name).ok()?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(length);
    header.set_cksum();
    Some(header)
}

/// Name and length from a header, if it is byte for byte what vsiflow writes for them.
pub(super) fn read(bytes: &[u8; BLOCK as usize]) -> Option<(String, u64)> {
    let parsed = Header::from_byte_slice(bytes);
    let length = parsed.entry_size().ok()?;
    let name = parsed.path_bytes();
    let name = std::str::from_utf8(&name).ok()?.to_owned();
    // Refuses every other header, even one that a tar reader would treat as equal.
    let same = header(&name, length)?.as_bytes() == bytes;
    same.then_some((name, length))
}

/// How many zeros follow an entry of this length.
pub(super) fn padding(length: u64) -> u64 {
    (BLOCK - length % BLOCK) % BLOCK
}

/// The offset of the next entry, after an entry of this length whose bytes begin at `start`.
pub(super) fn after(start: u64, length: u64) -> Result<u64, BundleError> {
    start
        .checked_add(length)
        .and_then(|end| end.checked_add(padding(length)))
        .ok_or_else(|| BundleError::malformed("an entry is longer than any file"))
}
