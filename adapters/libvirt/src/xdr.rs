//! XDR (RFC 4506) as a serde data format: what libvirt's messages are made of.
//!
//! Structs and tuples are their fields one after another, so a procedure's arguments may be written
//! as a plain tuple. Every integer up to 32 bits takes four bytes, hypers and doubles take eight, a
//! `bool` and an `Option`'s presence are a 0 or a 1. Strings, byte strings and sequences carry a
//! count; strings and byte strings are padded to a multiple of four. A unit enum is its variant's
//! index.
//!
//! Input is hostile until proven otherwise: no count is believed beyond the bytes that are really
//! there, strings end at libvirt's own limit, and bytes left over after the value are an error.

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
    /// The value was complete, but this many bytes were left over.
    #[error("{0} bytes are left over after the value")]
    Trailing(usize),
    /// A count that the limits, or the bytes really there, do not allow.
    #[error("a length of {0} exceeds its limit")]
    TooLong(u64),
    /// A number that its type cannot hold, or a presence flag other than 0 and 1.
    #[error("{0} is out of range")]
    OutOfRange(i64),
    /// A Rust type that XDR, as libvirt uses it, has no form for.
    #[error("{0} has no XDR form")]
    Unsupported(&'static str),
    /// Said by the type being encoded or decoded.
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
/// A string longer than [`STRING_MAX`], a sequence of unknown length, or a type without XDR form.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, XdrError> {
    let mut out = ser::Encoder::default();
    value.serialize(&mut out)?;
    Ok(out.into_bytes())
}

/// Decodes a value that fills the whole input.
///
/// # Errors
/// Input that is too short, too long ([`XdrError::Trailing`]) or not what the type says.
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
