//! Where documents stood that were applied together.

use serde::{Deserialize, Serialize};

/// A directory of documents. What was applied from it before and is in it no more may be pruned;
/// of another directory nothing is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Its absolute path, without links.
    pub path: String,
    /// Where the file system is mounted that it is on: another one says nothing of this one's files.
    pub mount: String,
    /// Whether the folders in it were read, too.
    pub recursive: bool,
}
