//! `get --watch`: the list, and then each line that changed, until interrupted.

pub(super) mod graphs;

use std::{collections::HashSet, sync::Arc, time::Duration};

use clap::Parser as _;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    AGAIN, CommandOutcome, IN_USE, PATIENCE,
    elsewhere::{SILENT, silent},
    get,
};
use crate::{
    args::{Cli, Common, GetArgs, ListFormat},
    compose, daemon,
    exit::{Exit, ExitProblem},
    output::{
        self,
        sink::{self, OutputSink},
        times::Times,
    },
};

/// How often is looked. Between two looks the state directory is left to others.
const POLL: Duration = Duration::from_millis(500);
/// The same of a set of journals, all of which are read for a look.
const POLL_OF_SET: Duration = Duration::from_secs(2);

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    tokio::select! {
        watched = watch(common, args) => watched,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

async fn watch(common: &Common, args: GetArgs) -> CommandOutcome {
    let args = GetArgs {
        watch: false,
        ..args
    };
    let lines = args.output.as_ref().is_none_or(ListFormat::is_lines);
    let poll = common.set.as_ref().map_or(POLL, |_| POLL_OF_SET);
    let mut shown = ShownRow::default();
    let mut graphs = graphs::LiveGraphs::where_drawn(common, lines);
    loop {
        let text = look(common, &args).await?;
        let news = if lines {
            shown.lines(&text)
        } else {
            shown.whole(&text)
        };
        let print = || {
            if !news.is_empty() {
                output::line(news.trim_end());
            }
        };
        match &mut graphs {
            Some(graphs) => {
                graphs.print(print);
                graphs.draw_those_in(common, &args, &text).await;
            }
            None => print(),
        }
        tokio::time::sleep(poll).await;
    }
}

/// The list as it is now; nothing where the holder of the state directory does not answer just now,
/// so that what was shown last stays true.
pub(super) async fn look(common: &Common, args: &GetArgs) -> Result<String, ExitProblem> {
    let here = Box::pin(get::list(common, args.clone()));
    match answer(common, here, words(args)).await {
        Err(problem) if is_silence(&problem) => Ok(String::new()),
        answered => answered,
    }
}

/// What a command that only looks prints, here or by the holder of the state directory, which may
/// take a few seconds to answer. `words` are those behind `vsiflow`.
///
/// # Errors
/// As the command ends.
pub(crate) async fn ask(common: &Common, words: &[&str]) -> Result<String, ExitProblem> {
    let words: Vec<_> = ["vsiflow"]
        .iter()
        .chain(words)
        .map(|word| (*word).to_owned())
        .collect();
    let cli = Cli::try_parse_from(&words).map_err(ExitProblem::defect)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let (common_here, command) = (common.clone(), cli.command.clone());
        let here = Box::pin(super::carry_out(Cli {
            common: common_here,
            command,
        }));
        match answer(common, here, words.clone()).await {
            Err(problem) if is_silence(&problem) && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            answered => return answered,
        }
    }
}

/// Whether nobody answered, which may change.
fn is_silence(problem: &ExitProblem) -> bool {
    [IN_USE, SILENT].contains(&problem.code.as_str())
}

/// The objects of a list that `get -o json` printed; none where that is no list, as where a holder
/// does not answer just now.
pub(super) fn items(text: &str) -> Option<Vec<Value>> {
    let mut list: Value = serde_json::from_str(text).ok()?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Some(items),
        _ => Some(Vec::new()),
    }
}

async fn answer(
    common: &Common,
    here: impl Future<Output = CommandOutcome>,
    words: Vec<String>,
) -> Result<String, ExitProblem> {
    if common.server.is_some()
        && let Some(place) = daemon::place(common)?
    {
        let printed = daemon::ask_at(&place, words).await?;
        return printed
            .map(|bytes| text(&bytes))
            .ok_or_else(|| silent(&place));
    }
    let sink = Arc::new(OutputSink::default());
    match sink::with(sink.clone(), here).await {
        Err(problem) if problem.code == IN_USE => {
            let state = compose::state_path(common)?;
            let printed = daemon::ask(&state, words).await?;
            printed.map(|bytes| text(&bytes)).ok_or(problem)
        }
        Err(problem) => Err(problem),
        Ok(_) => {
            let all = sink.take().into_iter();
            let results = all.filter(|(to_err, _)| !to_err);
            Ok(text(
                &results.flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(),
            ))
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The same command for the holder of the state directory.
fn words(args: &GetArgs) -> Vec<String> {
    let mut words = vec!["vsiflow".to_owned(), "get".to_owned()];
    words.extend(args.words.iter().cloned());
    words.extend(["-n".to_owned(), args.scope.namespace.clone()]);
    words.extend(args.scope.all_namespaces.then(|| "-A".to_owned()));
    words.extend(args.deleted.then(|| "--deleted".to_owned()));
    words.extend(args.selection.words());
    if let Some(path) = &args.sort_by {
        words.push(format!("--sort-by={path}"));
    }
    words.extend(args.no_headers.then(|| "--no-headers".to_owned()));
    if args.times.time == Times::Absolute {
        words.push("--time=absolute".to_owned());
    }
    if let Some(format) = &args.output {
        words.extend(["-o".to_owned(), format.word()]);
    }
    words
}

/// What was shown last.
#[derive(Default)]
struct ShownRow {
    rows: HashSet<String>,
    text: String,
}

impl ShownRow {
    /// The lines that were not shown last, whatever their age. A silent holder changes nothing.
    fn lines(&mut self, text: &str) -> String {
        let head = text.lines().next().unwrap_or_default();
        if text.is_empty() {
            return String::new();
        }
        let mut rows = HashSet::new();
        let mut news = String::new();
        for line in text.lines() {
            let row = without_age(head, line);
            if !self.rows.contains(&row) {
                news.push_str(line);
                news.push('\n');
            }
            rows.insert(row);
        }
        self.rows = rows;
        news
    }

    fn whole(&mut self, text: &str) -> String {
        if text.is_empty() || text == self.text {
            return String::new();
        }
        text.clone_into(&mut self.text);
        self.text.clone()
    }
}

/// A row's cells but for its age, which always changes; however wide the columns are just now.
fn without_age(head: &str, line: &str) -> String {
    let age = head.find("AGE").filter(|_| line != head);
    let kept = age.and_then(|age| {
        let rest = line.get(age..)?;
        let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
        Some(format!("{} {rest}", line.get(..age)?))
    });
    let cells = kept.unwrap_or_else(|| line.to_owned());
    cells.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_changed_are_shown_again_and_growing_older_is_no_change() {
        let mut shown = ShownRow::default();
        let first = "NAME   PHASE     AGE\na      Pending   1s\nb      Running   9s\n";
        assert_eq!(shown.lines(first), first);
        let older = "NAME   PHASE     AGE\na      Pending   2s\nb      Running   10s\n";
        assert_eq!(shown.lines(older), "");
        let wider =
            "NAME   PHASE          AGE\na      Provisioning   3s\nb      Running        11s\n";
        assert_eq!(shown.lines(wider), "a      Provisioning   3s\n");
        assert_eq!(shown.lines(""), "");
    }
}
