//! The journal on PostgreSQL: for whoever has a replicated server and must outlive a machine.
//!
//! The records, links and offsets are those of a journal on disk, byte for byte, so that an export
//! of one is rebuilt in the other. A database holds any number of journals, each with a name
//! (`?journal=NAME`, `default` where none is said) and a partition of the table of events.
//!
//! - [`address`]: what `postgres://…` says; libpq's variables and password file; TLS.
//! - [`hold`]: the right to write: epoch, lease in the database's clock, take-over.
//! - [`PostgresJournal`]: the port. One thread writes for all, one statement a group.
//! - [`shards`]: several journals of one database as a set that several processes share.
//! - [`PostgresBlobs`], [`PostgresCheckpoints`], [`PostgresSecrets`]: the stores beside it.
//!
//! Guarantees:
//! - **One writer.** Every statement that appends compares, under the lock of the journal's one row,
//!   the epoch, the lease in the database's clock, and the newest link. What does not match writes
//!   nothing. A process that was stopped and wakes finds its epoch gone.
//! - **Nothing twice, nothing lost.** An acknowledgement that did not arrive is looked for by its
//!   link, after the epoch was raised, so that no statement of the lost connection can follow. If the
//!   link is there, the group was written; if the link before it is there, it is sent again; any
//!   other link ends the process: the database was set back, or another one was promoted.
//! - **One line of history.** Where two servers of an address accept writes, as after a promotion that
//!   left the old primary running, the right is given on neither.
//! - **Durable as the server is told to be.** `synchronous_commit`, `fsync` and replication are the
//!   operator's choice; [`findings`] says what it means. A wait for a standby that was cancelled does
//!   not count as an acknowledgement.
//!
//! What this crate never does: it never lets the server see a secret, never waits without a
//! deadline, and never follows a server whose certificate it cannot verify, unless told so.

pub mod address;
mod bases;
mod connection;
mod error;
pub mod findings;
pub mod hold;
mod journal;
mod primaries;
mod reader;
mod renewing;
mod schema;
pub mod seal;
pub mod shards;
mod stores;
#[cfg(test)]
mod tests;
mod tls;
mod writer;

pub use address::JournalAddress;
pub use error::PostgresError;
pub use hold::{Held, JournalIdentity};
pub use journal::PostgresJournal;
pub use stores::{PostgresBlobs, PostgresCheckpoints, PostgresSecrets};
