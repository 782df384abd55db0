//! Arguments of `create`.

use std::path::PathBuf;

use clap::Args;
use vsiflow_workflows::spec::meta::{check_label_pair, check_subdomain};

use super::{OutputFormat, WaitArgs};

#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// The VSIs' names.
    #[arg(required = true, value_name = "NAME", value_parser = name)]
    pub(crate) names: Vec<String>,
    /// The image's address, or `image/NAME` of one that a host has.
    #[arg(
        long,
        value_name = "URL|image/NAME",
        required_unless_present = "from",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) image: String,
    /// Make the VSI from a snapshot: its disks and everything else. Only names, the namespace and waiting
    /// can be given as well.
    #[arg(long, value_name = "snapshot/NAME", conflicts_with_all = [
        "image", "server_type", "cpus", "memory", "disk", "arch", "on", "target", "host_files", "labels",
        "pool", "network", "ssh_keys", "user_data", "contract", "ephemeral", "dry_run",
    ])]
    pub(crate) from: Option<String>,
    /// The size: `small`, `medium`, `large`, or one of yours; see `vsiflow get types`.
    #[arg(long = "type", value_name = "TYPE", value_parser = name, default_value = "small")]
    pub(crate) server_type: String,
    /// Virtual processors, in place of the type's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpus: Option<u32>,
    /// Memory, such as `2Gi`, in place of the type's.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// The boot disk's size, such as `20Gi`, in place of the type's.
    #[arg(long, value_name = "SIZE", conflicts_with = "contract")]
    pub(crate) disk: Option<String>,
    /// The architecture [default: s390x with `--contract`, else `x86_64`].
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// The host, as `vsiflow get host` names it [default: the only known host].
    #[arg(long, value_name = "HOST", conflicts_with_all = ["target", "host_files"])]
    pub(crate) on: Option<String>,
    /// The host with this label: one that is known, or one of those of `-f`.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) target: Option<(String, String)>,
    /// The hosts' ConfigMaps and Secrets.
    #[arg(
        id = "host_files",
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        requires = "target"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// A label of the VSIs; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// The storage pool.
    #[arg(long, value_name = "POOL", default_value = "images")]
    pub(crate) pool: String,
    /// The host's network to use [default: the host's default network].
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// A public SSH key for the image's default user; may be repeated.
    #[arg(long = "ssh-key", value_name = "FILE", conflicts_with = "contract")]
    pub(crate) ssh_keys: Vec<PathBuf>,
    /// User-data for cloud-init.
    #[arg(long, value_name = "FILE", conflicts_with = "contract")]
    pub(crate) user_data: Option<PathBuf>,
    /// The contract of a Hyper Protect guest.
    #[arg(long, value_name = "FILE")]
    pub(crate) contract: Option<PathBuf>,
    /// A boot disk that is made anew at every start.
    #[arg(long)]
    pub(crate) ephemeral: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Print the documents, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

fn name(text: &str) -> Result<String, String> {
    check_subdomain(text).map(|()| text.to_owned())
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not a label; write key=value"))?;
    check_label_pair(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}
