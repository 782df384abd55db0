//! `compact`: moves what is old out of the journal into an archive.

use vsiflow_engine::compact::{Compacted, compact, look};

use super::{
    Outcome,
    journal_file::{of_error, there},
};
use crate::{
    args::{Common, CompactArgs},
    compose::{self, retention::older_than},
    exit::Exit,
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
