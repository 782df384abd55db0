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
//! Nothing tells of the time, the user or the machine: the same input makes the same bytes. A bundle is
//! written and read in pieces, so that an image may be larger than the memory.
//!
//! Whoever made a bundle is hostile until its signature fits, and the medium may have changed any byte.
//! So a reader takes exactly what [`BundleWriter`] makes: each header must be the very bytes that would
//! be written for its name and length, padding is zero, the manifest has one form, and nothing follows
//! the end. Names are never used as paths: nothing is unpacked. [`Bundle::open`] checks all but the
//! images' bytes, which [`Bundle::check_image`] reads; an upload compares them with the same SHA-256
//! once more.

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

/// What the seal says that it is of; the number is the version of the format.
const MARK: &str = "vsiflow-bundle v1";
/// What the first entry holds.
const VERSION: &str = "version 1\n";

/// The most documents of a bundle, and the most images.
pub const MOST: usize = 1000;
/// The most bytes of a document.
pub const LONGEST_DOCUMENT: u64 = 4 << 20;
/// The most bytes of all documents.
pub const LONGEST_DOCUMENTS: u64 = 64 << 20;
/// The most bytes of a manifest.
const LONGEST_MANIFEST: u64 = 16 << 20;
/// The most bytes of what is only a line.
const LONGEST_LINE: u64 = 1024;

/// Why a file is no bundle that may be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is none, it is cut off, or its parts do not fit one another.
    #[error("{0}")]
    Malformed(String),
    /// It has a format that this version does not know.
    #[error("it has the format {0:?}, and this vsiflow reads version 1")]
    Version(String),
    /// A part is not what it was when the bundle was made.
    #[error("{entry} has the SHA-256 {found}, and {expected} was written")]
    Changed {
        /// The part.
        entry: String,
        /// The SHA-256 that it had.
        expected: String,
        /// The SHA-256 that it has.
        found: String,
    },
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BundleError {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }
}
