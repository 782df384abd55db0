//! The commands, a file each.

mod apply;
mod cancel;
mod completions;
mod delete;
mod describe;
mod get;
mod history;
mod logs;
mod resume;
mod retry;

use crate::{
    args::{Cli, Command},
    exit::{Exit, Problem},
    output,
};

/// Runs the command to its end, and says what went wrong.
pub(crate) async fn run(cli: Cli) -> Exit {
    let Cli { common, command } = cli;
    let done = match command {
        Command::Apply(args) => apply::run(&common, args).await,
        Command::Get(args) => get::run(&common, args).await,
        Command::Describe(args) => describe::run(&common, args).await,
        Command::History(args) => history::run(&common, args).await,
        Command::Logs(args) => logs::run(&common, args).await,
        Command::Delete(args) => delete::run(&common, args).await,
        Command::Resume(args) => resume::run(&common, args).await,
        Command::Retry(args) => retry::run(&common, args).await,
        Command::Cancel(args) => cancel::run(&common, args).await,
        Command::Completions { shell } => completions::run(shell),
    };
    done.unwrap_or_else(|problem| {
        output::problem(&problem);
        problem.exit
    })
}

/// What a command comes to.
pub(crate) use get::list;

pub(crate) type Outcome = Result<Exit, Problem>;
