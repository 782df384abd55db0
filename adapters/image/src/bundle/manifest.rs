//! The manifest of a bundle: its documents and images, with lengths and hashes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{BundleError, MAX, MAX_DOCUMENT_LEN, MAX_DOCUMENTS_LEN};

/// The length limit of an image's URL, in bytes.
const MAX_URL_LEN: usize = 4096;
/// The length limit of a name in `left_out`, in bytes.
const MAX_OBJECT_LEN: usize = 1024;
/// How many URLs all images may have together.
const MAX_URLS: usize = 10_000;

/// The content of a bundle, in the order of its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleManifest {
    /// The documents.
    pub documents: Vec<PackedDocument>,
    /// The images.
    pub images: Vec<PackedImage>,
    /// Documents that were named and are not packed because they hold secrets, as
    /// `KIND NAMESPACE/NAME`.
    pub left_out: Vec<String>,
}

/// A file with documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackedDocument {
    /// Its entry: `documents/`, four digits, `-` and the original file name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256: 64 hexadecimal digits.
    pub sha256: String,
}

/// An image, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PackedImage {
    /// Its SHA-256: 64 hexadecimal digits. The entry's name is `images/` and these.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
    /// The URLs by which documents name it, without credentials, with the architecture filled in.
    pub urls: Vec<String>,
}

impl PackedDocument {
    /// The entry's name of a document, from its number (from 1) and the name of its file.
    pub fn entry(number: usize, file: &str) -> String {
        let plain = |c: char| if is_plain(c) { c } else { '_' };
        let file: String = file.chars().take(MAX_NAME_LEN).map(plain).collect();
        let file = if file.is_empty() { "_" } else { &file };
        format!("{DOCUMENTS}{number:04}-{file}")
    }
}

impl PackedImage {
    /// The entry's name of the image.
    pub fn entry(&self) -> String {
        format!("images/{}", self.sha256)
    }
}

const DOCUMENTS: &str = "documents/";
/// The length limit of a file name, so that the entry's name fits a tar header.
const MAX_NAME_LEN: usize = 64;

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

impl BundleManifest {
    /// The manifest in its only valid form.
    ///
    /// # Errors
    /// If it has content that a bundle may not have.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        self.check()?;
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| BundleError::malformed(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Parses a manifest.
    ///
    /// # Errors
    /// If it is not in the only valid form, or has content that a bundle may not have.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let parsed: Result<Self, _> = serde_json::from_slice(bytes);
        let manifest = parsed.map_err(|error| wrong(&error.to_string()))?;
        if manifest.to_bytes()? == bytes {
            Ok(manifest)
        } else {
            Err(wrong("it is not written as vsiflow writes it"))
        }
    }

    /// The names and lengths of the entries, in their order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, u64)> {
        let documents = self.documents.iter();
        let images = self.images.iter();
        documents
            .map(|document| (document.name.clone(), document.length))
            .chain(images.map(|image| (image.entry(), image.length)))
    }

    fn check(&self) -> Result<(), BundleError> {
        if self.documents.len() > MAX || self.images.len() > MAX || self.left_out.len() > MAX {
            return Err(wrong("it names more than 1000 of one kind"));
        }
        let mut documents_len = 0_u64;
        for (place, document) in self.documents.iter().enumerate() {
            document.check(place)?;
            documents_len = documents_len.saturating_add(document.length);
        }
        if documents_len > MAX_DOCUMENTS_LEN {
            return Err(wrong("its documents are longer than 64 MiB"));
        }
        let (mut known, mut urls) = (BTreeSet::new(), BTreeSet::new());
        for image in &self.images {
            image.check()?;
            if !known.insert(&image.sha256) {
                return Err(wrong("it names an image twice"));
            }
            if !image.urls.iter().all(|url| urls.insert(url)) || urls.len() > MAX_URLS {
                return Err(wrong("it has two images for one URL, or too many URLs"));
            }
        }
        if self
            .left_out
            .iter()
            .all(|name| is_line(name, MAX_OBJECT_LEN))
        {
            Ok(())
        } else {
            Err(wrong("the name of what was left out is not a name"))
        }
    }
}

impl PackedDocument {
    fn check(&self, place: usize) -> Result<(), BundleError> {
        let name = self.name.strip_prefix(DOCUMENTS);
        let file = name.and_then(|name| name.get(5..)).unwrap_or_default();
        if self.name != Self::entry(place.saturating_add(1), file) {
            return Err(wrong("a document has a name that vsiflow does not give"));
        }
        if self.length <= MAX_DOCUMENT_LEN && is_sha256(&self.sha256) {
            Ok(())
        } else {
            Err(wrong("a document has a length or SHA-256 that none has"))
        }
    }
}

impl PackedImage {
    fn check(&self) -> Result<(), BundleError> {
        if !is_sha256(&self.sha256) || self.length == 0 || self.urls.is_empty() {
            return Err(wrong("an image has no bytes, no SHA-256 or no URL"));
        }
        if self.urls.iter().all(|url| is_line(url, MAX_URL_LEN)) {
            Ok(())
        } else {
            Err(wrong("the URL of an image is none"))
        }
    }
}

fn is_sha256(text: &str) -> bool {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == 64 && text.bytes().all(digit)
}

/// Whether it can be printed on a terminal unchanged.
fn is_line(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(is_odd)
}

/// Control characters, and characters that change the direction of text.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn wrong(what: &str) -> BundleError {
    BundleError::malformed(format!("manifest.json: {what}"))
}
