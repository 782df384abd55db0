//! What the database recorded while its clock was ahead, such as before it knew the time after a boot.
//!
//! After the clock was set back, leases and quiet times from then would last for as long as the clock was
//! ahead. So each is stored with the time at which it begins. One that begins in the future counts as
//! beginning now, and is stored anew: it then ends after its own length. A holder that lives is not
//! affected, as it renews its lease within that length.

use tokio_postgres::Row;

/// An update that stores leases and quiet times anew that begin in the future, of the journals whose names
/// are the given parameter. It returns the names of those that it changed.
macro_rules! record_anew {
    ($names:literal) => {
        concat!(
            "UPDATE vsiflow.journals SET \
                lease_until = lease_until - (greatest(lease_from, clock.now) - clock.now), \
                lease_from = least(lease_from, clock.now), \
                quiet_until = quiet_until - (greatest(quiet_from, clock.now) - clock.now), \
                quiet_from = least(quiet_from, clock.now) \
            FROM (SELECT clock_timestamp() AS now) AS clock WHERE name = ANY(",
            $names,
            ") AND (lease_from > clock.now OR quiet_from > clock.now) RETURNING name"
        )
    };
}
pub(crate) use record_anew;

/// Reports what [`record_anew`] changed.
pub(crate) fn report(changed: &[Row]) {
    for row in changed {
        let journal: &str = row.get(0);
        tracing::warn!(
            journal,
            "the database's clock was set back: the journal's lease counts from now on"
        );
    }
}
