//! `top`: shows the fleet in a terminal. Each refresh is a request of its own, so that other processes may use the
//! state directory between two of them.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::runtime::Handle;
use vsiflow_api::OverviewRequest;
use vsiflow_top::screen::{self, FullScreen, Worker, WorkerOutcome};
use vsiflow_workflows::fleet::FleetOverview;

use crate::{
    args::{Common, OutputFormat, Server, TopArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service, terminal,
    work::ask,
};

/// How long restoring the terminal may take after a signal.
const SOON: Duration = Duration::from_secs(2);

pub(super) async fn run(common: &Common, args: TopArgs) -> CommandOutcome {
    if args.once {
        let from = args.from_offset;
        let overview = service::call(common, OverviewRequest { from }).await?;
        output::print(&overview, args.output.unwrap_or(OutputFormat::Json))?;
        return Ok(Exit::Done);
    }
    if output::sink::is_for_caller() || !screen::is_terminal() {
        return Err(no_terminal());
    }
    show(common).await
}

fn no_terminal() -> ExitProblem {
    let message = "`top` needs a terminal: standard input or standard output is none";
    let remedy = "use `vsiflow get -w`, which prints a line for each change, or `vsiflow top --once -o json`";
    ExitProblem::new(Exit::Usage, "VSI0780", message, remedy)
}

/// Shows the fleet until a key or a signal ends it, then restores the terminal.
async fn show(common: &Common) -> CommandOutcome {
    let (came, comes) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let mut client = FleetClient {
        common: quiet(common),
        came,
        runtime: Handle::current(),
    };
    let stopped = stop.clone();
    let mut shown =
        tokio::task::spawn_blocking(move || screen::show(&mut client, &comes, &stopped));
    let (ended, exit) = tokio::select! {
        ended = &mut shown => (ended, Exit::Done),
        () = terminal::ended() => {
            stop.store(true, Ordering::Relaxed);
            let Ok(ended) = tokio::time::timeout(SOON, shown).await else {
                // A read from a closed terminal may never return; the process ends anyway.
                FullScreen::end();
                return Ok(Exit::Interrupted);
            };
            (ended, Exit::Interrupted)
        }
    };
    ended.map_err(ExitProblem::defect)?.map_err(unusable)?;
    Ok(exit)
}

fn unusable(error: std::io::Error) -> ExitProblem {
    let message = format!("the terminal cannot be used: {error}");
    let remedy = "see that TERM names this terminal, or use `vsiflow get -w`";
    ExitProblem::new(Exit::Failed, "VSI0780", message, remedy)
}

/// Without messages, which would disturb the screen. A read-only socket is addressed like a daemon.
fn quiet(common: &Common) -> Common {
    let mut common = Common {
        quiet: true,
        verbose: 0,
        ..common.clone()
    };
    if let Some(socket) = common.read_only.take() {
        common.server = Some(Server::Unix(socket));
    }
    common
}

/// Queries the fleet in background tasks.
struct FleetClient {
    common: Common,
    came: mpsc::Sender<WorkerOutcome>,
    runtime: Handle,
}

impl Worker for FleetClient {
    fn refresh(&mut self, from: Option<u64>) {
        let (common, came) = (self.common.clone(), self.came.clone());
        self.runtime.spawn(async move {
            // The receiver may be closed.
            let _ = came.send(WorkerOutcome::Look(overview_now(&common, from).await));
        });
    }

    fn read(&mut self, words: Vec<String>) {
        let (common, came) = (self.common.clone(), self.came.clone());
        self.runtime.spawn(async move {
            let arguments: Vec<_> = words.iter().map(String::as_str).collect();
            let text = ask::ask(&common, &arguments)
                .await
                .map_err(|why| problem_text(&why));
            let _ = came.send(WorkerOutcome::Text(words, text));
        });
    }

    fn hand_over(&mut self, words: &[String]) -> Option<String> {
        let ran = std::env::current_exe().and_then(|own| {
            let mut command = Command::new(own);
            command.args(places(&self.common)).args(words).status()
        });
        match ran {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("vsiflow {}: {status}", words.join(" "))),
            Err(error) => Some(format!("vsiflow cannot be started: {error}")),
        }
    }
}

async fn overview_now(common: &Common, from: Option<u64>) -> Result<Box<FleetOverview>, String> {
    let overview = Box::pin(service::call(common, OverviewRequest { from })).await;
    overview.map(Box::new).map_err(|why| problem_text(&why))
}

fn problem_text(why: &ExitProblem) -> String {
    format!("{}: {}. {}", why.code, why.message, why.remedy)
}

/// The options that lead a command to the same fleet.
fn places(common: &Common) -> Vec<String> {
    let state = common.state.as_ref();
    let state = state.map(|state| format!("--state={}", state.display()));
    let server = common.server.as_ref().map(|server| match server {
        Server::Unix(socket) => format!("--server=unix://{}", socket.display()),
        Server::Https(address) => format!("--server=https://{address}"),
    });
    let token = common.token_file.as_ref();
    let token = token.map(|file| format!("--token-file={}", file.display()));
    let host = common.host.as_ref().map(|host| format!("--host={host}"));
    [state, server, token, host].into_iter().flatten().collect()
}
