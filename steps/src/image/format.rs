//! Detects the format of a disk image from its first bytes.

use vsiflow_engine::model::Failure;

use super::{
    foreign::{FILE_SYSTEMS, FORMATS, LAST_SECTOR, PACKED_DISKS},
    partitions,
    qcow2::{self, Unfit, tables::Qcow2Tables},
    tar,
};
use crate::{error, ports::VolumeFormat};

/// Number of bytes that are needed to detect the format.
pub use super::qcow2::HEADER_MAX;

/// A raw disk consists of whole sectors.
pub(super) const SECTOR: u64 = 512;

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
    let bare = FILE_SYSTEMS.iter().find(|format| {
        let leaves_no_room = format.has_mark(head.get(..8).unwrap_or_default());
        leaves_no_room || is_begin_empty && format.has_mark(head)
    });
    match bare {
        Some(format) => Err(Unfit::FileSystem(format.name)),
        None => Ok(()),
    }
}

/// The format of a file with these first bytes, if a guest can boot from it.
///
/// # Errors
/// The reason why it is refused.
pub fn of(head: &[u8]) -> Result<VolumeFormat, Unfit> {
    match qcow2::virtual_size(head) {
        Ok(_) => Qcow2Tables::read(head).map(|_| VolumeFormat::Qcow2),
        Err(Unfit::NotQcow2) => match not_a_disk(head) {
            Some(unfit) => Err(unfit),
            None => Ok(VolumeFormat::Raw),
        },
        Err(unfit) => Err(unfit),
    }
}

/// What the file is, if its first bytes show that it is no disk.
fn not_a_disk(head: &[u8]) -> Option<Unfit> {
    if let Some(archive) = tar::read(head) {
        return Some(archive);
    }
    let packed = PACKED_DISKS.iter().find(|format| format.has_mark(head));
    if let Some(disk) = packed {
        return Some(Unfit::Packed(disk.name));
    }
    let mut formats = FORMATS.iter().filter(|format| format.has_mark(head));
    let other = formats.next().map(|format| format.name);
    let page = || is_page(head).then_some("a web page or another text");
    let skippable = || is_skippable_frame(head).then_some("compressed by zstd or lz4: unpack it");
    let text = || is_text(head).then_some("a text");
    let other = other.or_else(page).or_else(skippable);
    other.or_else(text).map(Unfit::Other)
}

/// Whether it begins with an angle bracket, behind a byte order mark and white space: also a page in another
/// encoding than UTF-8 is none that a guest boots from.
fn is_page(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    text.trim_ascii_start().starts_with(b"<")
}

/// Whether it begins with a frame that unpackers skip.
fn is_skippable_frame(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// What the file is, if its last sector shows that it is no disk.
///
/// # Errors
/// The reason why it is refused.
pub(super) fn check_last_sector(sector: &[u8]) -> Result<(), Unfit> {
    match LAST_SECTOR
        .iter()
        .find(|(mark, _)| sector.starts_with(mark))
    {
        Some((_, what)) => Err(Unfit::Other(what)),
        None => Ok(()),
    }
}

/// The failure for an image that cannot be used.
pub(crate) fn unfit_image(unfit: &Unfit, url: &str) -> Failure {
    error::NOT_QCOW2
        .failure(format!("the image cannot be used: {unfit}"))
        .with_remedy(unfit.remedy())
        .of_object(url)
}

/// Like [`of`], for a file whose length is known before it is read, so that no bytes are sent of a file
/// that would be refused once it is whole.
///
/// # Errors
/// The reason why it is refused.
pub fn of_announced(head: &[u8], length: Option<u64>) -> Result<VolumeFormat, Unfit> {
    match length {
        Some(length) => of_whole(head, length).map(|(format, _)| format),
        None => of(head),
    }
}

/// Whether all of it is text, such as keys, tokens and settings: no disk begins with text.
fn is_text(head: &[u8]) -> bool {
    let cut_short = |error: std::str::Utf8Error| error.error_len().is_none();
    let utf8 = std::str::from_utf8(head).map_or_else(cut_short, |_| true);
    let odd = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r');
    !head.is_empty() && utf8 && !head.iter().any(odd) || is_utf16(head)
}

/// Whether it is text in UTF-16, with its byte order mark.
fn is_utf16(head: &[u8]) -> bool {
    let pairs = head.as_chunks::<2>().0.iter().copied();
    let units: Vec<u16> = match head {
        [0xff, 0xfe, ..] => pairs.map(u16::from_le_bytes).collect(),
        [0xfe, 0xff, ..] => pairs.map(u16::from_be_bytes).collect(),
        _ => return false,
    };
    let odd = |unit: &u16| *unit < 32 && !matches!(unit, 9 | 10 | 13);
    units.len() > 1 && !units.iter().any(odd)
}

/// The format and the size a guest sees, of a whole file of that length.
///
/// # Errors
/// The reason why it is refused.
pub fn of_whole(head: &[u8], length: u64) -> Result<(VolumeFormat, u64), Unfit> {
    match of(head)? {
        VolumeFormat::Qcow2 => Ok((VolumeFormat::Qcow2, qcow2::virtual_size(head)?)),
        VolumeFormat::Raw if length > 0 && length.is_multiple_of(SECTOR) => {
            partitions::check(head, length)?;
            Ok((VolumeFormat::Raw, length))
        }
        VolumeFormat::Raw => Err(Unfit::NotQcow2),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::foreign::ForeignFormat, *};

    #[test]
    fn the_first_bytes_tell() {
        let qcow2 = crate::sim::source::qcow2_header(7 << 30);
        assert_eq!(of_whole(&qcow2, 112), Ok((VolumeFormat::Qcow2, 7 << 30)));
        assert_eq!(of_whole(&[0; 600], 1024), Ok((VolumeFormat::Raw, 1024)));
        assert_eq!(of_whole(&[7; 600], 700), Err(Unfit::NotQcow2));
        assert_eq!(of_whole(&[], 0), Err(Unfit::NotQcow2));
        let (token, passwd) = (
            [b'e'; 1024],
            b"root:x:0:0:root:/root:/bin/bash\n".repeat(32),
        );
        assert_eq!(passwd.len() % 512, 0);
        assert!(matches!(of_announced(&passwd, None), Err(Unfit::Other(_))));
        assert_eq!(of_announced(&[7; 700], Some(700)), Err(Unfit::NotQcow2));
        for other in [
            &b"<!DOCTYPE html>"[..],
            b"COWD\x01",
            b"\x1f\x8b\x08",
            &token,
            &passwd,
        ] {
            assert!(matches!(of_whole(other, 1024), Err(Unfit::Other(_))));
        }
    }

    #[test]
    fn every_other_format_is_refused_by_its_name() {
        let marks = |format: &'static ForeignFormat| {
            let marks = format.marks.iter();
            marks.map(|(at, mark)| (at, mark, &format.name))
        };
        for (at, mark, what) in FORMATS.iter().flat_map(marks) {
            let mut head = vec![b'\x01'; 8192];
            head[*at..*at + mark.len()].copy_from_slice(mark);
            let judged = of_whole(&head, 8192);
            let Err(Unfit::Other(named)) = judged else {
                panic!("{what}: {judged:?}");
            };
            assert!(
                named == *what || *what == "a pointer of Git LFS",
                "{what}: {named}"
            );
        }
        let pzstd = [b"\x50\x2a\x4d\x18\x04\0\0\0", &[1; 504][..]].concat();
        assert!(matches!(of_whole(&pzstd, 512), Err(Unfit::Other(_))));
        for (mark, _) in LAST_SECTOR {
            let sector = [mark, &[0; 500][..]].concat();
            assert!(check_last_sector(&sector).is_err());
        }
        assert_eq!(check_last_sector(b"EFI PART"), Ok(()));
        assert_eq!(check_last_sector(&[0; 512]), Ok(()));
    }

    #[test]
    fn a_disk_that_is_taken_as_a_file_of_its_own_is_named_with_what_to_unpack() {
        for (head, name) in [(&b"KDMV\x01\0\0\0"[..], "a VMDK"), (b"vhdxfile", "a VHDX")] {
            let unfit = of_announced(head, Some(1024)).unwrap_err();
            assert_eq!(unfit, Unfit::Packed(name));
            assert!(unfit.remedy().starts_with("Unpack it"), "{unfit}");
        }
    }

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
                let has_room = *at > 0;
                assert_eq!(check_boot(&head).is_ok(), has_room, "{}", format.name);
            }
        }
        assert_eq!(check_boot(&bare(9_000, b"x")), Ok(()));
        assert_eq!(check_boot(&[0; 512]), Ok(()));
    }

    /// Beginnings that other programs wrote.
    #[test]
    fn what_other_programs_write_is_no_disk() {
        let utf16 = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().flat_map(u16::to_le_bytes);
            [0xff, 0xfe].into_iter().chain(units).collect()
        };
        for head in [
            &b"VMA\0\0\0\0\x01"[..],
            b"COWD\x01\0\0\0\x03\0\0\0",
            b"LRZI\0\x06",
            b"\x60\xea\x2b\0",
            b"\x22\x7a-lh5-\x08",
            b"\x37\xbb\x31\0\0\0\x90**ACE**",
            b"partclone-image0.3.13\0",
            b"LibvirtQemudSave\x02\0\0\0",
            b"\x3a\xff\x26\xed\x01\0\0\0",
            b"\x5d\0\0\x10\0\xff\xff",
            b"MZ\x90\0\x03\0\0\0",
            b"<html>caf\xe9",
            b"\xef\xbb\xbf<!DOCTYPE html>\0\xe9",
            b"\r\n\t <?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\xe9",
            &utf16("<html><body>not found</body></html>\r\n"),
        ] {
            let mut head = head.to_vec();
            if head.starts_with(&[0xff, 0xfe]) {
                head = head.repeat(16);
            } else {
                head.resize(512, 0x81);
            }
            let judged = of_whole(&head, 512);
            assert!(
                matches!(judged, Err(Unfit::Other(_))),
                "{head:?}: {judged:?}"
            );
        }
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

    #[test]
    fn disks_of_all_kinds_are_raw() {
        let boot_code = [&b"\xeb\x63\x90"[..], &[0x90; 507], b"\x55\xaa"].concat();
        let iso = [0; 2048];
        let zipl = [&b"IPL1"[..], &[0; 508]].concat();
        for head in [
            &boot_code[..],
            &iso,
            &zipl,
            b"\xfa\xb8\0\x10\x8e\xd0",
            b"LUKS\xba\xbe\0\x02",
        ] {
            assert_eq!(of_whole(head, 4096), Ok((VolumeFormat::Raw, 4096)));
        }
    }
}
