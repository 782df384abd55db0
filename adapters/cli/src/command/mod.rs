//! The commands, a file each.

mod adopt;
mod apply;
mod approve;
mod audit;
mod backup;
mod beside;
mod bundle;
mod cancel;
mod cluster;
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
mod doctor;
mod elsewhere;
mod event_lines;
mod events;
mod explain;
mod get;
pub(crate) mod history;
mod host;
mod image;
mod journal;
mod journal_file;
mod listen;
pub(crate) mod logs;
mod man;
mod migrate;
mod openapi;
mod plan;
mod pool;
mod power;
pub(crate) mod prune;
mod rebuild;
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
mod subresources;
mod support_bundle;
mod tell;
pub(crate) mod token;
mod top;
mod traces;
mod ui;
mod vnc;
mod wait_for;
mod watch;

pub(crate) use scan::look_on;
pub(crate) use serve::{give_way, not_panicking, told_of_images};
pub(crate) use tell::tell;

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use tokio::time::Instant;
use vsiflow_api::Place;
use vsiflow_workflows::record::PowerAction;

use crate::{
    args::{
        AuditCommand, BundleCommand, CheckArgs, Cli, CliCommand, ClusterCommand, DiskCommand,
        HostCommand, ImageCommand, InventoryArgs, JournalCommand,
    },
    compose::{self, App},
    daemon::{self, ApiAccess, Forwarded, forward_to, may_forward, refused},
    exit::{Exit, ExitProblem},
    output,
    shards::{self, front::Routed},
    work::{self, GivenDocuments},
};

/// Runs the command to its end, and says what went wrong.
pub(crate) async fn run(cli: Cli) -> Exit {
    run_to_end(cli).await.unwrap_or_else(|problem| problem.exit)
}

/// The same; what went wrong is said, and handed on.
pub(crate) async fn run_to_end(cli: Cli) -> CommandOutcome {
    let done = if !(cli.common.remote_caller && follows(&cli.command)) {
        run_on(cli).await
    } else {
        tokio::select! {
            done = run_on(cli) => done,
            () = work::left_alone() => Ok(Exit::Interrupted),
        }
    };
    done.inspect_err(output::problem)
}

/// Whether it goes on until somebody ends it.
pub(crate) fn follows(command: &CliCommand) -> bool {
    match command {
        CliCommand::History(args) => args.follow,
        CliCommand::Events(args) => args.watch,
        CliCommand::Logs(args) => args.follow,
        _ => false,
    }
}

async fn run_on(cli: Cli) -> CommandOutcome {
    let is_here = cli.common.server.is_none() && !looks_elsewhere(&cli);
    let cli = if is_here {
        match Box::pin(shards::front::route(cli)).await? {
            Routed::Here(cli) => *cli,
            Routed::Of(cli) => return Box::pin(dispatch(*cli)).await,
            Routed::Answered(exit) => return Ok(exit),
        }
    } else {
        cli
    };
    // It needs a connection of its own wherever it is.
    if let CliCommand::Console(args) = &cli.command {
        return Box::pin(console::run(&cli.common, args)).await;
    }
    if let CliCommand::Vnc(args) = &cli.command {
        return Box::pin(vnc::run(&cli.common, args)).await;
    }
    if cli.common.server.is_some() {
        return Box::pin(elsewhere::run(&cli)).await;
    }
    match compose::state_path(&cli.common) {
        _ if looks_elsewhere(&cli) => look_there(&cli).await,
        Ok(state) if may_forward(&cli) => here_or_there(&cli, &state).await,
        _ => Box::pin(dispatch(cli)).await,
    }
}

/// Whether it is asked of a socket for people who may look. What works where it is called does.
fn looks_elsewhere(cli: &Cli) -> bool {
    let watches = matches!(&cli.command, CliCommand::Get(args) if args.watch);
    cli.common.read_only.is_some() && (may_forward(cli) || watches)
}

/// Asks there; what may not be asked is not sent.
async fn look_there(cli: &Cli) -> CommandOutcome {
    let Some(socket) = &cli.common.read_only else {
        return Err(ExitProblem::defect("no socket to look through"));
    };
    if ApiAccess::of(cli) != ApiAccess::Looks {
        return Err(refused());
    }
    let args = std::env::args().collect();
    match forward_to(
        &Place::Socket(socket.clone()),
        args,
        &GivenDocuments::default(),
    )
    .await
    {
        Forwarded::Answered(exit) => Ok(exit),
        Forwarded::Nobody => {
            let message = format!("nobody answers at {}", socket.display());
            let remedy = "see that `vsiflow serve --read-only` runs, and that you are of the group of its folder";
            Err(ExitProblem::new(Exit::Failed, "VSI0021", message, remedy))
        }
    }
}

/// Runs the command here, or where another process holds the state directory, there. A holder
/// that neither answers nor goes away within a few seconds is reported.
async fn here_or_there(cli: &Cli, state: &Path) -> CommandOutcome {
    if let CliCommand::Create(args) = &cli.command
        && !args.dry_run
    {
        let given = create::documents(&cli.common, args).await?;
        return work::with_files(given.clone(), try_both(cli, state, &given)).await;
    }
    let Some((files, recursive)) = documents(&cli.command) else {
        return try_both(cli, state, &GivenDocuments::default()).await;
    };
    // Standard input can be read once only, and who will need it is not known yet.
    let given = work::gather(files, recursive).await?;
    work::with_files(given.clone(), try_both(cli, state, &given)).await
}

/// The files that a command reads documents from, if it reads any.
fn documents(command: &CliCommand) -> Option<(&[PathBuf], bool)> {
    match command {
        CliCommand::Apply(args) | CliCommand::Cluster(ClusterCommand::Create(args)) => {
            Some((&args.sources.files, args.sources.recursive))
        }
        CliCommand::Plan(args) => Some((&args.sources.files, args.sources.recursive)),
        CliCommand::Diff(args) if !args.files.is_empty() => Some((&args.files, false)),
        CliCommand::Delete(args) if !args.files.is_empty() => Some((&args.files, false)),
        CliCommand::Adopt(args) if !args.files.is_empty() => Some((&args.files, false)),
        CliCommand::Host(
            HostCommand::Inventory(InventoryArgs { at, .. })
            | HostCommand::Check(CheckArgs { at, .. }),
        ) if !at.files.is_empty() => Some((&at.files, false)),
        CliCommand::Image(ImageCommand::Upload(args)) => Some((&args.at.files, false)),
        CliCommand::Image(ImageCommand::Unlock(args)) => Some((&args.at.files, false)),
        CliCommand::Disk(DiskCommand::Import(args)) => Some((&args.at.files, false)),
        // Those of the site; what is in the bundle is read where it is applied.
        CliCommand::Bundle(BundleCommand::Apply(args)) => Some((&args.files, false)),
        _ => None,
    }
}

async fn try_both(cli: &Cli, state: &Path, given: &GivenDocuments) -> CommandOutcome {
    let until = Instant::now() + PATIENCE;
    let holder = Place::Socket(daemon::socket(state));
    loop {
        let done = Box::pin(dispatch(cli.clone())).await;
        match done {
            Err(problem) if problem.code == IN_USE => {
                match Box::pin(beside::forward(&holder, cli, words(cli), given)).await {
                    Forwarded::Answered(exit) => return Ok(exit),
                    Forwarded::Nobody if Instant::now() < until => tokio::time::sleep(AGAIN).await,
                    Forwarded::Nobody => return Err(problem),
                }
            }
            done => return done,
        }
    }
}

/// The command line for the holder, whose folder is another.
pub(crate) fn words(cli: &Cli) -> Vec<String> {
    let files = files(&cli.command);
    let absolute = |word: &str| {
        let named = files.iter().find(|file| file.as_os_str() == word);
        let absolute = named.and_then(|file| std::path::absolute(file).ok());
        absolute.map_or_else(|| word.to_owned(), |path| path.display().to_string())
    };
    let words = std::env::args();
    words
        .map(|word| match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => {
                format!("{option}={}", absolute(value))
            }
            _ => absolute(&word),
        })
        .collect()
}

/// The files that the holder is to read or write in the caller's place.
fn files(command: &CliCommand) -> Vec<PathBuf> {
    match command {
        CliCommand::Backup(args) => vec![args.file.clone()],
        CliCommand::Disk(DiskCommand::Export(args)) => vec![args.file.clone()],
        CliCommand::Disk(DiskCommand::Import(args)) => vec![args.file.clone()],
        CliCommand::Image(ImageCommand::Upload(args)) => {
            let named = args.images.iter().filter(|image| !image.contains("://"));
            named.map(PathBuf::from).collect()
        }
        CliCommand::Bundle(BundleCommand::Apply(args)) => {
            let key = args.verify_key.iter().cloned();
            std::iter::once(args.file.clone()).chain(key).collect()
        }
        CliCommand::Audit(AuditCommand::Verify(args)) => {
            let head = args.head.iter().map(PathBuf::from);
            let head = head.filter(|file| file.is_file());
            head.chain(args.public_key.clone()).collect()
        }
        CliCommand::Audit(AuditCommand::Head(args)) => args.sign_key.iter().cloned().collect(),
        CliCommand::Audit(AuditCommand::Export(args)) if args.file != Path::new("-") => {
            vec![args.file.clone()]
        }
        _ => Vec::new(),
    }
}

/// How long a holder may take to answer, or to go away.
const PATIENCE: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(50);

/// The code of a state directory that another process holds.
pub(crate) const IN_USE: &str = "VSI0002";

/// The code of a journal that is damaged.
const DAMAGED: &str = "VSI0004";

/// Runs the command here. One that only reads goes on past what is damaged.
async fn dispatch(cli: Cli) -> CommandOutcome {
    if !only_reads(&cli.command) || App::held().is_some() {
        return Box::pin(carry_out(cli)).await;
    }
    match Box::pin(carry_out(cli.clone())).await {
        Err(problem) if problem.code == DAMAGED => {
            compose::past_damage(Box::pin(carry_out(cli))).await
        }
        done => done,
    }
}

fn only_reads(command: &CliCommand) -> bool {
    match command {
        CliCommand::Get(args) => !args.refresh,
        CliCommand::Describe(_) | CliCommand::Diff(_) | CliCommand::Logs(_) => true,
        CliCommand::History(_) | CliCommand::Events(_) | CliCommand::Top(_) => true,
        CliCommand::Plan(_) | CliCommand::Backup(_) | CliCommand::Image(ImageCommand::List(_)) => {
            true
        }
        _ => false,
    }
}

fn carry_out(cli: Cli) -> Pin<Box<dyn Future<Output = CommandOutcome> + Send>> {
    Box::pin(carried_out(cli))
}

async fn carried_out(cli: Cli) -> CommandOutcome {
    let Cli { common, command } = cli;
    match command {
        CliCommand::Apply(args) | CliCommand::Cluster(ClusterCommand::Create(args)) => {
            later(|| apply::run(&common, args)).await
        }
        CliCommand::Create(args) => later(|| create::run(&common, args)).await,
        CliCommand::Plan(args) => later(|| plan::run(&common, args)).await,
        CliCommand::Approve(args) => later(|| approve::run(&common, args)).await,
        CliCommand::Rebuild(args) => later(|| rebuild::run(&common, args)).await,
        CliCommand::Start(args) => later(|| power::up(&common, PowerAction::Start, args)).await,
        CliCommand::Stop(args) => later(|| power::down(&common, PowerAction::Stop, args)).await,
        CliCommand::Restart(args) => {
            later(|| power::down(&common, PowerAction::Restart, args)).await
        }
        CliCommand::Pause(args) => later(|| power::pause(&common, PowerAction::Pause, args)).await,
        CliCommand::Unpause(args) => {
            later(|| power::pause(&common, PowerAction::Unpause, args)).await
        }
        CliCommand::Scale(args) => later(|| pool::scale(&common, args)).await,
        CliCommand::Output(args) => later(|| pool::output(&common, args)).await,
        CliCommand::Rollback(args) => later(|| rollback::run(&common, args)).await,
        CliCommand::Cordon(args) => later(|| pool::cordon(&common, args, true)).await,
        CliCommand::Uncordon(args) => later(|| pool::cordon(&common, args, false)).await,
        CliCommand::Get(args) => later(|| get::run(&common, args)).await,
        CliCommand::Wait(args) => later(|| wait_for::run(&common, args)).await,
        CliCommand::Describe(args) => later(|| describe::run(&common, args)).await,
        CliCommand::Diff(args) => later(|| diff::run(&common, args)).await,
        CliCommand::History(args) => later(|| history::run(&common, args)).await,
        CliCommand::Events(args) => later(|| events::run(&common, args)).await,
        CliCommand::Logs(args) => later(|| logs::run(&common, args)).await,
        CliCommand::Traces(command) => later(|| traces::run(&common, command)).await,
        CliCommand::Top(args) => later(|| top::run(&common, args)).await,
        CliCommand::Console(args) => later(|| console::run(&common, &args)).await,
        CliCommand::Vnc(args) => later(|| vnc::run(&common, &args)).await,
        CliCommand::Ssh(args) => later(|| ssh::run(&common, args)).await,
        CliCommand::SshConfig(args) => later(|| ssh::config(&common, args)).await,
        CliCommand::Delete(args) => later(|| delete::run(&common, args)).await,
        CliCommand::Resume(args) => later(|| resume::run(&common, args)).await,
        CliCommand::Token(command) => later(|| token::run(&common, command)).await,
        CliCommand::Ui(args) => later(|| ui::run(&common, &args)).await,
        CliCommand::Retry(args) => later(|| retry::run(&common, args)).await,
        CliCommand::Serve(args) => later(|| serve::run(&common, args)).await,
        CliCommand::Cancel(args) => later(|| cancel::run(&common, args)).await,
        CliCommand::Adopt(args) => later(|| adopt::run(&common, args)).await,
        CliCommand::Host(command) => later(|| host::run(&common, command)).await,
        CliCommand::Image(command) => later(|| image::run(&common, command)).await,
        CliCommand::Disk(command) => later(|| disk::run(&common, command)).await,
        CliCommand::Bundle(command) => later(|| bundle::run(&common, command)).await,
        CliCommand::Clone(args) => later(|| snapshot::clone(&common, args)).await,
        CliCommand::Snapshot(command) => later(|| snapshot::run(&common, command)).await,
        CliCommand::Audit(command) => later(|| audit::run(&common, command)).await,
        CliCommand::Journal(JournalCommand::Repair(args)) => {
            later(|| journal::repair(&common, args)).await
        }
        CliCommand::Compact(args) => later(|| compact::run(&common, args)).await,
        CliCommand::Replay(args) => later(|| replay::run(&common, args)).await,
        CliCommand::Backup(args) => later(|| backup::run(&common, args)).await,
        CliCommand::Restore(args) => later(|| restore::run(&common, args)).await,
        CliCommand::Contract(command) => contract::run(command),
        CliCommand::Doctor(args) => later(|| doctor::run(&common, args)).await,
        CliCommand::SupportBundle(args) => later(|| support_bundle::run(&common, args)).await,
        CliCommand::Explain(args) => explain::run(&args),
        CliCommand::Crd(args) => crd::run(&args),
        CliCommand::Migrate(args) => later(|| migrate::run(args)).await,
        CliCommand::Completions { shell } => completions::run(shell),
        CliCommand::Man { output_dir } => man::run(output_dir).await,
        CliCommand::Openapi => openapi::run(),
    }
}

/// Makes a future where it is not part of its caller's: the frame of one that had all commands' would not
/// fit the stack of a thread.
fn later<'a, F: Future<Output = CommandOutcome> + Send + 'a>(
    make: impl FnOnce() -> F,
) -> Pin<Box<dyn Future<Output = CommandOutcome> + Send + 'a>> {
    Box::pin(make())
}

pub(crate) use cluster::unusable as unusable_cluster;
pub(crate) use power::said;
pub(crate) use watch::ask as look;

/// What a command comes to.
pub(crate) type CommandOutcome = Result<Exit, ExitProblem>;
