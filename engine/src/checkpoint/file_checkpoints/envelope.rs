//! A checkpoint as it lies in its file.
//!
//! ```text
//! CRC32C of all that follows   4 bytes, big-endian
//! format version               1 byte
//! run                          16 bytes
//! length of the node's name    2 bytes, big-endian
//! node's name
//! value
//! ```
//!
//! Run and node are repeated so that a file under another's name is not believed.

use crate::model::{Name, RunId};

const FORMAT: u8 = 1;

/// The bytes of a file.
pub(super) fn seal(run: RunId, node: &Name, value: &[u8]) -> Vec<u8> {
    let body = [head(run, node).as_slice(), value].concat();
    [&crc32c::crc32c(&body).to_be_bytes(), body.as_slice()].concat()
}

/// The value in a file that is whole and of this run and node.
pub(super) fn open(run: RunId, node: &Name, bytes: &[u8]) -> Option<Vec<u8>> {
    let (crc, body) = bytes.split_first_chunk()?;
    if u32::from_be_bytes(*crc) != crc32c::crc32c(body) {
        return None;
    }
    body.strip_prefix(head(run, node).as_slice())
        .map(<[u8]>::to_vec)
}

fn head(run: RunId, node: &Name) -> Vec<u8> {
    let name = node.as_str().as_bytes();
    let len = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[FORMAT][..], &run.0.to_bytes(), &len, name].concat()
}
