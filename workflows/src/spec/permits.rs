//! What documents may refer to on the machine that vsiflow runs on.
//!
//! A user who runs a command may name their own files. In a cluster documents are written by others,
//! who must not read what only this machine can read.

use std::path::Path;

/// The permissions for documents.
pub trait Permits: Send + Sync {
    /// Whether a document may name this file of the machine.
    ///
    /// # Errors
    /// Why not, as text.
    fn file(&self, path: &Path) -> Result<(), String>;

    /// Whether documents may name simulated hosts, whose files are on this machine.
    ///
    /// # Errors
    /// Why not, as text.
    fn simulated_hosts(&self) -> Result<(), String> {
        Err(
            "simulated hosts keep their disks on this machine, and are not for documents of others"
                .to_owned(),
        )
    }

    /// Whether an image may be read from this URL, judging by its text.
    ///
    /// # Errors
    /// Why not, as text.
    fn image(&self, url: &str) -> Result<(), String>;

    /// Whether guests may be connected to that bridge of a host.
    ///
    /// # Errors
    /// Why not, as text.
    fn bridge(&self, name: &str) -> Result<(), String> {
        Err(format!("guests are not put on the bridge {name} of a host"))
    }
}

/// Permits no file of this machine, and images from anywhere.
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
