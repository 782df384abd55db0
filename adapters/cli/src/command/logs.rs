//! `logs`: prints the consoles of VSIs.

mod lines;
mod times;

use serde_json::Value;
use vsiflow_api::BootEvidenceRequest;
use vsiflow_steps::ports::ConsolePosition;
use vsiflow_workflows::{kinds::TableQuery, phase::Phase};

use self::lines::LogReader;
use crate::{
    args::{Common, LogsArgs, ObjectKind, kind_and_names},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::{self, ConsoleReader},
};

/// About how many bytes are held of a log without line ends, or with many.
pub(crate) const TAIL_MAX: usize = 8 * 1024 * 1024;

pub(super) async fn run(common: &Common, args: LogsArgs) -> CommandOutcome {
    let names = names(common, &args).await?;
    tokio::select! {
        printed = show(common, &args, &names) => printed,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

async fn show(common: &Common, args: &LogsArgs, names: &[String]) -> CommandOutcome {
    match names {
        [name] if args.failed => failed(common, args, name).await,
        _ if args.failed => {
            let message = "--failed prints the boot of one VSI";
            let remedy = "name one VSI";
            Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy))
        }
        [name] if !args.is_by_line() => {
            let mut reader = ConsoleReader::open(common, &args.namespace, name).await?;
            print(&mut reader, args).await
        }
        names => {
            let mut readers = Vec::new();
            for name in names {
                readers.push(LogReader::open(common, args, name).await?);
            }
            lines::print(readers, args.follow).await
        }
    }
}

/// The VSIs that the command line names or selects.
async fn names(common: &Common, args: &LogsArgs) -> Result<Vec<String>, ExitProblem> {
    if args.words.is_empty() {
        return selected(common, args).await;
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

/// The VSIs of the namespace that are selected. One that cannot be read is left out with a warning.
async fn selected(common: &Common, args: &LogsArgs) -> Result<Vec<String>, ExitProblem> {
    let query = TableQuery {
        namespace: Some(args.namespace.clone()),
        ..TableQuery::default()
    };
    let objects = service::objects(common, ObjectKind::Vsi, query).await?;
    let text = |object: &Value, path: &str| {
        let text = object.pointer(path).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let mut names = Vec::new();
    for object in objects
        .iter()
        .filter(|object| args.selection.includes(object))
    {
        let name = text(object, "/metadata/name");
        if text(object, "/status/phase") == Phase::Unreadable.as_str() {
            output::warning(&format!(
                "vsi/{name} is left out: it cannot be read (VSI0018)"
            ));
        } else {
            names.push(name);
        }
    }
    if names.is_empty() {
        output::note(&format!("No VSIs found in namespace {}.", args.namespace));
    }
    Ok(names)
}

/// Prints the stored evidence of a failed boot, which is sanitised already.
async fn failed(common: &Common, args: &LogsArgs, name: &str) -> CommandOutcome {
    let request = BootEvidenceRequest {
        namespace: args.namespace.clone(),
        name: name.to_owned(),
    };
    let Some(evidence) = service::call(common, request).await?.evidence else {
        let words = "the journal has no failed boot of it";
        let remedy = "`describe` names the evidence of a failed boot";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0806", words, remedy));
    };
    let evidence = if args.definition {
        evidence.definition
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

async fn print(reader: &mut ConsoleReader, args: &LogsArgs) -> CommandOutcome {
    let mut at = ConsolePosition::default();
    let mut whole = Vec::new();
    let mut tail = args.tail;
    loop {
        let chunk = if args.follow {
            reader.follow(at).await?
        } else {
            reader.read(at).await?
        };
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
