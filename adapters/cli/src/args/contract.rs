//! `contract …`, as clap reads it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputFormat;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ContractCommand {
    /// Find what would keep a guest from taking a contract; exits 1 on errors, 0 with warnings
    Check(ContractCheckArgs),
    /// Print a contract with its plain sections encrypted
    Encrypt(ContractEncryptArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ContractCheckArgs {
    /// The contract; `-` for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The signer's public key in PEM, to check the signature with.
    #[arg(long, value_name = "KEY", conflicts_with = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// The signer's certificate, to check the signature and its time with.
    #[arg(long, value_name = "CRT")]
    pub(crate) cert: Option<PathBuf>,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ContractEncryptArgs {
    /// The contract; `-` for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The guest image's encryption certificate, as its vendor publishes it.
    #[arg(long, value_name = "CRT")]
    pub(crate) cert: PathBuf,
    /// Sign workload and env with this RSA key (PEM, without a passphrase); a plain env without
    /// `signingKey` gets the key's public half.
    #[arg(long, value_name = "KEY")]
    pub(crate) private_key: Option<PathBuf>,
}
