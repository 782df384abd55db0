//! The index: the states of a journal as of an offset, so that a start reads states, not history.
//!
//! It is a sled database that is written behind, and thrown away without a thought: everything in
//! it is made of the log. Nothing here is synced for durability, and nobody waits for it. What it
//! lags behind is folded from the log.
//!
//! One tree holds a state a stream and one header. A header says as of which offset the states
//! are, and stands in the batch of the states it speaks of. States are used as found only if
//! - no opening that was killed or hung left its marker ([`marker`]),
//! - the machine has not restarted since they were written, for nothing was synced,
//! - this version folds as the one that wrote them ([`header::FOLD_VERSION`]),
//! - the files sync without an error on fresh descriptors,
//! - the sum over all states is the header's ([`sum`]),
//! - the log has a batch that ends where the header says, with the same link.
//!
//! In every other case the folder is put aside, the newest one alone, and an empty one is made.
//! Sled runs in threads of this module's own, where it may fail, panic and hang: an index is then
//! out of use, and the journal continues without.
//!
//! What an index never does: it holds up no append, ends no process, and knows nothing that the
//! log does not.

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
use crate::permit::Permit;
pub(in crate::journal) use open::IndexReading;
use pending::Pending;
pub(in crate::journal) use unusable::Unusable;
use writer::Thread;

/// What an index is held against.
pub(in crate::journal) struct Facts {
    /// Says which start of the machine this is.
    pub boot_id: String,
    /// The link of the log's batch that ends right before an offset, which is none before the
    /// first batch; nothing where no batch of the log ends there.
    pub link_before: LinkBefore,
}

/// See [`Facts::link_before`].
pub(in crate::journal) type LinkBefore = Box<dyn Fn(Offset) -> Option<Option<BatchLink>> + Send>;

/// How long things take at the most.
#[derive(Clone, Copy, Debug)]
struct IndexDeadlines {
    /// Updates are gathered for so long before they are written.
    gather: Duration,
    /// Opening and loading to work.
    open: Duration,
    /// Opening and loading to read.
    read: Duration,
    /// Writing what is left when it is closed.
    close: Duration,
}

const PACE: IndexDeadlines = IndexDeadlines {
    gather: Duration::from_millis(200),
    open: Duration::from_secs(60),
    read: Duration::from_secs(20),
    close: Duration::from_secs(10),
};

/// An index that was opened to be written. Where it cannot be used it takes updates all the same
/// and drops them.
///
/// Dropping it does what [`Index::close`] does, and blocks for as long.
pub(in crate::journal) struct Index {
    pending: Arc<Pending>,
    /// Not the journal's own: that one may go on to write.
    permit: Permit,
    thread: Arc<Thread>,
}

/// What an opened index had to say.
pub(in crate::journal) struct OpenedIndex {
    /// The index.
    pub index: Index,
    /// The states in it. Where there are none, the first update has to hold every stream.
    pub states: Option<States>,
    /// Why what was found is not used; none where nothing was found.
    pub rebuilt: Option<Unusable>,
}

impl Index {
    /// Opens the index in the folder `dir`, to be written, or makes it. What cannot be used is put
    /// aside as `dir.aside`. Never fails: at the worst it is an index that keeps nothing. Blocks,
    /// for a minute at the most for each of opening what is there and making it anew.
    pub(in crate::journal) fn open(dir: &Path, facts: Facts, permit: Permit) -> OpenedIndex {
        open::to_write(dir, facts, permit, PACE)
    }

    /// Begins to read the states in the index in `dir`, for a command that only reads: it syncs,
    /// moves and makes nothing, but for what sled itself writes when it opens a database, and a
    /// marker where sled panics or hangs. Others may open the log meanwhile.
    pub(in crate::journal) fn begin_read(dir: &Path, boot_id: &str) -> IndexReading {
        IndexReading::of(dir, boot_id)
    }

    /// The states in the index in `dir`, also those that another start of the machine wrote: for a
    /// repair, which holds them against the log itself. Blocks, for a minute at the most.
    ///
    /// # Errors
    /// Why there are none.
    pub(in crate::journal) fn peek(dir: &Path) -> Result<States, Unusable> {
        open::to_repair(dir, PACE)
    }

    /// Puts the index in `dir` aside, so that the next start makes another. Blocks.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub(in crate::journal) fn discard(dir: &Path) -> std::io::Result<()> {
        open::discard(dir)
    }

    /// Takes changed states in, to be written some time later; updates come in the order of their
    /// offsets. Never waits: of a stream only the newest state is kept until it is written.
    pub(in crate::journal) fn publish(&self, update: StatesUpdate) {
        self.pending.add(update);
    }

    /// Writes what is pending and closes the files, for ten seconds at the most. Updates that come
    /// later are dropped.
    ///
    /// Cancel safety: dropping the future leaves the closing to its thread.
    pub(in crate::journal) async fn close(&self) {
        self.end();
        let thread = Arc::clone(&self.thread);
        // Only a runtime that is ending refuses this, and then the drop waits.
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
