//! The index: the states of a journal as of an offset, so that a start reads states, not history.
//!
//! It is a sled database that is written some time after the log and is safe to delete: everything
//! in it is computed from the log. Nothing here is synced for durability, and no caller waits for
//! it. Events after its offset are folded from the log.
//!
//! One tree contains one state for each stream, and one header. The header states the offset of the
//! states, and is written in the same batch as they are. The states are used only if
//! - there is no marker of an opening that was killed or hung ([`marker`]),
//! - the machine has not restarted since they were written, because nothing was synced,
//! - they were written with the same fold version ([`header::FOLD_VERSION`]),
//! - the files sync without an error on new descriptors,
//! - the sum over all states is the one in the header ([`sum`]),
//! - the log has a batch that ends at the header's offset, with the same link.
//!
//! Otherwise the folder is moved aside, where it replaces an older one, and an empty index is
//! created. Sled runs in separate threads, because it may fail, panic or hang. The index is then
//! disabled, and the journal continues without it.
//!
//! An index never delays an append, never ends the process, and contains nothing that the log does
//! not.

mod header;
mod load;
mod marker;
mod open;
mod pending;
mod sum;
#[cfg(test)]
mod tests;
mod unusable;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use super::{BatchLink, Offset, States, StatesUpdate};
use crate::permit::WritePermit;
pub(in crate::journal) use open::IndexReading;
use pending::Pending;
pub(in crate::journal) use unusable::Unusable;
use writer::Thread;

/// The facts that an index is compared with.
pub(in crate::journal) struct Facts {
    /// The ID of the machine's current boot.
    pub boot_id: String,
    /// The link of the log's batch that ends right before an offset: `Some(None)` before the first
    /// batch, `None` if no batch ends there.
    pub link_before: LinkBefore,
}

/// See [`Facts::link_before`].
pub(in crate::journal) type LinkBefore = Box<dyn Fn(Offset) -> Option<Option<BatchLink>> + Send>;

/// Time limits for the operations on an index.
#[derive(Clone, Copy, Debug)]
struct IndexDeadlines {
    /// How long updates are gathered before they are written.
    gather: Duration,
    /// For opening and loading it for writing.
    open: Duration,
    /// For opening and loading it for reading.
    read: Duration,
    /// For writing the pending updates when it is closed.
    close: Duration,
}

const PACE: IndexDeadlines = IndexDeadlines {
    gather: Duration::from_millis(200),
    open: Duration::from_secs(60),
    read: Duration::from_secs(20),
    close: Duration::from_secs(10),
};

/// An index that was opened for writing. A disabled index accepts updates and drops them.
///
/// Dropping it does what [`Index::close`] does, and blocks for as long.
pub(in crate::journal) struct Index {
    pending: Arc<Pending>,
    /// A permit of its own, so that closing the index does not stop the journal.
    permit: WritePermit,
    thread: Arc<Thread>,
}

/// The result of opening an index.
pub(in crate::journal) struct OpenedIndex {
    /// The index.
    pub index: Index,
    /// The states in it. If there are none, the first update has to contain every stream.
    pub states: Option<States>,
    /// Why an existing index is not used; none if there was none.
    pub rebuilt: Option<Unusable>,
}

impl Index {
    /// Opens the index in the folder `dir` for writing, or creates it. An unusable one is moved aside
    /// to `dir.aside`. Never fails: at worst the index is disabled. Blocks, for at most a minute for
    /// each step: waiting for another opening, loading the index, closing it, and creating another.
    pub(in crate::journal) fn open(dir: &Path, facts: Facts, permit: WritePermit) -> OpenedIndex {
        open::to_write(dir, facts, permit, PACE)
    }

    /// Begins to read the states of the index in `dir`, for a command that only reads. It syncs and
    /// moves nothing. It changes only what opening a sled database changes, and leaves a marker if
    /// sled panics or hangs. The caller can open the log at the same time.
    pub(in crate::journal) fn begin_read(dir: &Path, boot_id: &str) -> IndexReading {
        IndexReading::of(dir, boot_id)
    }

    /// The states of the index in `dir`, even if the machine has restarted since they were written:
    /// for a repair, which compares them with the log. Blocks, for at most a minute.
    ///
    /// # Errors
    /// Why the states cannot be used.
    pub(in crate::journal) fn peek(dir: &Path) -> Result<States, Unusable> {
        open::to_repair(dir, PACE)
    }

    /// Moves the index in `dir` aside, so that the next start creates another. Blocks.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(in crate::journal) fn discard(dir: &Path) -> std::io::Result<()> {
        open::discard(dir)
    }

    /// Accepts changed states, which are written some time later. Updates must come in the order of
    /// their offsets. Never waits: only the newest state of each stream is held until it is written.
    pub(in crate::journal) fn publish(&self, update: StatesUpdate) {
        self.pending.add(update);
    }

    /// Writes the pending updates and closes the files, within at most ten seconds. Later updates
    /// are dropped.
    ///
    /// Cancel safety: if the future is dropped, the writing thread still closes the index.
    pub(in crate::journal) async fn close(&self) {
        self.end();
        let thread = Arc::clone(&self.thread);
        // Only a runtime that is shutting down refuses this. Then `drop` waits.
        let _ = tokio::task::spawn_blocking(move || thread.wait()).await;
    }

    fn end(&self) {
        self.pending.close();
        self.permit.close();
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.end();
        self.thread.wait();
    }
}
