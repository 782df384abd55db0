//! XDR (RFC 4506), the encoding of libvirt's messages, as a serde data format.
//!
//! Structs and tuples are their fields one after another, so a procedure's arguments can be a plain tuple.
//! Every integer up to 32 bits has four bytes, hypers and doubles have eight. A `bool`, and the presence of
//! an `Option`, is 0 or 1. Strings, byte strings and sequences begin with a count; strings and byte strings
//! are padded to a multiple of four. A unit enum is the index of its variant.
//!
//! Input is untrusted: a count is limited by the bytes that are really present, strings by libvirt's own
//! limit, and bytes left over after the value are an error.

mod de;
mod ser;

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// The longest string or byte string, in bytes (`REMOTE_STRING_MAX` in libvirt's
/// `src/remote/remote_protocol.x`).
pub const STRING_MAX: usize = 4_194_304;

/// Why a value could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XdrError {
    /// The input ended in the middle of a value.
    #[error("the message ends in the middle of a value")]
    Truncated,
    /// The value is complete, but this many bytes follow.
    #[error("{0} bytes are left over after the value")]
    Trailing(usize),
    /// A count exceeds the limits, or the bytes that are present.
    #[error("a length of {0} exceeds its limit")]
    TooLong(u64),
    /// A number does not fit its type, or a presence flag is neither 0 nor 1.
    #[error("{0} is out of range")]
    OutOfRange(i64),
    /// XDR, as libvirt uses it, has no encoding for a Rust type.
    #[error("{0} has no XDR form")]
    Unsupported(&'static str),
    /// A message of the type that is encoded or decoded.
    #[error("{0}")]
    Custom(String),
}

impl serde::ser::Error for XdrError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl serde::de::Error for XdrError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Encodes a value.
///
/// # Errors
/// A string longer than [`STRING_MAX`], a sequence of unknown length, or a type without an XDR encoding.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, XdrError> {
    let mut out = ser::Encoder::default();
    value.serialize(&mut out)?;
    Ok(out.into_bytes())
}

/// Decodes a value that fills the whole input.
///
/// # Errors
/// The input is too short, too long ([`XdrError::Trailing`]), or does not match the type.
pub fn from_bytes<T: DeserializeOwned>(input: &[u8]) -> Result<T, XdrError> {
    let mut decoder = de::Decoder::new(input);
    let value = T::deserialize(&mut decoder)?;
    match decoder.remaining() {
        0 => Ok(value),
        left => Err(XdrError::Trailing(left)),
    }
}

/// How many zero bytes follow a byte string of this length.
const fn padding(length: usize) -> usize {
    (4 - length % 4) % 4
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
