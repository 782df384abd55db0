//! The command line, parsed by clap.

mod apply;
mod audit;
mod backup;
mod bundle;
mod change;
mod common;
mod contract;
mod create;
mod disk;
#[cfg(test)]
pub(crate) mod examples;
mod files;
mod host;
mod image;
mod kinds;
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
mod values;
mod view;
mod wait_for;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use crate::output::OutputFormat;
pub(crate) use apply::{ApplyArgs, DeleteArgs, PruneArgs, Sources, WAIT_TIMEOUT, WaitArgs};
pub(crate) use audit::{
    AuditCommand, AuditExportArgs, AuditHeadArgs, AuditRebuildArgs, AuditVerifyArgs, CompactArgs,
    JournalCommand, RepairArgs, ReplayArgs,
};
pub(crate) use backup::{BackupArgs, RestoreArgs};
pub(crate) use bundle::{BundleApplyArgs, BundleCommand, BundleCreateArgs, BundleShowArgs};
pub(crate) use change::{
    ApproveArgs, PauseArgs, PlanArgs, PowerArgs, RebuildArgs, StopArgs, Targets,
};
pub(crate) use common::{Common, Server};
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
pub(crate) use kinds::{ObjectKind, kind_and_names, names_of, without_kind};
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
pub(crate) use values::duration;
pub(crate) use view::{
    ConsoleArgs, DescribeArgs, DiffArgs, EventFilter, EventOffset, EventsArgs, GetArgs,
    HistoryArgs, HistoryFormat, ListFormat, LogsArgs, TargetArg, TimeArg, VncArgs,
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
    /// Cancel the runs of VSIs and data disks, or the deletion of a pool or a group, and leave what exists
    #[command(
        after_help = "Example:\n  vsiflow cancel web\n  vsiflow cancel disk/data\n  vsiflow cancel pool/web\n  vsiflow cancel -l app=web"
    )]
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
        /// The folder for a page of each command; it is created if it is missing.
        #[arg(long, value_name = "DIR")]
        output_dir: Option<std::path::PathBuf>,
    },
    /// Print what can be asked of a daemon by HTTP, as OpenAPI 3.1
    #[command(after_help = "Example:\n  vsiflow openapi")]
    Openapi,
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
}
