//! Limits the number of event readers, and shares the tail of the journal among them.

mod tail;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vsiflow_workflows::fleet::{Fleet, FleetError};

use self::tail::Tails;
pub(crate) use self::tail::{Tail, TailPage, written};
use crate::Problem;

/// Readers at the same time.
const MAX_READERS: usize = 256;

/// Permits for readers, and the shared tail.
pub(crate) struct Watchers {
    places: Arc<Semaphore>,
    tails: Tails,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_READERS)),
            tails: Tails::default(),
        }
    }
}

impl Watchers {
    /// The events from now on, read once for all readers that follow them.
    pub(crate) fn join(&self, fleet: &Fleet) -> Result<Arc<Tail>, FleetError> {
        self.tails.join(fleet)
    }

    /// A permit for one more reader, as long as it is held.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| Problem::busy("too many readers of events at a time"))
    }
}
