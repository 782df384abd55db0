//! Limits the number of event readers, and shares the tail of the journal among them.

mod tail;

use std::sync::Arc;

use vsiflow_workflows::fleet::{Fleet, FleetError};

use self::tail::Tails;
pub(crate) use self::tail::{Tail, TailPage, written};
use super::places::{Place, PlaceLimits, Places};
use crate::{Caller, Problem};

/// Readers at the same time.
const READERS: PlaceLimits = PlaceLimits {
    all: 256,
    looking: 192,
    each: 64,
};

/// Permits for readers, and the shared tail.
pub(crate) struct Watchers {
    places: Places,
    tails: Tails,
}

impl Default for Watchers {
    fn default() -> Self {
        Self {
            places: Places::new(READERS),
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
    pub(crate) fn place(&self, caller: &Caller) -> Result<Place, Problem> {
        let place = self.places.try_take(caller);
        place.ok_or_else(|| Problem::busy("too many readers of events at a time"))
    }
}
