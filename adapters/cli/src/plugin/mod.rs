//! `kubectl vsi …`: the binary under the name `kubectl-vsi`.
//!
//! What the resource tells is read from it; power is a field of it, a restart and an approval are
//! annotations (`power`, `plan`). The rest is in the journal, and so is asked of the process that
//! serves the resource (`ask`): `vsiflow` itself is run in the pod that holds the Lease, by the
//! `kubectl` that this is a plugin of. That one brings the user's credentials in all their forms,
//! proxies, and a way to run a command on servers old and new; and it is at hand by definition.
//! Nothing listens for it in the cluster, and whoever may run commands in the pod, and nobody
//! else, may ask.

mod args;
mod ask;
mod complete;
mod describe;
mod plan;
mod power;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use vsiflow_kube::plugin::{Cluster, PluginError};
use vsiflow_workflows::record::PowerAction;

use self::args::{AccessArgs, PluginArgs, PluginCommand};
pub(crate) use self::complete::run as complete;
use crate::{
    command::{CommandOutcome, unusable_cluster},
    exit::{Exit, ExitProblem},
    output,
};

/// The name under which kubectl finds it.
const NAME: &str = "kubectl-vsi";

/// What this process was called for.
pub(crate) enum Called {
    /// As the plugin.
    Plugin,
    /// For what may be typed for the plugin.
    Completion,
}

/// What kubectl called this process for; none where it was not called as a plugin.
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
/// With the exit code where it only had to be told something.
pub(crate) fn read() -> Result<PluginArgs, ExitCode> {
    PluginArgs::try_parse().map_err(crate::told)
}

/// Runs the command to its end, and says what went wrong.
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
    let cluster = cluster.map_err(unusable_cluster)?;
    let there = There {
        cluster: &cluster,
        access,
    };
    match plugin.command {
        PluginCommand::Get { rest } => ask::get(&there, rest).await,
        PluginCommand::Describe { name, output } => describe::run(&there, &name, output).await,
        PluginCommand::History(args) => ask::history(&there, args).await,
        PluginCommand::Logs(args) => ask::logs(&there, args).await,
        PluginCommand::Plan(args) => plan::run(&there, args).await,
        PluginCommand::Approve(args) => plan::approve(&there, args).await,
        PluginCommand::Start(args) => power::run(&there, PowerAction::Start, args).await,
        PluginCommand::Stop(args) => power::run(&there, PowerAction::Stop, args).await,
        PluginCommand::Restart(args) => power::run(&there, PowerAction::Restart, args).await,
        PluginCommand::Pause(args) => power::run(&there, PowerAction::Pause, args).await,
        PluginCommand::Unpause(args) => power::run(&there, PowerAction::Unpause, args).await,
        PluginCommand::Retry(args) => ask::retry(&there, args).await,
        PluginCommand::Cancel { name, reason } => ask::cancel(&there, &name, &reason).await,
    }
}

/// The cluster, and how kubectl reaches it.
struct There<'a> {
    cluster: &'a Cluster,
    access: &'a AccessArgs,
}

/// What the cluster did not do, as people read it.
fn problem(error: PluginError) -> ExitProblem {
    let (exit, code, remedy) = match &error {
        PluginError::NotFound(what) if what.starts_with("Lease") => (
            Exit::NotFound,
            "VSI1022",
            "name the Lease with --operator NAMESPACE/LEASE or $VSIFLOW_OPERATOR, or a pod with \
             --pod NAMESPACE/POD"
                .to_owned(),
        ),
        PluginError::NotFound(_) => (
            Exit::NotFound,
            "VSI0703",
            "`kubectl get vsi -A` lists what there is; name the namespace with -n".to_owned(),
        ),
        PluginError::Owned { owners, .. } => (Exit::Blocked, "VSI1021", whose_word(owners)),
        PluginError::Changed(_) => (
            Exit::Failed,
            "VSI1020",
            "look at it as it is now, then give the command again".to_owned(),
        ),
        PluginError::Refused { .. } => (
            Exit::Failed,
            "VSI1020",
            "`kubectl auth can-i` tells what this user may do; --context and -n say where"
                .to_owned(),
        ),
        PluginError::Nobody(_) => (
            Exit::Failed,
            "VSI1022",
            "see that the operator runs: `kubectl get pods -A -l app.kubernetes.io/name=vsiflow`"
                .to_owned(),
        ),
    };
    ExitProblem::new(exit, code, error.to_string(), &remedy)
}

/// Where what a field manager says is changed.
fn whose_word(owners: &[String]) -> String {
    let any = |words: &[&str]| {
        let has = |owner: &String| words.iter().any(|word| owner.to_lowercase().contains(word));
        owners.iter().any(has)
    };
    let where_it_is = if any(&["argo", "flux", "kustomize-controller", "gitops", "fleet"]) {
        "change powerState in the repository that is applied from"
    } else if any(&["helm"]) {
        "change powerState in the chart's values or template, and upgrade the release"
    } else if any(&["kubectl", "before-first-apply"]) {
        "change powerState in the file that was applied, and apply it again (`kubectl edit` \
         changes the resource alone, until the file is applied next)"
    } else if any(&["vsiflow"]) {
        "give the command again"
    } else {
        "change powerState there"
    };
    format!("{where_it_is}; where powerState is taken out there, this command may set it")
}

#[cfg(test)]
mod tests {
    use super::whose_word;

    #[test]
    fn whoever_owns_the_field_is_where_it_is_changed() {
        let said = |owner: &str| whose_word(&[owner.to_owned()]);
        assert!(said("argocd-controller").contains("repository"));
        assert!(said("helm").contains("chart"));
        assert!(said("kubectl-client-side-apply").contains("file"));
        assert!(said("something").contains("there"));
    }
}
