//! Splits an image into pieces of one size, and recognises zeros in them.
//!
//! Each transfer of a piece between tasks and threads costs about as much as hashing tens of KiB, and
//! each piece in transit costs memory: the size is a compromise between both.

use bytes::{Bytes, BytesMut};

use super::{ImageStream, SourceError};

/// The size of a piece in bytes: whole pages, and two packets of libvirt's streams.
pub const PIECE: usize = 2 * 48 * 4_096;

/// The content of a hole.
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Returns `length` zeros, at most [`PIECE`], that allocate no memory.
pub fn zeros(length: u64) -> Bytes {
    let length = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
    Bytes::from_static(&ZEROS).slice(..length)
}

/// Whether a piece is all zeros. Bytes from [`zeros`] are recognised without reading them.
pub fn are_zeros(piece: &[u8]) -> bool {
    ZEROS.as_ptr_range().contains(&piece.as_ptr()) || ZEROS.get(..piece.len()) == Some(piece)
}

/// Regroups the bytes of a source into pieces of one size.
pub struct ContentPieces {
    stream: Box<dyn ImageStream>,
    size: usize,
    left: BytesMut,
    ended: bool,
}

impl ContentPieces {
    /// Pieces of `size` bytes, at most [`PIECE`].
    pub fn new(stream: Box<dyn ImageStream>, size: usize) -> Self {
        Self {
            stream,
            size: size.clamp(1, PIECE),
            left: BytesMut::new(),
            ended: false,
        }
    }

    /// The next piece; shorter only at the end. Not cancel safe.
    ///
    /// # Errors
    /// The source's error. Bytes before it that did not fill a piece are lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        while self.left.len() < self.size && !self.ended {
            match self.stream.next().await? {
                // Nothing is copied if the source returns pieces of this size.
                Some(piece) if self.left.is_empty() && piece.len() == self.size => {
                    return Ok(Some(piece));
                }
                Some(piece) => {
                    self.left.reserve(self.size.max(piece.len()));
                    self.left.extend_from_slice(&piece);
                }
                None => self.ended = true,
            }
        }
        let next = self.left.split_to(self.size.min(self.left.len()));
        Ok((!next.is_empty()).then(|| next.freeze()))
    }

    /// The next piece, cut to at most `most` bytes. Not cancel safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_within(&mut self, most: u64) -> Result<Option<Bytes>, SourceError> {
        let Some(mut piece) = self.next().await? else {
            return Ok(None);
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most < piece.len() {
            let mut rest = BytesMut::from(piece.split_off(most));
            rest.extend_from_slice(&self.left);
            self.left = rest;
        }
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_known_by_their_place_and_by_their_bytes() {
        let hole = zeros(u64::MAX);
        assert_eq!(hole.len(), PIECE);
        assert_eq!(zeros(7).len(), 7);
        assert!(are_zeros(&hole) && are_zeros(&hole.slice(4_096..5_000)));
        let mut bytes = vec![0; PIECE];
        assert!(are_zeros(&bytes) && are_zeros(&bytes[..1]) && are_zeros(&[]));
        bytes[PIECE - 1] = 1;
        assert!(!are_zeros(&bytes) && are_zeros(&bytes[..PIECE - 1]));
        // A piece longer than a hole is checked in parts.
        assert!(!are_zeros(&vec![0; PIECE + 1]));
    }
}
