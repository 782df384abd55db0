//! The times of the next events on a simulated host: a guest prints a line, ends, or an interrupted start
//! is over. Each call advances the host; without this queue each call would check every guest.

use std::collections::BTreeSet;

use uuid::Uuid;

/// Domains by the time of their next event, by the host's clock in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct DueDomains {
    queue: BTreeSet<(u64, Uuid)>,
    /// Whether the queue holds all events to come.
    complete: bool,
}

impl DueDomains {
    /// The next domain with an event up to `now`.
    pub(super) fn next(&mut self, now: u64) -> Option<Uuid> {
        let first = *self.queue.first()?;
        if first.0 > now {
            return None;
        }
        self.queue.pop_first().map(|(_, uuid)| uuid)
    }

    /// Adds an event of a domain. Several times for one domain do no harm.
    pub(super) fn at(&mut self, at: u64, uuid: Uuid) {
        self.queue.insert((at, uuid));
    }

    /// Drops the queue after any change: all domains have to be checked.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether all domains have to be checked; afterwards not until [`DueDomains::forget`].
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.complete, true)
    }
}
