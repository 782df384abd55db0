//! Shares one hash between all uploads that send the same bytes at the same time.
//!
//! A source that is read once for several hosts hands all of them the same piece of memory. Uploads that
//! hashed equal bytes before the piece get the same hash after it, so the first one computes it and the
//! others wait for it. Pieces are the same if they have the same address in memory, which stays allocated
//! while it is compared. The source's URL is not compared.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OnceCell;
use vsiflow_engine::model::Failure;

use super::hash::{HashState, RunningHash};

/// Number of pieces that are remembered: the hosts of one read may be fewer pieces apart.
const REMEMBERED: usize = 128;

/// The newest pieces, with their hashes.
#[derive(Default)]
pub(super) struct SharedHashes(Mutex<VecDeque<HashedPiece>>);

struct HashedPiece {
    before: HashState,
    piece: Bytes,
    after: Arc<OnceCell<RunningHash>>,
}

impl HashedPiece {
    fn is(&self, before: &HashState, piece: &Bytes) -> bool {
        self.piece.as_ptr_range() == piece.as_ptr_range() && self.before == *before
    }
}

impl SharedHashes {
    /// Adds a piece to the hash.
    ///
    /// Cancel safe: another upload that waits for the piece then computes it.
    pub(super) async fn add(
        &self,
        hash: RunningHash,
        piece: &Bytes,
    ) -> Result<RunningHash, Failure> {
        // No other upload shares it.
        if piece.is_unique() {
            self.forget_unshared();
            return hash.add(piece.clone()).await;
        }
        let result = self.after(&hash, piece);
        let hashed = result.get_or_try_init(|| hash.add(piece.clone())).await?;
        Ok(hashed.clone())
    }

    fn after(&self, hash: &RunningHash, piece: &Bytes) -> Arc<OnceCell<RunningHash>> {
        let state = hash.serialized();
        let mut pieces = self.pieces();
        if let Some(hashed) = pieces.iter().find(|hashed| hashed.is(&state, piece)) {
            return hashed.after.clone();
        }
        forget_unshared(&mut pieces);
        if pieces.len() >= REMEMBERED {
            pieces.pop_front();
        }
        let result = Arc::default();
        pieces.push_back(HashedPiece {
            before: state,
            piece: piece.clone(),
            after: Arc::clone(&result),
        });
        result
    }

    /// Releases all pieces; an upload that still sends one hashes it again.
    pub(super) fn forget(&self) {
        self.pieces().clear();
    }

    fn forget_unshared(&self) {
        forget_unshared(&mut self.pieces());
    }

    fn pieces(&self) -> MutexGuard<'_, VecDeque<HashedPiece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops pieces that no upload holds any more: they cannot come again.
fn forget_unshared(pieces: &mut VecDeque<HashedPiece>) {
    pieces.retain(|hashed| !hashed.piece.is_unique());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::pieces::zeros;
    use vsiflow_engine::model::Hash;

    fn piece(of: u8) -> Bytes {
        Bytes::from(vec![of; 100_000])
    }

    #[tokio::test]
    async fn those_who_send_the_same_memory_share_a_hash_and_no_others_do() {
        let hashes = SharedHashes::default();
        let (first, second) = (piece(1), piece(2));
        let (of_one, of_two) = (first.clone(), first.clone());
        let one = hashes.add(RunningHash::default(), &of_one);
        let two = hashes.add(RunningHash::default(), &of_two);
        let (one, two) = tokio::try_join!(one, two).unwrap();
        assert_eq!(hashes.pieces().len(), 1);
        // The same piece after other bytes.
        let again = hashes.add(one.clone(), &first.clone()).await.unwrap();
        let other = hashes.add(two.clone(), &second.clone()).await.unwrap();
        assert_eq!(hashes.pieces().len(), 3);
        let expected = |parts: &[&Bytes]| {
            Hash::of(
                &parts
                    .iter()
                    .flat_map(|part| part.to_vec())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(one.end(), expected(&[&first]));
        assert_eq!(two.end(), expected(&[&first]));
        assert_eq!(again.end(), expected(&[&first, &first]));
        assert_eq!(other.end(), expected(&[&first, &second]));
        // A part of it is another piece, even one that begins with it.
        let half = first.slice(..50_000);
        let hash = hashes.add(RunningHash::default(), &half).await.unwrap();
        assert_eq!(hash.end(), expected(&[&half]));
    }

    #[tokio::test]
    async fn nothing_is_held_of_what_nobody_shares_and_little_of_what_is_shared() {
        let hashes = SharedHashes::default();
        let mut hash = RunningHash::default();
        for n in 0..100 {
            hash = hashes.add(hash, &piece(n)).await.unwrap();
        }
        assert!(hashes.pieces().is_empty());
        let mut others = VecDeque::new();
        for n in 0..100 {
            let shared = piece(n);
            others.push_back(shared.clone());
            others.drain(..others.len().saturating_sub(3));
            hash = hashes.add(hash, &shared).await.unwrap();
        }
        assert!(hashes.pieces().len() <= 4, "{}", hashes.pieces().len());
        drop(others);
        hash = hashes.add(hash, &piece(100)).await.unwrap();
        assert!(hashes.pieces().is_empty());
        // Any number of zeros needs no memory.
        for _ in 0..2 * REMEMBERED {
            hash = hashes.add(hash, &zeros(100_000)).await.unwrap();
        }
        assert_eq!(hashes.pieces().len(), REMEMBERED);
        hashes.forget();
        assert!(hashes.pieces().is_empty());
    }
}
