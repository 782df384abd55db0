//! Arguments of `bundle`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    OutputFormat, Sources, UploadArgs, WaitArgs,
    target::{self, HostLabels},
};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum BundleCommand {
    /// Pack documents and the images that they name into one file
    #[command(
        after_help = "Example:\n  vsiflow bundle create -f web.yaml -o site.vsiflow --sign-key release.key"
    )]
    Create(BundleCreateArgs),
    /// Check a bundle and apply its documents, with its images
    #[command(
        after_help = "Example:\n  vsiflow bundle apply site.vsiflow --verify-key release.pub -f host.yaml --wait\n  vsiflow bundle apply site.vsiflow --verify-key release.pub -f host.yaml --dry-run"
    )]
    Apply(BundleApplyArgs),
    /// List what is in a bundle, without applying it
    #[command(
        visible_alias = "inspect",
        after_help = "Example:\n  vsiflow bundle show site.vsiflow --verify-key release.pub"
    )]
    Show(BundleShowArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BundleCreateArgs {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// The bundle to write, which must not exist. Only its owner may read it.
    #[arg(short, long = "output", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Sign with this Ed25519 key: a private key file of OpenSSH, or PKCS#8 in PEM, without a
    /// passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    /// Pack Secrets, ConfigMaps with passwords or keys, and URLs with credentials as well. Nothing
    /// in a bundle is encrypted.
    #[arg(long)]
    pub(crate) include_secrets: bool,
}

/// Who vouches for a bundle.
#[derive(Clone, Debug, Args)]
pub(crate) struct BundleApplyArgs {
    /// The bundle. It must stay where it is until the images are on their hosts.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The public key of whoever made the bundle: a file in OpenSSH's format or PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_key: Option<PathBuf>,
    /// Apply the bundle without checking who made it.
    #[arg(long, conflicts_with = "verify_key")]
    pub(crate) insecure_skip_signature: bool,
    /// Documents of this site, such as its hosts and Secrets; may be repeated.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    /// The host of KubeVirt's manifests, by labels of its settings, such as `config=lab`; a word alone is
    /// the value of the label `config`.
    #[arg(long, value_name = "LABELS", value_parser = target::labels)]
    target: Option<HostLabels>,
    /// The storage pool of KubeVirt's manifests.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
    /// Check everything and show what would be done, without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

impl BundleApplyArgs {
    /// The target for VMs in KubeVirt manifests.
    pub(crate) fn kubevirt(&self) -> vsiflow_file::KubevirtTarget {
        vsiflow_file::KubevirtTarget {
            target: self.target.clone().unwrap_or_default().0,
            pool: self.pool.clone(),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BundleShowArgs {
    /// The bundle.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Check that it was signed with the private key of this public key.
    #[arg(long, value_name = "FILE")]
    pub(crate) verify_key: Option<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}
