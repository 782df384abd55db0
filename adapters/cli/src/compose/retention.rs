//! Applies the retention: archives full segments of the event log, drops states of ended runs that
//! are no longer needed, and removes blobs that nothing refers to.

use std::time::Duration;

use vsiflow_engine::{
    clock::{Clock as _, SystemClock},
    journal::{Archived, DiskJournal, JournalError},
    model::Timestamp,
};

use super::App;
use crate::{args::Common, output};

/// The time before which events are older than `age`.
pub(crate) fn older_than(age: Duration) -> Timestamp {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Timestamp(SystemClock.now().0.saturating_sub(age))
}

/// Archives events older than the retention, if there are at least `least`. All other work
/// continues. Errors are reported and do not stop it.
pub(crate) async fn archive_if_due(app: &App, common: &Common, least: u64) {
    let Some(age) = common.retention.0 else {
        return;
    };
    let before = older_than(age);
    if let Err(error) = app.fleet.forget_ended(before).await {
        tracing::debug!(%error, "states of old runs stay");
    }
    let Some(files) = app.files() else { return };
    match archive_many(files, before, least).await {
        Ok(Archived { events: 0, .. }) => {}
        Ok(done) => tracing::info!(events = done.events, "old events were archived"),
        Err(error) => output::warning(&format!(
            "old events were not archived: {error}; see `vsiflow compact`"
        )),
    }
}

async fn archive_many(
    journal: &DiskJournal,
    before: Timestamp,
    least: u64,
) -> Result<Archived, JournalError> {
    match journal.to_archive(before).await? {
        found if found.events >= least.max(1) => journal.archive(before).await,
        _ => Ok(Archived::default()),
    }
}
