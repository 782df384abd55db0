//! A set of journals in one database, which several processes share.
//!
//! One journal is limited to one process. A set has a fixed number of journals, chosen once, named
//! `NAME.0`, `NAME.1`, …: each is an ordinary journal of this crate, with its own epoch, lease and
//! chain. A process takes and releases whole journals, so that nothing ever moves between two of them.
//! This module has what the journals of a set share:
//!
//! - [`ShardSet`]: the number of journals, and their addresses.
//! - [`processes`]: which processes are alive, so that each can compute its share of the journals.
//! - [`owners`]: which journal a host, a machine and a name belong to.
//! - `limits`: which namespaces have quotas.
//! - [`requests`]: requests to the holder of a journal, wherever it runs.
//!
//! Guarantees:
//! - **A host belongs to one journal for good.** It is assigned when it is first seen, under the lock of
//!   the set's row, and no statement here changes an assignment. A machine (its `machine-id`) belongs to
//!   the journal that met it first, whatever addresses lead to it.
//! - **A name belongs to one journal.** It passes to another one only after its journal reports that the
//!   object is deleted, and never while something is being recorded under it.
//! - **A request is carried out at least once, or answered as unknown.** It is stored until the holder
//!   of its journal answered it. If a holder dies, the next one carries its request out again if that is
//!   harmless; otherwise the answer says that it was started. Only a holder with a valid lease takes
//!   requests.
//!
//! - **A request and its answer come from a process with the key of the journal's secrets.** Both have a MAC.
//!   A holder takes a request once, and only within 15 minutes after it was sent (`accepted.rs`). Clocks of processes
//!   may differ by 5 minutes. What was not sent in this form gets no answer but a refusal.
//!
//! What this module never does: append to a journal, act on a host, or let the server see a document or
//! an answer: both are sealed with the key of the journal's secrets.

pub(crate) mod accepted;
mod error;
mod limits;
pub mod owners;
pub mod processes;
pub mod requests;

use ulid::Ulid;

pub use error::ShardError;

use crate::{JournalAddress, PostgresError, connection::Connection, reader::Reader, schema};

/// The maximum number of journals in a set.
pub const MAX: u16 = 256;

/// A set of journals.
pub struct ShardSet {
    address: JournalAddress,
    journals: u16,
    reader: Reader,
}

/// What the name in an address refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// An independent journal, or nothing yet.
    Journal,
    /// A set with this many journals.
    Set(u16),
    /// The journal with that number in a set.
    Member(u16),
}

impl ShardSet {
    /// Finds out what an address refers to. In a database without sets this is one statement.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn named(address: &JournalAddress) -> Result<Named, PostgresError> {
        let connection = Connection::to(address).await?;
        if !has_sets(&connection, address).await? {
            return Ok(Named::Journal);
        }
        if let Some(journals) = size(&connection, address, &address.name).await? {
            return Ok(Named::Set(journals));
        }
        if let Some((set, number)) = split(&address.name)
            && let Some(journals) = size(&connection, address, set).await?
            && number < journals
        {
            return Ok(Named::Member(number));
        }
        Ok(Named::Journal)
    }

    /// Opens the set with that name; none if it does not exist.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn open(address: &JournalAddress) -> Result<Option<Self>, PostgresError> {
        let connection = Connection::to(address).await?;
        if !has_sets(&connection, address).await? {
            return Ok(None);
        }
        let journals = size(&connection, address, &address.name).await?;
        Ok(journals.map(|journals| Self {
            address: address.clone(),
            journals,
            reader: Reader::new(address.clone(), connection),
        }))
    }

    /// Creates a set of empty journals; an existing set with the same number is opened.
    ///
    /// # Errors
    /// [`ShardError::Size`] if the existing set has a different size, [`ShardError::IsJournal`] if the
    /// name is that of a journal; otherwise see [`PostgresError`].
    pub async fn make(address: &JournalAddress, journals: u16) -> Result<Self, ShardError> {
        if journals == 0 || journals > MAX {
            return Err(ShardError::Many {
                requested: journals,
            });
        }
        if let Some((set, _)) = split(&address.name) {
            let set = set.to_owned();
            return Err(ShardError::Name { set });
        }
        let mut connection = Connection::to(address).await?;
        let journal = schema::find_if_made(&connection.client, address).await?;
        if journal.is_some() {
            let name = address.name.clone();
            return Err(ShardError::IsJournal { name });
        }
        schema::make_tables(&mut connection.client, address).await?;
        let server = address.to_string();
        let failed = |error| PostgresError::of(&server, &error);
        let insert = "INSERT INTO vsiflow.shard_sets (name, journals) VALUES ($1, $2) \
            ON CONFLICT (name) DO NOTHING";
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&address.name, &i32::from(journals)];
        connection
            .client
            .execute(insert, &params)
            .await
            .map_err(failed)?;
        let found = size(&connection, address, &address.name).await?;
        if found != Some(journals) {
            return Err(ShardError::Size {
                requested: journals,
                found: found.unwrap_or_default(),
            });
        }
        // An interrupted creation left journals missing: the next call creates them.
        for number in 0..journals {
            let member = address.with_journal(&member(&address.name, number));
            let id = Ulid::from_parts(crate::hold::unix_millis(), rand::random()).to_string();
            schema::make(&mut connection.client, &member, &id, true).await?;
        }
        Ok(Self {
            address: address.clone(),
            journals,
            reader: Reader::new(address.clone(), connection),
        })
    }

    /// The number of journals.
    pub fn journals(&self) -> u16 {
        self.journals
    }

    /// The address of one journal of the set.
    pub fn member(&self, number: u16) -> JournalAddress {
        self.address
            .with_journal(&member(&self.address.name, number))
    }

    /// The name of the set.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    pub(crate) fn address(&self) -> &JournalAddress {
        &self.address
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }
}

fn member(set: &str, number: u16) -> String {
    format!("{set}.{number}")
}

/// The set and the number in the name of a journal of a set.
fn split(name: &str) -> Option<(&str, u16)> {
    let (set, number) = name.rsplit_once('.')?;
    let is_plain = number == "0" || !number.starts_with('0');
    let digits = is_plain && number.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !set.is_empty()).then_some(())?;
    Some((set, number.parse().ok()?))
}

async fn has_sets(
    connection: &Connection,
    address: &JournalAddress,
) -> Result<bool, PostgresError> {
    schema::check(&connection.client, address).await?;
    let there = "SELECT to_regclass('vsiflow.shard_requests') IS NOT NULL";
    let there = connection.client.query_one(there, &[]).await;
    let there = there.map_err(|error| PostgresError::of(&address.to_string(), &error))?;
    Ok(there.get(0))
}

async fn size(
    connection: &Connection,
    address: &JournalAddress,
    name: &str,
) -> Result<Option<u16>, PostgresError> {
    let select = "SELECT journals FROM vsiflow.shard_sets WHERE name = $1";
    let row = connection.client.query_opt(select, &[&name]).await;
    let row = row.map_err(|error| PostgresError::of(&address.to_string(), &error))?;
    Ok(row.and_then(|row| u16::try_from(row.get::<_, i32>(0)).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_member_is_read_as_it_is_written() {
        assert_eq!(split(&member("default", 0)), Some(("default", 0)));
        assert_eq!(split(&member("a.b", 17)), Some(("a.b", 17)));
        for name in [
            "default",
            "default.",
            ".1",
            "default.01",
            "default.x",
            "a.-1",
        ] {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
