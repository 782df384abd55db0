//! Fuzzes reading a cidata volume of a hostile host.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_cidata() {
    FuzzTarget {
        // The files that are read, and a volume that is built from them.
        memory: 4 * 1024 * 1024,
        memory_per_byte: 8,
        words: &[
            "CD001",
            "NM",
            "CE",
            "RR",
            "CL",
            "\u{1}",
            "USER_DATA.;1",
            "\0u\0s\0e\0r\0-\0d\0a\0t\0a",
        ],
        ..FuzzTarget::new("cidata", target)
    }
    .check();
}

/// Reads a volume; a volume built from the result reads the same.
pub(crate) fn target(bytes: &[u8]) {
    if let Some(found) = read(bytes) {
        let again = found.build().unwrap();
        assert!(read(&again).unwrap() == found);
    }
}
