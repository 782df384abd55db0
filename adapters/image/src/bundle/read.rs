//! Reads and verifies bundles.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use vsiflow_engine::{audit::Seal, model::Hash};

use super::entry::{self, BLOCK, END};
use super::manifest::BundleManifest;
use super::{BundleError, MARK, MAX, MAX_LINE_LEN, MAX_MANIFEST_LEN, VERSION};

/// How many bytes of an image are read at a time.
const PIECE: usize = 1 << 20;

/// A source of bytes that can be read at any offset.
pub trait ReadAt {
    /// The length in bytes.
    ///
    /// # Errors
    /// If the system cannot report it.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` with the bytes from offset `at`.
    ///
    /// # Errors
    /// If the source ends before `into` is full, or cannot be read.
    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }
}

impl ReadAt for &[u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let from = self.get(start..start.saturating_add(into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An open bundle whose form, manifest and documents are valid. The caller still has to check the seal, which
/// shows who made it, and the images with [`Bundle::check_image`].
pub struct Bundle<F> {
    file: F,
    manifest: BundleManifest,
    seal: Seal,
    /// The offset of each entry's bytes, in the order of the manifest.
    starts: Vec<u64>,
}

/// An entry and the offset of its bytes.
struct BundleEntry {
    name: String,
    length: u64,
    start: u64,
}

impl<F: ReadAt> Bundle<F> {
    /// Opens a bundle and compares everything except its images with the recorded SHA-256. Blocks.
    ///
    /// # Errors
    /// Why the bundle cannot be used.
    pub fn open(file: F) -> Result<Self, BundleError> {
        let walk = Walk {
            length: file.length()?,
            file: &file,
        };
        let version = walk.version()?;
        let (entries, last) = walk.entries(version)?;
        let bytes = walk.short(&last, MAX_MANIFEST_LEN)?;
        let end = entry::after(last.start, last.length)?;
        let seal = walk.seal(end)?;
        let hash = Hash::of(&bytes);
        if hash != seal.hash {
            return Err(BundleError::Changed {
                entry: MANIFEST.to_owned(),
                expected: seal.hash.to_string(),
                found: hash.to_string(),
            });
        }
        let manifest = BundleManifest::read(&bytes)?;
        compare(&manifest, &entries)?;
        let starts = entries.iter().map(|entry| entry.start).collect();
        let bundle = Self {
            file,
            manifest,
            seal,
            starts,
        };
        for number in 0..bundle.manifest.documents.len() {
            bundle.document(number)?;
        }
        Ok(bundle)
    }

    /// The manifest.
    pub fn manifest(&self) -> &BundleManifest {
        &self.manifest
    }

    /// The seal: the manifest's hash, perhaps signed.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Reads the document with this index. Blocks.
    ///
    /// # Errors
    /// If it cannot be read, or has changed.
    pub fn document(&self, number: usize) -> Result<Vec<u8>, BundleError> {
        let document = self
            .manifest
            .documents
            .get(number)
            .zip(self.starts.get(number));
        let (document, start) =
            document.ok_or_else(|| BundleError::malformed("no such document"))?;
        let length = usize::try_from(document.length).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        self.file.fill(*start, &mut bytes).map_err(cut)?;
        same(&document.name, &document.sha256, Hash::of(&bytes))?;
        Ok(bytes)
    }

    /// The offset in the file of the image with this index.
    pub fn image_start(&self, number: usize) -> Option<u64> {
        let place = self.manifest.documents.len().checked_add(number)?;
        self.starts.get(place).copied()
    }

    /// Reads the image with this index once and compares it with its SHA-256. Calls `read` with the length of
    /// each piece. Blocks.
    ///
    /// # Errors
    /// If it cannot be read, or has changed.
    pub fn check_image(&self, number: usize, mut read: impl FnMut(u64)) -> Result<(), BundleError> {
        let image = self
            .manifest
            .images
            .get(number)
            .zip(self.image_start(number));
        let (image, mut at) = image.ok_or_else(|| BundleError::malformed("no such image"))?;
        let (mut left, mut hash) = (image.length, Sha256::new());
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let Some(into) = piece.get_mut(..take) else {
                break;
            };
            self.file.fill(at, into).map_err(cut)?;
            hash.update(&*into);
            let length = take as u64;
            (at, left) = (at.saturating_add(length), left.saturating_sub(length));
            read(length);
        }
        same(&image.entry(), &image.sha256, Hash(hash.finalize().into()))
    }
}

const MANIFEST: &str = "manifest.json";

fn same(entry: &str, expected: &str, found: Hash) -> Result<(), BundleError> {
    let actual = found.to_string();
    if actual == expected {
        Ok(())
    } else {
        Err(BundleError::Changed {
            entry: entry.to_owned(),
            expected: expected.to_owned(),
            found: actual,
        })
    }
}

/// Reports a file that ends too early as a truncated bundle.
fn cut(error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            BundleError::malformed("it is cut off: it ends before its last entry")
        }
        _ => BundleError::Io(error),
    }
}

/// Walks through the entries from header to header.
struct Walk<'a, F> {
    file: &'a F,
    length: u64,
}

impl<F: ReadAt> Walk<'_, F> {
    /// Checks the first entry, which holds the version, and returns the offset of the next one.
    fn version(&self) -> Result<u64, BundleError> {
        let not_a_bundle = || BundleError::malformed("it is not a bundle");
        if self.length < BLOCK {
            return Err(not_a_bundle());
        }
        let entry = self.entry(0).map_err(|error| match error {
            BundleError::Io(error) => BundleError::Io(error),
            _ => not_a_bundle(),
        })?;
        if entry.name != "vsiflow-bundle" || entry.length > MAX_LINE_LEN {
            return Err(not_a_bundle());
        }
        let bytes = self.short(&entry, MAX_LINE_LEN)?;
        if bytes != VERSION.as_bytes() {
            let line: Vec<u8> = bytes
                .iter()
                .take(40)
                .copied()
                .take_while(|byte| *byte != b'\n')
                .collect();
            return Err(BundleError::Version(
                String::from_utf8_lossy(&line).into_owned(),
            ));
        }
        entry::after(entry.start, entry.length)
    }

    /// All entries before the manifest, and the entry of the manifest.
    fn entries(&self, mut at: u64) -> Result<(Vec<BundleEntry>, BundleEntry), BundleError> {
        let (mut entries, mut names) = (Vec::new(), BTreeSet::new());
        loop {
            let entry = self.entry(at)?;
            if entry.name == MANIFEST {
                return Ok((entries, entry));
            }
            if !names.insert(entry.name.clone()) {
                return Err(BundleError::malformed(format!(
                    "it holds {:?} twice",
                    entry.name
                )));
            }
            if entries.len() >= 2 * MAX {
                return Err(BundleError::malformed("it has too many entries"));
            }
            at = entry::after(entry.start, entry.length)?;
            entries.push(entry);
        }
    }

    fn seal(&self, at: u64) -> Result<Seal, BundleError> {
        let entry = self.entry(at)?;
        if entry.name != "seal" {
            return Err(BundleError::malformed(format!(
                "{:?} follows the manifest, where the seal belongs",
                entry.name
            )));
        }
        let text = self.short(&entry, MAX_LINE_LEN)?;
        let text = String::from_utf8(text).ok();
        let seal = text
            .as_deref()
            .and_then(|text| text.strip_suffix('\n'))
            .and_then(|line| Seal::read(MARK, line))
            .ok_or_else(|| BundleError::malformed("its seal cannot be read"))?;
        let end = entry::after(entry.start, entry.length)?;
        self.zeros(end, END)?;
        if end.saturating_add(END) == self.length {
            Ok(seal)
        } else {
            Err(BundleError::malformed("something follows its end"))
        }
    }

    fn entry(&self, at: u64) -> Result<BundleEntry, BundleError> {
        let mut bytes = [0; BLOCK as usize];
        self.file.fill(at, &mut bytes).map_err(cut)?;
        let (name, length) = entry::read(&bytes).ok_or_else(|| {
            BundleError::malformed(format!("byte {at} does not begin an entry of a bundle"))
        })?;
        let start = at.saturating_add(BLOCK);
        let end = entry::after(start, length)?;
        if end > self.length {
            return Err(BundleError::malformed(format!(
                "it is cut off within {name:?}, or that has another length than it says"
            )));
        }
        self.zeros(start.saturating_add(length), entry::padding(length))?;
        Ok(BundleEntry {
            name,
            length,
            start,
        })
    }

    fn zeros(&self, at: u64, length: u64) -> Result<(), BundleError> {
        let mut bytes = [0; END as usize];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(padding) = bytes.get_mut(..length) else {
            return Ok(());
        };
        self.file.fill(at, padding).map_err(cut)?;
        if padding.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(BundleError::malformed(format!(
                "what fills an entry up at byte {at} is not zero"
            )))
        }
    }

    fn short(&self, entry: &BundleEntry, longest: u64) -> Result<Vec<u8>, BundleError> {
        let fitting = usize::try_from(entry.length)
            .ok()
            .filter(|_| entry.length <= longest);
        let length = fitting.ok_or_else(|| {
            BundleError::malformed(format!("{:?} is longer than any such entry", entry.name))
        })?;
        let mut bytes = vec![0; length];
        self.file.fill(entry.start, &mut bytes).map_err(cut)?;
        Ok(bytes)
    }
}

/// Checks that the entries are those that the manifest names, in its order.
fn compare(manifest: &BundleManifest, entries: &[BundleEntry]) -> Result<(), BundleError> {
    let malformed = |message: String| Err(BundleError::malformed(message));
    let mut remaining_entries = entries.iter();
    for (name, length) in manifest.entries() {
        match remaining_entries.next() {
            Some(entry) if entry.name == name && entry.length == length => {}
            Some(entry) if entry.name == name => {
                let length_there = entry.length;
                return malformed(format!(
                    "{name} has {length_there} bytes, and its manifest says {length}"
                ));
            }
            Some(entry) if entries.iter().any(|entry_there| entry_there.name == name) => {
                return malformed(format!("{:?} is not at its place", entry.name));
            }
            _ => return malformed(format!("its manifest names {name}, which is not there")),
        }
    }
    match remaining_entries.next() {
        Some(entry) => malformed(format!(
            "it holds {:?}, which its manifest does not name",
            entry.name
        )),
        None => Ok(()),
    }
}
