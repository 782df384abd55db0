//! Volumes that a host calls cidata.

use vsiflow_fuzz::Target;

use super::*;

#[test]
fn fuzz_cidata() {
    Target {
        // What is read, and a volume that is made of it.
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
        ..Target::new("cidata", target)
    }
    .check();
}

/// Reads a volume; what was read can be made into one that reads the same.
pub(crate) fn target(bytes: &[u8]) {
    if let Some(found) = read(bytes) {
        let again = found.build().unwrap();
        assert!(read(&again).unwrap() == found);
    }
}
