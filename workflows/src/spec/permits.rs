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

    /// Whether simulated hosts may be, whose files are on this machine.
    ///
    /// # Errors
    /// Why not, in words.
    fn simulated_hosts(&self) -> Result<(), String> {
        Err(
            "simulated hosts keep their disks on this machine, and are not for documents of others"
                .to_owned(),
        )
    }

    /// Whether an image may be read from where its URL leads, as far as its text tells.
    ///
    /// # Errors
    /// Why not, in words.
    fn image(&self, url: &str) -> Result<(), String>;

    /// Whether guests may be put on that bridge of a host.
    ///
    /// # Errors
    /// Why not, in words.
    fn bridge(&self, name: &str) -> Result<(), String> {
        Err(format!("guests are not put on the bridge {name} of a host"))
    }
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
