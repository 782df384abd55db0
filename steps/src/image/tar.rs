//! Recognises tar archives, of which some have no mark, and names what is in them.

use super::qcow2::Unfit;
use crate::{host_text, hpl};

const BLOCK: usize = 512;
/// How many entries are looked at.
const ENTRIES_MAX: usize = 64;
/// How much of a name is shown, in bytes.
const NAME_MAX: usize = 100;
/// The ends of names that disks have.
const DISKS: [&str; 8] = [
    ".raw", ".img", ".qcow2", ".vmdk", ".vhd", ".vhdx", ".vdi", ".iso",
];

/// The archive that begins with these bytes, with the file in it that may be the disk.
pub(super) fn read(head: &[u8]) -> Option<Unfit> {
    let mut names = Vec::new();
    let mut position = 0_usize;
    while names.len() < ENTRIES_MAX
        && let Some(header) = head
            .get(position..)
            .and_then(|rest| rest.first_chunk::<BLOCK>())
        && is_header(header)
    {
        names.extend(name_of(header));
        position = position
            .saturating_add(BLOCK)
            .saturating_add(length_of_content(header));
    }
    if position == 0 {
        return None;
    }
    let is_disk = |name: &&String| DISKS.iter().any(|end| name.ends_with(end));
    let vagrant = names.iter().any(|name| name.ends_with("metadata.json"))
        && names
            .iter()
            .any(|name| name.ends_with("box.img") || name.ends_with("Vagrantfile"));
    let kind = if vagrant {
        "a Vagrant box"
    } else {
        "a tar archive"
    };
    let printable = |name: &str| host_text::shown(hpl::cut(name, NAME_MAX)).into_owned();
    let disks: Vec<_> = names.iter().filter(is_disk).take(2).collect();
    if let [first, second] = disks.as_slice() {
        let (first, second) = (printable(first), printable(second));
        return Some(Unfit::Archives {
            kind,
            first,
            second,
        });
    }
    let disk = disks.first().copied().or(names.first());
    Some(Unfit::Archive {
        kind,
        entry: printable(disk.map_or("the disk", String::as_str)),
    })
}

/// Whether the block is the header of an entry: its checksum is right.
fn is_header(header: &[u8; BLOCK]) -> bool {
    let counted = |(at, byte): (usize, &u8)| match at {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    };
    let sum: u64 = header.iter().enumerate().map(counted).sum();
    header[0] != 0 && octal(&header[148..156]) == Some(sum)
}

/// How many bytes follow the header until the next one. GNU tar leaves the size of a volume's label out, which has no
/// content. What is behind a size that means nothing is not looked for: the file is an archive without it, too.
fn length_of_content(header: &[u8; BLOCK]) -> usize {
    let size = usize::try_from(octal(&header[124..136]).unwrap_or(0)).unwrap_or(usize::MAX);
    size.checked_next_multiple_of(BLOCK).unwrap_or(usize::MAX)
}

/// The name of a regular file.
fn name_of(header: &[u8; BLOCK]) -> Option<String> {
    // A sparse file of GNU tar is a regular one, too.
    if !matches!(header[156], b'0' | 0 | b'7' | b'S') {
        return None;
    }
    let name = header[..100].split(|byte| *byte == 0).next()?;
    let name = host_text::read(name);
    let parts = name.trim_start_matches("./").split('/');
    // Where GNU tar keeps the name of a sparse file in a header before this one.
    let parts: Vec<_> = parts
        .filter(|part| !part.starts_with("GNUSparseFile."))
        .collect();
    Some(parts.join("/"))
}

/// A number in octal digits, or, as GNU tar writes large ones, in binary.
fn octal(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let digits = rest.iter().rev().take(8).rev();
        return Some(digits.fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(|c| c == ' ' || c == '\0');
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An entry as tar programs before POSIX wrote it: without a mark.
    fn entry(name: &str, kind: u8, size: usize) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[148..156].copy_from_slice(b"        ");
        block[156] = kind;
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block.resize(BLOCK + size.next_multiple_of(BLOCK), 7);
        block
    }

    /// The entry with other bytes in a field, and the checksum that fits them.
    fn rewritten(mut entry: Vec<u8>, at: usize, field: &[u8]) -> Vec<u8> {
        entry[at..at + field.len()].copy_from_slice(field);
        entry[148..156].copy_from_slice(b"        ");
        let sum: u64 = entry[..BLOCK].iter().map(|byte| u64::from(*byte)).sum();
        entry[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        entry
    }

    fn archive(kind: &'static str, entry: &str) -> Option<Unfit> {
        let entry = entry.to_owned();
        Some(Unfit::Archive { kind, entry })
    }

    #[test]
    fn an_archive_is_told_by_its_checksums_and_names_its_disk() {
        let plain = entry("disk.raw", b'0', 9);
        assert_eq!(read(&plain), archive("a tar archive", "disk.raw"));
        let folder = [
            entry("a/", b'5', 0),
            entry("a/readme", 0, 600),
            entry("a/b.img", 0, 1),
        ];
        assert_eq!(read(&folder.concat()), archive("a tar archive", "a/b.img"));
        let boxed = [
            entry("./metadata.json", b'0', 50),
            entry("./box.img", b'0', 1 << 20),
        ];
        let boxed = boxed.concat();
        assert_eq!(read(&boxed[..4096]), archive("a Vagrant box", "box.img"));
        assert_eq!(
            read(&entry("a/", b'5', 0)),
            archive("a tar archive", "the disk")
        );
        let several = [
            entry("a.vmdk", b'0', 9),
            entry("notes", b'0', 9),
            entry("b.vmdk", b'0', 9),
        ];
        let named = read(&several.concat()).unwrap().to_string();
        assert!(named.contains("a.vmdk and b.vmdk"), "{named}");
        let mut damaged = plain;
        damaged[3] += 1;
        assert_eq!(read(&damaged), None);
        assert_eq!(read(&[0; 4096]), None);
        assert_eq!(read(b"short"), None);
    }

    /// Archives as GNU tar 1.34 writes them, by their format and options.
    #[test]
    fn an_archive_of_every_format_is_told_whatever_it_begins_with() {
        const MAGIC: usize = 257;
        const SIZE: usize = 124;
        let disk = || entry("disk.raw", b'0', 9);
        let gnu = |entry| rewritten(entry, MAGIC, b"ustar  \0");
        let posix = |entry| rewritten(entry, MAGIC, b"ustar\x0000");
        // The size, as all numbers but the time, is left out.
        let label = gnu(rewritten(entry("label", b'V', 0), SIZE, &[0; 12]));
        let global = posix(entry("/tmp/GlobalHead.1.1", b'g', 26));
        let extended = posix(entry("./PaxHeaders/disk.raw", b'x', 90));
        let begun_before = gnu(entry("disk.raw", b'M', 700));
        let sized = |size: &[u8]| rewritten(disk(), SIZE, size);
        for (what, bytes, named) in [
            ("-H v7", entry("disk.raw", 0, 9), "disk.raw"),
            (
                "-S -H pax",
                posix(entry("./GNUSparseFile.2501/disk.raw", b'0', 9)),
                "disk.raw",
            ),
            ("-H ustar", posix(disk()), "disk.raw"),
            ("-H gnu", gnu(disk()), "disk.raw"),
            ("-H pax", [extended, posix(disk())].concat(), "disk.raw"),
            (
                "-V label",
                [label.clone(), gnu(disk())].concat(),
                "disk.raw",
            ),
            ("-V label, alone", label.clone(), "the disk"),
            (
                "-H pax -V label",
                [global, posix(disk())].concat(),
                "disk.raw",
            ),
            ("-M, the second volume", begun_before.clone(), "the disk"),
            (
                "-M -V label, the second volume",
                [label, begun_before].concat(),
                "the disk",
            ),
            ("a blank size", sized(b"            "), "disk.raw"),
            (
                "a size of other digits",
                sized(b"0000000009z\0"),
                "disk.raw",
            ),
            (
                "the largest size",
                sized(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
                "disk.raw",
            ),
            ("a negative size", sized(&[0xff; 12]), "disk.raw"),
        ] {
            assert_eq!(read(&bytes), archive("a tar archive", named), "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            head in proptest::collection::vec(any::<u8>(), 0..1_200),
            name in "[a-z\u{1b}]{0,12}",
            size in any::<usize>(),
        ) {
            let _ = read(&head);
            let size_field = format!("{size:o}");
            let mut block = entry(&name, b'0', 0);
            block[124..124 + size_field.len().min(12)].copy_from_slice(&size_field.as_bytes()[..size_field.len().min(12)]);
            let _ = read(&block);
        }
    }
}
