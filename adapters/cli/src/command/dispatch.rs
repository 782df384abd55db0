//! Runs the command that a command line names. Reading commands continue past a damaged journal.

use std::pin::Pin;

use vsiflow_workflows::record::PowerAction;

use super::{
    adopt, apply, approve, audit, backup, bundle, cancel, compact, completions, contract, crd,
    create, delete, describe, diff, disk, doctor, events, explain, get, guest_channel, history,
    host, image, journal, logs, man, migrate, openapi, plan, pool, power, rebuild, replay, restore,
    resume, retry, rollback, serve, snapshot, ssh, support_bundle, token, top, traces, ui,
    wait_for,
};
use crate::{
    args::{Cli, CliCommand, ClusterCommand, ImageCommand, JournalCommand},
    compose::{self, App},
    exit::CommandOutcome,
};

/// The code of a journal that is damaged.
const DAMAGED: &str = "VSI0004";

/// Runs the command here. A reading command continues past damage in the journal.
pub(super) async fn dispatch(cli: Cli) -> CommandOutcome {
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

/// Runs the command here.
pub(super) fn carry_out(cli: Cli) -> Pin<Box<dyn Future<Output = CommandOutcome> + Send>> {
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
        CliCommand::Get(args) if args.watch => later(|| get::watch::run(&common, args)).await,
        CliCommand::Get(args) => later(|| get::run(&common, args)).await,
        CliCommand::Wait(args) => later(|| wait_for::run(&common, args)).await,
        CliCommand::Describe(args) => later(|| describe::run(&common, args)).await,
        CliCommand::Diff(args) => later(|| diff::run(&common, args)).await,
        CliCommand::History(args) => later(|| history::run(&common, args)).await,
        CliCommand::Events(args) => later(|| events::run(&common, args)).await,
        CliCommand::Logs(args) => later(|| logs::run(&common, args)).await,
        CliCommand::Traces(command) => later(|| traces::run(&common, command)).await,
        CliCommand::Top(args) => later(|| top::run(&common, args)).await,
        CliCommand::Console(args) => later(|| guest_channel::console(&common, &args)).await,
        CliCommand::Vnc(args) => later(|| guest_channel::screen(&common, &args)).await,
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

/// Boxes the future of one command: a caller that held the futures of all commands would overflow a thread's
/// stack.
fn later<'a, F: Future<Output = CommandOutcome> + Send + 'a>(
    make: impl FnOnce() -> F,
) -> Pin<Box<dyn Future<Output = CommandOutcome> + Send + 'a>> {
    Box::pin(make())
}
