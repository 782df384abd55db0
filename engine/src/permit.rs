//! What has to be so before a store writes: a lease that is held, and room on the disk.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::{journal::JournalError, lease::Lease, room::Room};

/// Asked by the threads that write. Clones belong to one store and are closed together.
#[derive(Clone)]
pub(crate) struct Permit {
    room: Arc<Room>,
    lease: Arc<Lease>,
    closing: Arc<AtomicBool>,
}

impl Permit {
    pub(crate) fn new(room: Arc<Room>, lease: Arc<Lease>) -> Self {
        Self {
            room,
            lease,
            closing: Arc::default(),
        }
    }

    /// For stores outside a state directory.
    pub(crate) fn always() -> Self {
        Self::new(Room::boundless(), Lease::endless())
    }

    /// The same for another store, which is closed for itself.
    pub(crate) fn for_another(&self) -> Self {
        Self::new(Arc::clone(&self.room), Arc::clone(&self.lease))
    }

    /// Before an event becomes durable.
    ///
    /// # Errors
    /// [`JournalError::LeaseLost`].
    pub(crate) fn to_append(&self) -> Result<(), JournalError> {
        self.lease.check().map_err(|_| JournalError::LeaseLost)
    }

    /// Before a file may get longer; waits until there is room. Blocks.
    ///
    /// # Errors
    /// When the store is closed meanwhile.
    pub(crate) fn to_grow(&self) -> Result<(), JournalError> {
        self.room.wait(&self.closing)
    }

    /// Whether the store is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Tells that no room could be set aside for the log, or that it could again.
    pub(crate) fn log_is_short(&self, short: bool) {
        self.room.log_is_short(short);
    }

    /// Lets the store wait no more, since it is being closed.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}
