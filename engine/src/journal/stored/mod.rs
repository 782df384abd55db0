//! The stored form of the types in a journal, separate from the types of [`crate::model`].
//!
//! Each version of the format is a module of its own. It can always read what it once wrote, even
//! when [`crate::model`] changes. Today there is one version.

pub(in crate::journal) mod states;
pub(super) mod v1;

use bincode::error::{AllowedEnumVariants, DecodeError};

/// The most bytes that a decoder may allocate for a record. The types in memory are a few times
/// larger than their stored bytes, which are at most [`super::RECORD_MAX`].
const DECODE_LIMIT: usize = 64 * 1024;

/// The codec's settings; they are part of the format.
const fn codec() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<DECODE_LIMIT>()
}

/// A stored type that mirrors the type `M` of the program.
pub(super) trait Mirror<M>: Sized {
    /// The stored form.
    fn store(model: &M) -> Self;

    /// The program's form; an error if the stored one breaks its rules.
    fn restore(self) -> Result<M, Unreadable>;
}

/// Why stored bytes could not be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A later version wrote them: the number of a variant, codec or format is unknown.
    Newer { found: u32, known: u32 },
    /// Bytes that no version wrote.
    Damaged(String),
}

impl From<DecodeError> for Unreadable {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnexpectedVariant { found, allowed, .. } if found > newest(allowed) => {
                Self::Newer {
                    found,
                    known: newest(allowed),
                }
            }
            other => Self::Damaged(other.to_string()),
        }
    }
}

fn newest(allowed: &AllowedEnumVariants) -> u32 {
    match allowed {
        AllowedEnumVariants::Range { max, .. } => *max,
        AllowedEnumVariants::Allowed(all) => all.iter().copied().max().unwrap_or_default(),
        _ => u32::MAX,
    }
}

/// Appends the encoding of `value` to `bytes`.
pub(super) fn encode(
    value: impl bincode::Encode,
    bytes: &mut Vec<u8>,
) -> Result<(), bincode::error::EncodeError> {
    bincode::encode_into_std_write(value, bytes, codec()).map(drop)
}

/// Decodes a value from the front of `bytes`, and returns it with the rest.
pub(super) fn decode<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<(T, &[u8]), Unreadable> {
    let (value, used) = bincode::decode_from_slice(bytes, codec())?;
    Ok((value, bytes.get(used..).unwrap_or_default()))
}
