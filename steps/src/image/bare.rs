//! File systems, volumes and CDs that fill a whole disk and leave a guest nothing to boot from.

use super::{foreign::ForeignFormat, qcow2::Unfit};

/// How many first bytes [`check_boot`] needs.
pub(crate) const BOOT_MARKS: u64 = 68 * 1024;

/// Checks what a guest shall boot from. A data disk may have the content that is refused here. A file system with a
/// boot loader in its first sector is none that is refused.
///
/// # Errors
/// The reason why no guest boots from it.
pub(crate) fn check_boot(head: &[u8]) -> Result<(), Unfit> {
    if head.starts_with(b"LUKS\xba\xbe") || head.starts_with(b"SKUL\xba\xbe") {
        return Err(Unfit::Luks);
    }
    let is_begin_empty = head
        .first_chunk()
        .is_none_or(|sector: &[u8; 512]| *sector == [0; 512]);
    let mut bare = FILE_SYSTEMS.iter().filter(|format| {
        let leaves_no_room = format.has_mark(head.get(..NO_ROOM).unwrap_or(head));
        leaves_no_room || is_begin_empty && format.has_mark(head)
    });
    let mut cds = CDS
        .iter()
        .filter(|cd| is_begin_empty && cd.has_mark(head) && !EL_TORITO.has_mark(head));
    match bare.next().or_else(|| cds.next()) {
        Some(format) => Err(Unfit::FileSystem(format.name)),
        None => Ok(()),
    }
}

/// File systems and volumes that fill a whole disk. Those with a mark within its first [`NO_ROOM`]
/// bytes leave no room for a boot loader.
const FILE_SYSTEMS: &[ForeignFormat] = &[
    ForeignFormat {
        name: "an ext2, ext3 or ext4 file system",
        marks: &[(1080, b"\x53\xef")],
    },
    ForeignFormat {
        name: "an XFS file system",
        marks: &[(0, b"XFSB")],
    },
    ForeignFormat {
        name: "a btrfs file system",
        marks: &[(65_600, b"_BHRfS_M")],
    },
    ForeignFormat {
        name: "an F2FS file system",
        marks: &[(1024, b"\x10\x20\xf5\xf2")],
    },
    ForeignFormat {
        name: "an EROFS file system",
        marks: &[(1024, b"\xe2\xe1\xf5\xe0")],
    },
    ForeignFormat {
        name: "a JFS file system",
        marks: &[(32_768, b"JFS1")],
    },
    ForeignFormat {
        name: "a ReiserFS file system",
        marks: &[(65_588, b"ReIsEr")],
    },
    ForeignFormat {
        name: "a NILFS2 file system",
        marks: &[(1030, b"\x34\x34")],
    },
    ForeignFormat {
        name: "a Minix file system",
        marks: &[
            (1040, b"\x7f\x13"),
            (1040, b"\x8f\x13"),
            (1040, b"\x68\x24"),
            (1040, b"\x78\x24"),
            (1048, b"\x5a\x4d"),
        ],
    },
    ForeignFormat {
        name: "an APFS container",
        marks: &[(APFS_AT, APFS)],
    },
    ForeignFormat {
        name: "an HFS+ file system",
        marks: &[(1024, b"H+"), (1024, b"HX")],
    },
    ForeignFormat {
        name: "a bcachefs file system, or a device of bcache",
        marks: &[
            (
                4120,
                b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
            ),
            (
                4120,
                b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
            ),
        ],
    },
    ForeignFormat {
        name: "a GFS2 file system",
        marks: &[(65_536, b"\x01\x16\x19\x70\0\0\0\x01")],
    },
    ForeignFormat {
        name: "a member of a RAID (md)",
        marks: &[(0, MD), (4096, MD)],
    },
    ForeignFormat {
        name: "a physical volume of LVM",
        marks: &[(0, LVM), (512, LVM), (1024, LVM), (1536, LVM)],
    },
];

/// Images of CDs. One with the boot record of El Torito has a boot loader.
const CDS: &[ForeignFormat] = &[
    ForeignFormat {
        name: "an image of a CD",
        marks: &[(32_769, b"CD001")],
    },
    ForeignFormat {
        name: "an image of a DVD, or a UDF file system,",
        marks: &[(32_769, b"BEA01")],
    },
];

/// What a CD has that a machine boots from, in its second volume descriptor.
const EL_TORITO: ForeignFormat = ForeignFormat {
    name: "a CD to boot from",
    marks: &[(34_823, b"EL TORITO SPECIFICATION")],
};

/// How many first bytes of a disk hold the marks of what leaves no room for a boot loader.
const NO_ROOM: usize = APFS_AT + APFS.len();

/// The mark of a container of APFS, behind the checksum and the numbers of its first block.
const APFS: &[u8] = b"NXSB";
const APFS_AT: usize = 32;

/// The mark of a member of a RAID with metadata of version 1.
const MD: &[u8] = b"\xfc\x4e\x2b\xa9\x01\0\0\0";

/// The mark of a physical volume, in one of its first four sectors.
const LVM: &[u8] = b"LABELONE";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{image::format::of_whole, ports::VolumeFormat};

    #[test]
    fn no_guest_boots_from_a_bare_file_system() {
        let bare = |at: usize, mark: &[u8]| {
            let mut head = vec![0; BOOT_MARKS as usize];
            head[at..at + mark.len()].copy_from_slice(mark);
            head
        };
        for format in FILE_SYSTEMS {
            for (at, mark) in format.marks {
                let mut head = bare(*at, mark);
                assert_eq!(check_boot(&head), Err(Unfit::FileSystem(format.name)));
                assert_eq!(
                    of_whole(&head, 1 << 20),
                    Ok((VolumeFormat::Raw, 1 << 20)),
                    "a data disk may have it"
                );
                head[440] = 0x90;
                let has_room = *at >= NO_ROOM;
                assert_eq!(check_boot(&head).is_ok(), has_room, "{}", format.name);
            }
        }
        assert_eq!(check_boot(&bare(9_000, b"x")), Ok(()));
        assert_eq!(check_boot(&[0; 512]), Ok(()));
    }

    /// Where other programs look for file systems, written down without a look at the list.
    #[test]
    fn what_other_programs_mount_without_a_partition_is_no_boot_disk() {
        let mds = b"\xfc\x4e\x2b\xa9\x01\0\0\0\0\0\0\0";
        let known: &[(&str, usize, &[u8])] = &[
            ("mkisofs -o cd.iso", 32_768, b"\x01CD001\x01\0"),
            ("mkudffs", 32_768, b"\0BEA01\x01\0"),
            ("jfs_mkfs", 32_768, b"JFS1\x01\0\0\0"),
            ("mkfs.reiserfs", 65_588, b"ReIsEr2Fs\0"),
            ("mkfs.nilfs2", 1024, b"\x02\0\0\0\0\0\x34\x34"),
            ("mkfs.minix -1", 1040, b"\x8f\x13\x01\0"),
            ("mkfs.minix -2", 1040, b"\x78\x24\x01\0"),
            ("mkfs.minix -3", 1048, b"\x5a\x4d"),
            ("newfs_apfs", 24, b"\x01\0\0\x80\0\0\0\0NXSB\0\x10\0\0"),
            ("newfs_hfs", 1024, b"H+\0\x04\x80\0\x01\0"),
            ("newfs_hfs -s", 1024, b"HX\0\x05\x80\0\x01\0"),
            ("bcachefs format", 4112, b"\0\x04\0\x04\0\0\0\0\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"),
            ("make-bcache", 4112, b"\x01\0\0\0\0\0\0\0\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
            ("mkfs.gfs2", 65_536, b"\x01\x16\x19\x70\0\0\0\x01\0\0\0\0"),
            ("mdadm -e 1.1", 0, mds),
            ("mdadm -e 1.2", 4096, mds),
        ];
        for (name, at, mark) in known {
            let mut head = vec![0; BOOT_MARKS as usize];
            head[*at..at + mark.len()].copy_from_slice(mark);
            let judged = check_boot(&head);
            assert!(
                matches!(judged, Err(Unfit::FileSystem(_))),
                "{name}: {judged:?}"
            );
        }
    }

    #[test]
    fn a_cd_with_a_boot_loader_is_booted_from() {
        let mut head = vec![0; BOOT_MARKS as usize];
        head[32_768..32_774].copy_from_slice(b"\x01CD001");
        assert!(check_boot(&head).is_err());
        // Written to a stick, it is a disk with a boot loader of its own.
        head[..3].copy_from_slice(b"\x33\xed\x90");
        assert_eq!(check_boot(&head), Ok(()));
        head[..3].fill(0);
        head[34_816..34_846].copy_from_slice(b"\0CD001\x01EL TORITO SPECIFICATION");
        assert_eq!(check_boot(&head), Ok(()));
    }

    #[test]
    fn no_guest_boots_from_an_encrypted_container() {
        for mark in [
            &b"LUKS\xba\xbe\0\x01"[..],
            b"LUKS\xba\xbe\0\x02",
            b"SKUL\xba\xbe\0\x02",
        ] {
            assert_eq!(check_boot(mark), Err(Unfit::Luks));
        }
        for head in [&b""[..], b"LUKS", b"\xeb\x63\x90LUKS\xba\xbe"] {
            assert_eq!(check_boot(head), Ok(()));
        }
    }
}
