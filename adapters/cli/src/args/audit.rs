//! Arguments of `audit`, `compact` and `replay`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OutputFormat, duration};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find every record that was changed, removed, reordered or inserted
    #[command(
        after_help = "Example:\n  vsiflow audit verify --head head.txt --public-key auditor.pub"
    )]
    Verify(AuditVerifyArgs),
    /// Print the newest link of the journal, to be stored on another machine
    #[command(after_help = "Example:\n  vsiflow audit head --sign-key auditor.key")]
    Head(AuditHeadArgs),
    /// Write the whole journal as JSON Lines
    #[command(after_help = "Example:\n  vsiflow audit export journal.jsonl")]
    Export(AuditExportArgs),
    /// Make a new state directory (--state) from an export
    #[command(
        after_help = "Example:\n  vsiflow audit rebuild journal.jsonl --state /var/lib/vsiflow-copy"
    )]
    Rebuild(AuditRebuildArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// A line that `audit head` printed earlier, or a file with it. Reveals a journal that was cut
    /// off or replaced by an older copy.
    #[arg(long, value_name = "HEAD|FILE")]
    pub(crate) head: Option<String>,
    /// The public key for the signatures of the head and the bases: a file in OpenSSH's format or
    /// PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) public_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Say what can be recovered of a damaged journal, and repair it
    #[command(
        after_help = "Example:\n  vsiflow journal repair\n  vsiflow journal repair --from vsiflow.backup --yes"
    )]
    Repair(RepairArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RepairArgs {
    /// A backup or an audit export that has what the state directory lost; `-` for standard
    /// input.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) from: Option<PathBuf>,
    /// The key that decrypts the backup: a file as `age-keygen` makes it.
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) identity: Option<PathBuf>,
    /// Repair it without asking.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Sign the base that replaces lost events with this Ed25519 key; see `serve --sign-key`.
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditHeadArgs {
    /// Sign with this Ed25519 key: a private key file of OpenSSH, or PKCS#8 in PEM, without a
    /// passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditExportArgs {
    /// The file to write, which must not exist yet; `-` for standard output.
    #[arg(value_name = "FILE|-", default_value = "-")]
    pub(crate) file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditRebuildArgs {
    /// An export; `-` for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompactArgs {
    /// Compress segments older than this, such as `90d` [default: the retention].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) older_than: Option<std::time::Duration>,
    /// Show what would be compressed, without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Check that each event is what the engine decides at its place, and name the first that is
    /// not.
    #[arg(long)]
    pub(crate) verify: bool,
}
