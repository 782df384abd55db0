//! The permit that a store needs before it writes: a valid lease, and room on the disk.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{journal::JournalError, lease::Lease, room::Room};

/// Checked by the threads that write. Clones belong to one store and are closed together.
#[derive(Clone)]
pub(crate) struct WritePermit {
    room: Arc<Room>,
    lease: Arc<Lease>,
    closing: Arc<AtomicBool>,
}

impl WritePermit {
    pub(crate) fn new(room: Arc<Room>, lease: Arc<Lease>) -> Self {
        Self {
            room,
            lease,
            closing: Arc::default(),
        }
    }

    /// Always permits: for stores outside a state directory.
    pub(crate) fn always() -> Self {
        Self::new(Room::boundless(), Lease::endless())
    }

    /// A permit for another store, which is closed separately.
    pub(crate) fn for_another(&self) -> Self {
        Self::new(Arc::clone(&self.room), Arc::clone(&self.lease))
    }

    /// Checks that an event may become durable now.
    ///
    /// # Errors
    /// [`JournalError::LeaseLost`].
    pub(crate) fn to_append(&self) -> Result<(), JournalError> {
        self.lease.check().map_err(|_| JournalError::LeaseLost)
    }

    /// Call it before a file may grow; waits until there is room. Blocks.
    ///
    /// # Errors
    /// When the store is closed while it waits.
    pub(crate) fn to_grow(&self) -> Result<(), JournalError> {
        self.room.wait(&self.closing)
    }

    /// Whether the store is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Notes that no room could be reserved for the log, or that it could be again.
    pub(crate) fn log_is_short(&self, short: bool) {
        self.room.log_is_short(short);
    }

    /// Stops the store from waiting for room, because it is being closed.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}
