//! The format of a checkpoint in its file.
//!
//! ```text
//! CRC32C of all that follows   4 bytes, big-endian
//! format version               1 byte
//! run                          16 bytes
//! sequence                     8 bytes, big-endian
//! length of the node's name    2 bytes, big-endian
//! length of the value          4 bytes, big-endian
//! node's name
//! value
//! ```
//!
//! Run and node are repeated so that a file under a wrong name is not used. Bytes after the value
//! are left from an older value.

use crate::model::{Name, RunId};

const FORMAT: u8 = 2;

/// Encodes a value with its sequence.
pub(super) fn seal(run: RunId, node: &Name, sequence: u64, value: &[u8]) -> Vec<u8> {
    let name = node.as_str().as_bytes();
    let name_len = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    let value_len = u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes();
    let body = [
        &[FORMAT][..],
        &run.0.to_bytes(),
        &sequence.to_be_bytes(),
        &name_len,
        &value_len,
        name,
        value,
    ]
    .concat();
    [&crc32c::crc32c(&body).to_be_bytes(), body.as_slice()].concat()
}

/// Sequence and value, if the bytes begin with a complete checkpoint of this run and node.
pub(super) fn open(run: RunId, node: &Name, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let (crc, after_crc) = bytes.split_first_chunk()?;
    let rest = after_crc
        .strip_prefix(&[FORMAT])?
        .strip_prefix(&run.0.to_bytes())?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let (name_len, rest) = rest.split_first_chunk()?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*name_len).into())?;
    let value = rest.get(..usize::try_from(u32::from_be_bytes(*value_len)).ok()?)?;
    let behind = rest.len().checked_sub(value.len())?;
    let body = after_crc.get(..after_crc.len().checked_sub(behind)?)?;
    let is_whole = u32::from_be_bytes(*crc) == crc32c::crc32c(body);
    let is_own = name == node.as_str().as_bytes();
    (is_whole && is_own).then(|| (u64::from_be_bytes(*sequence), value.to_vec()))
}
