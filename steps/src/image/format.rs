//! Detects the format of a disk image from its first bytes.

use super::qcow2::{self, Unfit};
use crate::ports::VolumeFormat;

/// Number of bytes that are needed to detect the format.
pub use super::qcow2::HEADER_MAX;

/// A raw disk consists of whole sectors.
const SECTOR: u64 = 512;

/// First bytes of files that guests cannot boot from, and the names of their formats.
const OTHERS: &[(&[u8], &str)] = &[
    (b"KDMV", "a VMDK image"),
    (b"# Disk DescriptorFile", "a VMDK description"),
    (b"vhdxfile", "a VHDX image"),
    (b"conectix", "a VHD image"),
    (b"<<< ", "a VDI image"),
    (b"QED\0", "a QED image"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\xfd7zXZ\0", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"BZh", "compressed by bzip2"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"<", "a web page or another text"),
    (b"{", "a text"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
];

/// The format of a file with these first bytes, if a guest can boot from it.
///
/// # Errors
/// The reason why it is refused.
pub fn of(head: &[u8]) -> Result<VolumeFormat, Unfit> {
    match qcow2::virtual_size(head) {
        Ok(_) => Ok(VolumeFormat::Qcow2),
        Err(Unfit::NotQcow2) => match OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, what)) => Err(Unfit::Other(what)),
            None if is_text(head) => Err(Unfit::Other("a text")),
            None => Ok(VolumeFormat::Raw),
        },
        Err(unfit) => Err(unfit),
    }
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
    !head.is_empty() && utf8 && !head.iter().any(odd)
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
}
