//! Limits how much is done at the same time: in total, and for one namespace.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{Refusal, TURN_WAIT};

/// Turns that namespaces share. A slow host or client occupies turns of its own namespace, not of another one.
#[derive(Debug)]
pub(super) struct NamespaceTurns {
    all: Arc<Semaphore>,
    each: usize,
    own: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A turn in both limits.
pub(super) struct NamespaceTurn {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl NamespaceTurns {
    /// So many turns in total, and for each namespace.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            own: Mutex::default(),
        }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self, namespace: &str) -> Result<NamespaceTurn, Refusal> {
        let own = timeout(TURN_WAIT, self.own(namespace).acquire_owned()).await;
        let all = timeout(TURN_WAIT, self.all.clone().acquire_owned()).await;
        let (Ok(Ok(own)), Ok(Ok(all))) = (own, all) else {
            return Err(Refusal::busy());
        };
        Ok(NamespaceTurn {
            _own: own,
            _all: all,
        })
    }

    /// A turn, if there is one now.
    pub(super) fn turn_now(&self, namespace: &str) -> Result<NamespaceTurn, Refusal> {
        let own = self.own(namespace).try_acquire_owned();
        let all = self.all.clone().try_acquire_owned();
        let (Ok(own), Ok(all)) = (own, all) else {
            return Err(Refusal::busy());
        };
        Ok(NamespaceTurn {
            _own: own,
            _all: all,
        })
    }

    fn own(&self, namespace: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|_, turns| turns.strong_count() > 0);
        let known = own.get(namespace).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(self.each));
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
        let turns = NamespaceTurns::new(32, 8);
        let mut held = Vec::new();
        for _ in 0..8 {
            held.push(turns.turn("shop").await.unwrap());
        }
        assert!(turns.turn("shop").await.is_err());
        assert!(turns.turn_now("shop").is_err());
        for place in ["a", "b", "c"] {
            assert!(turns.turn(place).await.is_ok());
            assert!(turns.turn_now(place).is_ok());
        }
        held.pop();
        assert!(turns.turn("shop").await.is_ok());
        drop(held);
        turns.own("a");
        let own = turns.own.lock().unwrap();
        assert_eq!(own.len(), 1, "who sends nothing is forgotten");
    }
}
