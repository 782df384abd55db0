//! Arguments of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, which must not exist. It contains secrets: only its owner may read it,
    /// and it should be encrypted.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Encrypt the backup for this public key (`age1…`, as `age-keygen` prints it); may be
    /// repeated.
    #[arg(long = "recipient", value_name = "KEY")]
    pub(crate) recipients: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup; `-` for standard input.
    #[arg(value_name = "FILE|-", required_unless_present = "confirm")]
    pub(crate) file: Option<PathBuf>,
    /// The file with the private key, as `age-keygen` makes it.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) identity: Option<PathBuf>,
    /// Permit a restored state directory to act. No other process may work with the original.
    #[arg(long, conflicts_with = "file")]
    pub(crate) confirm: bool,
}
