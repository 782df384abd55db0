//! The journal on PostgreSQL, for a replicated server that must outlive a machine.
//!
//! The records, links and offsets are byte for byte those of a journal on disk, so that an export of one
//! can be rebuilt in the other. A database holds any number of journals, each with a name
//! (`?journal=NAME`, default `default`) and a partition of the table of events.
//!
//! - [`address`]: parses `postgres://…`, libpq's variables and the password file; TLS settings.
//! - [`hold`]: the lease to write: epoch, expiry by the database's clock, take-over.
//! - [`PostgresJournal`]: the port. One thread writes for all, with one statement per group.
//! - [`shards`]: several journals of one database as a set that several processes share.
//! - [`PostgresBlobs`], [`PostgresCheckpoints`], [`PostgresSecrets`]: the stores besides the events.
//!
//! Guarantees:
//! - **One writer.** Every statement that appends compares, under the lock of the journal's row, the
//!   epoch, the lease by the database's clock, and the newest link. If one differs nothing is written. A
//!   process that was suspended and resumes finds a different epoch.
//! - **Nothing twice, nothing lost.** After a lost acknowledgement the link is searched for, after the
//!   epoch was increased, so that no statement of the lost connection can follow. If the link exists,
//!   the group was written; if the previous link exists, the group is sent again; any other link ends
//!   the process: the database was set back, or another one was promoted.
//! - **One line of history.** If two servers of an address accept writes, as after a promotion that left
//!   the old primary running, no lease is taken on either.
//! - **Durable as the server is configured.** `synchronous_commit`, `fsync` and replication are the
//!   operator's choice; [`findings`] explains the consequences. A cancelled wait for a standby does not
//!   count as an acknowledgement.
//!
//! What this crate never does: let the server see a secret, wait without a deadline, or, unless
//! configured to, use a server whose certificate it cannot verify.

pub mod address;
mod bases;
mod clock_back;
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
