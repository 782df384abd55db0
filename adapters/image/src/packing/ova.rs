//! Reads OVA files: an archive with a description (OVF), an optional manifest with checksums, and one disk.
//! The disk is sent on while the archive is read; the checksums are compared at the end, before the image
//! counts as complete.
//!
//! Nothing is written to files. The description is parsed with limits, and no reference to anything outside
//! the archive is followed.

use std::collections::BTreeMap;
use std::io::{self, Read};

use quick_xml::{Reader, XmlVersion, events::Event};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};
use tar::{Entry, EntryType};

use super::{Outlet, QCOW2, copy, vmdk};
use crate::archive::{self, MAX_HEADERS_LEN};

/// The length limit of the description and of the manifest, in bytes.
const MAX_TEXT_LEN: u64 = 1 << 20;
/// How many files an archive may have.
const MAX_FILES: usize = 1_000;
/// How many elements and attributes a description may have.
const MAX_EVENTS: usize = 100_000;

/// Why an OVA cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitOva {
    #[error("the OVA names a file outside of its folder")]
    Outside,
    #[error("the OVA has something that is not a regular file")]
    Kind,
    #[error("the OVA has more than {MAX_FILES} files, or two of one name")]
    Files,
    #[error("the headers of a file in the OVA are longer than {MAX_HEADERS_LEN} bytes")]
    Headers,
    #[error("the OVA does not begin with its description (.ovf)")]
    NoDescription,
    #[error("the description in the OVA cannot be read: {0}")]
    Description(String),
    #[error("the OVA has {0} disks; it must have one")]
    Disks(usize),
    #[error("the disk in the OVA is split, packed or over another disk")]
    DiskForm,
    #[error("the disk in the OVA is neither a VMDK nor a qcow2")]
    DiskFormat,
    #[error("the disk that the description in the OVA names is missing")]
    NoDisk,
    #[error(
        "the manifest in the OVA cannot be read, or does not list the description and the disk"
    )]
    Manifest,
    #[error("a file in the OVA is not what its manifest says: {0}")]
    Checksum(String),
}

fn unfit(why: UnfitOva) -> io::Error {
    io::Error::other(why)
}

/// Whether the first file of this archive is a description. A long name stands in headers before its own one.
pub(super) fn is_ova(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar") && first_is_description(head).unwrap_or(false)
}

fn first_is_description(head: &[u8]) -> io::Result<bool> {
    let (mut archive, _) = archive::open(head, || unfit(UnfitOva::Headers));
    let first = archive.entries()?.next().transpose()?;
    let is_description = |file: Entry<'_, _>| {
        let name = file.path_bytes().to_ascii_lowercase();
        name.ends_with(b".ovf")
    };
    Ok(first.is_some_and(is_description))
}

/// Sends the disk, reads to the end of the archive, and compares the checksums.
pub(super) fn unpack(from: impl Read, to: &mut Outlet) -> io::Result<()> {
    let (mut archive, gauge) = archive::open(from, || unfit(UnfitOva::Headers));
    let mut contents = Contents::default();
    for (count, entry) in archive.entries()?.enumerate() {
        if count >= MAX_FILES {
            return Err(unfit(UnfitOva::Files));
        }
        let entry = entry?;
        gauge.permit(&entry)?;
        if !contents.file(entry, to)? {
            return Ok(());
        }
    }
    gauge.permit_rest();
    // Read to the end: a source with a digest compares all bytes.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    contents.check()
}

/// What was read from the archive so far.
#[derive(Default)]
struct Contents {
    /// The file name of the description.
    description: Option<String>,
    /// The file names that the disk may have, by the description.
    disk_names: Vec<String>,
    /// The file name of the disk.
    disk: Option<String>,
    manifest: Option<String>,
    sums: BTreeMap<String, ManifestSums>,
}

impl Contents {
    /// Reads a file. Returns whether the receiver wants more of the disk.
    fn file<R: Read>(&mut self, mut entry: Entry<'_, R>, to: &mut Outlet) -> io::Result<bool> {
        let name = plain_name(&entry)?;
        if self.sums.contains_key(&name) {
            return Err(unfit(UnfitOva::Files));
        }
        let mut tee = Tee::of(&mut entry);
        let ending = name
            .rsplit_once('.')
            .map(|(_, end)| end.to_ascii_lowercase());
        let mut wants_more = true;
        if self.description.is_none() {
            if ending.as_deref() != Some("ovf") {
                return Err(unfit(UnfitOva::NoDescription));
            }
            self.disk_names = disk_of(&text(&mut tee)?)?;
            self.description = Some(name.clone());
        } else if self.disk.is_none() && self.disk_names.contains(&name) {
            self.disk = Some(name.clone());
            wants_more = disk(&mut tee, to)?;
        } else if ending.as_deref() == Some("mf") && self.manifest.is_none() {
            self.manifest = Some(text(&mut tee)?);
        }
        if wants_more {
            io::copy(&mut tee, &mut io::sink())?;
        }
        self.sums.insert(name, tee.sums);
        Ok(wants_more)
    }

    /// Checks that the disk was found, and that all checksums of the manifest match if there is one.
    fn check(mut self) -> io::Result<()> {
        let description = self
            .description
            .ok_or_else(|| unfit(UnfitOva::NoDescription))?;
        let disk = self.disk.ok_or_else(|| unfit(UnfitOva::NoDisk))?;
        let Some(manifest) = self.manifest else {
            return Ok(());
        };
        let mut listed = Vec::new();
        for line in manifest
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let (kind, name, digits) = entry_of(line).ok_or_else(|| unfit(UnfitOva::Manifest))?;
            let name = in_its_folder(name);
            let sums = self.sums.remove(name);
            let sum = sums.and_then(|sums| sums.hex(kind));
            if sum.is_none_or(|sum| !sum.eq_ignore_ascii_case(digits)) {
                let start = name.chars().take(100).collect();
                return Err(unfit(UnfitOva::Checksum(start)));
            }
            listed.push(name);
        }
        let has = |name: &String| listed.contains(&name.as_str());
        if has(&description) && has(&disk) {
            Ok(())
        } else {
            Err(unfit(UnfitOva::Manifest))
        }
    }
}

/// Parses `SHA256(name)= digits`.
fn entry_of(line: &str) -> Option<(&str, &str, &str)> {
    let (kind, rest) = line.split_once('(')?;
    let (name, digits) = rest.rsplit_once(')')?;
    let digits_of_sum = digits.trim_start().strip_prefix('=')?.trim();
    Some((kind.trim(), name, digits_of_sum))
}

/// The file's name, if it contains no path.
fn plain_name<R: Read>(entry: &Entry<'_, R>) -> io::Result<String> {
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous => {}
        _ => return Err(unfit(UnfitOva::Kind)),
    }
    let name =
        String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| unfit(UnfitOva::Outside))?;
    let name = in_its_folder(&name);
    if is_plain(name) {
        Ok(name.to_owned())
    } else {
        Err(unfit(UnfitOva::Outside))
    }
}

/// A name without the `./` that some programs write before it.
fn in_its_folder(name: &str) -> &str {
    name.strip_prefix("./").unwrap_or(name)
}

fn is_plain(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, '/' | '\\');
    !name.is_empty() && !matches!(name, "." | "..") && !name.contains(odd)
}

fn text(from: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    let bytes_read = from
        .by_ref()
        .take(MAX_TEXT_LEN.saturating_add(1))
        .read_to_string(&mut text);
    let unread = |why: &str| Err(unfit(UnfitOva::Description(why.to_owned())));
    match bytes_read {
        Ok(bytes_read) if bytes_read as u64 > MAX_TEXT_LEN => unread("it is too long"),
        // Every other byte of a plain text in UTF-16 is zero.
        Ok(_) if text.contains('\0') => unread("it is no text in UTF-8"),
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            unread("it is no text in UTF-8")
        }
        Err(error) => Err(error),
    }
}

/// Sends the disk; its first bytes show the format.
fn disk(from: &mut impl Read, to: &mut Outlet) -> io::Result<bool> {
    let mut head = Vec::new();
    from.by_ref().take(4).read_to_end(&mut head)?;
    match head.as_slice() {
        vmdk::MAGIC => vmdk::unpack(&mut head.as_slice().chain(from), to),
        QCOW2 => copy(&mut head.as_slice().chain(from), to),
        _ => Err(unfit(UnfitOva::DiskFormat)),
    }
}

/// The file names that the only disk with a file in the description may have. Other disks are empty.
fn disk_of(description: &str) -> io::Result<Vec<String>> {
    let unread = |why: &dyn std::fmt::Display| unfit(UnfitOva::Description(why.to_string()));
    let mut reader = Reader::from_str(description);
    let (mut files, mut disks) = (BTreeMap::new(), Vec::new());
    let mut events = 0_usize;
    loop {
        let event = reader.read_event().map_err(|error| unread(&error))?;
        let element = match event {
            Event::Eof => break,
            Event::DocType(_) => return Err(unread(&"it has a document type")),
            Event::Start(element) | Event::Empty(element) => element,
            _ => continue,
        };
        let mut attributes = BTreeMap::new();
        for attribute in element.attributes() {
            let attribute = attribute.map_err(|error| unread(&error))?;
            let key = attribute.key.local_name().as_ref().to_owned();
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| unread(&error))?;
            attributes.insert(key, value.into_owned());
            events = events.saturating_add(1);
        }
        events = events.saturating_add(1);
        if events > MAX_EVENTS {
            return Err(unread(&"it has too many elements"));
        }
        match element.local_name().as_ref() {
            "File" => {
                let id = attributes.get("id").cloned().unwrap_or_default();
                files.insert(id, attributes);
            }
            "Disk" => disks.push(attributes),
            _ => {}
        }
    }
    let count = disks.len();
    disks.retain(|disk| disk.contains_key("fileRef"));
    let disk = match disks.as_slice() {
        [disk] => disk,
        [] if count > 0 => return Err(unfit(UnfitOva::NoDisk)),
        several => return Err(unfit(UnfitOva::Disks(several.len()))),
    };
    let file = disk
        .get("fileRef")
        .and_then(|id| files.get(id))
        .ok_or_else(|| unfit(UnfitOva::NoDisk))?;
    let is_split = file.contains_key("chunkSize") || disk.contains_key("parentRef");
    let packed = file
        .get("compression")
        .is_some_and(|compression| compression != "identity");
    if is_split || packed {
        return Err(unfit(UnfitOva::DiskForm));
    }
    let names = file.get("href").map(|href| names_of(href));
    names
        .filter(|names| names.iter().all(|name| is_plain(name)))
        .ok_or_else(|| unfit(UnfitOva::Outside))
}

/// The file names that a reference may mean: itself, as some programs write it, and what it encodes as a URI.
fn names_of(href: &str) -> Vec<String> {
    let decoded = decoded(href).filter(|decoded| decoded != href);
    let names = [Some(href.to_owned()), decoded].into_iter().flatten();
    names.map(|name| in_its_folder(&name).to_owned()).collect()
}

/// Decodes percent-encoding; `None` if it is none.
fn decoded(href: &str) -> Option<String> {
    let mut parts = href.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// All hashes that a manifest may use. Which one is needed is known only if the manifest comes first.
#[derive(Clone, Default)]
struct ManifestSums {
    sha1: Sha1,
    sha256: Sha256,
    sha512: Sha512,
}

impl ManifestSums {
    fn hex(self, kind: &str) -> Option<String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match kind.to_ascii_uppercase().as_str() {
            "SHA1" => Some(hex(&self.sha1.finalize())),
            // OpenSSL 3 writes the family before the length.
            "SHA256" | "SHA2-256" => Some(hex(&self.sha256.finalize())),
            "SHA512" | "SHA2-512" => Some(hex(&self.sha512.finalize())),
            _ => None,
        }
    }
}

/// A reader that hashes what it reads.
struct Tee<R> {
    from: R,
    sums: ManifestSums,
}

impl<R: Read> Tee<R> {
    fn of(from: R) -> Self {
        let sums = ManifestSums::default();
        Self { from, sums }
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes_read = self.from.read(into)?;
        let bytes = into.get(..bytes_read).unwrap_or_default();
        self.sums.sha1.update(bytes);
        self.sums.sha256.update(bytes);
        self.sums.sha512.update(bytes);
        Ok(bytes_read)
    }
}
