//! The directory that documents were applied from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A directory of documents. Objects that were applied from it and have no document there any more may
/// be pruned; objects of other directories are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Directory {
    /// Its absolute path, without links.
    pub path: String,
    /// The mount point of its file system: another file system says nothing about these files.
    pub mount: String,
    /// Whether the folders in it were read as well.
    pub recursive: bool,
}
