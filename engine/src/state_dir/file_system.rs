//! Detects file systems that are not suitable for a state directory.
//!
//! The lock that excludes a second process, and the durability of synced data, are reliable on the
//! machine that runs this process. Over a network they depend on the server: a lock may be lost
//! unnoticed, and two processes then write one journal.

use std::{io, path::Path};

/// Magic numbers of file systems that are, or may be, on another machine: `statfs(2)` and Linux's
/// `include/uapi/linux/magic.h`.
const ELSEWHERE: [(u64, &str); 12] = [
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB 2"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0BD0_0BD0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x6573_5546, "FUSE"),
];

/// The name of the file system of `path`, if it may be on another machine.
///
/// # Errors
/// When `path` does not exist, or the system call fails.
pub(super) fn elsewhere(path: &Path) -> io::Result<Option<&'static str>> {
    // The kernel's type is signed on some architectures; the number has 32 bits.
    let kind = rustix::fs::statfs(path)?.f_type;
    let kind = u64::from(u32::try_from(kind & 0xFFFF_FFFF).unwrap_or_default());
    Ok(name_of(kind))
}

fn name_of(kind: u64) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(number, _)| *number == kind)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_known_and_local_ones_are_not_refused() {
        assert_eq!(name_of(0x6969), Some("NFS"));
        assert_eq!(name_of(0xFF53_4D42), Some("CIFS"));
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x794C_7630] {
            assert_eq!(name_of(local), None, "{local:x}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(elsewhere(dir.path()).unwrap(), None);
    }
}
