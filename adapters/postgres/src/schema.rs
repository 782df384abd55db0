//! Creates and checks the tables, and reads the journal's row.

use tokio_postgres::{Client, Row, Transaction};
use vsiflow_engine::{
    journal::{BatchLink, stage::Tip},
    model::Hash,
};

use crate::{JournalAddress, PostgresError};

/// The newest format of the tables that this version knows.
const KNOWN: i32 = 1;

/// The advisory lock of the transaction that creates the tables, so that only one process does.
const LOCK: i64 = 0x7673_6966_6c6f_7731;

/// Creates the tables and the journal if they do not exist. Returns whether the journal was created.
pub(crate) async fn make(
    client: &mut Client,
    address: &JournalAddress,
    id: &str,
    whole: bool,
) -> Result<bool, PostgresError> {
    let server = address.to_string();
    let failed = |error| PostgresError::of(&server, &error);
    if check(client, address).await?
        && has_begins_of_leases(client, &server).await?
        && find(client, address).await?.is_some()
    {
        return Ok(false);
    }
    let transaction = client.transaction().await.map_err(failed)?;
    tables(&transaction).await.map_err(failed)?;
    let insert = "INSERT INTO vsiflow.journals (journal, name, id, written_by, whole) \
        SELECT coalesce(max(journal) + 1, 0), $1, $2, $3, $4 FROM vsiflow.journals \
        HAVING NOT EXISTS (SELECT FROM vsiflow.shard_sets WHERE shard_sets.name = $1) \
        ON CONFLICT (name) DO NOTHING RETURNING journal";
    let version = env!("CARGO_PKG_VERSION");
    let row = transaction
        .query_opt(insert, &[&address.name, &id, &version, &whole])
        .await
        .map_err(failed)?;
    if let Some(row) = &row {
        let journal: i32 = row.get(0);
        let partition = format!(
            "CREATE TABLE vsiflow.events_{journal} PARTITION OF vsiflow.events FOR VALUES IN ({journal})"
        );
        transaction
            .batch_execute(&partition)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(row.is_some())
}

/// Whether the tables have the columns that earlier versions did not know.
async fn has_begins_of_leases(client: &Client, server: &str) -> Result<bool, PostgresError> {
    let select = "SELECT EXISTS (SELECT FROM pg_attribute \
        WHERE attrelid = 'vsiflow.journals'::regclass AND attname = 'quiet_from')";
    let row = client.query_one(select, &[]).await;
    Ok(row
        .map_err(|error| PostgresError::of(server, &error))?
        .get(0))
}

/// Creates missing tables, including those that an older version did not know.
pub(crate) async fn make_tables(
    client: &mut Client,
    address: &JournalAddress,
) -> Result<(), PostgresError> {
    let server = address.to_string();
    let failed = |error| PostgresError::of(&server, &error);
    check(client, address).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    tables(&transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

async fn tables(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    let lock = "SELECT pg_advisory_xact_lock($1)";
    transaction.execute(lock, &[&LOCK]).await?;
    transaction.batch_execute(include_str!("schema.sql")).await
}

/// The journal's row, if the tables and the row exist.
pub(crate) async fn find_if_made(
    client: &Client,
    address: &JournalAddress,
) -> Result<Option<JournalRow>, PostgresError> {
    if check(client, address).await? {
        find(client, address).await
    } else {
        Ok(None)
    }
}

/// Whether the tables exist, in a known format.
pub(crate) async fn check(
    client: &Client,
    address: &JournalAddress,
) -> Result<bool, PostgresError> {
    let server = address.to_string();
    let failed = |error| PostgresError::of(&server, &error);
    let there = "SELECT to_regclass('vsiflow.format') IS NOT NULL";
    let there: bool = client.query_one(there, &[]).await.map_err(failed)?.get(0);
    if !there {
        return Ok(false);
    }
    let version = "SELECT max(version) FROM vsiflow.format";
    let row = client.query_one(version, &[]).await.map_err(failed)?;
    match row.get::<_, Option<i32>>(0) {
        Some(found) if found > KNOWN => Err(PostgresError::Newer {
            server,
            found,
            known: KNOWN,
        }),
        found => Ok(found.is_some()),
    }
}

/// A journal's row, without its lease.
#[derive(Clone, Debug)]
pub(crate) struct JournalRow {
    pub(crate) journal: i32,
    pub(crate) id: String,
    pub(crate) incarnation: i32,
    pub(crate) observe_only: bool,
    pub(crate) whole: bool,
}

/// The journal's row, if it exists.
pub(crate) async fn find(
    client: &Client,
    address: &JournalAddress,
) -> Result<Option<JournalRow>, PostgresError> {
    let select = "SELECT journal, id, incarnation, observe_only, whole \
        FROM vsiflow.journals WHERE name = $1";
    let row = client.query_opt(select, &[&address.name]).await;
    let row = row.map_err(|error| PostgresError::of(&address.to_string(), &error))?;
    Ok(row.map(|row| JournalRow {
        journal: row.get(0),
        id: row.get(1),
        incarnation: row.get(2),
        observe_only: row.get(3),
        whole: row.get(4),
    }))
}

/// The end of the journal, from the columns that start at `at`: `next_offset, tip_first, tip_last,
/// tip_prev, tip_hash`.
pub(crate) fn tip(row: &Row, at: usize) -> Tip {
    let link = row
        .get::<_, Option<i64>>(at.saturating_add(1))
        .map(|first| BatchLink {
            first: unsigned(first),
            last: unsigned(
                row.get::<_, Option<i64>>(at.saturating_add(2))
                    .unwrap_or_default(),
            ),
            prev: hash(row.get::<_, Option<&[u8]>>(at.saturating_add(3))),
            hash: hash(row.get::<_, Option<&[u8]>>(at.saturating_add(4))),
        });
    Tip {
        next: unsigned(row.get(at)),
        link,
    }
}

/// A stored hash; one with a wrong length gives a hash that matches nothing.
pub(crate) fn hash(bytes: Option<&[u8]>) -> Hash {
    let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
    bytes.map(Hash).unwrap_or_default()
}

/// Converts to PostgreSQL's signed numbers.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Converts to the journal's unsigned numbers.
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
