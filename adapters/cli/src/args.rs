//! The command line, as clap reads it.

mod audit;
mod backup;
mod bundle;
mod change;
mod contract;
mod create;
mod disk;
#[cfg(test)]
pub(crate) mod examples;
mod host;
mod image;
mod pool;
#[cfg(test)]
mod reference;
mod selection;
mod serve;
mod snapshot;
mod ssh;
mod target;
mod token;
mod top;
mod traces;
mod view;
mod wait_for;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use vsiflow_postgres::{JournalAddress, PostgresError};

use crate::{
    compose::elsewhere,
    exit::ExitProblem,
    shards::{Membership, SetPlace},
};

pub(crate) use audit::{
    AuditCommand, AuditExportArgs, AuditHeadArgs, AuditRebuildArgs, AuditVerifyArgs, CompactArgs,
    JournalCommand, RepairArgs, ReplayArgs,
};
pub(crate) use backup::{BackupArgs, RestoreArgs};
pub(crate) use bundle::{BundleApplyArgs, BundleCommand, BundleCreateArgs, BundleShowArgs};
pub(crate) use change::{
    ApproveArgs, PauseArgs, PlanArgs, PowerArgs, PruneArgs, RebuildArgs, StopArgs, Targets,
};
pub(crate) use contract::{
    ContractCheckArgs, ContractCommand, ContractEncryptArgs, ContractNewArgs,
};
pub(crate) use create::CreateArgs;
pub(crate) use disk::{DiskCommand, DiskExportArgs, DiskImportArgs};
pub(crate) use host::{
    AdoptArgs, CheckArgs, DrainArgs, HostArgs, HostCommand, InventoryArgs, UncordonArgs,
};
pub(crate) use image::{
    ImageCommand, ImageListArgs, ImagePruneArgs, ImageUnlockArgs, ImageUploadArgs, UploadArgs,
};
pub(crate) use pool::{ClusterCommand, CordonArgs, OutputArgs, RollbackArgs, ScaleArgs};
pub(crate) use selection::{DestroyArgs, Selection};
pub(crate) use serve::{
    ClusterArgs, CrdArgs, FolderArgs, ListenArgs, LostJournalPolicy, MigrateArgs, ServeArgs, UiArgs,
};
pub(crate) use snapshot::{
    CloneArgs, SnapshotCommand, SnapshotCreateArgs, SnapshotDeleteArgs, SnapshotRestoreArgs,
};
pub(crate) use ssh::{SshArgs, SshConfigArgs, SshConfigCommand, SshImportArgs};
pub(crate) use token::{TokenCommand, TokenCreateArgs};
pub(crate) use top::TopArgs;
pub(crate) use traces::{TracesCommand, TracesExportArgs};
pub(crate) use view::{
    ConsoleArgs, DescribeArgs, DiffArgs, EventFilter, EventsArgs, GetArgs, HistoryArgs,
    HistoryFormat, ListFormat, LogsArgs, ObjectKind, TargetArg, TimeArg, VncArgs, kind_and_names,
    names_of, without_kind,
};
pub(crate) use wait_for::{WaitForArgs, WaitGoal};

/// Creates and runs virtual servers (VSIs) on libvirt/KVM hosts, and resumes after any crash.
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
    /// Accept a state directory on a network file system. If such a file system loses a lock
    /// unnoticed, two processes write one journal.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_ALLOW_NETWORK_FILE_SYSTEM",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) allow_network_file_system: bool,
    /// Keep the journal in a PostgreSQL database instead of the state directory:
    /// `postgres://USER@HOST/DATABASE?journal=NAME`. The password comes from PGPASSFILE or PGPASSWORD.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_JOURNAL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) journal: Option<JournalOption>,
    /// The file of the key that secrets are sealed with before they are kept in the database, as
    /// `age-keygen` makes it.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_JOURNAL_KEY",
        value_name = "FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) journal_key: Option<PathBuf>,
    /// The host to use instead of the documents' host settings: `sim:`, `unix:/path` or
    /// `ssh://user@host:port?keyfile=…&known_hosts=…`.
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) host: Option<String>,
    /// A socket for people who may look: `serve` answers there, too; any other command asks there, and
    /// needs no state directory. Nothing is changed through it.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_READ_ONLY",
        value_name = "SOCKET",
        hide_env_values = true
    )]
    pub(crate) read_only: Option<PathBuf>,
    /// Have a server do the command instead of working on a state directory: `unix:///PATH` is
    /// the socket of a `serve` on this machine, `https://HOST:PORT` a `serve --listen` with the
    /// token in VSIFLOW_TOKEN or --token-file.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_SERVER",
        value_name = "URL",
        hide_env_values = true,
        conflicts_with = "read_only"
    )]
    pub(crate) server: Option<Server>,
    /// The file with the token for `--server https://…` [default: the token in VSIFLOW_TOKEN].
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_TOKEN_FILE",
        value_name = "FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The reason, stored in the history.
    #[arg(
        long,
        global = true,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// Compress segments of the journal that are older than this, such as `30d`. Their events
    /// stay readable. `never` compresses nothing.
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
    /// The journal of a set that is meant, where one is.
    #[arg(skip)]
    pub(crate) shard: Option<Membership>,
    /// The set whose journals are all meant, where they are.
    #[arg(skip)]
    pub(crate) set: Option<SetPlace>,
    /// Write more to standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write only results and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// Where the journal is, or what is wrong with what was said: clap would repeat it, and it may hold a
/// password.
#[derive(Clone, Debug)]
pub(crate) struct JournalOption(Result<JournalAddress, PostgresError>);

impl std::str::FromStr for JournalOption {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()))
    }
}

impl From<JournalAddress> for JournalOption {
    fn from(address: JournalAddress) -> Self {
        Self(Ok(address))
    }
}

impl Common {
    /// The database that the journal is in; none where it is in the state directory.
    ///
    /// # Errors
    /// When its address cannot be read.
    pub(crate) fn journal(&self) -> Result<Option<&JournalAddress>, ExitProblem> {
        match &self.journal {
            None => Ok(None),
            Some(JournalOption(Ok(address))) => Ok(Some(address)),
            Some(JournalOption(Err(error))) => Err(elsewhere::problem(error.clone())),
        }
    }
}

/// Who does a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Whoever listens at that socket.
    Unix(PathBuf),
    /// Whoever listens at that `HOST:PORT` with TLS.
    Https(String),
}

impl std::str::FromStr for Server {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if let Some(address) = url.strip_prefix("https://") {
            let address = address.trim_end_matches('/');
            let port = address
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty());
            return match port.map(|(_, port)| port.parse::<u16>()) {
                Some(Ok(_)) => Ok(Self::Https(address.to_owned())),
                _ => Err("name a daemon as https://HOST:PORT".to_owned()),
            };
        }
        match url.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err("name a socket as unix:///PATH, or a daemon as https://HOST:PORT".to_owned()),
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum CliCommand {
    /// Create and change VSIs, pools, groups and data disks as documents describe them
    #[command(after_help = "Example:\n  vsiflow apply -f web.yaml --wait")]
    Apply(ApplyArgs),
    /// Create VSIs from a command line, without a document
    #[command(
        after_help = "Example:\n  vsiflow create web --image http://images.lab.test:8080/debian-12.qcow2 --ssh-key id.pub --wait\n  vsiflow create a b c --image image/debian-12.qcow2 --type large --on lpar1\n  vsiflow create web --image http://images.lab.test:8080/debian-12.qcow2 --dry-run -o yaml"
    )]
    Create(CreateArgs),
    /// Show what documents would change, how, and what would be lost, without changing anything
    #[command(after_help = "Example:\n  vsiflow plan -f web.yaml")]
    Plan(PlanArgs),
    /// Approve changes that wait for approval
    #[command(after_help = "Example:\n  vsiflow approve web --wait")]
    Approve(ApproveArgs),
    /// Start VSIs
    #[command(after_help = "Example:\n  vsiflow start web db --wait")]
    Start(PowerArgs),
    /// Make boot disks anew from their image; UUID, MAC addresses and data disks stay
    #[command(after_help = "Example:\n  vsiflow rebuild web --wait")]
    Rebuild(RebuildArgs),
    /// Shut down VSIs; they stay off, also after a restart of their host
    #[command(after_help = "Example:\n  vsiflow stop web --grace-period 2m --wait")]
    Stop(StopArgs),
    /// Shut down VSIs and start them again
    #[command(after_help = "Example:\n  vsiflow restart web --wait")]
    Restart(StopArgs),
    /// Suspend VSIs, which keep their memory; with `--all`, start no step on any host
    #[command(
        after_help = "Example:\n  vsiflow pause web --wait\n  vsiflow pause --all --reason migration"
    )]
    Pause(PauseArgs),
    /// Resume suspended VSIs; with `--all`, end the global pause
    #[command(after_help = "Example:\n  vsiflow unpause web --wait\n  vsiflow unpause --all")]
    Unpause(PauseArgs),
    /// Set how many members a pool has, or a pool of a group
    #[command(
        after_help = "Example:\n  vsiflow scale pool/web --replicas 5 --wait\n  vsiflow scale group/etcd --pool member --replicas 5 --wait"
    )]
    Scale(ScaleArgs),
    /// Go back to what was asked of a VSI before, or to the template of a pool before
    #[command(
        visible_alias = "undo",
        after_help = "Example:\n  vsiflow rollback web --to 3 --dry-run\n  vsiflow rollback pool/web --wait"
    )]
    Rollback(RollbackArgs),
    /// Leave a member of a pool out of rollouts, and of being made again
    #[command(after_help = "Example:\n  vsiflow cordon web-2")]
    Cordon(CordonArgs),
    /// Let a member of a pool take part in rollouts again
    #[command(after_help = "Example:\n  vsiflow uncordon web-2 --wait")]
    Uncordon(CordonArgs),
    /// Print what was read of a member of a group
    #[command(after_help = "Example:\n  vsiflow output group/ocp kubeconfig\n  vsiflow output ocp")]
    Output(OutputArgs),
    /// List VSIs, pools, groups, data disks, networks, images, hosts or runs
    #[command(
        after_help = "Example:\n  vsiflow get\n  vsiflow get disk -o wide\n  vsiflow get --at 2026-11-22T09:30:00Z"
    )]
    Get(GetArgs),
    /// Wait until objects are in a state
    #[command(
        after_help = "Example:\n  vsiflow wait web --for=condition=Ready --timeout 5m\n  vsiflow wait -l app=web --for=delete"
    )]
    Wait(WaitForArgs),
    /// Show all details of VSIs, pools, groups, data disks, snapshots, types or hosts
    #[command(
        after_help = "Example:\n  vsiflow describe web db\n  vsiflow describe disk/data\n  vsiflow describe host/root@lpar1:22"
    )]
    Describe(DescribeArgs),
    /// Show what differs in a VSI or a data disk between two moments; with -f, as `plan`
    #[command(
        after_help = "Example:\n  vsiflow diff -f web.yaml\n  vsiflow diff web --at 41\n  vsiflow diff web --at 2026-11-22T09:00:00Z --at 2026-11-22T10:00:00Z"
    )]
    Diff(DiffArgs),
    /// Show every step that was taken for VSIs, disks, images or hosts
    #[command(
        after_help = "Example:\n  vsiflow history web db\n  vsiflow history web -o json\n  vsiflow history web --graph"
    )]
    History(HistoryArgs),
    /// Show the newest events of everything, and watch for new ones
    #[command(after_help = "Example:\n  vsiflow events --failed --since 2h\n  vsiflow events -w")]
    Events(EventsArgs),
    /// Show the fleet in this terminal as it is now: VSIs, steps, uploads, hosts and rates
    #[command(after_help = "Example:\n  vsiflow top\n  vsiflow top --once -o json")]
    Top(TopArgs),
    /// Send runs as traces to a collector of OpenTelemetry
    #[command(subcommand)]
    Traces(TracesCommand),
    /// Print the console logs of VSIs
    #[command(
        after_help = "Example:\n  vsiflow logs web --tail 50 -f\n  vsiflow logs -l app=web --prefix --grep error"
    )]
    Logs(LogsArgs),
    /// Open the serial console of a VSI; `^]` leaves it
    #[command(after_help = "Example:\n  vsiflow console web")]
    Console(ConsoleArgs),
    /// Open the screen of a VSI at a port of 127.0.0.1, through its host
    #[command(
        after_help = "Example:\n  vsiflow vnc web\n  vsiflow vnc web --port 5901 --listen-only"
    )]
    Vnc(VncArgs),
    /// Log into a guest with your own ssh, through its host
    #[command(after_help = "Example:\n  vsiflow ssh -l debian web -- uptime")]
    Ssh(SshArgs),
    /// Print or write a configuration for ssh, scp and rsync with an entry for each VSI
    #[command(after_help = "Example:\n  vsiflow ssh-config --write")]
    SshConfig(SshConfigArgs),
    /// Delete VSIs with everything that was made for them, pools and groups with their members, or data disks
    #[command(
        after_help = "Example:\n  vsiflow delete web --wait\n  vsiflow delete pool/web --wait"
    )]
    Delete(DeleteArgs),
    /// Resume unfinished work after a crash or an interrupt
    #[command(after_help = "Example:\n  vsiflow resume --all --wait\n  vsiflow resume --watch")]
    Resume(ResumeArgs),
    /// Run as a daemon: work on everything and answer other commands
    #[command(
        after_help = "Example:\n  vsiflow serve --metrics-address 127.0.0.1:9090\n  vsiflow serve --kube --leader-elect --namespace vsis"
    )]
    Serve(ServeArgs),
    /// Make, list and revoke tokens for those who ask the daemon from another machine
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show the page of a running daemon in a browser on this machine
    #[command(after_help = "Example:\n  vsiflow ui\n  vsiflow ui --port 8080")]
    Ui(UiArgs),
    /// Retry immediately what is blocked, delayed or failed
    #[command(after_help = "Example:\n  vsiflow retry web\n  vsiflow retry --all")]
    Retry(RetryArgs),
    /// Cancel the runs of VSIs and leave what exists
    #[command(after_help = "Example:\n  vsiflow cancel web\n  vsiflow cancel -l app=web")]
    Cancel(CancelArgs),
    /// Bring existing domains under management without touching their guests
    #[command(after_help = "Example:\n  vsiflow adopt web --on lpar1")]
    Adopt(AdoptArgs),
    /// Install clusters of virtual servers from one document
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Check hosts, list what is on them, and prepare them for maintenance
    #[command(subcommand)]
    Host(HostCommand),
    /// Upload, list and remove base images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Write data disks into files, and make data disks of files
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Carry documents and their images in one file to places without a network
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Make a new VSI with the disks of another, by a snapshot that is deleted afterwards
    #[command(after_help = "Example:\n  vsiflow clone web web-2")]
    Clone(CloneArgs),
    /// Take snapshots of VSIs, put VSIs back to them, and delete them
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Verify, anchor, export and rebuild the journal
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Repair a damaged journal
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Compress old segments of the journal; their events stay readable
    #[command(after_help = "Example:\n  vsiflow compact --older-than 90d --dry-run")]
    Compact(CompactArgs),
    /// Compute all states from the journal again; with --verify, check each decision
    #[command(after_help = "Example:\n  vsiflow replay --verify")]
    Replay(ReplayArgs),
    /// Write the whole state directory into one file, also while vsiflow works
    #[command(after_help = "Example:\n  vsiflow backup vsiflow.backup")]
    Backup(BackupArgs),
    /// Make a new state directory from a backup; it only observes until you confirm it
    #[command(
        after_help = "Example:\n  vsiflow restore vsiflow.backup\n  vsiflow restore --confirm"
    )]
    Restore(RestoreArgs),
    /// Check or encrypt a contract
    #[command(subcommand)]
    Contract(ContractCommand),
    /// Say what is in order and what is not, with what to do
    #[command(after_help = "Example:\n  vsiflow doctor")]
    Doctor(DoctorArgs),
    /// Pack what somebody who helps needs to see into one file, without secrets
    #[command(
        after_help = "Example:\n  vsiflow support-bundle\n  vsiflow support-bundle support.tar.gz --log daemon.log"
    )]
    SupportBundle(SupportBundleArgs),
    /// Say what a field of a document means
    #[command(after_help = "Example:\n  vsiflow explain virtualserver.spec.guest")]
    Explain(ExplainArgs),
    /// Print the custom resource definitions for `kubectl apply -f -`
    #[command(after_help = "Example:\n  vsiflow crd --cel")]
    Crd(CrdArgs),
    /// Move custom resources from k8s-operator-hpcr to vsiflow
    #[command(after_help = "Example:\n  vsiflow migrate --check --namespace vsis")]
    Migrate(MigrateArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  vsiflow completions bash")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    #[command(after_help = "Example:\n  vsiflow man\n  vsiflow man --output-dir man1")]
    Man {
        /// The folder for a page of each command; it is made where it is missing.
        #[arg(long, value_name = "DIR")]
        output_dir: Option<std::path::PathBuf>,
    },
    /// Print what can be asked of a daemon by HTTP, as OpenAPI 3.1
    #[command(after_help = "Example:\n  vsiflow openapi")]
    Openapi,
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
    /// Also read the subdirectories of a directory.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Where KubeVirt's manifests run: labels of the host's settings, such as `config=lab`; a
    /// word alone is the value of the label `config`.
    #[arg(long, value_name = "LABELS", value_parser = target::labels)]
    target: Option<target::HostLabels>,
    /// The pool of what KubeVirt's manifests describe.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
}

impl Sources {
    /// These files, and nothing said beside them.
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        Self {
            files: files.to_vec(),
            recursive: false,
            target: None,
            pool: None,
        }
    }

    /// Where KubeVirt's manifests run.
    pub(crate) fn kubevirt(&self) -> vsiflow_file::KubevirtTarget {
        vsiflow_file::KubevirtTarget {
            target: self.target.clone().unwrap_or_default().0,
            pool: self.pool.clone(),
        }
    }
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
    /// Check everything and show what would be done, without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// How long a command stays.
#[derive(Clone, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the outcome is decided.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The work continues at
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
    /// The VSIs, as `NAME`, `vsi/NAME` or `vsi NAME…`; data disks as `disk/NAME` or `disk NAME…`, pools as
    /// `pool/NAME` or `pool NAME…`, groups as `group/NAME` or `group NAME…`.
    #[arg(
        value_name = "NAME",
        required_unless_present_any = ["files", "labels", "field_selector", "all"]
    )]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// All VSIs of the namespace; with `disk`, all its data disks; with `pool` or `group`, all its pools or groups.
    #[arg(long, conflicts_with = "files")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) destroy: DestroyArgs,
    /// Delete the VSIs in these documents, then their data disks by their `deletionPolicy`.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with_all = ["names", "labels", "field_selector"]
    )]
    pub(crate) files: Vec<PathBuf>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Forget the VSI or data disk and leave everything on its host.
    #[arg(long)]
    pub(crate) orphan: bool,
    /// Ignore names that are not found.
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The VSIs to resume, data disks as `disk/NAME` and images as `image/NAME` [default: all
    /// unfinished work].
    pub(crate) names: Vec<String>,
    /// Resume everything.
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Stay until interrupted: scan the hosts regularly, report drift, restore VSIs with
    /// `onDrift: Restore`, and start VSIs whose host was restarted.
    #[arg(long, conflicts_with_all = ["names", "wait", "timeout"])]
    pub(crate) watch: bool,
    /// The time between two scans of the hosts.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s", requires = "watch")]
    pub(crate) every: std::time::Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RetryArgs {
    /// The VSIs, and data disks as `disk/NAME`. With `--host` and no name: all unsettled VSIs on
    /// that host.
    #[arg(conflicts_with_all = ["labels", "field_selector"])]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Retry everything that is not settled.
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SupportBundleArgs {
    /// The file to write (tar in gzip), which must not exist.
    #[arg(value_name = "FILE", default_value = "vsiflow-support.tar.gz")]
    pub(crate) file: PathBuf,
    /// The daemon's log, of which the last 4 MiB are packed; `-` is standard input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) log: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A kind, and the names that lead to the field, such as `virtualserver.spec.guest`.
    #[arg(value_name = "KIND[.FIELD…]")]
    pub(crate) field: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
}

/// The output format.
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
    fn the_help_of_every_command_ends_with_examples_that_are_understood() {
        for words in examples::examples(&Cli::command()) {
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{words:?}: {error}");
            }
        }
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
