//! Detects the format of a disk image from its first bytes.

use vsiflow_engine::model::Failure;

use super::{
    foreign::{FORMATS, LAST_SECTOR, PACKED_DISKS},
    partitions,
    qcow2::{self, Unfit, tables::Qcow2Tables},
    tar,
    unmarked::{is_lzma, is_zlib},
};
use crate::{error, ports::VolumeFormat};

pub(crate) use super::bare::{BOOT_MARKS, check_boot};
/// Number of bytes that are needed to detect the format.
pub use super::qcow2::HEADER_MAX;

/// A raw disk consists of whole sectors.
pub(super) const SECTOR: u64 = 512;

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
    let page = || is_page(head).then_some("a web page or another text");
    let skippable = || is_skippable_frame(head).then_some("compressed by zstd or lz4: unpack it");
    let lzma = || is_lzma(head).then_some("compressed by lzma: unpack it");
    let zlib = || is_zlib(head).then_some("compressed by zlib: unpack it");
    let text = || is_text(head).then_some("a text");
    let format = formats.next().map(|format| format.name);
    format
        .or_else(page)
        .or_else(skippable)
        .or_else(lzma)
        .or_else(zlib)
        .or_else(text)
        .map(Unfit::Other)
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
            let mut head = vec![b'\x01'; usize::try_from(HEADER_MAX).unwrap()];
            head[*at..*at + mark.len()].copy_from_slice(mark);
            let judged = of_whole(&head, HEADER_MAX);
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

    /// What `file` calls by these names, written down without a look at the list of formats.
    #[test]
    fn what_file_knows_as_something_else_is_no_disk() {
        let known: &[(&str, usize, &[u8])] = &[
            ("GIF image data, version 87a", 0, b"GIF87a\x01\0\x01\0"),
            ("GIF image data, version 89a", 0, b"GIF89a\x01\0\x01\0"),
            (
                "PC bitmap, Windows 3.x format",
                0,
                b"BM\x36\0\x0c\0\0\0\0\0\x36\0\0\0\x28",
            ),
            ("RIFF data, Web/P image", 0, b"RIFF\x24\0\0\0WEBPVP8 "),
            ("RIFF data, WAVE audio", 0, b"RIFF\x24\0\0\0WAVEfmt "),
            ("RIFF data, AVI", 0, b"RIFF\x24\0\0\0AVI LIST"),
            ("TIFF image data, little-endian", 0, b"II*\0\x08\0\0\0"),
            ("TIFF image data, big-endian", 0, b"MM\0*\0\0\0\x08"),
            ("Adobe Photoshop Image", 0, b"8BPS\0\x01\0\0"),
            ("JPEG 2000", 0, b"\0\0\0\x0cjP  \r\n\x87\n"),
            ("PNG image data", 0, b"\x89PNG\r\n\x1a\n"),
            ("JPEG image data", 0, b"\xff\xd8\xff\xe0\0\x10JFIF"),
            ("ISO Media, MP4", 4, b"ftypisom"),
            ("ISO Media, AVIF", 4, b"ftypavif"),
            ("Matroska data", 0, b"\x1a\x45\xdf\xa3\xa3\x42\x86"),
            ("Ogg data", 0, b"OggS\0\x02"),
            ("FLAC audio", 0, b"fLaC\0\0\0\x22"),
            ("Audio file with ID3", 0, b"ID3\x04\0\0"),
            ("Standard MIDI data", 0, b"MThd\0\0\0\x06"),
            ("Macromedia Flash Video", 0, b"FLV\x01\x05"),
            ("Microsoft ASF", 0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
            ("MPEG sequence", 0, b"\0\0\x01\xba\x44"),
            ("Apache Parquet", 0, b"PAR1\x15\x04"),
            ("Apache ORC", 0, b"ORC\x08\x03"),
            ("Apache Avro", 0, b"Obj\x01\x04"),
            ("Apache Arrow", 0, b"ARROW1\0\0"),
            (
                "Hierarchical Data Format (version 5)",
                0,
                b"\x89HDF\r\n\x1a\n\0",
            ),
            ("NumPy data file", 0, b"\x93NUMPY\x01\0"),
            ("SQLite 3.x database", 0, b"SQLite format 3\0\x10\0"),
            ("WebAssembly (wasm) binary module", 0, b"\0asm\x01\0\0\0"),
            ("ELF 64-bit", 0, b"\x7fELF\x02\x01\x01"),
            ("Mach-O 64-bit", 0, b"\xcf\xfa\xed\xfe\x07"),
            ("compiled Java class data", 0, b"\xca\xfe\xba\xbe\0\0\0\x34"),
            ("Dalvik dex file", 0, b"dex\n035\0"),
            ("LLVM IR bitcode", 0, b"BC\xc0\xde\x35"),
            ("PE32 executable", 0, b"MZ\x90\0\x03"),
            ("pcap capture file", 0, b"\xd4\xc3\xb2\xa1\x02\0\x04\0"),
            ("pcapng capture file", 0, b"\x0a\x0d\x0d\x0a\x1c\0\0\0"),
            (
                "HTTP response",
                0,
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\xff\0\xfe",
            ),
            ("PDF document", 0, b"%PDF-1.7\n%\xe2\xe3"),
            ("PostScript document", 0, b"%!PS-Adobe-3.0\n\x04"),
            ("Web Open Font Format", 0, b"wOF2\0\x01\0\0"),
            ("Git pack", 0, b"PACK\0\0\0\x02"),
            ("Zip archive data", 0, b"PK\x03\x04\x14"),
            ("7-zip archive data", 0, b"7z\xbc\xaf\x27\x1c\0\x04"),
            ("RAR archive data", 0, b"Rar!\x1a\x07\x01\0"),
            ("gzip compressed data", 0, b"\x1f\x8b\x08\0"),
            ("XZ compressed data", 0, b"\xfd7zXZ\0\0\x04"),
            ("bzip2 compressed data", 0, b"BZh91AY&SY"),
            ("Zstandard compressed data", 0, b"\x28\xb5\x2f\xfd\x04"),
            ("LZ4 compressed data", 0, b"\x04\x22\x4d\x18\x64"),
            ("Microsoft Cabinet archive data", 0, b"MSCF\0\0\0\0"),
            ("RPM", 0, b"\xed\xab\xee\xdb\x03\0"),
            ("Debian binary package", 0, b"!<arch>\ndebian-binary"),
            ("ASCII cpio archive", 0, b"07070100000000"),
            ("Squashfs filesystem", 0, b"hsqs\x07\0\0\0"),
            (
                "Composite Document File V2 Document",
                0,
                b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            ),
            ("Windows imaging (WIM) image", 0, b"MSWIM\0\0\0"),
        ];
        for (name, at, mark) in known {
            let mut head = vec![0; 4096];
            head[*at..at + mark.len()].copy_from_slice(mark);
            // Bytes that are no text, as packed data and pixels are.
            head[2048..].fill(0x9d);
            let judged = of(&head);
            assert!(matches!(judged, Err(Unfit::Other(_))), "{name}: {judged:?}");
        }
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
