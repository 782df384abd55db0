//! Limits how many pieces of files are received at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::subresources::{Refusal, TURN_WAIT};

/// Pieces that are received at the same time, in total and for one namespace.
const PIECES: usize = 64;
const OWN_PIECES: usize = 16;

/// Turns to send a piece. A slow client occupies a turn of its own namespace, not of another one.
#[derive(Debug)]
pub(in crate::subresources) struct PieceTurns {
    all: Semaphore,
    own: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A turn in both limits.
pub(super) struct PieceTurn<'a> {
    _own: OwnedSemaphorePermit,
    _all: SemaphorePermit<'a>,
}

impl Default for PieceTurns {
    fn default() -> Self {
        Self {
            all: Semaphore::new(PIECES),
            own: Mutex::default(),
        }
    }
}

impl PieceTurns {
    pub(super) async fn turn(&self, namespace: &str) -> Result<PieceTurn<'_>, Refusal> {
        let own = timeout(TURN_WAIT, self.own(namespace).acquire_owned()).await;
        let (Ok(Ok(own)), Ok(Ok(all))) = (own, timeout(TURN_WAIT, self.all.acquire()).await) else {
            return Err(Refusal::busy());
        };
        Ok(PieceTurn {
            _own: own,
            _all: all,
        })
    }

    fn own(&self, namespace: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|_, turns| turns.strong_count() > 0);
        let known = own.get(namespace).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(OWN_PIECES));
            own.insert(namespace.to_owned(), Arc::downgrade(&turns));
            turns
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_namespace_takes_no_other_ones_turns() {
        let turns = PieceTurns::default();
        let mut held = Vec::new();
        for _ in 0..OWN_PIECES {
            held.push(turns.turn("shop").await.unwrap());
        }
        assert!(turns.turn("shop").await.is_err());
        for place in ["a", "b", "c"] {
            assert!(turns.turn(place).await.is_ok());
        }
        held.pop();
        assert!(turns.turn("shop").await.is_ok());
        drop(held);
        turns.own("a");
        let own = turns.own.lock().unwrap();
        assert_eq!(own.len(), 1, "who sends nothing is forgotten");
    }
}
