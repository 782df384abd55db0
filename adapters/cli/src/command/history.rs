//! `history`: every step ever taken for a VSI.

use std::time::Duration;

use vsiflow_workflows::fleet::HistoryLine;

use super::{CommandOutcome, IN_USE};
use crate::{
    args::{Common, HistoryArgs, HistoryFormat},
    compose::{self, App},
    daemon,
    exit::{Exit, ExitProblem},
    output::{self, table},
};

/// How often a followed history is looked at.
const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(common: &Common, args: HistoryArgs) -> CommandOutcome {
    if args.follow {
        return tokio::select! {
            followed = follow(common, &args) => followed,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        };
    }
    let lines = own(common, &args, args.from_offset).await?;
    print(args.output, &lines, true)?;
    Ok(Exit::Done)
}

/// The events from an offset on, out of a state directory that is free.
async fn own(
    common: &Common,
    args: &HistoryArgs,
    from: u64,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let app = App::open(common).await?;
    let lines = app
        .fleet
        .history(&args.target.namespace, &args.target.name())
        .await;
    app.close().await;
    let mut lines = lines?;
    lines.retain(|line| line.offset >= from);
    Ok(lines)
}

/// Between two looks the state directory is left to others; while another is at work there, that
/// one is asked.
async fn follow(common: &Common, args: &HistoryArgs) -> CommandOutcome {
    let (mut from, mut first) = (args.from_offset, true);
    loop {
        let lines = match own(common, args, from).await {
            Err(problem) if problem.code == IN_USE => others(common, args, from).await?,
            lines => lines?,
        };
        print(args.output, &lines, first && !lines.is_empty())?;
        first &= lines.is_empty();
        from = lines
            .last()
            .map_or(from, |line| line.offset.saturating_add(1));
        tokio::time::sleep(POLL).await;
    }
}

/// The events from an offset on, as the holder of the state directory tells them; none where it
/// does not answer just now.
async fn others(
    common: &Common,
    args: &HistoryArgs,
    from: u64,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let state = compose::state_path(common)?;
    let (name, namespace) = (&args.target.name(), args.target.namespace.as_str());
    let from = from.to_string();
    let words = [
        "vsiflow",
        "history",
        name,
        "-n",
        namespace,
        "-o",
        "json",
        "--from-offset",
        &from,
    ];
    let told = daemon::ask(&state, words.map(str::to_owned).to_vec())
        .await
        .unwrap_or_default();
    let lines = told
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Prints lines of a history, with the head of the table or as more of it.
pub(crate) fn print(
    output: Option<HistoryFormat>,
    lines: &[HistoryLine],
    head: bool,
) -> Result<(), ExitProblem> {
    match output {
        Some(HistoryFormat::Json) => lines.iter().try_for_each(output::json_line),
        wide => {
            let table = table::history(lines, wide.is_some());
            if head {
                output::table(&table, "events");
            } else if !lines.is_empty() {
                output::line(table.rows().trim_end());
            }
            Ok(())
        }
    }
}
