//! Events, one line each: reads, filters, prints and follows those of some objects or of everything.

mod print;

use std::{collections::HashMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use vsiflow_workflows::{
    fleet::{HistoryLine, newest_of},
    record::vsi_entity,
};

pub(crate) use self::print::print;
pub(super) use self::print::print_all;
use crate::{
    args::{Common, EventFilter, EventOffset, HistoryFormat},
    compose::{self, App},
    daemon,
    exit::{CommandOutcome, Exit, ExitProblem, IN_USE},
    membership::SetPlace,
};

/// How often new events are read.
const POLL: Duration = Duration::from_millis(500);
/// How often new events of a set are read: that opens each of its journals.
const POLL_OF_SET: Duration = Duration::from_secs(1);
/// How many events are read at a time.
const PAGE: usize = 1_000;
/// By which factor more of a journal's end is read if too few events match.
const WIDER: u64 = 8;

/// Which events are meant.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// The events of these objects in a namespace.
    Of(&'a str, &'a [String]),
    /// The newest events of everything, at most this many; 0 means all.
    All(usize),
}

/// The events from an offset on that match the filter, read from a state directory that no other process has.
pub(super) async fn own(
    common: &Common,
    source: Source<'_>,
    filter: &EventFilter,
    from: u64,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let (lines, _) = read_lines(common, source, filter, from).await?;
    Ok(lines)
}

/// The same, and the offset at which to continue.
async fn read_lines(
    common: &Common,
    source: Source<'_>,
    filter: &EventFilter,
    from: u64,
) -> Result<(Vec<HistoryLine>, u64), ExitProblem> {
    let app = App::open(common).await?;
    let end = app.fleet.history().end();
    let lines = match source {
        Source::Of(namespace, names) => of_these(&app, (namespace, names), filter, from).await,
        Source::All(0) => of_all(&app, filter, from).await,
        Source::All(most) => newest(&app, filter, from, most).await,
    };
    let lines = match (lines, source) {
        (Ok(lines), Source::Of(_, [_])) => Ok(lines),
        (Ok(lines), _) => named(&app, lines).await,
        (lines, _) => lines,
    };
    app.close().await;
    let lines = numbered(common, lines?);
    let next = behind(&lines).max(end);
    Ok((lines, next))
}

/// The offset after the last of these.
fn behind(lines: &[HistoryLine]) -> u64 {
    let last = lines.last();
    last.map_or(0, |line| line.offset.saturating_add(1))
}

/// Adds the number of the journal in a set, where an offset alone is ambiguous.
fn numbered(common: &Common, mut lines: Vec<HistoryLine>) -> Vec<HistoryLine> {
    let number = common.shard.as_ref().map(|shard| shard.number);
    for line in &mut lines {
        line.journal = number;
    }
    lines
}

/// The newest events of all journals of a set, sorted by time; those of one journal in its order.
pub(super) async fn of_set(
    common: &Common,
    place: &SetPlace,
    (filter, from, most): (&EventFilter, EventOffset, usize),
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let (members, mut looked_to) = members_from(place.members(common), from)?;
    of_members(&members, filter, (&mut looked_to, most)).await
}

/// The journals whose events are shown, and the offset to begin at: all, or the one that an offset names.
fn members_from(
    mut members: Vec<Common>,
    from: EventOffset,
) -> Result<(Vec<Common>, Vec<u64>), ExitProblem> {
    let Some(journal) = from.journal else {
        let all = vec![0; members.len()];
        return Ok((members, all));
    };
    let count = members.len();
    if usize::from(journal) >= count {
        let message = format!("there is no journal {journal}: the set has {count}, from 0 on");
        let remedy = "take the offset as `events -o wide` shows it, as JOURNAL:OFFSET";
        return Err(ExitProblem::new(Exit::Usage, "VSI0764", message, remedy));
    }
    let own = members.swap_remove(usize::from(journal));
    Ok((vec![own], vec![from.offset]))
}

/// The newest events of the journals of a set, at most `most`; 0 means all. Each journal begins at its offset
/// in `looked_to`, which is advanced.
async fn of_members(
    members: &[Common],
    filter: &EventFilter,
    (looked_to, most): (&mut [u64], usize),
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let all = members.iter().zip(looked_to.iter());
    let all = all.map(|(member, from)| read_lines(member, Source::All(most), filter, *from));
    let all = futures::future::try_join_all(all).await?;
    let mut lines = Vec::new();
    for (from, (own, next)) in looked_to.iter_mut().zip(all) {
        *from = next.max(*from);
        lines.push(own);
    }
    Ok(newest_of(lines, if most == 0 { usize::MAX } else { most }))
}

/// Adds the names of VSIs; everything else is shown by its ID.
async fn named(app: &App, mut lines: Vec<HistoryLine>) -> Result<Vec<HistoryLine>, ExitProblem> {
    let mut names: HashMap<String, String> = HashMap::new();
    for line in &mut lines {
        if !names.contains_key(&line.entity) {
            let name = name_of(app, &line.entity).await?;
            names.insert(line.entity.clone(), name);
        }
        line.object = names.get(&line.entity).cloned();
    }
    Ok(lines)
}

async fn name_of(app: &App, entity: &str) -> Result<String, ExitProblem> {
    let vsi = entity.strip_prefix("vsi/").and_then(|id| id.parse().ok());
    let title = match vsi.map(vsi_entity) {
        Some(Ok(vsi)) => app.fleet.title(&vsi).await?,
        _ => None,
    };
    Ok(match title {
        Some((namespace, name)) if namespace == "default" => format!("vsi/{name}"),
        Some((namespace, name)) => format!("vsi/{namespace}/{name}"),
        None => entity.to_owned(),
    })
}

/// In the journal's order; an event of several objects is listed once.
async fn of_these(
    app: &App,
    (namespace, names): (&str, &[String]),
    filter: &EventFilter,
    from: u64,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let after = earliest(filter);
    let meant = |line: &HistoryLine| is_meant(filter, after, line);
    let mut lines = Vec::new();
    for name in names {
        let history = app
            .fleet
            .history()
            .lines_since(namespace, name, from)
            .await?;
        lines.extend(history.into_iter().filter(meant));
    }
    if names.len() > 1 {
        lines.sort_by(|a, b| (a.offset, &a.entity).cmp(&(b.offset, &b.entity)));
        lines.dedup_by(|a, b| (a.offset, &a.entity) == (b.offset, &b.entity));
    }
    Ok(lines)
}

async fn of_all(
    app: &App,
    filter: &EventFilter,
    from: u64,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let mut events = app.fleet.history().events(from)?;
    let (after, mut all) = (earliest(filter), Vec::new());
    loop {
        let page = events.page(PAGE).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(
            page.into_iter()
                .filter(|line| is_meant(filter, after, line)),
        );
    }
}

/// The newest events that match. A journal may be long, so its end is read first, and more if too few match.
async fn newest(
    app: &App,
    filter: &EventFilter,
    from: u64,
    most: usize,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let end = app.fleet.history().end();
    let mut span = u64::try_from(most.max(PAGE)).unwrap_or(u64::MAX);
    loop {
        let begin = end.saturating_sub(span).max(from);
        let mut lines = of_all(app, filter, begin).await?;
        let extra = lines.len().checked_sub(most);
        if extra.is_some() || begin == from {
            lines.drain(..extra.unwrap_or_default());
            return Ok(lines);
        }
        span = span.saturating_mul(WIDER);
    }
}

/// The moment that `--since` means; `None` without a limit.
pub(super) fn earliest(filter: &EventFilter) -> Option<Timestamp> {
    let since = SignedDuration::try_from(filter.since?).ok()?;
    Timestamp::now().checked_sub(since).ok()
}

/// Whether a line matches the filter. A line for missing events has neither time nor actor, and
/// always matches.
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

/// Prints existing events, then new ones. Between two polls other processes may use the state
/// directory; while one has it, that process is asked.
pub(super) async fn follow(
    common: &Common,
    source: Source<'_>,
    (filter, from): (&EventFilter, u64),
    output: Option<HistoryFormat>,
) -> CommandOutcome {
    let (mut from, mut first, mut source) = (from, true, source);
    loop {
        let (lines, next) = match read_lines(common, source, filter, from).await {
            Err(problem) if problem.code == IN_USE => {
                let lines = others(common, words(source, filter, from)).await?;
                let next = behind(&lines);
                (lines, next)
            }
            read => read?,
        };
        from = next.max(from);
        if !lines.is_empty() {
            print_all(output, lines, first).await?;
            first = false;
        }
        if let Source::All(most) = &mut source {
            // All new events are shown.
            *most = 0;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Follows all journals of a set. Events are printed as they are found, sorted by time within one poll.
pub(super) async fn follow_set(
    common: &Common,
    place: &SetPlace,
    (filter, from, tail): (&EventFilter, EventOffset, usize),
    output: Option<HistoryFormat>,
) -> CommandOutcome {
    let (members, mut looked_to) = members_from(place.members(common), from)?;
    let (mut first, mut most) = (true, tail);
    loop {
        let lines = of_members(&members, filter, (&mut looked_to, most)).await?;
        if !lines.is_empty() {
            print_all(output, lines, first).await?;
            first = false;
        }
        // All new events are shown.
        most = 0;
        tokio::time::sleep(POLL_OF_SET).await;
    }
}

/// The command line that asks the process with the state directory for the same events.
fn words(source: Source<'_>, filter: &EventFilter, from: u64) -> Vec<String> {
    let of: Vec<String> = match source {
        Source::Of(namespace, names) => {
            let own = ["history", "-n", namespace].map(str::to_owned);
            own.into_iter().chain(names.iter().cloned()).collect()
        }
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

/// The events as the process with the state directory reports them; none if it does not answer at the moment.
async fn others(common: &Common, words: Vec<String>) -> Result<Vec<HistoryLine>, ExitProblem> {
    let state = compose::state_path(common)?;
    let answered = daemon::ask(&state, words).await?.unwrap_or_default();
    let lines = answered
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
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
            .filter(|(_, of)| is_meant(&args.filter, after, of));
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
