//! All output of the program: results on standard output, everything else on standard error;
//! colours and bars only on terminals.

pub(crate) mod columns;
pub(crate) mod describe;
pub(crate) mod folding;
mod format;
pub(crate) mod graph;
pub(crate) mod jsonpath;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod pane;
pub(crate) mod plan;
pub(crate) mod serving;
pub(crate) mod sink;
mod sizes;
pub(crate) mod symbols;
pub(crate) mod table;
pub(crate) mod timeline;
pub(crate) mod times;
pub(crate) mod wrap;

use serde::Serialize;
use vsiflow_engine::{
    model::Failure,
    room::{DiskReading, Level},
};
use vsiflow_file::{Diagnostic, DiagnosticSeverity};
use vsiflow_steps::{host_text, hpl};

pub(crate) use self::format::OutputFormat;
use crate::exit::{Exit, ExitProblem};

const RED: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
const YELLOW: anstyle::Style = anstyle::AnsiColor::Yellow.on_default().bold();
const BOLD: anstyle::Style = anstyle::Style::new().bold();
/// The code if standard output cannot be written.
const UNWRITABLE: &str = "VSI0803";

tokio::task_local! {
    static ASIDE: ();
}

/// Runs `work` with its result lines printed as notes, because objects are printed after it.
pub(crate) async fn aside<T>(work: impl Future<Output = T>) -> T {
    ASIDE.scope((), work).await
}

/// Prints a line of results.
pub(crate) fn line(text: &str) {
    if ASIDE.try_with(|()| ()).is_ok() {
        return note(text);
    }
    let text = host_text::shown_lines(text);
    // An error is reported at the end of the command. A closed pipe (`| head`) is none.
    let _ = sink::out(format!("{text}\n").as_bytes());
}

/// Prints a name as a line of results.
pub(crate) fn name(name: &str) {
    line(&host_text::shown(name));
}

/// Prints a line about progress.
pub(crate) fn note(text: &str) {
    if log::is_asked() {
        return log::log_line(text);
    }
    note_styled("", text);
}

/// Prints a line about progress after a head with styles. No other text has them: what looks like a style, or like
/// any other command to a terminal, came with a name from outside.
fn note_styled(head: &str, text: &str) {
    let text = host_text::shown_lines(text);
    sink::err(format!("{head}{text}\n").as_bytes());
}

/// Prints bytes about progress.
pub(crate) fn raw_note(bytes: &[u8]) {
    sink::err(bytes);
}

/// Reports how much space the state directory's disk has now.
pub(crate) fn room(seen: DiskReading) {
    match seen.level {
        Level::Plenty => note("the state directory has space again: all work continues"),
        Level::Low => warning(&format!(
            "the state directory's disk is short of room ({seen}): no new run begins"
        )),
        Level::Full => warning(&format!(
            "the state directory's disk is full ({seen}): everything waits until there is room"
        )),
    }
}

/// Prints a warning.
pub(crate) fn warning(text: &str) {
    if log::is_asked() {
        return log::warned(text);
    }
    note_styled(&format!("{YELLOW}warning{YELLOW:#}: "), text);
}

/// Prints an error: code, what happened, where, and the remedy.
pub(crate) fn problem(problem: &ExitProblem) {
    if problem.code == UNWRITABLE {
        sink::report();
    }
    if !problem.findings.is_empty() {
        return diagnostics(&problem.findings);
    }
    if problem.message.is_empty() {
        return;
    }
    sink::note_code(&problem.code);
    if log::is_asked() {
        return log::failed(problem);
    }
    let ExitProblem {
        code,
        message,
        host,
        object,
        remedy,
        ..
    } = problem;
    note_styled(&format!("{RED}error[{code}]{RED:#}: "), message);
    for (what, text) in [("host", host), ("object", object), ("next", remedy)] {
        if !text.is_empty() {
            note_styled(&format!("  {BOLD}{what:<7}{BOLD:#}"), text);
        }
    }
}

/// Prints what a command would do to an object if it were not a dry run, and why it would be refused; returns the
/// exit of that.
pub(crate) fn foreseen(object: &str, what: &str, refusal: Option<Failure>) -> Exit {
    let refusal = refusal.map(|failure| ExitProblem::of(Exit::Blocked, &failure));
    foreseen_problem(object, what, refusal)
}

/// The same for a problem of a service.
pub(crate) fn foreseen_problem(object: &str, what: &str, refusal: Option<ExitProblem>) -> Exit {
    let Some(refusal) = refusal else {
        line(&format!("{object} would be {what}"));
        return Exit::Done;
    };
    line(&format!("{object} would not be {what}"));
    problem(&refusal);
    Exit::Blocked
}

/// The worst of several outcomes; prints each problem.
pub(crate) fn worst(all: impl IntoIterator<Item = Result<Exit, ExitProblem>>) -> Exit {
    let exits = all.into_iter().map(|ended| {
        ended.unwrap_or_else(|failed| {
            problem(&failed);
            failed.exit
        })
    });
    exits.max().unwrap_or(Exit::Done)
}

/// Prints all findings about documents.
pub(crate) fn diagnostics(all: &[Diagnostic]) {
    for diagnostic in all {
        if diagnostic.severity == DiagnosticSeverity::Error {
            sink::note_code(&diagnostic.code);
        }
        note(&diagnostic.to_string());
    }
}

/// Prints bytes unchanged.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), ExitProblem> {
    match sink::out_raw(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(error)),
        _ => Ok(()),
    }
}

/// Prints what a guest wrote. On a terminal, control sequences are made harmless.
pub(crate) fn console(bytes: &[u8]) -> Result<(), ExitProblem> {
    use std::io::IsTerminal as _;
    if sink::is_for_caller() || !std::io::stdout().is_terminal() {
        return raw(bytes);
    }
    raw(harmless(bytes).as_bytes())
}

/// Replaces each character that a terminal would interpret with a dot.
fn harmless(bytes: &[u8]) -> String {
    let shown = |c: char| {
        let obeyed = c.is_control() && !['\n', '\t'].contains(&c);
        if obeyed || hpl::is_invisible(c) {
            '·'
        } else {
            c
        }
    };
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    text.chars().map(shown).collect()
}

/// Prints an object as JSON or YAML.
pub(crate) fn print(value: &impl Serialize, format: OutputFormat) -> Result<(), ExitProblem> {
    raw(printed(value, format)?.as_bytes())
}

/// An object as JSON or YAML.
pub(crate) fn printed(value: &impl Serialize, format: OutputFormat) -> Result<String, ExitProblem> {
    if format == OutputFormat::Yaml {
        return yaml_shown(value).map_err(ExitProblem::defect);
    }
    let mut text = serde_json::to_string_pretty(value).map_err(ExitProblem::defect)?;
    text.push('\n');
    Ok(json_shown(text, OutputFormat::Json))
}

/// Prints long results unchanged and completely, however slowly they are read.
pub(crate) async fn raw_in_pieces(mut bytes: &[u8]) -> Result<(), ExitProblem> {
    match sink::out_all(&mut bytes).await {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(unwritable(error)),
        _ => Ok(()),
    }
}

/// The value as YAML; as JSON, which is YAML too, if a string of it has characters that [`json_shown`] escapes.
fn yaml_shown(value: &impl Serialize) -> Result<String, Box<dyn std::error::Error>> {
    let yaml = serde_saphyr::to_string(value)?;
    if !yaml.contains(|c: char| c != '\n' && host_text::is_escaped(c)) {
        return Ok(yaml);
    }
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(json_shown(text, OutputFormat::Yaml))
}

/// The same JSON with escapes, as the format has them, for the characters that a terminal would obey, or would not
/// show. They occur only in strings.
fn json_shown(text: String, format: OutputFormat) -> String {
    let is_escaped = |c: char| c != '\n' && host_text::is_escaped(c);
    if !text.contains(is_escaped) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) && format == OutputFormat::Yaml {
            shown.push_str(&format!("\\U{:08x}", u32::from(c)));
        } else if is_escaped(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A list as kubectl prints it.
pub(crate) fn list<T: Serialize>(items: &[T]) -> serde_json::Value {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
}

/// Prints an object as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), ExitProblem> {
    let mut text = serde_json::to_string(value).map_err(ExitProblem::defect)?;
    text.push('\n');
    raw(json_shown(text, OutputFormat::Json).as_bytes())
}

/// Prints a table, or that it is empty.
pub(crate) fn table(table: &table::Table, what: &str) {
    if table.is_empty() {
        note(&format!("No {what} found."))
    } else {
        line(table.render().trim_end())
    }
}

/// Prints a timeline as wide as the terminal, or that it is empty.
pub(crate) fn timeline(all: &timeline::Timeline, times: times::Times) {
    if all.is_empty() {
        return note("No events found.");
    }
    let width = wrap::terminal_width();
    let view = timeline::TimelineView {
        times,
        now: jiff::Timestamp::now(),
        width,
        bars: width.is_some(),
        heads: true,
    };
    line(all.render(view).trim_end());
}

/// The error for results that cannot be written.
pub(crate) fn unwritable(error: impl std::fmt::Display) -> ExitProblem {
    let message = format!("standard output cannot be written: {error}");
    let remedy = "check where standard output leads";
    ExitProblem::new(Exit::Failed, UNWRITABLE, message, remedy)
}

/// How the process ends: a command whose results could not be written has failed, whatever else it did.
pub(crate) fn ended(exit: Exit) -> Exit {
    let Some(lost) = sink::finish() else {
        return exit;
    };
    if !lost.is_reported {
        problem(&unwritable(lost.error));
    }
    match exit {
        Exit::Interrupted | Exit::LeaseLost => exit,
        _ => Exit::Failed,
    }
}

/// Prints clap's error or help, and returns the exit code.
pub(crate) fn usage_error(error: clap::Error) -> std::process::ExitCode {
    let printed = error.print();
    if error.use_stderr() {
        return Exit::Usage.into();
    }
    let _ = sink::printed(printed);
    ended(Exit::Done).into()
}

/// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
pub(crate) fn label(namespace: &str, name: &str) -> String {
    if namespace == "default" {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vsiflow_file::{Diagnostic, DiagnosticSeverity};

    use super::{OutputFormat, harmless, json_shown, sink};

    #[test]
    fn json_shows_nothing_that_a_terminal_obeys_and_stays_the_same_value() {
        let odd = serde_json::json!({"a\u{9b}1m": ["\u{1b}[2J\n", "x\u{202e}y", "\u{10fee9}", "caf\u{e9}"]});
        let text = serde_json::to_string_pretty(&odd).unwrap();
        let text = json_shown(text, OutputFormat::Json);
        assert!(
            text.chars()
                .all(|c| c == '\n' || c == '\u{e9}' || (' '..='~').contains(&c))
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            odd
        );
    }

    #[test]
    fn yaml_shows_nothing_that_a_terminal_obeys() {
        let odd =
            serde_json::json!({"a": "\u{1b}[2J", "b": "x\u{202e}y", "c\u{9b}": "\u{7f}\u{10fee9}"});
        let text = super::yaml_shown(&odd).unwrap();
        assert!(
            text.chars().all(|c| c == '\n' || (' '..='~').contains(&c)),
            "{text:?}"
        );
        assert_eq!(
            serde_saphyr::from_str::<serde_json::Value>(&text).unwrap(),
            odd
        );
    }

    #[tokio::test]
    async fn the_code_of_an_error_is_its_own_and_no_word_of_a_document() {
        let diagnostic = |severity, code| Diagnostic {
            severity,
            code: str::to_owned(code),
            file: "VSI0006.yaml".to_owned(),
            line: None,
            column: None,
            object: Some("VirtualServer VSI0021".to_owned()),
            field: None,
            message: "VSI0041 is not known".to_owned(),
            remedy: String::new(),
            snippet: None,
        };
        let all = [
            diagnostic(DiagnosticSeverity::Warning, "VSI0601"),
            diagnostic(DiagnosticSeverity::Error, "VSI0602"),
            diagnostic(DiagnosticSeverity::Error, "VSI0603"),
        ];
        let sink = Arc::new(sink::OutputSink::default());
        sink::with(sink.clone(), async { super::diagnostics(&all) }).await;
        assert_eq!(sink.first_code().as_deref(), Some("VSI0602"));
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_dots() {
        let hostile =
            b"a\x1b[2J\x1b]0;x\x07\r\nb\tc\rd\x9b\xff\xe2\x80\xae\xe2\x81\xa6 \xc2\x9b1m\0";
        assert_eq!(
            harmless(hostile),
            "a·[2J·]0;x·\nb\tc·d\u{fffd}\u{fffd}·· ·1m·"
        );
    }
}
