//! What is sent of a file, and why it is not taken.

use bytes::Bytes;
use vsiflow_steps::ports::SourceInfo;

use super::PIECE;

/// A file that is sent.
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

/// Somebody who reads a file, and the byte that they need next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayReader {
    /// Its number.
    pub id: u64,
    /// The byte.
    pub from: u64,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayRefusal {
    /// Nobody began that upload here, or it is over.
    #[error("no such upload was begun, or it is over")]
    Unknown,
    /// Nobody reads there any more.
    #[error("the receiving side has stopped reading")]
    NoReader,
    /// The reader needs another byte next.
    #[error("byte {0} is needed next")]
    Elsewhere(u64),
    /// The reader took nothing for a while.
    #[error("the reader takes nothing at present; byte {0} is needed next")]
    Slow(u64),
    /// There is more than the file has.
    #[error("the file has fewer bytes")]
    TooLong,
    /// There are too many uploads.
    #[error("too many uploads at a time")]
    Busy,
    /// Another file is sent under the name.
    #[error("another file is sent under this name")]
    Another,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum SentPiece {
    /// These bytes.
    Data(Bytes),
    /// So many zeros.
    Zeros(u64),
}

impl SentPiece {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// Cuts off what goes first.
    pub(super) fn first(&mut self) -> Self {
        match self {
            Self::Data(bytes) => Self::Data(bytes.split_to(bytes.len().min(PIECE))),
            Self::Zeros(length) => Self::Zeros(std::mem::take(length)),
        }
    }
}
