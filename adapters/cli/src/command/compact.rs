//! `compact`: compresses old segments of the event log into the archive, and removes blobs that
//! nothing refers to.

use vsiflow_engine::{
    journal::{Archived, JournalError},
    retention::sweep,
};

use crate::{
    args::{Common, CompactArgs},
    compose::{self, retention::older_than},
    exit::{CommandOutcome, Exit, ExitProblem},
    journal_file::{of_error, there},
    output,
};

pub(super) async fn run(common: &Common, args: CompactArgs) -> CommandOutcome {
    let Some(age) = args.older_than.or(common.retention.0) else {
        output::line("nothing is archived: the retention is `never`");
        return Ok(Exit::Done);
    };
    compose::database::of_files(common, "compact")?;
    let path = compose::state_path(common)?;
    there(&path)?;
    let state = compose::open_state(common, &path).await?;
    let journal = state.journal().await?;
    let done = if args.dry_run {
        journal.to_archive(older_than(age)).await
    } else {
        journal.archive(older_than(age)).await
    };
    let blobs = state.blobs().await?;
    let swept = if args.dry_run || done.is_err() {
        None
    } else {
        Some(sweep(&journal, &blobs).await)
    };
    journal.close().await;
    match done.map_err(of_journal)? {
        Archived { events: 0, .. } => output::line(&format!(
            "nothing to archive: nothing that was recorded is older than {}",
            humantime::format_duration(age)
        )),
        done => print(&done, args.dry_run),
    }
    if let Some(Err(error)) = swept {
        output::warning(&format!(
            "{}: blobs that nothing names stay: {error}; {}",
            error.code(),
            error.remedy()
        ));
    }
    Ok(Exit::Done)
}

fn of_journal(error: JournalError) -> ExitProblem {
    of_error(&error.into())
}

fn print(Archived { segments, events }: &Archived, dry_run: bool) {
    let many = if *segments == 1 {
        "segment"
    } else {
        "segments"
    };
    output::line(&if dry_run {
        format!("would archive {events} events in {segments} {many} (dry run)")
    } else {
        format!("{events} events in {segments} {many} are archived; they can be read as before")
    });
}
