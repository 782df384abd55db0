//! Arguments of `contract`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OutputFormat;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ContractCommand {
    /// Find reasons why a guest would refuse a contract; exits 1 on errors, 0 on warnings
    #[command(after_help = "Example:\n  vsiflow contract check contract.yaml --cert signer.crt")]
    Check(ContractCheckArgs),
    /// Print a contract with its plain sections encrypted
    #[command(
        after_help = "Example:\n  vsiflow contract encrypt contract.yaml --cert image.crt --private-key signer.key"
    )]
    Encrypt(ContractEncryptArgs),
    /// Print a contract made of a folder with a compose file
    #[command(
        after_help = "Example:\n  vsiflow contract new --compose app --env-file env.yaml --cert image.crt"
    )]
    New(ContractNewArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ContractCheckArgs {
    /// The contract, or the manifest of a VSI; `-` for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The signer's public key in PEM, to check the signature.
    #[arg(long, value_name = "KEY", conflicts_with = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// The signer's certificate, to check the signature and the certificate's dates.
    #[arg(long, value_name = "CRT")]
    pub(crate) cert: Option<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ContractEncryptArgs {
    /// The contract, or the manifest of a VSI; `-` for standard input.
    #[arg(value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// The encryption certificate of the guest image, from its vendor.
    #[arg(long, value_name = "CRT")]
    pub(crate) cert: PathBuf,
    /// Sign workload and env with this RSA key (PEM, without a passphrase), and add its public
    /// key as `signingKey` to a plain env that has none.
    #[arg(long, value_name = "KEY")]
    pub(crate) private_key: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ContractNewArgs {
    /// The folder with docker-compose.yaml; all its regular files go into the archive.
    #[arg(long, value_name = "DIR")]
    pub(crate) compose: PathBuf,
    /// The environment: lines NAME=VALUE, or the section `env` in YAML.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) env_file: Option<PathBuf>,
    /// Encrypt workload and env for the guest image with this encryption certificate.
    #[arg(long, value_name = "CRT")]
    pub(crate) cert: Option<PathBuf>,
    /// Sign workload and env with this RSA key (PEM, without a passphrase); an env without
    /// `signingKey` gets the key's public half.
    #[arg(long, value_name = "KEY")]
    pub(crate) private_key: Option<PathBuf>,
}
