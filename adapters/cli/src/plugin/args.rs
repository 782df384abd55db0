//! `kubectl vsi`, as clap reads it.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use vsiflow_kube::plugin::Access;

use crate::args::{HistoryFormat, OutputFormat, duration, without_kind};

/// VSIs in a cluster: what they did, what they say, and what is to become of them.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "kubectl-vsi",
    bin_name = "kubectl vsi",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct PluginArgs {
    #[command(flatten)]
    pub(super) access: AccessArgs,
    #[command(subcommand)]
    pub(super) command: PluginCommand,
}

/// Which cluster, as kubectl takes it.
#[derive(Clone, Debug, Args)]
pub(super) struct AccessArgs {
    /// The kubeconfig to use.
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The context to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) context: Option<String>,
    /// The cluster to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) cluster: Option<String>,
    /// The user to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) user: Option<String>,
    /// Whom to act as.
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub(super) act_as: Option<String>,
    /// The namespace [default: the context's].
    #[arg(short, long, global = true)]
    pub(super) namespace: Option<String>,
    /// The Lease of the process that serves the VSIs [default: as the VSI's status names it].
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_OPERATOR",
        value_name = "NAMESPACE/LEASE"
    )]
    pub(super) operator: Option<String>,
    /// The pod to ask, where there is no Lease.
    #[arg(long, global = true, value_name = "NAMESPACE/POD")]
    pub(super) pod: Option<String>,
}

impl AccessArgs {
    pub(super) fn access(&self) -> Access {
        Access {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            act_as: self.act_as.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// The same for kubectl itself.
    pub(super) fn words(&self) -> Vec<String> {
        let path = self
            .kubeconfig
            .as_ref()
            .map(|path| path.display().to_string());
        let all = [
            ("--kubeconfig", path.as_ref()),
            ("--context", self.context.as_ref()),
            ("--cluster", self.cluster.as_ref()),
            ("--user", self.user.as_ref()),
            ("--as", self.act_as.as_ref()),
        ];
        let said = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        said.map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// List VSIs; what follows is for `kubectl get vsi`
    Get {
        /// Names, and options of `kubectl get`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Show what a VSI's resource says: conditions, warnings, Events
    Describe {
        /// The VSI.
        #[arg(value_parser = name)]
        name: String,
        /// How the result is printed.
        #[arg(short, long, value_enum)]
        output: Option<OutputFormat>,
    },
    /// Show every step ever taken for a VSI
    History(PluginHistoryArgs),
    /// Print a VSI's console log
    Logs(PluginLogsArgs),
    /// Say what a change takes that waits for approval; with -f, what `kubectl apply -f` would change
    Plan(PluginPlanArgs),
    /// Show changes that wait, and let them go on
    Approve(PluginPowerArgs),
    /// Start VSIs
    Start(PluginPowerArgs),
    /// Shut VSIs down; they stay off, also after a restart of their host
    Stop(PluginPowerArgs),
    /// Shut VSIs down and start them again
    Restart(PluginPowerArgs),
    /// Suspend VSIs; their memory stays
    Pause(PluginPowerArgs),
    /// Let suspended VSIs go on
    Unpause(PluginPowerArgs),
    /// Try again at once what is blocked, delayed or failed
    Retry(PluginRetryArgs),
    /// Stop the run of a VSI; what exists is kept
    Cancel {
        /// The VSI.
        #[arg(value_parser = name)]
        name: String,
        /// Why; kept in the history.
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        reason: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginHistoryArgs {
    /// The VSI.
    #[arg(value_parser = name)]
    pub(super) name: String,
    /// Go on with what happens, until interrupted.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only events from this offset of the journal on.
    #[arg(long, value_name = "OFFSET")]
    pub(super) from_offset: Option<u64>,
    /// How the result is printed: for people, or one JSON object a line.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<HistoryFormat>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginLogsArgs {
    /// The VSI.
    #[arg(value_parser = name)]
    pub(super) name: String,
    /// Go on with what the guest prints, until interrupted.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Only the last lines.
    #[arg(long, value_name = "LINES")]
    pub(super) tail: Option<usize>,
    /// What was kept of the newest failed boot that was torn down since.
    #[arg(long, conflicts_with = "follow")]
    pub(super) failed: bool,
    /// With --failed: the domain's definition instead of the console.
    #[arg(long, requires = "failed", conflicts_with = "tail")]
    pub(super) definition: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginPlanArgs {
    /// The VSIs.
    #[arg(value_name = "NAME", value_parser = name, required_unless_present = "files")]
    pub(super) names: Vec<String>,
    /// What `kubectl apply -f` of this would change; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with = "names"
    )]
    pub(super) files: Vec<String>,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginPowerArgs {
    /// The VSIs.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    pub(super) names: Vec<String>,
    /// Return only when the outcome is decided.
    #[arg(long)]
    pub(super) wait: bool,
    /// Give up waiting after this long, such as `90s` or `10m` (exit code 5); the work goes on.
    #[arg(long, value_name = "DURATION", visible_alias = crate::args::WAIT_TIMEOUT, value_parser = duration, requires = "wait")]
    pub(super) timeout: Option<Duration>,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginRetryArgs {
    /// The VSIs.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    pub(super) names: Vec<String>,
    /// Return only when the outcome is decided.
    #[arg(long)]
    pub(super) wait: bool,
    /// Why; kept in the history.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) reason: String,
}

/// A name, as `NAME` or `vsi/NAME`. One that kubectl would take for an option is none.
fn name(text: &str) -> Result<String, String> {
    let name = without_kind(text);
    vsiflow_workflows::spec::meta::check_subdomain(name)?;
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        PluginArgs::command().debug_assert();
    }

    #[test]
    fn what_kubectl_is_given_is_what_was_said() {
        let words = [
            "kubectl-vsi",
            "--context",
            "lab",
            "logs",
            "vsi/web",
            "--as=jo",
        ];
        let plugin = PluginArgs::try_parse_from(words).unwrap();
        assert_eq!(plugin.access.words(), ["--context=lab", "--as=jo"]);
        assert!(matches!(plugin.command, PluginCommand::Logs(logs) if logs.name == "web"));
        assert!(PluginArgs::try_parse_from(["kubectl-vsi", "cancel", "--", "-x"]).is_err());
    }
}
