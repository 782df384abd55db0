//! When something happens next on a simulated host by itself: a guest prints a line, ends, or a
//! start that was interrupted is over. Each call advances the host; without this one, each would
//! look at every guest.

use std::collections::BTreeSet;

use uuid::Uuid;

/// Domains by the time at which something happens in them, by the host's clock in milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct DueDomains {
    queue: BTreeSet<(u64, Uuid)>,
    /// Whether all that is to come stands in the queue.
    complete: bool,
}

impl DueDomains {
    /// The next domain in which something happened until `now`.
    pub(super) fn next(&mut self, now: u64) -> Option<Uuid> {
        let first = *self.queue.first()?;
        if first.0 > now {
            return None;
        }
        self.queue.pop_first().map(|(_, uuid)| uuid)
    }

    /// Something happens there at that time. More than one time for a domain does no harm.
    pub(super) fn at(&mut self, at: u64, uuid: Uuid) {
        self.queue.insert((at, uuid));
    }

    /// Anything may have been changed: all domains are to be looked at.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether all domains have to be looked at; not again until [`DueDomains::forget`].
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.complete, true)
    }
}
