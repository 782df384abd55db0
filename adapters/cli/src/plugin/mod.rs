//! The kubectl plugin `kubectl vsi …`: this binary under the name `kubectl-vsi`.
//!
//! What the resource contains is read from it. Power is a field of the resource; a restart and an approval
//! are annotations (`power`, `plan`). Everything else is in the journal, so the plugin asks the process that
//! serves the resource, through the subresource API (`subresources`). A user needs only the right to that
//! object's subresource.
//!
//! If a pod or a Lease is named, and for `plan -f`, the plugin runs `vsiflow` in that pod instead (`ask`),
//! through the user's `kubectl`. kubectl brings all forms of credentials, proxies, and a way to run a command
//! on old and new servers. A user who may do that has all permissions of the operator.

mod access;
mod args;
mod ask;
mod complete;
mod console;
mod describe;
mod local_file;
mod parallel_upload;
mod plan;
mod power;
mod subresources;
mod upload;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use vsiflow_kube::plugin::Cluster;
use vsiflow_workflows::record::PowerAction;

pub(crate) use self::complete::run as complete;
use self::{
    access::ClusterAccess,
    args::{PluginArgs, PluginCommand, PluginImageCommand},
};
use crate::{
    exit::{CommandOutcome, Exit},
    output,
    serving::cluster::unusable,
};

/// The name under which kubectl finds the plugin.
const NAME: &str = "kubectl-vsi";

/// Why kubectl started this process.
pub(crate) enum Called {
    /// As the plugin.
    Plugin,
    /// To complete the plugin's command line.
    Completion,
}

/// Why kubectl started this process; `None` if it did not.
pub(crate) fn called() -> Option<Called> {
    let called = std::env::args_os().next();
    let name = called.as_deref().map(Path::new).and_then(Path::file_name)?;
    match name.to_str()? {
        NAME => Some(Called::Plugin),
        complete::NAME => Some(Called::Completion),
        _ => None,
    }
}

/// Reads the command line.
///
/// # Errors
/// With the exit code for a usage error, or after printing help or the version.
pub(crate) fn read() -> Result<PluginArgs, ExitCode> {
    PluginArgs::try_parse().map_err(output::usage_error)
}

/// Runs the command to its end, and prints its problem.
pub(crate) async fn run(plugin: PluginArgs) -> Exit {
    let done = dispatch(plugin).await;
    done.unwrap_or_else(|problem| {
        output::problem(&problem);
        problem.exit
    })
}

async fn dispatch(plugin: PluginArgs) -> CommandOutcome {
    let access = &plugin.access;
    let cluster = Cluster::reach(&access.access()).await;
    let cluster = cluster.map_err(unusable)?;
    let there = ClusterAccess {
        cluster: &cluster,
        access,
    };
    let in_pod = access.pod.is_some() || access.operator.is_some();
    match plugin.command {
        PluginCommand::Get { rest } => ask::get(&there, rest).await,
        PluginCommand::Describe { name, output } => describe::run(&there, &name, output).await,
        PluginCommand::History(args) if in_pod => ask::history(&there, args).await,
        PluginCommand::History(args) => subresources::history(&there, args).await,
        PluginCommand::Logs(args) if in_pod => ask::logs(&there, args).await,
        PluginCommand::Logs(args) => subresources::logs(&there, args).await,
        PluginCommand::Console(args) => console::run(&there, args).await,
        PluginCommand::Image(PluginImageCommand::Upload(args)) => {
            Box::pin(upload::run(&there, args)).await
        }
        PluginCommand::Plan(args) => plan::run(&there, args).await,
        PluginCommand::Approve(args) => plan::approve(&there, args).await,
        PluginCommand::Start(args) => power::run(&there, PowerAction::Start, args).await,
        PluginCommand::Stop(args) => power::run(&there, PowerAction::Stop, args).await,
        PluginCommand::Restart(args) => power::run(&there, PowerAction::Restart, args).await,
        PluginCommand::Pause(args) => power::run(&there, PowerAction::Pause, args).await,
        PluginCommand::Unpause(args) => power::run(&there, PowerAction::Unpause, args).await,
        PluginCommand::Retry(args) if in_pod => ask::retry(&there, args).await,
        PluginCommand::Retry(args) => subresources::retry(&there, args).await,
        PluginCommand::Cancel { name, reason } if in_pod => {
            ask::cancel(&there, &name, &reason).await
        }
        PluginCommand::Cancel { name, reason } => {
            subresources::cancel(&there, &name, &reason).await
        }
    }
}
