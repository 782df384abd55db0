//! Bundles: documents and the images that they name in one file, for places without a network.
//!
//! A bundle is an uncompressed tar archive with exactly these entries, in this order:
//!
//! | entry | content |
//! |---|---|
//! | `vsiflow-bundle` | `version 1` and a line feed |
//! | `documents/0001-NAME` … | YAML, as it was given |
//! | `images/SHA256` … | images, unpacked, each once |
//! | `manifest.json` | every entry's name, length and SHA-256, and the URLs of each image |
//! | `seal` | the SHA-256 of the manifest, and perhaps a signature |
//!
//! A bundle holds no time, user or machine: the same input produces the same bytes. It is written and read in
//! pieces, so an image may be larger than the memory.
//!
//! A bundle is untrusted until its signature is verified, and the medium may have changed any byte. So a
//! reader accepts exactly what [`BundleWriter`] writes: each header must be byte for byte what is written for
//! its name and length, padding is zero, the manifest has one form, and nothing follows the end. Names are
//! never used as paths, because nothing is unpacked. [`Bundle::open`] checks everything except the images'
//! bytes, which [`Bundle::check_image`] reads; an upload compares them with the same SHA-256 again.

mod entry;
mod manifest;
mod read;
mod source;
mod write;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::io;

pub use manifest::{BundleManifest, PackedDocument, PackedImage};
pub use read::{Bundle, ReadAt};
pub use source::{BundledImage, WithBundles};
pub use write::{BundleWriter, WrittenImage};

/// The context of the seal's hash; the number is the version of the format.
const MARK: &str = "vsiflow-bundle v1";
/// The content of the first entry.
const VERSION: &str = "version 1\n";

/// How many documents a bundle may have, and how many images.
pub const MAX: usize = 1000;
/// The size limit of one document: 4 MiB.
pub const MAX_DOCUMENT_LEN: u64 = 4 << 20;
/// The size limit of all documents together: 64 MiB.
pub const MAX_DOCUMENTS_LEN: u64 = 64 << 20;
/// The size limit of a manifest: 16 MiB.
const MAX_MANIFEST_LEN: u64 = 16 << 20;
/// The size limit of an entry with a single line, in bytes.
const MAX_LINE_LEN: u64 = 1024;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not a bundle, it is truncated, or its parts do not match.
    #[error("{0}")]
    Malformed(String),
    /// It has a format version that this vsiflow does not know.
    #[error("it has the format {0:?}, and this vsiflow reads version 1")]
    Version(String),
    /// A part changed after the bundle was written.
    #[error("{entry} has the SHA-256 {found}, and {expected} was written")]
    Changed {
        /// The entry's name.
        entry: String,
        /// The SHA-256 that was recorded.
        expected: String,
        /// The SHA-256 that was found.
        found: String,
    },
    /// The operating system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BundleError {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}
