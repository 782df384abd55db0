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
    let mut at = 0;
    while names.len() < ENTRIES_MAX
        && let Some(header) = head.get(at..).and_then(|rest| rest.first_chunk::<BLOCK>())
        && is_header(header)
    {
        names.extend(name_of(header));
        let size = usize::try_from(octal(&header[124..136])?).ok()?;
        let content = size.checked_next_multiple_of(BLOCK)?;
        at = at.checked_add(BLOCK)?.checked_add(content)?;
    }
    if at == 0 {
        return None;
    }
    let is_disk = |name: &&String| DISKS.iter().any(|end| name.ends_with(end));
    let vagrant = names.iter().any(|name| name.ends_with("metadata.json"))
        && names
            .iter()
            .any(|name| name.ends_with("box.img") || name.ends_with("Vagrantfile"));
    let disk = names.iter().find(is_disk).or(names.first());
    let shown = disk.map_or("the disk", |name| hpl::cut(name, NAME_MAX));
    Some(Unfit::Archive {
        kind: if vagrant {
            "a Vagrant box"
        } else {
            "a tar archive"
        },
        entry: host_text::shown(shown).into_owned(),
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

/// The name of a regular file.
fn name_of(header: &[u8; BLOCK]) -> Option<String> {
    if !matches!(header[156], b'0' | 0 | b'7') {
        return None;
    }
    let name = header[..100].split(|byte| *byte == 0).next()?;
    let name = host_text::read(name);
    Some(name.trim_start_matches("./").to_owned())
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
        let mut damaged = plain;
        damaged[3] += 1;
        assert_eq!(read(&damaged), None);
        assert_eq!(read(&[0; 4096]), None);
        assert_eq!(read(b"short"), None);
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
