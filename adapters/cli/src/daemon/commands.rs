//! Runs the commands of callers with what this process has open.

use std::sync::Arc;

use async_trait::async_trait;
use clap::Parser as _;
use http::StatusCode;
use vsiflow_api::{
    CallerCommand, CommandEnd, CommandOutput, CommandRequest, Commands, Problem, SentDocuments,
};
use vsiflow_engine::{low_priority, model::Actor};

use super::{access::ApiAccess, words};
use crate::{
    actor,
    args::{Cli, Common},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem, IN_USE},
    output::{
        self,
        sink::{self, OutputSink},
    },
    runner, work,
};

/// Runs callers' commands.
pub(super) enum CallersCommands {
    /// On the journal that this process has open.
    OnJournal(Box<App>),
    /// On the set that these options name: each command finds the journals itself.
    OnSet(Box<Common>),
}

impl CallersCommands {
    async fn done(&self, mut cli: Cli, words: Vec<String>) -> CommandOutcome {
        match self {
            Self::OnJournal(app) => {
                let app = app.as_ref().clone();
                Box::pin(app.lend(runner::run_to_end(cli))).await
            }
            Self::OnSet(own) => {
                // Overrides what the caller names.
                cli.common.journal.clone_from(&own.journal);
                cli.common.state.clone_from(&own.state);
                let work = runner::run_to_end(cli);
                Box::pin(words::for_caller(words, work)).await
            }
        }
    }
}

#[async_trait]
impl Commands for CallersCommands {
    fn actor(&self, uid: u32) -> Actor {
        actor::of(uid)
    }

    fn stays(&self) -> bool {
        match self {
            Self::OnJournal(app) => app.stays(),
            Self::OnSet(_) => true,
        }
    }

    fn check(&self, args: &[String]) -> Result<(), Problem> {
        let cli = command_line(args).ok_or_else(unknown)?;
        match ApiAccess::of(&cli) {
            ApiAccess::Changes => Ok(()),
            ApiAccess::Stays if self.stays() => Ok(()),
            // The caller continues trying to get the directory for itself.
            ApiAccess::Stays => Err(passing()),
            ApiAccess::Here => Err(unknown()),
            ApiAccess::Asks | ApiAccess::Acts => Err(is_request()),
        }
    }

    async fn run(&self, command: CallerCommand, output: CommandOutput) -> CommandEnd {
        let CallerCommand { request, caller } = command;
        let args = request.args.clone();
        let parsed = low_priority::aside(move || command_line(&args)).await;
        let Some(cli) = parsed.ok().flatten() else {
            return ended(Exit::Usage, None);
        };
        let sink = Arc::new(OutputSink::for_caller(&caller, request.ascii));
        let doing = self.done(cli, request.args.clone());
        let work = work::with_files(documents_of(request), doing);
        let work = actor::for_caller(caller, work);
        let work = sink::with(sink.clone(), work);
        let mut work = Box::pin(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = sink.filled() => if send(&output, &sink).await.is_err() {
                    return ended(Exit::Interrupted, None);
                },
            }
        };
        let _ = send(&output, &sink).await;
        if sink.is_cut() {
            let problem = output::unwritable("too much of it waited for its reader");
            let line = format!("error[{}]: {}\n", problem.code, problem.message);
            let _ = output.send((true, line.into_bytes())).await;
            return ended(problem.exit, Some(&problem));
        }
        let end = match done {
            Ok(exit) => ended(exit, None),
            Err(problem) => ended(problem.exit, Some(&problem)),
        };
        CommandEnd {
            code: sink.first_code(),
            ..end
        }
    }
}

/// Parses a command line for this process: it is never sent on, whatever the environment says.
pub(crate) fn command_line(args: &[String]) -> Option<Cli> {
    let mut cli = Cli::try_parse_from(args).ok()?;
    cli.common.read_only = None;
    cli.common.server = None;
    cli.common.journal_key = None;
    cli.common.journal_key_command = None;
    Some(cli)
}

pub(crate) fn documents_of(request: CommandRequest) -> SentDocuments {
    SentDocuments {
        files: request.files,
        ..SentDocuments::default()
    }
}

/// Fails if the caller no longer reads the output.
async fn send(output: &CommandOutput, sink: &OutputSink) -> Result<(), ()> {
    for piece in sink.take() {
        output.send(piece).await.map_err(drop)?;
    }
    Ok(())
}

fn ended(exit: Exit, problem: Option<&ExitProblem>) -> CommandEnd {
    CommandEnd {
        exit: exit as u8,
        // Problems of documents are already printed.
        problem: problem
            .filter(|problem| !problem.message.is_empty())
            .map(api_problem),
        code: None,
    }
}

pub(crate) fn api_problem(problem: &ExitProblem) -> Problem {
    let status = match problem.exit {
        Exit::NotFound => StatusCode::NOT_FOUND,
        Exit::Blocked => StatusCode::CONFLICT,
        Exit::Usage => StatusCode::UNPROCESSABLE_ENTITY,
        Exit::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem {
        host: problem.host.clone(),
        object: problem.object.clone(),
        findings: problem.findings.clone(),
        ..Problem::new(status, &problem.code, &problem.message, &problem.remedy)
    }
}

fn unknown() -> Problem {
    let remedy = "`docs/reference/daemon.md` lists what may be asked here; see that client and \
                  server are of one release";
    let detail = "this is not a command, or not one that the daemon runs";
    Problem::new(StatusCode::BAD_REQUEST, "VSI0022", detail, remedy)
}

fn is_request() -> Problem {
    let remedy = "send the request that `docs/reference/daemon.md` names; see that client and server are of one release";
    let detail = "this command sends requests, such as POST /v1/table, and is not run here";
    Problem::new(StatusCode::BAD_REQUEST, "VSI0022", detail, remedy)
}

fn passing() -> Problem {
    let detail = "another command holds the state directory, and does not stay";
    Problem::new(StatusCode::CONFLICT, IN_USE, detail, "wait for its end")
}
