//! How rooms below the commands have one carried out: a daemon for its callers, a journal of a set for what is
//! asked of it, a command that shows what another one prints.
//!
//! The commands are above those rooms, so the program says once, when it starts, how a command line is done.

use std::{pin::Pin, sync::OnceLock};

use crate::{
    args::Cli,
    exit::{CommandOutcome, ExitProblem},
};

/// Does a command line.
pub(crate) type RunCommand = fn(Cli) -> Pin<Box<dyn Future<Output = CommandOutcome> + Send>>;

/// The two ways to do one.
pub(crate) struct CommandRunner {
    /// Here, or by whoever holds the state directory; what went wrong is printed.
    pub(crate) to_end: RunCommand,
    /// Here alone; what went wrong is its caller's to print.
    pub(crate) here: RunCommand,
}

static RUNNER: OnceLock<CommandRunner> = OnceLock::new();

/// Says how commands are done, at the start of the program.
pub(crate) fn install(runner: CommandRunner) {
    let _ = RUNNER.set(runner);
}

/// Does it here, or where its state directory is held; what went wrong is printed, and handed on.
pub(crate) async fn run_to_end(cli: Cli) -> CommandOutcome {
    (installed()?.to_end)(cli).await
}

/// Does it here.
pub(crate) async fn run_here(cli: Cli) -> CommandOutcome {
    (installed()?.here)(cli).await
}

fn installed() -> Result<&'static CommandRunner, ExitProblem> {
    RUNNER
        .get()
        .ok_or_else(|| ExitProblem::defect("this program says of no command how it is done"))
}
