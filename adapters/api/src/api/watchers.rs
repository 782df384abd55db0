//! How many read events, and what they all follow.

mod tail;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vsiflow_workflows::fleet::{Fleet, FleetError};

use self::tail::Tails;
pub(crate) use self::tail::{Tail, TailPage, written};
use crate::Problem;

/// Readers at a time.
const AT_A_TIME: usize = 256;

/// Places for readers, and what they all follow.
pub(crate) struct Watchers {
    places: Arc<Semaphore>,
    tails: Tails,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            tails: Tails::default(),
        }
    }
}

impl Watchers {
    /// What comes from now on, read once for all who follow it.
    pub(crate) fn join(&self, fleet: &Fleet) -> Result<Arc<Tail>, FleetError> {
        self.tails.join(fleet)
    }

    /// A place for one more reader, as long as it is held.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| Problem::busy("too many readers of events at a time"))
    }
}
