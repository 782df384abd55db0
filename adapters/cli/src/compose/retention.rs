//! What is older than the retention leaves the journal for an archive.

use std::time::Duration;

use vsiflow_engine::{
    clock::{Clock as _, SystemClock},
    compact::{self, Compaction, compact},
    journal::Journal,
    model::Timestamp,
    state_dir::StateDir,
};
use vsiflow_workflows::phase::is_gone;

use crate::{args::Common, exit::Problem, output};

/// What is older than that, if it is at least so many events.
pub(crate) fn older_than(age: Duration, least: u64) -> Compaction<'static> {
    let now = SystemClock.now();
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Compaction {
        before: Timestamp(now.0.saturating_sub(age)),
        now,
        least,
        is_gone: &is_gone,
    }
}

/// Events that have to be old before a command that works compacts by itself.
const MANY: u64 = 10_000;

/// Compacts where much is old, before a command begins its work. What goes wrong is told and
/// keeps no command from it.
pub(super) async fn if_due(common: &Common, state: &StateDir) -> Result<(), Problem> {
    let journal = state.journal().await?;
    let due = is_due(common, &journal, MANY).await;
    journal.close().await;
    if due {
        now(common, state, MANY).await;
    }
    Ok(())
}

/// Whether so many events are older than the retention.
pub(super) async fn is_due(common: &Common, journal: &dyn Journal, least: u64) -> bool {
    let Some(age) = common.retention.0 else {
        return false;
    };
    let before = older_than(age, least).before;
    let due = compact::is_due(journal, before, least).await;
    due.unwrap_or(false)
}

/// Compacts a journal that nobody has open. What goes wrong is told.
pub(super) async fn now(common: &Common, state: &StateDir, least: u64) {
    let Some(age) = common.retention.0 else {
        return;
    };
    let compaction = older_than(age, least);
    match compact(state, compaction).await {
        Ok(Some(done)) => tracing::info!(events = done.events, "old events were archived"),
        Ok(None) => {}
        Err(error) => output::warning(&format!(
            "old events were not archived: {error}; see `vsiflow compact`"
        )),
    }
}
