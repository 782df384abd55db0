//! What a command that only looks prints, had by another one: here, or by the holder of the state directory.

use std::sync::Arc;

use clap::Parser as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    args::{Cli, Common},
    compose,
    daemon::{self, AGAIN, PATIENCE, SILENT, silent},
    exit::{CommandOutcome, ExitProblem, IN_USE},
    output::sink::{self, OutputSink},
    runner,
};

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
        let here = Box::pin(runner::run_here(Cli {
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
pub(crate) fn is_silence(problem: &ExitProblem) -> bool {
    [IN_USE, SILENT].contains(&problem.code.as_str())
}

/// The objects of a list that `get -o json` printed; none where that is no list, as where a holder
/// does not answer just now.
pub(crate) fn items(text: &str) -> Option<Vec<Value>> {
    let mut list: Value = serde_json::from_str(text).ok()?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Some(items),
        _ => Some(Vec::new()),
    }
}

/// What `here` prints, or where the state directory is held, what its holder prints for those words.
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
