//! `compact`: moves what is old out of the journal into an archive.

use std::time::Duration;

use vsiflow_engine::{
    clock::{Clock as _, SystemClock},
    compact::{Compacted, Compaction, compact, look},
    journal::Journal,
    model::Timestamp,
    state_dir::StateDir,
};
use vsiflow_workflows::phase::is_gone;

use super::{
    Outcome,
    journal_file::{of_error, there},
};
use crate::{
    args::{Common, CompactArgs},
    compose,
    exit::{Exit, Problem},
    output,
};

pub(super) async fn run(common: &Common, args: CompactArgs) -> Outcome {
    let Some(age) = args.older_than.or(common.retention.0) else {
        output::line("nothing is archived: the retention is `never`");
        return Ok(Exit::Done);
    };
    let path = compose::state_path(common)?;
    there(&path)?;
    let state = compose::open_state(common, &path).await?;
    let done = if args.dry_run {
        look(&state, older_than(age, 1)).await
    } else {
        compact(&state, older_than(age, 1)).await
    };
    match done.map_err(|error| of_error(&error))? {
        Some(done) => told(&done),
        None => output::line(&format!(
            "nothing to archive: no finished work is older than {}",
            humantime::format_duration(age)
        )),
    }
    Ok(Exit::Done)
}

/// What is older than that, if it is at least so many events.
fn older_than(age: Duration, least: u64) -> Compaction<'static> {
    let now = SystemClock.now();
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    Compaction {
        before: Timestamp(now.0.saturating_sub(age)),
        now,
        least,
        is_gone: &is_gone,
    }
}

fn told(done: &Compacted) {
    let Compacted {
        horizon,
        events,
        seals,
        archive,
    } = done;
    match archive {
        None => output::line(&format!(
            "would archive {events} events before offset {horizon} (dry run)"
        )),
        Some(archive) => output::line(&format!(
            "{events} events before offset {horizon} are archived in {}; {seals} streams go on \
             from their seals",
            archive.display()
        )),
    }
}

/// Events that have to be old before a command that works compacts by itself.
const MANY: u64 = 10_000;

/// Compacts where much is old, before a command begins its work. What goes wrong is told and
/// keeps no command from it.
pub(crate) async fn if_due(common: &Common, state: &StateDir) -> Result<(), Problem> {
    let journal = state.journal().await?;
    let due = is_due(common, &journal, MANY).await;
    journal.close().await;
    if due {
        now(common, state, MANY).await;
    }
    Ok(())
}

/// Whether so many events are older than the retention.
pub(crate) async fn is_due(common: &Common, journal: &dyn Journal, least: u64) -> bool {
    let Some(age) = common.retention.0 else {
        return false;
    };
    let before = older_than(age, least).before;
    let due = vsiflow_engine::compact::is_due(journal, before, least).await;
    due.unwrap_or(false)
}

/// Compacts a journal that nobody has open. What goes wrong is told.
pub(crate) async fn now(common: &Common, state: &StateDir, least: u64) {
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
