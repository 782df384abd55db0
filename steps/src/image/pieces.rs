//! An image in pieces of one size, and the zeros in them.

use bytes::{Bytes, BytesMut};

use crate::ports::{ImageStream, SourceError};

/// As long as a packet to a host may be, and whole pages.
pub(super) const PIECE: usize = 48 * 4_096;
/// So many zeros together are a hole.
const HOLE: usize = 16 * 4_096;

/// Makes pieces of one size out of whatever comes from a source.
pub(super) struct ContentPieces {
    stream: Box<dyn ImageStream>,
    size: usize,
    left: BytesMut,
    ended: bool,
}

impl ContentPieces {
    pub(super) fn new(stream: Box<dyn ImageStream>, size: usize) -> Self {
        Self {
            stream,
            size: size.clamp(1, PIECE),
            left: BytesMut::new(),
            ended: false,
        }
    }

    /// The next piece; shorter only at the end. Not cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
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
    pub(super) async fn next_within(&mut self, most: u64) -> Result<Option<Bytes>, SourceError> {
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

/// A part of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ImagePart {
    /// Bytes to send.
    Data(Bytes),
    /// So many zeros.
    Hole(u64),
}

/// Tells long runs of zeros from the rest.
pub(super) fn parts(piece: &Bytes) -> Vec<ImagePart> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < piece.len() {
        let is_hole = hole_at(piece, at);
        let mut end = at;
        while end < piece.len() && hole_at(piece, end) == is_hole {
            end = end.saturating_add(HOLE).min(piece.len());
        }
        parts.push(if is_hole {
            ImagePart::Hole(end.saturating_sub(at) as u64)
        } else {
            ImagePart::Data(piece.slice(at..end))
        });
        at = end;
    }
    parts
}

fn hole_at(piece: &Bytes, at: usize) -> bool {
    let end = at.saturating_add(HOLE).min(piece.len());
    let block = piece.get(at..end).unwrap_or_default();
    block.len() >= HOLE.min(piece.len()) && ZEROS.get(..block.len()) == Some(block)
}

/// Compared with as a whole, which is many times as fast as byte by byte.
static ZEROS: [u8; HOLE] = [0; HOLE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_told_from_data() {
        let zeros = |n: usize| Bytes::from(vec![0; n]);
        assert_eq!(parts(&zeros(PIECE)), [ImagePart::Hole(PIECE as u64)]);
        assert_eq!(parts(&zeros(2 * HOLE)), [ImagePart::Hole(2 * HOLE as u64)]);
        let mut mixed = vec![0; 4 * HOLE];
        mixed[2 * HOLE + 5] = 1;
        let parts = parts(&Bytes::from(mixed));
        assert_eq!(parts[0], ImagePart::Hole(2 * HOLE as u64));
        assert!(matches!(&parts[1], ImagePart::Data(data) if data.len() == HOLE));
        assert_eq!(parts[2], ImagePart::Hole(HOLE as u64));
    }
}
