//! Runs a reading command for another command, here or in the process that has the state directory, and
//! returns its output.

use std::sync::Arc;

use clap::Parser as _;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    args::{Cli, Common},
    compose,
    daemon::{self, ApiAccess, RETRY_DELAY, TIMEOUT, silent},
    exit::{CommandOutcome, ExitProblem, IN_USE},
    output::sink::{self, OutputSink},
    runner,
    service::is_silence,
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
    if ApiAccess::of(&cli) == ApiAccess::Asks {
        // It finds itself who answers.
        let common = common.clone();
        let here = runner::run_here(Cli { common, ..cli });
        return captured(here).await;
    }
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

/// The tokens, as `token list -o json` prints them.
///
/// # Errors
/// As for [`ask`].
pub(crate) async fn tokens(common: &Common) -> Result<Vec<Value>, ExitProblem> {
    let text = ask(common, &["token", "list", "-o", "json"]).await?;
    let mut list: Value = serde_json::from_str(&text).map_err(ExitProblem::defect)?;
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(tokens)) => Ok(tokens),
        _ => Ok(Vec::new()),
    }
}

/// The output of `here`, or, if another process has the state directory, its output for these words.
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
    match captured(here).await {
        Err(problem) if problem.code == IN_USE => {
            let state = compose::state_path(common)?;
            let printed = daemon::ask(&state, words).await?;
            printed.map(|bytes| text(&bytes)).ok_or(problem)
        }
        done => done,
    }
}

/// What a command that runs here prints.
async fn captured(here: impl Future<Output = CommandOutcome>) -> Result<String, ExitProblem> {
    let sink = Arc::new(OutputSink::default());
    sink::with(sink.clone(), Box::pin(here)).await?;
    let printed = sink.take().into_iter().filter(|(to_err, _)| !to_err);
    let bytes: Vec<_> = printed.flat_map(|(_, bytes)| bytes).collect();
    Ok(text(&bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
