//! Measures how much space the events of a set take in its database.

use tokio_postgres::NoTls;

use crate::Answer;

/// The number and size of the stored events.
pub(crate) struct Stored {
    pub(crate) events: u64,
    /// Bytes of the records alone.
    pub(crate) bytes: u64,
    /// Bytes of the tables with their indexes.
    pub(crate) on_disk: u64,
}

/// Counts the events of the journals `SET.0`, `SET.1` and so on.
pub(crate) async fn count(url: &str, set: &str) -> Answer<Stored> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let select = "SELECT journal FROM vsiflow.journals WHERE name LIKE $1 || '.%'";
    let journals = client.query(select, &[&set]).await?;
    let mut stored = Stored {
        events: 0,
        bytes: 0,
        on_disk: 0,
    };
    for row in journals {
        let table = format!("vsiflow.events_{}", row.get::<_, i32>(0));
        let sizes = format!(
            "SELECT count(*), coalesce(sum(octet_length(bytes)), 0)::int8, pg_total_relation_size('{table}') FROM {table}"
        );
        let table_row = client.query_one(&sizes, &[]).await?;
        let number = |at: usize| u64::try_from(table_row.get::<_, i64>(at));
        stored.events += number(0)?;
        stored.bytes += number(1)?;
        stored.on_disk += number(2)?;
    }
    drop(client);
    connection.await??;
    Ok(stored)
}
