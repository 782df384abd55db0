//! `kubectl vsi …`: the binary under the name `kubectl-vsi`.
//!
//! What the resource tells is read from it; power is a field of it, a restart and an approval are
//! annotations (`power`, `plan`). The rest is in the journal, and so is asked of the process that
//! serves the resource, by the API of subresources (`subresources`): who has a right on that object's
//! subresource, and no other one, may ask.
//!
//! Where a pod or a Lease is named, and for `plan -f`, `vsiflow` itself is run in that pod instead
//! (`ask`), by the `kubectl` that this is a plugin of: that one brings the user's credentials in all
//! their forms, proxies, and a way to run a command on servers old and new. Whoever may do that has all
//! of the operator's power.

mod args;
mod ask;
mod complete;
mod console;
mod describe;
mod local_file;
mod plan;
mod power;
mod side_by_side;
mod subresources;
mod upload;

use std::{path::Path, process::ExitCode};

use clap::Parser as _;
use vsiflow_kube::plugin::{Cluster, PluginError};
use vsiflow_workflows::record::PowerAction;

use self::args::{AccessArgs, PluginArgs, PluginCommand, PluginImageCommand};
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

/// The cluster, and how kubectl reaches it.
struct ClusterAccess<'a> {
    cluster: &'a Cluster,
    access: &'a AccessArgs,
}

/// What the cluster did not do, as people read it.
fn problem(error: PluginError) -> ExitProblem {
    let (exit, code, remedy) = match &error {
        PluginError::Told {
            code,
            remedy,
            status,
            ..
        } => {
            let exit = match status {
                404 => Exit::NotFound,
                409 => Exit::Blocked,
                _ => Exit::Failed,
            };
            (exit, code.as_str(), remedy.clone())
        }
        PluginError::Unserved(_) => (
            Exit::Failed,
            "VSI1024",
            "see that the operator runs and what `kubectl get apiservice v1.subresources.vsiflow.io` \
             says; where there is none, name the operator's Lease with --operator NAMESPACE/LEASE"
                .to_owned(),
        ),
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
            "check its present state, then run the command again".to_owned(),
        ),
        PluginError::Refused { .. } => (
            Exit::Failed,
            "VSI1020",
            "`kubectl auth can-i` shows what this user may do; --context and -n select the place"
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
    format!("{where_it_is}; if powerState is removed there, this command may set it")
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
