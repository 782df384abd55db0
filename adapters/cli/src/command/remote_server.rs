//! `--server`: another process runs the command, on its state directory.

use vsiflow_api::{DaemonAddress, SentDocuments};

use super::dispatch::dispatch;
use crate::{
    args::{BundleCommand, Cli, CliCommand},
    daemon::{self, Forwarded, forward_printing, may_forward, show, silent, words},
    exit::{CommandOutcome, Exit, ExitProblem},
    work,
};

/// Sends the command to the server. Commands that need no state directory run here.
pub(super) async fn run(cli: &Cli) -> CommandOutcome {
    match &cli.command {
        _ if may_forward(cli) => ask(cli).await,
        // These poll the server themselves.
        CliCommand::Wait(_) => Box::pin(dispatch(cli.clone())).await,
        CliCommand::Contract(_) | CliCommand::Crd(_) | CliCommand::Migrate(_) => {
            Box::pin(dispatch(cli.clone())).await
        }
        CliCommand::Bundle(BundleCommand::Create(_) | BundleCommand::Show(_)) => {
            Box::pin(dispatch(cli.clone())).await
        }
        CliCommand::Completions { .. }
        | CliCommand::Openapi
        | CliCommand::Explain(_)
        | CliCommand::Man { .. } => Box::pin(dispatch(cli.clone())).await,
        CliCommand::Ui(_) => Box::pin(dispatch(cli.clone())).await,
        _ => Err(not_there()),
    }
}

async fn ask(cli: &Cli) -> CommandOutcome {
    let place = daemon::place(&cli.common)?;
    let place = place.ok_or_else(|| ExitProblem::defect("no server"))?;
    // The file would be on another machine.
    if matches!(place, DaemonAddress::Remote { .. }) && !cli.command.files().is_empty() {
        return Err(not_there());
    }
    let documents = match cli.command.documents() {
        Some((files, recursive)) => work::gather(files, recursive).await?,
        None => SentDocuments::default(),
    };
    match Box::pin(forward_printing(&place, words(cli), &documents, show)).await {
        Forwarded::Answered(exit) => Ok(exit),
        Forwarded::NoDaemon(silence) => Err(silence.explain(silent(&place), &place)),
    }
}

fn not_there() -> ExitProblem {
    let message = "this command works on a state directory itself";
    let remedy = "run it on the machine of the state directory, without --server";
    ExitProblem::new(Exit::Usage, "VSI0801", message, remedy)
}
