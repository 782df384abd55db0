//! What the database recorded while its clock was ahead, such as before it knew the time after a boot.
//!
//! After the clock was set back, leases and quiet times from then would last for as long as the clock was
//! ahead. So each is stored with the time at which it begins. One that begins in the future counts as
//! beginning now, and is stored anew: it then ends after its own length. A holder that lives is not
//! affected, as it renews its lease within that length.

use tokio_postgres::Row;

/// Store leases and quiet times anew that begin in the future, of the journals with the names `$1`.
/// Each returns the names of those that it changed.
pub(crate) const RECORD_ANEW: [&str; 2] = [
    "UPDATE vsiflow.journals SET lease_from = clock.now, \
        lease_until = clock.now + (lease_until - lease_from) \
    FROM (SELECT clock_timestamp() AS now) AS clock WHERE name = ANY($1) \
    AND lease_from > clock.now AND lease_until > lease_from AND isfinite(lease_until) RETURNING name",
    "UPDATE vsiflow.journals SET quiet_from = clock.now, \
        quiet_until = clock.now + (quiet_until - quiet_from) \
    FROM (SELECT clock_timestamp() AS now) AS clock WHERE name = ANY($1) \
    AND quiet_from > clock.now AND quiet_until > quiet_from AND isfinite(quiet_until) RETURNING name",
];

/// Reports what [`RECORD_ANEW`] changed.
pub(crate) fn report(changed: &[Row]) {
    for row in changed {
        let journal: &str = row.get(0);
        tracing::warn!(
            journal,
            "the database's clock was set back: the journal's lease counts from now on"
        );
    }
}
