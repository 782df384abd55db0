//! An image in pieces of one size, and the zeros in them.
//!
//! Every hand-over between tasks and threads costs about as much as hashing tens of KiB, and every piece
//! that is on its way costs memory: the size is a compromise between both.

use bytes::{Bytes, BytesMut};

use super::{ImageStream, SourceError};

/// Bytes of a piece: whole pages, and two packets of libvirt's streams.
pub const PIECE: usize = 2 * 48 * 4_096;

/// What a hole reads as.
static ZEROS: [u8; PIECE] = [0; PIECE];

/// So many zeros, at most [`PIECE`], that take no memory.
pub fn zeros(length: u64) -> Bytes {
    let length = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
    Bytes::from_static(&ZEROS).slice(..length)
}

/// Whether a piece is zeros. Of those from [`zeros`] nothing is read.
pub fn are_zeros(piece: &[u8]) -> bool {
    ZEROS.as_ptr_range().contains(&piece.as_ptr()) || ZEROS.get(..piece.len()) == Some(piece)
}

/// Makes pieces of one size out of whatever comes from a source.
pub struct ContentPieces {
    stream: Box<dyn ImageStream>,
    size: usize,
    left: BytesMut,
    ended: bool,
}

impl ContentPieces {
    /// Pieces of so many bytes, at most [`PIECE`].
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
    /// What the source says. What it gave before that and is no whole piece is lost.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        while self.left.len() < self.size && !self.ended {
            match self.stream.next().await? {
                // Nothing is copied where the source gives pieces of this size.
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

    /// The next piece, and of that at most so many bytes. Not cancel safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_within(&mut self, most: u64) -> Result<Option<Bytes>, SourceError> {
        let Some(mut piece) = self.next().await? else {
            return Ok(None);
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most < piece.len() {
            let mut kept = BytesMut::from(piece.split_off(most));
            kept.extend_from_slice(&self.left);
            self.left = kept;
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
        // What is longer than any hole is looked at in parts.
        assert!(!are_zeros(&vec![0; PIECE + 1]));
    }
}
