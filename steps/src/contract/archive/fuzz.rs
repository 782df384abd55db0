//! Fuzzes the check of an archive with hostile input.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::{Compression, write::GzEncoder};
use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_archive() {
    FuzzTarget {
        // The unpacked archive, also while the buffer doubles.
        memory: 16 * UNPACKED_MAX,
        words: &[
            "ustar",
            "0000644",
            "./",
            "docker-compose.yaml",
            "pod.yml",
            "services: {a: {build: .}}",
        ],
        ..FuzzTarget::new("archive", target)
    }
    .check();
}

/// Reads a tar file: as it is, with correct checksums, and packed as in a contract.
pub(crate) fn target(bytes: &[u8]) {
    let mended = mended(bytes);
    for tar in [bytes, &mended] {
        let faults = match entries(tar) {
            Some(entries) => {
                [EntryKind::Compose, EntryKind::Play].map(|kind| contents(&entries, kind))
            }
            None => continue,
        };
        let packed = BASE64.encode(packed(tar));
        assert_eq!(check(&packed, EntryKind::Compose), faults[0]);
        assert_eq!(check(&packed, EntryKind::Play), faults[1]);
    }
    check(&String::from_utf8_lossy(bytes), EntryKind::Compose);
    check(&BASE64.encode(bytes), EntryKind::Compose);
}

/// The tar file with a correct checksum in every block that may be a header.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut tar = bytes.to_vec();
    for block in tar.chunks_exact_mut(BLOCK) {
        if octal(&block[148..156]).is_some() {
            block[148..156].fill(b' ');
            let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    tar
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}
