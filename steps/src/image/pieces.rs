//! Finds runs of zeros in the pieces of an image.

use bytes::Bytes;

use crate::ports::pieces::are_zeros;

/// Minimum length of a hole, in bytes.
const HOLE: usize = 16 * 4_096;

/// A part of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PiecePart {
    /// Bytes to send.
    Data(Bytes),
    /// A number of zeros.
    Hole(u64),
}

/// Splits a piece into long runs of zeros and other bytes.
pub(super) fn parts(piece: &Bytes) -> Vec<PiecePart> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < piece.len() {
        let is_hole = hole_at(piece, start);
        let mut end = start;
        while end < piece.len() && hole_at(piece, end) == is_hole {
            end = end.saturating_add(HOLE).min(piece.len());
        }
        parts.push(if is_hole {
            PiecePart::Hole(end.saturating_sub(start) as u64)
        } else {
            PiecePart::Data(piece.slice(start..end))
        });
        start = end;
    }
    parts
}

fn hole_at(piece: &Bytes, at: usize) -> bool {
    let end = at.saturating_add(HOLE).min(piece.len());
    let block = piece.get(at..end).unwrap_or_default();
    block.len() >= HOLE.min(piece.len()) && are_zeros(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::pieces::PIECE;

    #[test]
    fn zeros_are_told_from_data() {
        let zeros = |n: usize| Bytes::from(vec![0; n]);
        assert_eq!(parts(&zeros(PIECE)), [PiecePart::Hole(PIECE as u64)]);
        assert_eq!(parts(&zeros(2 * HOLE)), [PiecePart::Hole(2 * HOLE as u64)]);
        let mut mixed = vec![0; 4 * HOLE];
        mixed[2 * HOLE + 5] = 1;
        let parts = parts(&Bytes::from(mixed));
        assert_eq!(parts[0], PiecePart::Hole(2 * HOLE as u64));
        assert!(matches!(&parts[1], PiecePart::Data(data) if data.len() == HOLE));
        assert_eq!(parts[2], PiecePart::Hole(HOLE as u64));
    }
}
