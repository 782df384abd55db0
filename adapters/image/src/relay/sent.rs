//! The files and pieces that senders send, and why they are refused.

use bytes::Bytes;
use vsiflow_steps::ports::SourceInfo;

use super::PIECE;

/// A file that is being sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentFile {
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256: 64 hexadecimal digits in lower case.
    pub sha256: String,
}

impl SentFile {
    pub(super) fn info(&self) -> SourceInfo {
        SourceInfo {
            length: Some(self.length),
            validator: Some(format!("sha256:{}", self.sha256)),
        }
    }
}

/// A reader of a file, and the byte that it needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayReader {
    /// The reader's number.
    pub id: u64,
    /// The offset of the next byte.
    pub from: u64,
}

/// Why bytes were not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayRefusal {
    /// No such upload was begun here, or it has ended.
    #[error("no such upload was begun, or it has ended")]
    Unknown,
    /// The reader has ended.
    #[error("the receiving side has stopped reading")]
    NoReader,
    /// The reader needs another byte next.
    #[error("byte {0} is needed next")]
    Elsewhere(u64),
    /// The reader accepted nothing for a while.
    #[error("the reader takes nothing at present; byte {0} is needed next")]
    Slow(u64),
    /// The bytes extend beyond the end of the file.
    #[error("the file has fewer bytes")]
    TooLong,
    /// There are too many uploads.
    #[error("too many uploads at a time")]
    Busy,
    /// Another file is being sent under this name.
    #[error("another file is sent under this name")]
    Another,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub enum SentPiece {
    /// These bytes.
    Data(Bytes),
    /// This many zeros.
    Zeros(u64),
}

impl SentPiece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// Splits off the first piece.
    pub(super) fn first(&mut self) -> Self {
        match self {
            Self::Data(bytes) => Self::Data(bytes.split_to(bytes.len().min(PIECE))),
            Self::Zeros(length) => Self::Zeros(std::mem::take(length)),
        }
    }
}
