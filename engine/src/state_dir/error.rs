//! The errors of state directories, and their remedies.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use super::Holder;
use crate::journal::{DamageWords, JournalError};

/// Why a state directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateDirError {
    /// Another process uses the state directory.
    #[error("state directory {} is in use by {}", path.display(), named(holder.as_ref()))]
    InUse {
        /// The state directory.
        path: PathBuf,
        /// The other process, if it could be read.
        holder: Option<Holder>,
    },
    /// A newer version of this program created it.
    #[error("{} has {what} {found}; this version reads up to {known}", path.display())]
    Newer {
        /// The state directory, or a part of it.
        path: PathBuf,
        /// What is newer, and the version that wrote it, if known.
        what: String,
        /// The format found.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// An earlier version created it, whose journal this version does not read. Nothing was
    /// changed.
    #[error("{} has the state directory format {found}; this version reads {known}", path.display())]
    Older {
        /// The state directory.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that this version reads.
        known: u32,
    },
    /// Something in it is missing or changed. Nothing was overwritten.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The state directory, or a part of it.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// It is on a file system that is, or may be, on another machine.
    #[error("{} is on {kind}, whose locks and syncs depend on another machine", path.display())]
    Elsewhere {
        /// The state directory.
        path: PathBuf,
        /// The file system.
        kind: &'static str,
    },
    /// It should belong to a journal that is stored elsewhere, but it holds its own journal or
    /// belongs to another one.
    #[error("{} belongs to another journal than the one that is named", path.display())]
    OwnJournal {
        /// The folder.
        path: PathBuf,
    },
    /// Its path, or a folder above it, is a file.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The state directory, or a part of it.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("{} cannot be {doing}: {why}", path.display())]
    Io {
        /// The state directory, or a part of it.
        path: PathBuf,
        /// The attempted operation, such as `written`.
        doing: &'static str,
        /// The operating system's error.
        why: String,
    },
}

fn named(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), Holder::to_string)
}

impl StateDirError {
    /// The documented code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "VSI0002",
            Self::Newer { .. } => "VSI0003",
            Self::Older { .. } => "VSI0017",
            Self::Damaged { .. } => "VSI0004",
            Self::Elsewhere { .. } => "VSI0013",
            Self::OwnJournal { .. } => "VSI0836",
            Self::NotADirectory { .. } | Self::Io { .. } => "VSI0006",
        }
    }

    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "wait for that process or end it, or name another --state",
            Self::Newer { .. } => "use the version that wrote it, or a newer one",
            Self::Older { .. } => {
                "export it with the version that wrote it (`vsiflow audit export`), then make a new \
                 state directory from the export (`vsiflow audit rebuild FILE`)"
            }
            Self::Damaged { .. } => {
                "nothing was changed; `vsiflow audit verify` names the damage, `vsiflow journal repair` says \
                 what can be recovered and repairs the log; otherwise restore a backup"
            }
            Self::Elsewhere { .. } => {
                "use a --state on a local disk, or accept the risk with --allow-network-file-system"
            }
            Self::OwnJournal { .. } => {
                "name another folder with --state, or the journal that this one belongs to (--journal, or none)"
            }
            Self::NotADirectory { .. } => {
                "nothing was changed; name another folder with --state, or move the file away"
            }
            Self::Io { .. } => {
                "check that the disk has room and that this user may read and write it"
            }
        }
    }

    /// The state directory, or the part of it, that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::InUse { path, .. }
            | Self::Newer { path, .. }
            | Self::Older { path, .. }
            | Self::Damaged { path, .. }
            | Self::Elsewhere { path, .. }
            | Self::OwnJournal { path }
            | Self::NotADirectory { path }
            | Self::Io { path, .. } => path,
        }
    }

    pub(super) fn io(path: &Path, doing: &'static str, error: &(dyn Error + 'static)) -> Self {
        let kind = error.downcast_ref().map(io::Error::kind);
        if kind == Some(io::ErrorKind::NotADirectory) {
            return Self::NotADirectory {
                path: path.to_owned(),
            };
        }
        Self::Io {
            path: path.to_owned(),
            doing,
            why: error.to_string(),
        }
    }

    pub(super) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            why: why.into(),
        }
    }

    pub(super) fn journal(path: &Path, error: JournalError) -> Self {
        let path = path.to_owned();
        if let Some(DamageWords { place, why }) = error.damage() {
            let why = format!("{place}: {why}");
            return Self::Damaged { path, why };
        }
        match error {
            JournalError::Newer { what, found, known } => Self::Newer {
                path,
                what: format!("{what} in format"),
                found,
                known,
            },
            other => Self::Io {
                path,
                doing: "opened",
                why: other.to_string(),
            },
        }
    }
}
