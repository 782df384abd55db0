//! Reads the header of a qcow2 file.

pub(in crate::image) mod tables;

use std::ops::Range;

use crate::{error, host_text};

/// Number of bytes that are needed to detect the format.
pub const HEADER_MAX: u64 = 64 * 1024;

const MAGIC: &[u8] = b"QFI\xfb";
const V2_LEN: usize = 72;
const V3_LEN: usize = 104;
const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
const AUTOCLEAR_BITMAPS: u64 = 1 << 0;
const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;
const EXTENSION_BITMAPS: u32 = 0x2385_2875;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// The length of the extension of bitmaps, in bytes.
const BITMAPS_LEN: usize = 24;
/// How many bitmaps QEMU reads, and how many bytes of their list.
const BITMAPS: std::ops::RangeInclusive<u32> = 1..=65_535;
const BITMAPS_SIZES: std::ops::RangeInclusive<u64> = 1..=65_535 * (24 + 1023);
/// The longest name of a backing file's format that QEMU reads, in bytes.
const BACKING_FORMAT_MAX: usize = 15;

/// Error: the file cannot be a base image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A file of an unknown format.
    #[error("it is neither a qcow2 file nor a raw disk of whole sectors")]
    NotQcow2,
    /// A file of a known format that guests cannot boot from.
    #[error("it is {0}")]
    Other(&'static str),
    /// A disk that is read where it is a file of its own.
    #[error("it is {0} within another file, or where only a raw disk or a qcow2 file is taken")]
    Packed(&'static str),
    /// A file system or volume, which only a guest that runs can open.
    #[error("it is {0} without a boot loader")]
    FileSystem(&'static str),
    /// An archive that can be listed.
    #[error("it is {kind}: unpack {entry} from it, or pack it as OVA")]
    Archive {
        /// What kind of archive.
        kind: &'static str,
        /// The file in it that may be the disk.
        entry: String,
    },
    /// An archive that can be listed, with several disks.
    #[error(
        "it is {kind} of several disks, such as {first} and {second}: unpack the one that is meant"
    )]
    Archives {
        /// What kind of archive.
        kind: &'static str,
        /// A file in it that may be the disk.
        first: String,
        /// Another one.
        second: String,
    },
    /// An encrypted container, which a guest can open only after it has booted.
    #[error("it is an encrypted container (LUKS) without a boot loader")]
    Luks,
    /// An unknown version of qcow2.
    #[error("its qcow2 version is not 2 or 3, or its header is damaged")]
    Version,
    /// It reads through to another file.
    #[error("it has a backing file")]
    Backing,
    /// Its content is in another file.
    #[error("it has an external data file")]
    DataFile,
    /// QEMU marked it as corrupt.
    #[error("it is marked as corrupt")]
    Corrupt,
    /// Its content is encrypted, and a guest has no key.
    #[error("it is an encrypted qcow2 file")]
    Encrypted,
    /// It needs a feature that is not known.
    #[error("it is a qcow2 file that needs a feature which is not known (incompatible bit {0})")]
    Features(u32),
    /// Its compression is not known.
    #[error("it is a qcow2 file with a compression that is not known")]
    Compression,
    /// Two fields of its header contradict each other, and QEMU does not open it.
    #[error("it is a qcow2 file with a damaged header: {0}")]
    Contradiction(&'static str),
    /// Its tables contradict one another or the format.
    #[error("its qcow2 tables are damaged")]
    Tables,
    /// It has more tables than are read.
    #[error("it is a qcow2 file with too many tables: its clusters are too small for its size")]
    TooManyTables,
    /// The file ends before something that its tables name.
    #[error("it is a qcow2 file that was cut short: it ends before data that its tables name")]
    Cut,
    /// A raw disk that ends before one of its partitions does.
    #[error(
        "it is a raw disk that was cut short: its partition table names sectors beyond its end"
    )]
    CutDisk,
}

impl Unfit {
    /// What the user does about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Archive { .. } => {
                "Unpack the disk image, or pack it as OVA, provide that and correct `imageURL`."
            }
            Self::Archives { .. } => {
                "Unpack the disk that the server shall boot from, provide that and correct `imageURL`."
            }
            Self::Packed(_) => {
                "Unpack it, provide the file itself without other packing and correct `imageURL`."
            }
            Self::Luks | Self::FileSystem(_) => {
                "Provide an image with a boot loader and correct `imageURL`, or make a data disk of this one."
            }
            Self::Encrypted => {
                "Decrypt it where it is with `qemu-img convert -O qcow2`, and provide the result."
            }
            Self::Cut | Self::CutDisk => {
                "Compare the length of the file with the vendor's, and copy it to its source again."
            }
            Self::Contradiction(_) => {
                "QEMU does not open it either: copy it to its source again from where it was made."
            }
            Self::Corrupt => {
                "Repair it where it is with `qemu-img check -r all`, or replace it at its source."
            }
            Self::Version
            | Self::Features(_)
            | Self::Compression
            | Self::Tables
            | Self::TooManyTables => {
                "Convert it where it is with `qemu-img convert -O qcow2 IN OUT`, and provide the result."
            }
            Self::NotQcow2 | Self::Other(_) | Self::Backing | Self::DataFile => {
                error::NOT_QCOW2.remedy
            }
        }
    }
}

/// The size a guest sees, if the file is a qcow2 that needs no other file.
///
/// A base image that names another file could make the host read any of its files into a guest.
///
/// # Errors
/// The reason why it is refused.
pub fn virtual_size(head: &[u8]) -> Result<u64, Unfit> {
    if !head.starts_with(MAGIC) {
        return Err(Unfit::NotQcow2);
    }
    let version = be32(head, 4)?;
    let (backing_at, backing_length) = (be64(head, 8)?, be32(head, 16)?);
    // A place without a length names no file, and neither does a length without a place.
    if backing_at != 0 && backing_length != 0 {
        return Err(Unfit::Backing);
    }
    let cluster = 1_u64.checked_shl(be32(head, 20)?).unwrap_or(u64::MAX);
    if backing_at > cluster {
        return Err(Unfit::Contradiction(
            "the name of its backing file is beyond its header",
        ));
    }
    match version {
        2 => check_extensions(head, V2_LEN, cluster)?,
        3 => {
            features(be64(head, 72)?)?;
            let length = usize::try_from(be32(head, 100)?).map_err(|_| Unfit::Version)?;
            if length < V3_LEN || length as u64 > cluster {
                return Err(Unfit::Version);
            }
            check_extensions(head, length, cluster)?;
        }
        _ => return Err(Unfit::Version),
    }
    match be64(head, 24)? {
        0 => Err(Unfit::Other("a qcow2 file of a disk without any bytes")),
        size => Ok(size),
    }
}

/// The backing file that the header names; `None` if the file is not a qcow2 or has no backing file.
///
/// # Errors
/// If the header is damaged, or the name is not within these bytes.
pub fn backing(head: &[u8]) -> Result<Option<String>, Unfit> {
    if !head.starts_with(MAGIC) {
        return Ok(None);
    }
    let (at, length) = (be64(head, 8)?, be32(head, 16)?);
    if at == 0 || length == 0 {
        return Ok(None);
    }
    let place = |number: u64| usize::try_from(number).map_err(|_| Unfit::Version);
    let (from, length) = (place(at)?, place(u64::from(length))?);
    let name = head
        .get(from..from.saturating_add(length))
        .ok_or(Unfit::Version)?;
    Ok(Some(host_text::read(name).into_owned()))
}

fn features(incompatible: u64) -> Result<(), Unfit> {
    if incompatible & INCOMPATIBLE_DATA_FILE != 0 {
        return Err(Unfit::DataFile);
    }
    if incompatible & INCOMPATIBLE_CORRUPT != 0 {
        return Err(Unfit::Corrupt);
    }
    Ok(())
}

/// Checks the header's extensions, as far as they are within `head`. QEMU reads none that ends beyond the first
/// cluster.
fn check_extensions(head: &[u8], start: usize, cluster: u64) -> Result<(), Unfit> {
    let mut position = start;
    while (position as u64) < cluster
        && let (Ok(kind), Ok(length)) =
            (be32(head, position), be32(head, position.saturating_add(4)))
    {
        let length = usize::try_from(length).map_err(|_| Unfit::Version)?;
        let content = position.saturating_add(8);
        if content.saturating_add(length) as u64 > cluster {
            return Err(Unfit::Version);
        }
        match kind {
            EXTENSION_END => break,
            EXTENSION_DATA_FILE => return Err(Unfit::DataFile),
            EXTENSION_ENCRYPTION => check_encryption(head)?,
            EXTENSION_BITMAPS => {
                check_bitmaps(head, content..content.saturating_add(length), cluster)?
            }
            EXTENSION_BACKING_FORMAT if length > BACKING_FORMAT_MAX => return Err(Unfit::Version),
            _ => {}
        }
        let padded = length.checked_next_multiple_of(8).ok_or(Unfit::Version)?;
        position = content.saturating_add(padded);
    }
    Ok(())
}

/// Checks the header of a file with a key. One that says how it is encrypted is refused as encrypted later.
fn check_encryption(head: &[u8]) -> Result<(), Unfit> {
    match be32(head, 32)? {
        0 => Err(Unfit::Contradiction(
            "it has the key of an encryption, but no method",
        )),
        _ => Ok(()),
    }
}

/// Checks the extension that lists bitmaps, which counts only as long as its feature bit is set.
fn check_bitmaps(head: &[u8], content: Range<usize>, cluster: u64) -> Result<(), Unfit> {
    let position = content.start;
    if content.len() != BITMAPS_LEN {
        return Err(Unfit::Contradiction("its list of bitmaps is cut short"));
    }
    let counts = be64(head, 88).is_ok_and(|autoclear| autoclear & AUTOCLEAR_BITMAPS != 0);
    let (bitmaps, reserved) = (be32(head, position), be32(head, position.saturating_add(4)));
    let (size, place) = (
        be64(head, position.saturating_add(8)),
        be64(head, position.saturating_add(16)),
    );
    let is_wrong = !bitmaps.is_ok_and(|count| BITMAPS.contains(&count))
        || reserved != Ok(0)
        || !size.is_ok_and(|size| BITMAPS_SIZES.contains(&size))
        || !place.is_ok_and(|place| place.is_multiple_of(cluster));
    if be32(head, 4)? != 2 && counts && is_wrong {
        return Err(Unfit::Contradiction("its list of bitmaps is damaged"));
    }
    Ok(())
}

/// The place and length of the list of bitmaps, if that counts. The header was found to be right.
fn bitmaps(head: &[u8]) -> Option<(u64, u64)> {
    let counts = be32(head, 4) == Ok(3) && be64(head, 88).ok()? & AUTOCLEAR_BITMAPS != 0;
    let mut position = usize::try_from(be32(head, 100).ok()?)
        .ok()
        .filter(|_| counts)?;
    loop {
        let (kind, length) = (
            be32(head, position).ok()?,
            be32(head, position.checked_add(4)?).ok()?,
        );
        match kind {
            EXTENSION_END => return None,
            EXTENSION_BITMAPS => {
                let size = be64(head, position.checked_add(16)?).ok()?;
                return Some((be64(head, position.checked_add(24)?).ok()?, size));
            }
            _ => {
                let padded = usize::try_from(length).ok()?.checked_next_multiple_of(8)?;
                position = position.checked_add(8)?.checked_add(padded)?;
            }
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, Unfit> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map(|four| u32::from_be_bytes(*four))
        .ok_or(Unfit::Version)
}

fn be64(bytes: &[u8], at: usize) -> Result<u64, Unfit> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<8>())
        .map(|eight| u64::from_be_bytes(*eight))
        .ok_or(Unfit::Version)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image() -> Vec<u8> {
        crate::sim::source::qcow2_header(7 << 30)
    }

    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut image = image();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    }

    #[test]
    fn a_plain_image_tells_its_size() {
        assert_eq!(virtual_size(&image()), Ok(7 << 30));
    }

    #[test]
    fn what_refers_to_other_files_is_refused() {
        assert_eq!(virtual_size(b"<!DOCTYPE html>"), Err(Unfit::NotQcow2));
        assert_eq!(virtual_size(&image()[..40]), Err(Unfit::Version));
        let named = |at: u8, length: u8| {
            let mut image = with(15, &[at]);
            image[19] = length;
            virtual_size(&image)
        };
        assert_eq!(named(200, 9), Err(Unfit::Backing));
        assert_eq!(virtual_size(&with(79, &[4])), Err(Unfit::DataFile));
        assert_eq!(virtual_size(&with(79, &[2])), Err(Unfit::Corrupt));
        assert_eq!(
            virtual_size(&with(104, b"DATA\0\0\0\x04")),
            Err(Unfit::DataFile)
        );
        assert_eq!(virtual_size(&with(7, &[9])), Err(Unfit::Version));
        assert!(virtual_size(&with(24, &[0; 8])).is_err());
    }

    /// As `qemu-img info` judges them.
    #[test]
    fn a_backing_file_has_a_place_and_a_length() {
        let of_place = with(15, &[200]);
        assert_eq!(virtual_size(&of_place), Ok(7 << 30));
        assert_eq!(backing(&of_place), Ok(None));
        let of_length = with(19, &[9]);
        assert_eq!(virtual_size(&of_length), Ok(7 << 30));
        assert_eq!(backing(&of_length), Ok(None));
        let far = virtual_size(&with(8, &[1]));
        assert!(matches!(far, Err(Unfit::Contradiction(_))), "{far:?}");
    }

    #[test]
    fn a_header_that_qemu_does_not_open_is_refused() {
        for (at, bytes) in [
            (100, &72_u32.to_be_bytes()[..]),
            (100, &0x0001_0001_u32.to_be_bytes()),
            (104, &[1, 2, 3, 4, 0x7f, 0xff, 0xff, 0xff]),
            (104, &[1, 2, 3, 4, 0, 1, 0, 0]),
        ] {
            assert_eq!(
                virtual_size(&with(at, bytes)),
                Err(Unfit::Version),
                "{at} {bytes:?}"
            );
        }
        let extended = with(104, &[1, 2, 3, 4, 0, 0, 0, 16]);
        assert_eq!(virtual_size(&extended), Ok(7 << 30));
        // Clusters of 512 bytes; behind the first one are no extensions.
        let mut filled = with(20, &9_u32.to_be_bytes());
        filled.splice(104..112, [1, 2, 3, 4, 0, 0, 1, 0x90]);
        filled.resize(512, 0);
        filled.extend([0xff; 64]);
        assert_eq!(virtual_size(&filled), Ok(7 << 30));
    }

    /// An image with that extension, whose feature bits for bitmaps are set as given.
    fn extended(kind: u32, content: &[u8], autoclear: u8) -> Vec<u8> {
        let mut head = with(95, &[autoclear]);
        head.truncate(104);
        head.extend(kind.to_be_bytes());
        head.extend((content.len() as u32).to_be_bytes());
        head.extend(content);
        head.resize(1024, 0);
        head
    }

    /// As `qemu-img info` judges them.
    #[test]
    fn extensions_that_qemu_does_not_open_are_refused() {
        let bitmaps = |count: u8, reserved: u8| {
            let mut content = [0; 24];
            (content[3], content[7], content[15], content[21]) = (count, reserved, 32, 1);
            content
        };
        let of_size = |size: u8| {
            let mut content = bitmaps(1, 0);
            content[12] = size;
            content[15] = 0;
            content
        };
        let mut beside = bitmaps(1, 0);
        beside[23] = 8;
        let mut many = bitmaps(1, 0);
        many[1] = 1;
        let opened = Ok(7 << 30);
        let format = EXTENSION_BACKING_FORMAT;
        assert_eq!(virtual_size(&extended(format, &[b'a'; 15], 0)), opened);
        assert_eq!(
            virtual_size(&extended(format, &[b'a'; 16], 0)),
            Err(Unfit::Version)
        );
        for (content, autoclear, opens) in [
            (&bitmaps(0, 0)[..], 0, true),
            (&bitmaps(0, 0), 1, false),
            (&bitmaps(1, 1), 1, false),
            (&bitmaps(1, 0), 1, true),
            (&beside, 0, true),
            (&beside, 1, false),
            (&many, 1, false),
            (&of_size(0), 1, false),
            (&of_size(9), 1, false),
            (&[0; 16], 0, false),
            (&[0; 16], 1, false),
        ] {
            let judged = virtual_size(&extended(EXTENSION_BITMAPS, content, autoclear));
            let refused = matches!(judged, Err(Unfit::Contradiction(_)));
            assert_eq!(refused, !opens, "{content:?} {autoclear}: {judged:?}");
        }
        let mut key = extended(EXTENSION_ENCRYPTION, &[0; 16], 0);
        let judged = virtual_size(&key);
        assert!(matches!(judged, Err(Unfit::Contradiction(_))), "{judged:?}");
        key[35] = 2;
        assert_eq!(virtual_size(&key), opened, "it is refused as encrypted");
        assert_eq!(
            tables::Qcow2Tables::read(&key).err(),
            Some(Unfit::Encrypted)
        );
        let ends_beyond = extended(EXTENSION_END, &[], 0);
        let ends_beyond = [&ends_beyond[..108], &[0xff; 4], &ends_beyond[112..]].concat();
        assert_eq!(virtual_size(&ends_beyond), Err(Unfit::Version));
    }

    #[test]
    fn the_file_below_is_named() {
        let over = with(8, &[0, 0, 0, 0, 0, 0, 0, 104, 0, 0, 0, 8]);
        let mut over = over;
        over.splice(104..112, *b"/i/base1");
        assert_eq!(backing(&over), Ok(Some("/i/base1".to_owned())));
        assert_eq!(backing(&over[..108]), Err(Unfit::Version));
        assert_eq!(backing(&image()), Ok(None));
        assert_eq!(backing(b"plain bytes"), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = backing(&[MAGIC, &tail].concat());
            let _ = virtual_size(&[MAGIC, &tail].concat());
            let _ = virtual_size(&tail);
        }
    }
}
