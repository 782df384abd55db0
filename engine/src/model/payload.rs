//! Payloads of events: parameters, outputs and desired states, inline or as a blob.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest payload stored inside an event, in bytes. A longer one is a blob.
pub const INLINE_MAX: usize = 3072;

/// A SHA-256.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self
            .0
            .iter()
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16));
        f.write_str(&digits.collect::<String>())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Parameters, outputs and desired states: JSON text, inside the event or in a blob.
///
/// A blob is durable before the event that names it (see [`crate::blob`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Payload {
    /// At most [`INLINE_MAX`] bytes, stored in the event.
    Inline(Vec<u8>),
    /// Stored beside the journal, named by its content.
    Blob {
        /// The content's SHA-256.
        hash: Hash,
        /// The content's length in bytes.
        len: u64,
    },
}

impl Default for Payload {
    fn default() -> Self {
        Self::Inline(b"null".to_vec())
    }
}

impl Payload {
    /// The bytes if they are stored in the event.
    pub fn inline(&self) -> Option<&[u8]> {
        match self {
            Self::Inline(bytes) => Some(bytes),
            Self::Blob { .. } => None,
        }
    }

    /// The most bytes that it needs in a record.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len() + 6,
            Self::Blob { .. } => 42,
        }
    }
}
