//! The command line, as clap reads it.

mod audit;
mod backup;
mod change;
mod contract;
mod host;
mod image;
mod serve;
mod view;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use audit::{
    AuditCommand, AuditExportArgs, AuditHeadArgs, AuditRebuildArgs, AuditVerifyArgs, CompactArgs,
    ReplayArgs,
};
pub(crate) use backup::{BackupArgs, RestoreArgs};
pub(crate) use change::{
    ApproveArgs, PauseArgs, PlanArgs, PowerArgs, PruneArgs, StopArgs, Targets,
};
pub(crate) use contract::{ContractCheckArgs, ContractCommand, ContractEncryptArgs};
pub(crate) use host::{
    AdoptArgs, CheckArgs, DrainArgs, HostArgs, HostCommand, InventoryArgs, UncordonArgs,
};
pub(crate) use image::{
    ImageCommand, ImageListArgs, ImagePruneArgs, ImageUnlockArgs, ImageUploadArgs, UploadArgs,
};
pub(crate) use serve::{ClusterArgs, CrdArgs, Lost, MigrateArgs, ServeArgs};
pub(crate) use view::{
    DescribeArgs, GetArgs, HistoryArgs, HistoryFormat, LogsArgs, ObjectKind, TargetArg,
    without_kind,
};

/// Provisions virtual server instances on libvirt/KVM hosts, and survives anything on the way.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "vsiflow",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: CliCommand,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The state directory: journal, checkpoints and secrets
    /// [default: $XDG_STATE_HOME/vsiflow, or /var/lib/vsiflow for root].
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_STATE",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub(crate) state: Option<PathBuf>,
    /// Use a state directory on a network file system, where a lock may be lost unseen and two
    /// processes then write one journal.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_ALLOW_NETWORK_FILE_SYSTEM",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) allow_network_file_system: bool,
    /// The host to use instead of the documents' host settings: `sim:`, `unix:/path` or
    /// `ssh://user@host:port?keyfile=…&known_hosts=…`.
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) host: Option<String>,
    /// Why; kept in the history.
    #[arg(
        long,
        global = true,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// How long finished work stays in the journal, such as `30d`; then it is moved into an
    /// archive. `never` keeps everything.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_RETENTION",
        value_name = "DURATION|never",
        default_value = "30d",
        hide_env_values = true,
        hide_short_help = true,
        value_parser = retention
    )]
    pub(crate) retention: Retention,
    /// This is run for somebody elsewhere: settings of logs in the environment do not count, and
    /// what follows something ends with standard input.
    #[arg(long, global = true, hide = true)]
    pub(crate) remote_caller: bool,
    /// Say more on standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only results and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Bring VSIs to what documents describe
    Apply(ApplyArgs),
    /// Say what documents would change, how, and what that would cost; change nothing
    Plan(PlanArgs),
    /// Let changes go on that wait for approval
    Approve(ApproveArgs),
    /// Start VSIs
    Start(PowerArgs),
    /// Shut VSIs down; they stay off, also after a restart of their host
    Stop(StopArgs),
    /// Shut VSIs down and start them again
    Restart(StopArgs),
    /// Suspend VSIs; their memory stays. With `--all`, begin nothing more on any host
    Pause(PauseArgs),
    /// Let suspended VSIs go on. With `--all`, let everything go on
    Unpause(PauseArgs),
    /// List VSIs, data disks, networks, images, hosts or runs, or show one
    Get(GetArgs),
    /// Show everything known of a VSI
    Describe(DescribeArgs),
    /// Show every step ever taken for a VSI
    History(HistoryArgs),
    /// Print a VSI's console log
    Logs(LogsArgs),
    /// Delete VSIs and what was made for them on their hosts, and data disks
    Delete(DeleteArgs),
    /// Go on with what a kill or an interrupt left
    Resume(ResumeArgs),
    /// Work on everything there is, and answer other commands, until it is stopped
    Serve(ServeArgs),
    /// Try again at once what is blocked, delayed or failed
    Retry(RetryArgs),
    /// Stop the run of a VSI; what exists is kept
    Cancel(CancelArgs),
    /// Take domains that are there into management, as they stand
    Adopt(AdoptArgs),
    /// Hosts, and what is on them
    #[command(subcommand)]
    Host(HostCommand),
    /// Upload base images ahead of time, list and remove them
    #[command(subcommand)]
    Image(ImageCommand),
    /// Prove that the journal is what was written; anchor, export and rebuild it
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Move finished work that is old out of the journal into an archive
    Compact(CompactArgs),
    /// Fold the whole journal, and check it against what the engine decides
    Replay(ReplayArgs),
    /// Write everything the state directory holds into one file, also while vsiflow works
    Backup(BackupArgs),
    /// Make a new state directory out of a backup; it observes only until it is confirmed
    Restore(RestoreArgs),
    /// Check or encrypt a contract, without any state or host
    #[command(subcommand)]
    Contract(ContractCommand),
    /// Print the custom resource definitions, as `kubectl apply -f -` takes them
    Crd(CrdArgs),
    /// Take custom resources over from the operator that served them before
    Migrate(MigrateArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Where documents come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sources {
    /// A YAML file, a directory of them, or `-` for standard input; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        required = true
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Read the folders of a directory, too.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) sources: Sources,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
    #[command(flatten)]
    pub(crate) prune: PruneArgs,
    /// Check everything and say what would be done; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// How long a command stays.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Return only when the outcome is decided.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Give up waiting after this long, such as `90s` or `10m` (exit code 5); the work goes on at
    /// the next start.
    #[arg(long, visible_alias = WAIT_TIMEOUT, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
}

/// What bounds the wait of every command that waits, also where `--timeout` is something else.
pub(crate) const WAIT_TIMEOUT: &str = "wait-timeout";

impl WaitArgs {
    /// Waits whether or not that was asked for.
    pub(crate) fn always(timeout: Option<std::time::Duration>) -> Self {
        Self {
            wait: true,
            timeout,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The VSIs, as `NAME`, `vsi/NAME` or `vsi NAME…`; data disks as `disk/NAME` or `disk NAME…`.
    #[arg(value_name = "NAME", required_unless_present = "files")]
    pub(crate) names: Vec<String>,
    /// Delete the VSIs that these documents describe, then their data disks, each by its
    /// `deletionPolicy`.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with = "names"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Forget the VSI or data disk and leave everything on its host as it is.
    #[arg(long)]
    pub(crate) orphan: bool,
    /// Do not complain about what is not there.
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The VSIs to go on with, data disks as `disk/NAME` and images as `image/NAME`; all that is
    /// open where none is named.
    pub(crate) names: Vec<String>,
    /// Go on with all.
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Stay until interrupted: look at the hosts every so often, say what somebody changed there,
    /// restore what asks for it, and start VSIs again whose host was restarted.
    #[arg(long, conflicts_with_all = ["names", "wait", "timeout"])]
    pub(crate) watch: bool,
    /// How often the hosts are looked at.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s", requires = "watch")]
    pub(crate) every: std::time::Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RetryArgs {
    /// The VSIs, and data disks as `disk/NAME`. With `--host` and no name: all VSIs on that host that
    /// are not settled.
    pub(crate) names: Vec<String>,
    /// All that are not settled.
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) target: TargetArg,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Only kind and name.
    Name,
}

impl OutputFormat {
    /// As it is given on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Wide => "wide",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Name => "name",
        }
    }
}

/// How long finished work stays in the journal; none: for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retention(pub(crate) Option<std::time::Duration>);

fn retention(text: &str) -> Result<Retention, String> {
    if text == "never" {
        return Ok(Retention(None));
    }
    duration(text).map(|time| Retention(Some(time)))
}

pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text.parse::<u64>().map(std::time::Duration::from_secs);
    seconds
        .or_else(|_| humantime::parse_duration(text))
        .map_err(|error| format!("{error}; write a number with a unit, such as 90s, 10m or 1h30m"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read_with_and_without_a_unit() {
        assert_eq!(duration("90"), Ok(std::time::Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(std::time::Duration::from_secs(5_400)));
        assert!(duration("soon").is_err());
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(retention("1d"), Ok(Retention(Some(day))));
        assert_eq!(retention("never"), Ok(Retention(None)));
    }
}
