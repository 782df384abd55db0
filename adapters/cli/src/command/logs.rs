//! `logs`: prints the consoles of VSIs.

mod lines;
mod times;

use vsiflow_steps::{ports::ConsolePosition, vsi::keep_evidence};
use vsiflow_workflows::fleet::ConsoleLog;

use self::lines::LogReader;
use crate::{
    args::{Common, LogsArgs, ObjectKind, kind_and_names},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

/// About how many bytes are held of a log without line ends, or with many.
pub(crate) const TAIL_MAX: usize = 8 * 1024 * 1024;

pub(super) async fn run(common: &Common, args: LogsArgs) -> CommandOutcome {
    let app = App::open(common).await?;
    let opened = open(&app, &args).await;
    // Released here, so that following a console does not block other commands.
    app.close().await;
    tokio::select! {
        printed = show(opened?, &args) => printed,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

/// What is to be printed.
enum LogContent {
    /// The console of a failed boot.
    Failed(Option<keep_evidence::Output>),
    /// One console, as it is.
    Plain(ConsoleLog),
    /// Any number, line by line.
    Lines(Vec<LogReader>),
}

async fn open(app: &App, args: &LogsArgs) -> Result<LogContent, ExitProblem> {
    let names = names(app, args).await?;
    match names.as_slice() {
        [name] if args.failed => {
            let evidence = app.fleet.history().evidence(&args.namespace, name).await?;
            Ok(LogContent::Failed(evidence))
        }
        _ if args.failed => {
            let message = "--failed prints the boot of one VSI";
            let remedy = "name one VSI";
            Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy))
        }
        [name] if !args.is_by_line() => {
            let log = app
                .fleet
                .history()
                .console_log(&args.namespace, name)
                .await?;
            Ok(LogContent::Plain(log))
        }
        names => {
            let mut readers = Vec::new();
            for name in names {
                readers.push(LogReader::open(app, args, name).await?);
            }
            Ok(LogContent::Lines(readers))
        }
    }
}

async fn names(app: &App, args: &LogsArgs) -> Result<Vec<String>, ExitProblem> {
    if args.words.is_empty() {
        let all = work::selected(app, &args.namespace, &args.selection).await?;
        return Ok(all.into_iter().map(|target| target.name).collect());
    }
    match kind_and_names(&args.words) {
        (ObjectKind::Vsi, names) if !names.is_empty() => Ok(names),
        _ => {
            let message = "only VSIs have a console";
            let remedy = "name VSIs, as `vsiflow get` lists them";
            Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy))
        }
    }
}

async fn show(opened: LogContent, args: &LogsArgs) -> CommandOutcome {
    match opened {
        LogContent::Failed(evidence) => failed(evidence, args),
        LogContent::Plain(log) => print(&log, args).await,
        LogContent::Lines(readers) => lines::print(readers, args.follow).await,
    }
}

/// The stored evidence is sanitised already.
fn failed(evidence: Option<keep_evidence::Output>, args: &LogsArgs) -> CommandOutcome {
    let Some(evidence) = evidence else {
        let words = "the journal has no failed boot of it";
        let remedy = "`describe` names the evidence of a failed boot";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0806", words, remedy));
    };
    let evidence = if args.definition {
        evidence.domain_xml
    } else {
        evidence.console_tail
    };
    let mut text = evidence.into_bytes();
    text.push(b'\n');
    output::raw(
        args.tail
            .map_or(text.as_slice(), |lines| last_lines(&text, lines)),
    )?;
    Ok(Exit::Done)
}

async fn print(log: &ConsoleLog, args: &LogsArgs) -> CommandOutcome {
    let mut at = ConsolePosition::default();
    let mut whole = Vec::new();
    let mut tail = args.tail;
    loop {
        let chunk = log.read(at).await?;
        at = chunk.next;
        if tail.is_some() && !chunk.bytes.is_empty() {
            whole.extend(chunk.bytes);
            keep_end(&mut whole, TAIL_MAX);
            continue;
        }
        if let Some(lines) = tail.take() {
            output::console(last_lines(&whole, lines))?;
            whole = Vec::new();
        }
        if chunk.bytes.is_empty() {
            if !args.follow {
                return Ok(Exit::Done);
            }
            tokio::time::sleep(lines::POLL).await;
        } else {
            output::console(&chunk.bytes)?;
        }
    }
}

/// Drops the beginning of a text that has grown far beyond `most` bytes.
pub(crate) fn keep_end(text: &mut Vec<u8>, most: usize) {
    let excess = text.len().saturating_sub(most);
    if excess > most {
        text.drain(..excess);
    }
}

/// The last lines of a text.
pub(crate) fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let end = text.strip_suffix(b"\n").unwrap_or(text);
    let breaks = end
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    let from = match lines.checked_sub(1) {
        Some(before) => breaks
            .map(|(at, _)| at.saturating_add(1))
            .nth(before)
            .unwrap_or(0),
        None => text.len(),
    };
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_endless_log_the_end_is_held() {
        let mut held = Vec::new();
        for piece in 0..100_u8 {
            held.extend([piece; 10]);
            keep_end(&mut held, 50);
            assert!(held.len() <= 110);
        }
        assert!(held.len() >= 50 && held.ends_with(&[99; 10]));
    }

    #[test]
    fn the_last_lines_are_whole_lines() {
        let text = b"a\nb\nc\n";
        assert_eq!(last_lines(text, 0), b"");
        assert_eq!(last_lines(text, 1), b"c\n");
        assert_eq!(last_lines(text, 2), b"b\nc\n");
        assert_eq!(last_lines(text, 9), text);
        assert_eq!(last_lines(b"", 3), b"");
    }
}
