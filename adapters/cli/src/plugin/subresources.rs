//! `history`, `logs`, `retry` and `cancel`, through the subresource API.
//!
//! The API server ends following requests every minute; the plugin then continues where they ended.

use std::time::Duration;

use vsiflow_kube::plugin::{Action, ActionAnswer, ActionDone, ActionFailure, Reading};
use vsiflow_workflows::fleet::HistoryLine;

use super::{
    access::{ClusterAccess, problem},
    args::{PluginHistoryArgs, PluginLogsArgs, PluginRetryArgs},
    power,
};
use crate::{
    command::{history, logs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, timeline::Timeline},
    work,
};

/// How long to wait for an outcome before looking for it in the resource, in seconds.
const WAIT: u64 = 25;
/// The delay before an interrupted request is repeated, and how often in a row it is.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

pub(super) async fn history(there: &ClusterAccess<'_>, args: PluginHistoryArgs) -> CommandOutcome {
    tokio::select! {
        done = follow_history(there, &args) => done,
        () = work::interrupted() => Ok(Exit::Interrupted),
    }
}

async fn follow_history(there: &ClusterAccess<'_>, args: &PluginHistoryArgs) -> CommandOutcome {
    let follow = args.follow;
    let mut printed = PrintedLine {
        from: args.from_offset.unwrap_or_default(),
        head: true,
        gathered: Vec::new(),
    };
    let mut tries = 0;
    loop {
        let from = printed.from;
        let reading = Reading::History { from, follow };
        let whole = read_history(there, args, reading, &mut printed).await?;
        if whole && !follow {
            match args.is_events() {
                false => output::timeline(&Timeline::of(&printed.gathered), args.times.time),
                true if printed.head => history::print(args.output, &[], true)?,
                true => {}
            }
            return Ok(Exit::Done);
        }
        again(whole || printed.from > from, &mut tries).await?;
    }
}

/// How far a history was printed.
struct PrintedLine {
    from: u64,
    /// Whether the head of the table has yet to be printed.
    head: bool,
    /// Lines that are printed together at the end.
    gathered: Vec<HistoryLine>,
}

/// Reads a history; returns whether it is complete. A table is as wide as its lines, so without `--follow` it
/// is printed as a whole.
async fn read_history(
    there: &ClusterAccess<'_>,
    args: &PluginHistoryArgs,
    reading: Reading,
    printed: &mut PrintedLine,
) -> Result<bool, ExitProblem> {
    let read = there.cluster.read_of(&args.name, reading).await;
    let mut pieces = read.map_err(problem)?;
    let (mut text, mut lines) = (Vec::new(), Vec::new());
    let whole = loop {
        match pieces.next().await {
            Ok(Some(piece)) => text.extend(piece),
            Ok(None) => break true,
            Err(_) => break false,
        }
        lines.extend(whole_lines(&mut text));
        if args.follow {
            print(args, &mut lines, printed)?;
        }
    };
    print(args, &mut lines, printed)?;
    Ok(whole)
}

fn print(
    args: &PluginHistoryArgs,
    lines: &mut Vec<HistoryLine>,
    printed: &mut PrintedLine,
) -> Result<(), ExitProblem> {
    let Some(last) = lines.last() else {
        return Ok(());
    };
    printed.from = last.offset.saturating_add(1);
    if !args.is_events() {
        printed.gathered.append(lines);
        return Ok(());
    }
    let head = std::mem::replace(&mut printed.head, false);
    history::print(args.output, &std::mem::take(lines), head)
}

/// Takes the complete lines.
fn whole_lines(text: &mut Vec<u8>) -> Vec<HistoryLine> {
    let end = text.iter().rposition(|byte| *byte == b'\n');
    let rest = text.split_off(end.map_or(0, |end| end.saturating_add(1)));
    let whole = std::mem::replace(text, rest);
    let lines = whole.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}

pub(super) async fn logs(there: &ClusterAccess<'_>, args: PluginLogsArgs) -> CommandOutcome {
    tokio::select! {
        done = follow_logs(there, &args) => done,
        () = work::interrupted() => Ok(Exit::Interrupted),
    }
}

async fn follow_logs(there: &ClusterAccess<'_>, args: &PluginLogsArgs) -> CommandOutcome {
    let mut log = LogArgs {
        from: 0,
        tail: args.tail,
        held: Vec::new(),
    };
    let mut tries = 0;
    loop {
        let (from, failed) = (log.from, args.failed);
        let reading = if failed {
            Reading::Failed {
                definition: args.definition,
            }
        } else {
            // The end is known only after it was read.
            Reading::Logs {
                from,
                follow: args.follow && log.tail.is_none(),
            }
        };
        let whole = log.read(there, &args.name, reading).await?;
        if whole {
            log.print_tail()?;
        }
        if whole && !args.follow {
            return Ok(Exit::Done);
        }
        again(whole || log.from > from, &mut tries).await?;
    }
}

/// How far a log was read.
struct LogArgs {
    from: u64,
    /// How many of the last existing lines are printed; `None` means all.
    tail: Option<usize>,
    held: Vec<u8>,
}

impl LogArgs {
    /// Reads the log; returns whether it is complete.
    async fn read(
        &mut self,
        there: &ClusterAccess<'_>,
        name: &str,
        reading: Reading,
    ) -> Result<bool, ExitProblem> {
        let read = there.cluster.read_of(name, reading).await;
        let mut pieces = read.map_err(problem)?;
        self.from = pieces.begins.unwrap_or_default();
        loop {
            let piece = match pieces.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            };
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.from = self.from.saturating_add(length);
            match self.tail {
                Some(_) => {
                    self.held.extend(piece);
                    logs::keep_end(&mut self.held, logs::TAIL_MAX);
                }
                None => output::console(&piece)?,
            }
        }
    }

    fn print_tail(&mut self) -> Result<(), ExitProblem> {
        let Some(lines) = self.tail.take() else {
            return Ok(());
        };
        let held = std::mem::take(&mut self.held);
        output::console(logs::last_lines(&held, lines))
    }
}

/// Waits before the next request. Repeated interruptions without progress are an error.
async fn again(got_on: bool, tries: &mut u32) -> Result<(), ExitProblem> {
    *tries = if got_on { 0 } else { tries.saturating_add(1) };
    if *tries >= TRIES {
        return Err(ExitProblem::new(
            Exit::Failed,
            "VSI1020",
            "the answer is cut off each time",
            "see the log of the process that serves the resource, and give the command again",
        ));
    }
    tokio::time::sleep(RETRY_DELAY).await;
    Ok(())
}

pub(super) async fn retry(there: &ClusterAccess<'_>, args: PluginRetryArgs) -> CommandOutcome {
    let wait = if args.wait { WAIT } else { 0 };
    let mut exit = Exit::Done;
    for name in &args.names {
        let answer = act(there, name, Action::Retry, &args.reason, wait).await?;
        let came = match (answer.done, args.wait) {
            (ActionDone::NothingToDo, false) => {
                output::line(&format!("vsi/{name}: nothing to retry"));
                Exit::Done
            }
            (_, false) => {
                output::line(&format!("vsi/{name} is tried again"));
                Exit::Done
            }
            (_, true) => outcome(there, name, answer).await?,
        };
        exit = exit.max(came);
    }
    Ok(exit)
}

/// The outcome; if it is not decided yet, it is read from the resource.
async fn outcome(there: &ClusterAccess<'_>, name: &str, answer: ActionAnswer) -> CommandOutcome {
    let failure = |failure: Option<ActionFailure>, exit: Exit| {
        let failure = failure.unwrap_or_default();
        output::problem(&ExitProblem {
            exit,
            code: failure.code,
            message: failure.message,
            host: failure.host,
            object: failure.object,
            remedy: failure.remedy,
            findings: Vec::new(),
        });
        Ok(exit)
    };
    match answer.verdict.as_deref() {
        None => power::settled(there, name, "is tried again").await,
        Some("Reached") => {
            output::line(&format!("vsi/{name} is settled"));
            Ok(Exit::Done)
        }
        Some("Failed") => failure(answer.failure, Exit::Failed),
        Some(_) => failure(answer.failure, Exit::Blocked),
    }
}

pub(super) async fn cancel(there: &ClusterAccess<'_>, name: &str, why: &str) -> CommandOutcome {
    // The step in progress ends first.
    let answer = act(there, name, Action::Cancel, why, WAIT).await?;
    output::line(&match (answer.done, answer.verdict) {
        (ActionDone::NothingToDo, _) => format!("vsi/{name}: no run is open"),
        (_, Some(_)) => format!("vsi/{name} cancelled; `kubectl vsi retry {name}` continues it"),
        (_, None) => format!("vsi/{name} is cancelled once the step ends that acts just now"),
    });
    Ok(Exit::Done)
}

async fn act(
    there: &ClusterAccess<'_>,
    name: &str,
    action: Action,
    reason: &str,
    wait: u64,
) -> Result<ActionAnswer, ExitProblem> {
    let asking = there.cluster.act_on(name, action, reason, wait);
    tokio::select! {
        answer = asking => answer.map_err(problem),
        () = work::interrupted() => Err(ExitProblem::new(
            Exit::Interrupted,
            "",
            "",
            "",
        )),
    }
}
