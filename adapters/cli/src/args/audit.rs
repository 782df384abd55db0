//! `audit`, `compact` and `replay`: the journal itself.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::duration;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Find everything that was changed, removed, reordered or inserted
    Verify(AuditVerifyArgs),
    /// Print where the journal ends, to be kept elsewhere
    Head(AuditHeadArgs),
    /// Write the whole journal as JSON Lines
    Export(AuditExportArgs),
    /// Make an empty state directory (--state) the journal of an export
    Rebuild(AuditRebuildArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// What `audit head` printed earlier, or a file that holds it: finds a journal that was cut
    /// off or put back to an older copy.
    #[arg(long, value_name = "HEAD|FILE")]
    pub(crate) head: Option<String>,
    /// The public key that the head must be signed with: a file as OpenSSH writes it, or PEM.
    #[arg(long, value_name = "FILE", requires = "head")]
    pub(crate) public_key: Option<PathBuf>,
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
    /// Archive what was recorded longer ago than this, such as `90d` [default: the retention].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) older_than: Option<std::time::Duration>,
    /// Say what would be archived; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Check at every event that it is what the engine decides there; name the first that is not.
    #[arg(long)]
    pub(crate) verify: bool,
}
