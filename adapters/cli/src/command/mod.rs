//! The commands, one file each, and where they run: here, or in the process that has the state directory.

mod acting;
mod adopt;
mod apply;
mod approve;
mod audit;
mod backup;
mod bundle;
mod cancel;
pub(crate) mod compact;
mod completions;
pub(crate) mod console;
mod contract;
mod crd;
mod create;
mod delete;
mod describe;
mod diff;
mod disk;
mod disk_file;
mod dispatch;
mod doctor;
mod event_lines;
mod events;
mod explain;
mod get;
mod graph_pane;
mod guest_channel;
pub(crate) mod history;
mod host;
mod image;
mod journal;
pub(crate) mod logs;
mod man;
mod migrate;
mod openapi;
mod plan;
mod pool;
pub(crate) mod power;
mod rebuild;
mod remote_server;
mod replay;
mod restore;
mod resume;
mod retry;
mod rollback;
mod scan;
mod serve;
mod snapshot;
mod ssh;
mod ssh_import;
mod support_bundle;
mod token;
mod top;
mod traces;
mod ui;
mod vnc;
mod wait_for;

use std::path::Path;

use tokio::time::Instant;
use vsiflow_api::{DaemonAddress, SentDocuments};

use self::dispatch::dispatch;
use crate::{
    args::{Cli, CliCommand},
    compose,
    daemon::{
        self, ApiAccess, Forwarded, RETRY_DELAY, TIMEOUT, forward_printing, may_forward, refused,
        show, words,
    },
    exit::{CommandOutcome, Exit, IN_USE},
    output,
    runner::CommandRunner,
    shards::{self, front::Routed},
    work,
};

/// Runs commands for lower modules.
pub(crate) fn runner() -> CommandRunner {
    CommandRunner {
        to_end: |cli| Box::pin(run_to_end(cli)),
        here: dispatch::carry_out,
    }
}

/// Runs the command to its end, and prints its problem.
pub(crate) async fn run(cli: Cli) -> Exit {
    run_to_end(cli).await.unwrap_or_else(|problem| problem.exit)
}

/// The same, but also returns the problem, which is already printed.
async fn run_to_end(cli: Cli) -> CommandOutcome {
    let (remote, follows) = (cli.common.remote_caller, cli.command.follows());
    let watches = matches!(&cli.command, CliCommand::Get(args) if args.watch);
    let done = tokio::select! {
        done = Box::pin(run_on(cli)) => done,
        () = work::left_alone(), if remote && follows => Ok(Exit::Interrupted),
        // What only prints ends with its output. Work is done to its end.
        () = output::sink::unheard(), if follows || watches => Ok(Exit::Done),
    };
    done.inspect_err(output::problem)
}

async fn run_on(cli: Cli) -> CommandOutcome {
    let is_here = cli.common.server.is_none() && !has_view_socket(&cli);
    let cli = if is_here {
        match Box::pin(shards::front::route(cli)).await? {
            Routed::Here(cli) => *cli,
            Routed::Of(cli) => return Box::pin(dispatch(*cli)).await,
            Routed::Each(all) => return Box::pin(one_after_the_other(all)).await,
            Routed::Answered(exit) => return Ok(exit),
        }
    } else {
        cli
    };
    if asks(&cli) {
        return Box::pin(dispatch(cli)).await;
    }
    // It always needs its own connection.
    if let CliCommand::Console(args) = &cli.command {
        return Box::pin(guest_channel::console(&cli.common, args)).await;
    }
    if let CliCommand::Vnc(args) = &cli.command {
        return Box::pin(guest_channel::screen(&cli.common, args)).await;
    }
    if cli.common.server.is_some() {
        return Box::pin(remote_server::run(&cli)).await;
    }
    match compose::state_path(&cli.common) {
        _ if has_view_socket(&cli) => Err(refused()),
        Ok(state) if may_forward(&cli) => here_or_there(&cli, &state).await,
        _ => Box::pin(dispatch(cli)).await,
    }
}

/// Runs the command on one journal of a set after the other; returns the worst exit.
async fn one_after_the_other(all: Vec<(Option<String>, Cli)>) -> CommandOutcome {
    let mut worst = Exit::Done;
    for (above, cli) in all {
        above.iter().for_each(|line| output::line(line));
        let ended = Box::pin(dispatch(cli)).await;
        // Each problem is printed before the next journal begins.
        worst = worst.max(output::worst([ended]));
    }
    Ok(worst)
}

/// Whether the command is sent to a read-only socket. Commands that work locally are not.
fn has_view_socket(cli: &Cli) -> bool {
    cli.common.read_only.is_some() && (may_forward(cli) || asks(cli))
}

/// Whether the command sends requests of the service, and finds itself who answers them.
fn asks(cli: &Cli) -> bool {
    matches!(ApiAccess::of(cli), ApiAccess::Asks | ApiAccess::Acts)
}

/// Runs the command here, or in the process that has the state directory. A process that neither
/// answers nor ends within a few seconds is reported.
async fn here_or_there(cli: &Cli, state: &Path) -> CommandOutcome {
    let Some((files, recursive)) = cli.command.documents() else {
        return try_both(cli, state, &SentDocuments::default()).await;
    };
    // Read now: standard input can be read only once, and it is not known yet which process needs it.
    let documents = work::gather(files, recursive).await?;
    work::with_files(documents.clone(), try_both(cli, state, &documents)).await
}

async fn try_both(cli: &Cli, state: &Path, documents: &SentDocuments) -> CommandOutcome {
    let until = Instant::now() + TIMEOUT;
    let holder = DaemonAddress::Socket(daemon::socket(state));
    loop {
        let done = Box::pin(dispatch(cli.clone())).await;
        match done {
            Err(problem) if problem.code == IN_USE => {
                match Box::pin(forward_printing(&holder, words(cli), documents, show)).await {
                    Forwarded::Answered(exit) => return Ok(exit),
                    Forwarded::NoDaemon(_) if Instant::now() < until => {
                        tokio::time::sleep(RETRY_DELAY).await
                    }
                    Forwarded::NoDaemon(silence) => return Err(silence.explain(problem, &holder)),
                }
            }
            done => return done,
        }
    }
}
