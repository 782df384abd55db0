//! Fuzzes the check of an image's header.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_qcow2() {
    FuzzTarget {
        memory: 1024,
        memory_per_byte: 0,
        words: &["QFI", "DATA", "\0\0\0\0"],
        ..FuzzTarget::new("qcow2", target)
    }
    .check();
}

/// Checks a header; one that is accepted names no other file.
pub(crate) fn target(bytes: &[u8]) {
    let head = bytes.get(..HEADER_MAX as usize).unwrap_or(bytes);
    if let Ok(size) = virtual_size(head) {
        assert_eq!(backing(head), Ok(None));
        assert_eq!(be64(head, 24), Ok(size));
    }
}
