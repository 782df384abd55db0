//! `backup` and `restore`, as clap reads them.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write, which must not be there yet. It holds secrets: only its owner may read
    /// it, and it is best encrypted.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Encrypt it so that the holder of this key can read it (`age1…`, as `age-keygen` prints it);
    /// may be repeated.
    #[arg(long = "recipient", value_name = "KEY")]
    pub(crate) recipients: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup; `-` for standard input.
    #[arg(value_name = "FILE|-", required_unless_present = "confirm")]
    pub(crate) file: Option<PathBuf>,
    /// The key that decrypts it: a file as `age-keygen` makes it.
    #[arg(long, value_name = "FILE", requires = "file")]
    pub(crate) identity: Option<PathBuf>,
    /// Let a restored state directory act from now on: nobody works on with the one it was taken
    /// from.
    #[arg(long, conflicts_with = "file")]
    pub(crate) confirm: bool,
}
