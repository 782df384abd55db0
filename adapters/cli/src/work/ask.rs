//! Runs a reading command for another command, here or in the process that has the state directory, and
//! returns its output.

use std::sync::Arc;

use clap::Parser as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    args::{Cli, Common},
    compose,
    daemon::{self, RETRY_DELAY, SILENT, TIMEOUT, silent},
    exit::{CommandOutcome, ExitProblem, IN_USE},
    output::sink::{self, OutputSink},
    runner,
};

/// The output of a reading command, run here or in the process that has the state directory, which
/// may take a few seconds to answer. `words` are those after `vsiflow`.
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
    let until = Instant::now() + TIMEOUT;
    loop {
        let (common_here, command) = (common.clone(), cli.command.clone());
        let here = Box::pin(runner::run_here(Cli {
            common: common_here,
            command,
        }));
        match answer(common, here, words.clone()).await {
            Err(problem) if is_silence(&problem) && Instant::now() < until => {
                tokio::time::sleep(RETRY_DELAY).await;
            }
            answered => return answered,
        }
    }
}

/// Whether no process answered, which may be temporary.
pub(crate) fn is_silence(problem: &ExitProblem) -> bool {
    [IN_USE, SILENT].contains(&problem.code.as_str())
}

/// The objects of a list that `get -o json` printed; `None` if the text is not JSON, as when the
/// process that has the state directory does not answer.
pub(crate) fn items(text: &str) -> Option<Vec<Value>> {
    let mut list: Value = serde_json::from_str(text).ok()?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Some(items),
        _ => Some(Vec::new()),
    }
}

/// The output of `here`, or, if another process has the state directory, its output for these words.
pub(crate) async fn answer(
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
