//! Events, one line each: those of one history or of everything, filtered, printed and followed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use vsiflow_workflows::fleet::HistoryLine;

use super::{CommandOutcome, IN_USE};
use crate::{
    args::{Common, EventFilter, HistoryFormat, TargetArg},
    compose::{self, App},
    daemon,
    exit::ExitProblem,
    output::{self, table},
};

/// How often followed events are looked at.
const POLL: Duration = Duration::from_millis(500);
/// Events that are read at a time.
const PAGE: usize = 1_000;

/// Whose events are meant.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// Those of one object.
    Of(&'a TargetArg),
    /// Those of everything: the newest, at most so many; 0 means all.
    All(usize),
}

/// The events from an offset on that the filter lets through, out of a state directory that is
/// free.
pub(super) async fn own(
    common: &Common,
    source: Source<'_>,
    filter: &EventFilter,
    from: u64,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let app = App::open(common).await?;
    let lines = read(&app, source, from).await;
    app.close().await;
    let mut lines = lines?;
    let after = earliest(filter);
    lines.retain(|line| line.offset >= from && is_meant(filter, after, line));
    if let Source::All(most) = source
        && let Some(extra) = lines.len().checked_sub(most).filter(|_| most > 0)
    {
        lines.drain(..extra);
    }
    Ok(lines)
}

async fn read(app: &App, source: Source<'_>, from: u64) -> Result<Vec<HistoryLine>, ExitProblem> {
    let Source::Of(target) = source else {
        let mut events = app.fleet.events(from)?;
        let mut all = Vec::new();
        loop {
            let page = events.page(PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    };
    Ok(app.fleet.history(&target.namespace, &target.name()).await?)
}

/// The moment that `--since` means; none where everything counts.
pub(super) fn earliest(filter: &EventFilter) -> Option<Timestamp> {
    let since = SignedDuration::try_from(filter.since?).ok()?;
    Timestamp::now().checked_sub(since).ok()
}

/// Whether the filters let a line through. What is missing has neither time nor actor, and is
/// never left out.
fn is_meant(filter: &EventFilter, after: Option<Timestamp>, line: &HistoryLine) -> bool {
    let Ok(time) = line.time.parse::<Timestamp>() else {
        return true;
    };
    let by = filter
        .actor
        .as_ref()
        .is_none_or(|actor| line.actor.contains(actor.as_str()));
    let failed = !filter.failed || line.error.is_some();
    by && failed && after.is_none_or(|after| time >= after)
}

/// Prints what is there and what comes. Between two looks the state directory is left to others;
/// while another is at work there, that one is asked.
pub(super) async fn follow(
    common: &Common,
    source: Source<'_>,
    filter: &EventFilter,
    output: Option<HistoryFormat>,
) -> CommandOutcome {
    let (mut from, mut first, mut source) = (filter.from_offset, true, source);
    loop {
        let lines = match own(common, source, filter, from).await {
            Err(problem) if problem.code == IN_USE => {
                others(common, words(source, filter, from)).await?
            }
            lines => lines?,
        };
        print(output, &lines, first && !lines.is_empty())?;
        first &= lines.is_empty();
        if let Some(line) = lines.last() {
            from = line.offset.saturating_add(1);
        }
        if let Source::All(most) = &mut source {
            // What is new is shown to the last line.
            *most = 0;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The command line that asks the holder of the state directory for the same.
fn words(source: Source<'_>, filter: &EventFilter, from: u64) -> Vec<String> {
    let of: Vec<String> = match source {
        Source::Of(target) => vec![
            "history".to_owned(),
            target.name(),
            "-n".to_owned(),
            target.namespace.clone(),
        ],
        Source::All(most) => vec!["events".to_owned(), format!("--tail={most}")],
    };
    let mut words = vec!["vsiflow".to_owned()];
    words.extend(of);
    words.extend(["-o", "json"].map(str::to_owned));
    words.push(format!("--from-offset={from}"));
    words.extend(
        filter
            .since
            .map(|since| format!("--since={}s", since.as_secs())),
    );
    words.extend(
        filter
            .actor
            .as_ref()
            .map(|actor| format!("--actor={actor}")),
    );
    words.extend(filter.failed.then(|| "--failed".to_owned()));
    words
}

/// The events as the holder of the state directory tells them; none where it does not answer just
/// now.
async fn others(common: &Common, words: Vec<String>) -> Result<Vec<HistoryLine>, ExitProblem> {
    let state = compose::state_path(common)?;
    let told = daemon::ask(&state, words).await.unwrap_or_default();
    let lines = told
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

/// Prints events, with the head of the table or as more of it.
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
        let after = earliest(&args.filter);
        let shown = all
            .iter()
            .filter(|(_, line)| is_meant(&args.filter, after, line));
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
