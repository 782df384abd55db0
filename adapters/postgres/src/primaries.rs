//! Checks that only one server of an address accepts writes.
//!
//! After a promotion the old primary must never return as one. If it does, an address that names both
//! may lead to either, and what one acknowledges is missing on the other. A process that knew the newer
//! end notices this by the link; a process that starts does not.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::{JournalAddress, PostgresError, connection::Connection};

/// Timeout for a host: one that does not answer does not accept writes now either.
const ANSWER: Duration = Duration::from_secs(2);

/// Asks each host of an address that names several. Cancel safe.
///
/// # Errors
/// [`PostgresError::Parted`] if more than one accepts writes.
pub(crate) async fn at_most_one(address: &JournalAddress) -> Result<(), PostgresError> {
    let hosts = address.hosts();
    if hosts.len() < 2 {
        return Ok(());
    }
    let answers = join_all(
        hosts
            .iter()
            .map(|host| timeout(ANSWER, Box::pin(primary(host)))),
    )
    .await;
    let servers: Vec<_> = answers
        .into_iter()
        .filter_map(Result::ok)
        .flatten()
        .collect();
    if servers.len() < 2 {
        return Ok(());
    }
    Err(PostgresError::Parted { servers })
}

/// The host and its timeline, if it accepts writes.
async fn primary(host: &JournalAddress) -> Option<String> {
    let connection = Connection::to(host).await.ok()?;
    let query = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint \
        WHERE NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::boolean";
    let row = connection.client.query_opt(query, &[]).await.ok()??;
    Some(format!("{host} (timeline {})", row.get::<_, i64>(0)))
}
