//! What documents may name of the machine vsiflow runs on.
//!
//! Whoever runs a command names their own files. In a cluster documents are written by others, and
//! what only this machine can read is not theirs to have read.

use std::path::Path;

/// What may be named.
pub trait Permits: Send + Sync {
    /// Whether a file of this machine may be.
    ///
    /// # Errors
    /// Why not, in words.
    fn file(&self, path: &Path) -> Result<(), String>;

    /// Whether an image may be read from where its URL leads, as far as its text tells.
    ///
    /// # Errors
    /// Why not, in words.
    fn image(&self, url: &str) -> Result<(), String>;
}

/// No file of this machine, and images from anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Permits for NoFiles {
    fn file(&self, path: &Path) -> Result<(), String> {
        Err(format!(
            "the file {} is not read: no files of this machine are read for documents",
            path.display()
        ))
    }

    fn image(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}
