//! Detects the format of a disk image from its first bytes.

use vsiflow_engine::model::Failure;

use super::{
    qcow2::{self, Unfit, tables::Qcow2Tables},
    tar,
};
use crate::{error, ports::VolumeFormat};

/// Number of bytes that are needed to detect the format.
pub use super::qcow2::HEADER_MAX;

/// A raw disk consists of whole sectors.
pub(super) const SECTOR: u64 = 512;

/// Marks of files that guests cannot boot from, their positions, and the names of their formats.
const OTHERS: &[(usize, &[u8], &str)] = &[
    (0, b"KDMV", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK description"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, VHD, "a VHD image"),
    (0, b"<<< ", "a VDI image"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"QED\0", "a QED image"),
    (0, b"COWD", "a VMDK image"),
    (0, b"Bochs Virtual HD Image", "a Bochs image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"MSWIM\0\0\0", "a WIM archive: unpack the disk from it"),
    (0, b"\x1f\x8b", "compressed by gzip: unpack it"),
    (0, b"\x1f\x9d", "compressed by compress: unpack it"),
    (0, b"\x1f\xa0", "compressed by compress: unpack it"),
    (0, b"\xfd7zXZ\0", "compressed by xz: unpack it"),
    (0, b"\x5d\0\0\x04\0", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\x10\0", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\x20\0", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\x80\0", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\x40\0", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\0\x01", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\0\x02", "compressed by lzma: unpack it"),
    (0, b"\x5d\0\0\0\x04", "compressed by lzma: unpack it"),
    (0, b"LZIP", "compressed by lzip: unpack it"),
    (0, b"LRZI", "compressed by lrzip: unpack it"),
    (0, b"BZ3v1", "compressed by bzip3: unpack it"),
    (0, b"zPQ", "compressed by zpaq: unpack it"),
    (0, b"7kSt", "compressed by zpaq: unpack it"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it"),
    (0, b"\x04\x22\x4d\x18", "compressed by lz4: unpack it"),
    (0, b"\x02\x21\x4c\x18", "compressed by lz4: unpack it"),
    (0, b"\x89LZO\0\r\n\x1a\n", "compressed by lzop: unpack it"),
    (0, b"\xff\x06\0\0sNaPpY", "compressed by snappy: unpack it"),
    (0, b"BZh", "compressed by bzip2: unpack it"),
    (0, b"\x78\x01", "compressed by zlib: unpack it"),
    (0, b"\x78\x5e", "compressed by zlib: unpack it"),
    (0, b"\x78\x9c", "compressed by zlib: unpack it"),
    (0, b"\x78\xda", "compressed by zlib: unpack it"),
    (0, b"PK\x03\x04", "a ZIP archive: unpack the disk from it"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"PK\x07\x08", "a part of a ZIP archive"),
    (
        0,
        b"7z\xbc\xaf\x27\x1c",
        "a 7z archive: unpack the disk from it",
    ),
    (0, b"Rar!\x1a\x07", "a RAR archive: unpack the disk from it"),
    (0, b"MSCF\0\0\0\0", "a CAB archive: unpack the disk from it"),
    (0, b"\x60\xea", "an ARJ archive: unpack the disk from it"),
    (2, b"-lh", "an LHA archive: unpack the disk from it"),
    (7, b"**ACE**", "an ACE archive: unpack the disk from it"),
    (
        0,
        b"VMA\0",
        "a backup of Proxmox: unpack the disk from it with `vma extract`",
    ),
    (
        0,
        b"partclone-image",
        "an image of partclone: restore it onto a disk first",
    ),
    (
        0,
        b"PaRtImAgE-VoLuMe",
        "an image of partimage: restore it onto a disk first",
    ),
    (
        0,
        b"FsArCh",
        "an archive of fsarchiver: restore it onto a disk first",
    ),
    (
        0,
        b"EVF\t\r\n\xff\0",
        "an EnCase image: export it as a raw disk",
    ),
    (
        0,
        b"\x3a\xff\x26\xed",
        "an Android sparse image: unpack it with `simg2img`",
    ),
    (
        0,
        b"btrfs-stream\0",
        "a stream of btrfs: restore it into a file system first",
    ),
    (4086, b"SWAPSPACE2", "a swap area"),
    (0, b"LibvirtQemudSave", "the saved memory of a guest"),
    (0, b"LibvirtQemudPart", "the saved memory of a guest"),
    (0, b"QEVM", "the saved memory of a guest"),
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an installer or document of Windows",
    ),
    (0, b"MZ", "a program or kernel"),
    (0, b"SQLite format 3\0", "a database"),
    (0, b"\x89PNG\r\n\x1a\n", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"xar!", "a XAR archive: unpack the disk from it"),
    (
        0,
        b"!<arch>\n",
        "an ar archive or a Debian package: unpack the disk from it",
    ),
    (
        0,
        b"\xed\xab\xee\xdb",
        "an RPM package: unpack the disk from it",
    ),
    (0, b"070701", "a cpio archive: unpack the disk from it"),
    (0, b"070702", "a cpio archive: unpack the disk from it"),
    (0, b"070707", "a cpio archive: unpack the disk from it"),
    (0, b"\xc7\x71", "a cpio archive: unpack the disk from it"),
    (0, b"\x71\xc7", "a cpio archive: unpack the disk from it"),
    (0, b"hsqs", "a squashfs archive, which has no boot loader"),
    (0, b"sqsh", "a squashfs archive, which has no boot loader"),
    (0, b"\x7fELF", "a program"),
    (0, b"%PDF-", "a PDF"),
    (
        0,
        b"Salted__",
        "encrypted by openssl: decrypt it where it is",
    ),
    (
        0,
        b"age-encryption.org/",
        "encrypted by age: decrypt it where it is",
    ),
    (
        0,
        b"\x8c\x0d\x04",
        "encrypted by GnuPG: decrypt it where it is",
    ),
    (
        0,
        b"\x84\x5e\x03",
        "encrypted by GnuPG: decrypt it where it is",
    ),
    (
        0,
        b"\x85\x01\x0c\x03",
        "encrypted by GnuPG: decrypt it where it is",
    ),
    (
        0,
        b"\x85\x01\x8c\x03",
        "encrypted by GnuPG: decrypt it where it is",
    ),
    (
        0,
        b"\x85\x02\x0c\x03",
        "encrypted by GnuPG: decrypt it where it is",
    ),
    (0, b"{", "a text"),
    (0, b"version https://git-lfs", "a pointer of Git LFS"),
];

/// The marks of formats whose description is the last sector.
const LAST_SECTOR: &[(&[u8], &str)] = &[
    (
        VHD,
        "a fixed VHD image: convert it with `qemu-img convert -f vpc -O qcow2`",
    ),
    (
        b"koly",
        "a DMG image: convert it with `qemu-img convert -f dmg -O qcow2`",
    ),
];

/// The mark of a VHD: at its begin, or, if it has a fixed size, only in its last sector.
const VHD: &[u8] = b"conectix";

/// How many first bytes [`check_boot`] needs.
pub(crate) const BOOT_MARK: u64 = 6;

/// Checks what a guest shall boot from. A data disk may have the content that is refused here.
///
/// # Errors
/// The reason why no guest boots from it.
pub(crate) fn check_boot(head: &[u8]) -> Result<(), Unfit> {
    if head.starts_with(b"LUKS\xba\xbe") || head.starts_with(b"SKUL\xba\xbe") {
        return Err(Unfit::Luks);
    }
    Ok(())
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
    let marked = |(at, mark, _): &&(usize, &[u8], &str)| {
        head.get(*at..).is_some_and(|rest| rest.starts_with(mark))
    };
    let other = OTHERS.iter().find(marked).map(|(_, _, what)| *what);
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
            Ok((VolumeFormat::Raw, length))
        }
        VolumeFormat::Raw => Err(Unfit::NotQcow2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            b"KDMV\x01",
            b"\x1f\x8b\x08",
            &token,
            &passwd,
        ] {
            assert!(matches!(of_whole(other, 1024), Err(Unfit::Other(_))));
        }
    }

    #[test]
    fn every_other_format_is_refused_by_its_name() {
        for (at, mark, what) in OTHERS {
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
