//! `history`: every step ever taken for a VSI.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
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
    let after = earliest(args);
    lines.retain(|line| line.offset >= from && is_meant(args, after, line));
    Ok(lines)
}

/// The moment that `--since` means; none where everything counts.
fn earliest(args: &HistoryArgs) -> Option<Timestamp> {
    let since = SignedDuration::try_from(args.since?).ok()?;
    Timestamp::now().checked_sub(since).ok()
}

/// Whether the filters let a line through. What is missing has neither time nor actor, and is never left out.
fn is_meant(args: &HistoryArgs, after: Option<Timestamp>, line: &HistoryLine) -> bool {
    let Ok(time) = line.time.parse::<Timestamp>() else {
        return true;
    };
    let by = args
        .actor
        .as_ref()
        .is_none_or(|actor| line.actor.contains(actor.as_str()));
    let failed = !args.failed || line.error.is_some();
    by && failed && after.is_none_or(|after| time >= after)
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
    let mut more: Vec<String> = Vec::new();
    if let Some(since) = args.since {
        more.extend(["--since".to_owned(), format!("{}s", since.as_secs())]);
    }
    if let Some(actor) = &args.actor {
        more.extend(["--actor".to_owned(), actor.clone()]);
    }
    more.extend(args.failed.then(|| "--failed".to_owned()));
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
    let told = daemon::ask(&state, [words.map(str::to_owned).to_vec(), more].concat())
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use vsiflow_workflows::fleet::HistoryError;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn shown(words: &str) -> Vec<&'static str> {
        let cli = Cli::parse_from(words.split(' '));
        let CliCommand::History(args) = cli.command else {
            panic!("{words}")
        };
        let line = |kind: &'static str, ago: i64, actor: &str, failed: bool| {
            let time = Timestamp::now() - SignedDuration::from_secs(ago);
            let error = failed.then(HistoryError::default);
            let (time, actor) = (time.to_string(), actor.to_owned());
            (
                kind,
                HistoryLine {
                    time,
                    actor,
                    error,
                    ..HistoryLine::default()
                },
            )
        };
        let all = [
            line("old", 7_200, "engine", true),
            line("mine", 60, "unix:1000 (ann)", false),
            line("failed", 30, "engine", true),
            ("missing", HistoryLine::default()),
        ];
        let after = earliest(&args);
        let shown = all.iter().filter(|(_, line)| is_meant(&args, after, line));
        shown.map(|(kind, _)| *kind).collect()
    }

    #[test]
    fn filters_leave_out_everything_but_what_is_missing() {
        assert_eq!(
            shown("vsiflow history a"),
            ["old", "mine", "failed", "missing"]
        );
        assert_eq!(
            shown("vsiflow history a --since 1h"),
            ["mine", "failed", "missing"]
        );
        assert_eq!(shown("vsiflow history a --actor ann"), ["mine", "missing"]);
        assert_eq!(
            shown("vsiflow history a --failed --since 1h"),
            ["failed", "missing"]
        );
    }
}
