//! Runs command lines for lower modules: a daemon for its callers, a journal of a set for requests, and
//! commands that show another command's output.
//!
//! The commands depend on those modules, so the program installs the functions that run a command line once,
//! at its start.

use std::{pin::Pin, sync::OnceLock};

use crate::{
    args::Cli,
    exit::{CommandOutcome, ExitProblem},
};

/// Runs a command line.
pub(crate) type RunCommand = fn(Cli) -> Pin<Box<dyn Future<Output = CommandOutcome> + Send>>;

/// The two ways to run a command line.
pub(crate) struct CommandRunner {
    /// Here, or in the process that has the state directory; the problem is printed.
    pub(crate) to_end: RunCommand,
    /// Here only; the caller prints the problem.
    pub(crate) here: RunCommand,
}

static RUNNER: OnceLock<CommandRunner> = OnceLock::new();

/// Installs the functions, at the start of the program.
pub(crate) fn install(runner: CommandRunner) {
    let _ = RUNNER.set(runner);
}

/// Runs a command here, or in the process that has the state directory; the problem is printed and returned.
pub(crate) async fn run_to_end(cli: Cli) -> CommandOutcome {
    (installed()?.to_end)(cli).await
}

/// Runs a command here.
pub(crate) async fn run_here(cli: Cli) -> CommandOutcome {
    (installed()?.here)(cli).await
}

fn installed() -> Result<&'static CommandRunner, ExitProblem> {
    RUNNER
        .get()
        .ok_or_else(|| ExitProblem::defect("this program says of no command how it is done"))
}
