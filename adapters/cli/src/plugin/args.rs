//! The command line of `kubectl vsi`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use vsiflow_kube::plugin::KubeconfigFlags;

use crate::args::{HistoryFormat, OutputFormat, TimeArg, duration, without_kind};

/// Manages VSIs in a cluster.
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
    /// The user to impersonate.
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub(super) act_as: Option<String>,
    /// The namespace [default: the context's].
    #[arg(short, long, global = true)]
    pub(super) namespace: Option<String>,
    /// Ask by running `vsiflow` in the pod that holds this Lease, which takes a right on pods/exec
    /// [default: the API of subresources is asked].
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_OPERATOR",
        value_name = "NAMESPACE/LEASE"
    )]
    pub(super) operator: Option<String>,
    /// The same with this pod, where there is no Lease.
    #[arg(long, global = true, value_name = "NAMESPACE/POD")]
    pub(super) pod: Option<String>,
}

impl AccessArgs {
    pub(super) fn access(&self) -> KubeconfigFlags {
        KubeconfigFlags {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            act_as: self.act_as.clone(),
            namespace: self.namespace.clone(),
        }
    }

    /// The same options for kubectl itself.
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
        let settings = all
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        settings
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// List VSIs; all further arguments go to `kubectl get vsi`
    #[command(after_help = "Example:\n  kubectl vsi get -o wide")]
    Get {
        /// Names, and options of `kubectl get`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Show the conditions, warnings and Events of a VSI's resource
    #[command(after_help = "Example:\n  kubectl vsi describe web")]
    Describe {
        /// The VSI.
        #[arg(value_parser = name)]
        name: String,
        /// The output format.
        #[arg(short, long, value_enum)]
        output: Option<OutputFormat>,
    },
    /// Show every step that was taken for a VSI
    #[command(after_help = "Example:\n  kubectl vsi history web -f")]
    History(PluginHistoryArgs),
    /// Print the console log of a VSI
    #[command(after_help = "Example:\n  kubectl vsi logs web --tail 50")]
    Logs(PluginLogsArgs),
    /// Open the serial console of a VSI; `^]` leaves it
    #[command(after_help = "Example:\n  kubectl vsi console web")]
    Console(PluginConsoleArgs),
    /// Send local files to the hosts that need them
    #[command(subcommand)]
    Image(PluginImageCommand),
    /// Show the plan of a change that waits for approval; with -f, of `kubectl apply -f`
    #[command(after_help = "Example:\n  kubectl vsi plan -f web.yaml")]
    Plan(PluginPlanArgs),
    /// Show and approve changes that wait for approval
    #[command(after_help = "Example:\n  kubectl vsi approve web")]
    Approve(PluginPowerArgs),
    /// Start VSIs
    #[command(after_help = "Example:\n  kubectl vsi start web --wait")]
    Start(PluginPowerArgs),
    /// Shut down VSIs; they stay off, also after a restart of their host
    #[command(after_help = "Example:\n  kubectl vsi stop web --wait")]
    Stop(PluginPowerArgs),
    /// Shut down VSIs and start them again
    #[command(after_help = "Example:\n  kubectl vsi restart web --wait --timeout 5m")]
    Restart(PluginPowerArgs),
    /// Suspend VSIs, which keep their memory
    #[command(after_help = "Example:\n  kubectl vsi pause web")]
    Pause(PluginPowerArgs),
    /// Resume suspended VSIs
    #[command(after_help = "Example:\n  kubectl vsi unpause web")]
    Unpause(PluginPowerArgs),
    /// Retry immediately what is blocked, delayed or failed
    #[command(after_help = "Example:\n  kubectl vsi retry web --wait")]
    Retry(PluginRetryArgs),
    /// Cancel the run of a VSI and leave what exists
    #[command(after_help = "Example:\n  kubectl vsi cancel web")]
    Cancel {
        /// The VSI.
        #[arg(value_parser = name)]
        name: String,
        /// The reason, stored in the history.
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
    /// Follow new events, until interrupted.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Show only events from this offset of the journal.
    #[arg(long, value_name = "OFFSET")]
    pub(super) from_offset: Option<u64>,
    /// Show every event, and not one line for each run and step.
    #[arg(long)]
    pub(super) events: bool,
    #[command(flatten)]
    pub(super) times: TimeArg,
    /// The output format: a table, or one JSON object in each line.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<HistoryFormat>,
}

impl PluginHistoryArgs {
    /// Whether each event is shown, as `vsiflow history` does.
    pub(super) fn is_events(&self) -> bool {
        self.events || self.follow || self.output.is_some()
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginLogsArgs {
    /// The VSI.
    #[arg(value_parser = name)]
    pub(super) name: String,
    /// Follow the console, until interrupted.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Print only the last lines.
    #[arg(long, value_name = "LINES")]
    pub(super) tail: Option<usize>,
    /// Print the stored console of the newest failed boot.
    #[arg(long, conflicts_with = "follow")]
    pub(super) failed: bool,
    /// With --failed: print the domain's definition instead of the console.
    #[arg(long, requires = "failed", conflicts_with = "tail")]
    pub(super) definition: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginConsoleArgs {
    /// The VSI.
    #[arg(value_parser = name)]
    pub(super) name: String,
    /// Take over the console from whoever has it open.
    #[arg(long)]
    pub(super) force: bool,
    /// Send standard input, which is no terminal, to the console, and exit at its end.
    #[arg(long)]
    pub(super) stdin: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum PluginImageCommand {
    /// Send a local file to the hosts whose documents name it upload://NAMESPACE/NAME; run the same command
    /// again to resume
    #[command(
        after_help = "Example:\n  kubectl vsi image upload ./debian.qcow2 debian.qcow2 -n shop"
    )]
    Upload(PluginImageUploadArgs),
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginImageUploadArgs {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The name that documents of the namespace call it by.
    #[arg(value_name = "NAME", value_parser = subdomain)]
    pub(super) image: String,
    /// The imageChecksum that is meant, of a packed file.
    #[arg(long, value_name = "sha256:DIGITS")]
    pub(super) checksum: Option<vsiflow_workflows::spec::Checksum>,
    /// Stop after this time, such as `90s` or `10m` (exit code 5).
    #[arg(long, value_name = "DURATION", visible_alias = crate::args::WAIT_TIMEOUT, value_parser = duration)]
    pub(super) timeout: Option<Duration>,
}

fn subdomain(text: &str) -> Result<String, String> {
    vsiflow_workflows::spec::meta::check_subdomain(text)?;
    Ok(text.to_owned())
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginPlanArgs {
    /// The VSIs.
    #[arg(value_name = "NAME", value_parser = name, required_unless_present = "files")]
    pub(super) names: Vec<String>,
    /// Show what `kubectl apply -f` of this file would change; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with = "names"
    )]
    pub(super) files: Vec<String>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginPowerArgs {
    /// The VSIs.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    pub(super) names: Vec<String>,
    /// Wait until the outcome is decided.
    #[arg(long)]
    pub(super) wait: bool,
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The work continues.
    #[arg(long, value_name = "DURATION", visible_alias = crate::args::WAIT_TIMEOUT, value_parser = duration, requires = "wait")]
    pub(super) timeout: Option<Duration>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct PluginRetryArgs {
    /// The VSIs.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    pub(super) names: Vec<String>,
    /// Wait until the outcome is decided.
    #[arg(long)]
    pub(super) wait: bool,
    /// The reason, stored in the history.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(super) reason: String,
}

/// A name, as `NAME` or `vsi/NAME`. Refuses names that kubectl would take for an option.
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
    fn the_help_of_every_command_ends_with_examples_that_are_understood() {
        for words in crate::args::examples::examples(&PluginArgs::command()) {
            // The first word is `kubectl`.
            if let Err(error) = PluginArgs::try_parse_from(&words[1..]) {
                panic!("{words:?}: {error}");
            }
        }
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
