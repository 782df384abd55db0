//! Keeps to a folder of documents: what `serve --dir` does.
//!
//! The folder says what there is to be, as a checked-out Git repository does. It is read again and
//! again; what is new or changed is applied, as `apply -f DIR` would, by the same directory's record.
//!
//! - A file that cannot be read, or documents that do not fit, hold back themselves alone.
//! - In a Git work tree the commit in HEAD is read, never the tree in motion. Elsewhere a reading
//!   counts when the next one, a second later, is the same.
//! - What has no document any more is deleted only with `--prune=N`, and never on the word of a
//!   folder that is empty, that is another file system, or of which anything could not be read.
//!   Outside of Git it has to be missing for ten seconds.
//!
//! It never writes to the folder, and runs nothing that is in it.

mod follow;
mod git;
mod reading;
mod removal;
mod sound;

pub(crate) use follow::follow;
