//! Follows a folder of documents, for `serve --dir`.
//!
//! The folder contains the desired state, like a checked-out Git repository. It is read repeatedly. New and
//! changed documents are applied as by `apply -f DIR`, under the same record of the directory.
//!
//! - Unreadable files and inconsistent documents hold back only themselves.
//! - In a Git work tree the commit in HEAD is read, never the changing work tree. Elsewhere a reading counts
//!   if the next one, a second later, is the same.
//! - Objects whose document was removed are deleted only with `--prune=N`. They are never deleted because of
//!   a folder that is empty, is on another file system, or could not be read completely. Outside of Git the
//!   document has to be missing for 10 seconds.
//!
//! This module never writes to the folder, and executes nothing in it.

mod follow;
mod git;
mod reading;
mod removal;
mod sound;

pub(crate) use follow::follow;
