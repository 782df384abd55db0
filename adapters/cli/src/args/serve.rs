//! `serve`, `crd` and `migrate`, as clap reads them.

use std::{
    net::SocketAddr,
    path::{Component, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use vsiflow_image::Cidr;

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Act only while this process was not stopped or suspended for longer than that, such as
    /// `15s`: once it was, it sends nothing more to a host, records nothing and ends with exit
    /// code 6, since another one may have taken its place.
    #[arg(long, value_name = "DURATION", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
    /// How often to look at the hosts: for what was changed there, and for restarts.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::duration)]
    pub(crate) look_every: Duration,
    /// How often to look whether finished work is older than `--retention`.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::duration)]
    pub(crate) archive_every: Duration,
    /// Move it out of the journal once it is at least so many events.
    #[arg(
        long,
        value_name = "EVENTS",
        default_value_t = 10_000,
        hide_short_help = true
    )]
    pub(crate) archive_from: u64,
    /// Answer `/healthz`, `/readyz` and `/metrics` (for Prometheus) over HTTP there, such as
    /// `127.0.0.1:9090`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_address: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// The cluster whose resources are served, if any.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Serve the custom resources of a Kubernetes cluster: the one this runs in, or that
    /// `--kubeconfig` or `$KUBECONFIG` names.
    #[arg(long)]
    pub(crate) kube: bool,
    /// A namespace whose resources are served; may be repeated, and needs a Role in each
    /// [default: the one of the kubeconfig, or that this runs in].
    #[arg(
        long = "namespace",
        short = 'n',
        value_name = "NAMESPACE",
        requires = "kube",
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespaces: Vec<String>,
    /// Serve all namespaces there are and will be: whoever may write resources in any of them
    /// has hosts used for it, and this process may read every Secret of the cluster.
    #[arg(long, requires = "kube")]
    pub(crate) all_namespaces: bool,
    /// The kubeconfig to use.
    #[arg(long, value_name = "FILE", requires = "kube")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Act only while holding a Lease of the cluster, and wait for it: a standby on the same
    /// state directory takes over within 40 s. `--lease` says how long it lasts
    /// [default: 10s].
    #[arg(long, requires = "kube")]
    pub(crate) leader_elect: bool,
    /// The Lease, as `NAME` or `NAMESPACE/NAME`.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "vsiflow",
        requires = "leader_elect",
        hide_short_help = true
    )]
    pub(crate) lease_name: String,
    /// A folder of this machine whose files resources may name: images by `file:` URLs, and KEY_FILE,
    /// KNOWN_HOSTS_FILE and IMAGE_CA_FILE of host settings; may be repeated [default: none].
    #[arg(long = "allow-files", value_name = "DIR", requires = "kube", value_parser = folder)]
    pub(crate) files: Vec<PathBuf>,
    /// A network that images may be read from although its addresses are not public, such as
    /// `10.1.0.0/16`; may be repeated [default: none].
    #[arg(
        long = "allow-image-addresses",
        value_name = "CIDR",
        requires = "kube",
        value_delimiter = ','
    )]
    pub(crate) networks: Vec<Cidr>,
    /// What to do for resources that were worked on and that the journal knows nothing of, since
    /// it was lost: `adopt` takes over what stands on the hosts as it is; no VSI is restarted or
    /// rebuilt.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = Lost::Wait, requires = "kube")]
    pub(crate) journal_lost: Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lost {
    /// Nothing, but to say so.
    Wait,
    /// Adopt what stands.
    Adopt,
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let folder = PathBuf::from(text);
    let plain = folder.components().all(|part| part != Component::ParentDir);
    match folder.is_absolute() && plain {
        true => Ok(folder),
        false => Err("name it by its absolute path".to_owned()),
    }
}

/// The shortest lease: a busy machine must be able to renew it.
const SHORTEST: Duration = Duration::from_secs(3);

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match lease >= SHORTEST {
        true if lease.subsec_nanos() > 0 => Err("a lease lasts whole seconds".to_owned()),
        true => Ok(lease),
        false => Err(format!(
            "a lease lasts at least {}",
            humantime::format_duration(SHORTEST)
        )),
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CrdArgs {
    /// With rules in CEL, for API servers from 1.25 on: they refuse at once what would only be
    /// told in a status.
    #[arg(long)]
    pub(crate) cel: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Say what would be taken over, and change nothing: what is done without `--apply`.
    #[arg(long, conflicts_with = "apply")]
    pub(crate) check: bool,
    /// Take the resources over, one after the other.
    #[arg(long)]
    pub(crate) apply: bool,
    /// A namespace whose resources are meant; may be repeated [default: the kubeconfig's].
    #[arg(
        long = "namespace",
        short = 'n',
        value_name = "NAMESPACE",
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespaces: Vec<String>,
    /// All namespaces.
    #[arg(long, short = 'A')]
    pub(crate) all_namespaces: bool,
    /// The kubeconfig to use.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How to print it.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<super::OutputFormat>,
}
