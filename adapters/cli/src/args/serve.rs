//! Arguments of `serve`, `crd` and `migrate`.

use std::{
    net::SocketAddr,
    path::{Component, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use vsiflow_image::Cidr;
use vsiflow_kube::subresources::ServiceName;
use vsiflow_otlp::CollectorAddress;

#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Hold a lease of this length, such as `15s`. If the process was stopped or suspended for
    /// longer, it sends and records nothing more and ends with exit code 6.
    #[arg(long, value_name = "DURATION", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
    /// The time between two scans of the hosts for drift and restarts.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = super::duration)]
    pub(crate) look_every: Duration,
    /// How often to remove unused images by the hosts' IMAGE_POLICY.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::duration, hide_short_help = true)]
    pub(crate) prune_images_every: Duration,
    /// How often to check for segments older than `--retention`.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = super::duration)]
    pub(crate) archive_every: Duration,
    /// Compress them if they have at least this many events.
    #[arg(
        long,
        value_name = "EVENTS",
        default_value_t = 10_000,
        hide_short_help = true
    )]
    pub(crate) archive_from: u64,
    /// Serve `/healthz`, `/readyz` and `/metrics` (for Prometheus) over HTTP at this address, such
    /// as `127.0.0.1:9090`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_address: Option<SocketAddr>,
    /// Send runs as traces to this collector of OpenTelemetry, by OTLP over HTTP with protobuf, such as
    /// `http://127.0.0.1:4318`. What is recorded while it is away is sent later.
    #[arg(
        long,
        value_name = "URL",
        env = "VSIFLOW_OTLP_ENDPOINT",
        hide_env_values = true
    )]
    pub(crate) otlp_endpoint: Option<CollectorAddress>,
    /// Sign with this Ed25519 key what the journal says its events come to (`audit verify
    /// --public-key` checks it): a private key file of OpenSSH, or PKCS#8 in PEM, without a
    /// passphrase.
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// The set of journals that several processes share, if any.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShardArgs {
    /// Share the journals of a set with the other processes that name it: `auto` takes as many as are
    /// this one's share, takes over those of a process that died, and hands over when another one
    /// comes. It needs `--journal postgres://…` and `--journal-key`.
    #[arg(long, value_enum, value_name = "HOW", conflicts_with = "dir")]
    pub(crate) shards: Option<Sharding>,
    /// Create the set with this many journals if it does not exist. Their number never changes; it is the
    /// most processes that can share the work.
    #[arg(long, value_name = "N", requires = "shards")]
    pub(crate) journals: Option<u16>,
}

/// How the journals of a set are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sharding {
    /// Evenly among the processes that live.
    Auto,
}

/// The folder of documents that is kept to, if any.
#[derive(Clone, Debug, Args)]
pub(crate) struct FolderArgs {
    /// Keep to the documents in this folder: apply what is new or changed in it, as `apply -f DIR`
    /// would. In a Git work tree the commit in HEAD is read.
    #[arg(long, value_name = "DIR", conflicts_with = "kube")]
    pub(crate) dir: Option<PathBuf>,
    /// Also read the subdirectories of the folder.
    #[arg(long, short = 'R', requires = "dir")]
    pub(crate) recursive: bool,
    /// Delete what was applied from the folder and has no document in it any more, if that is no
    /// more than N; a pool counts its members. Without it such things are only named.
    #[arg(long, value_name = "N", requires = "dir")]
    pub(crate) prune: Option<usize>,
}

/// Where the API is had from other machines, if anywhere.
#[derive(Clone, Debug, Args)]
pub(crate) struct ListenArgs {
    /// Serve the API over TLS at this address, such as `0.0.0.0:8443`, to holders of a token of `vsiflow
    /// token create`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// The certificate chain to show, in PEM [default: one that is made at the first start].
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "listen")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of `--tls-cert`, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// The cluster whose resources are served, if any.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Serve the custom resources of a Kubernetes cluster: the one of `--kubeconfig` or
    /// `$KUBECONFIG`, or the one this process runs in.
    #[arg(long)]
    pub(crate) kube: bool,
    /// A namespace to serve, which needs a Role; may be repeated [default: the namespace of the
    /// kubeconfig or of the pod].
    #[arg(
        long = "namespace",
        short = 'n',
        value_name = "NAMESPACE",
        requires = "kube",
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespaces: Vec<String>,
    /// Serve all present and future namespaces. Every user who may write resources in any of them
    /// can use the hosts, and this process may read every Secret of the cluster.
    #[arg(long, requires = "kube")]
    pub(crate) all_namespaces: bool,
    /// The kubeconfig to use.
    #[arg(long, value_name = "FILE", requires = "kube")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Act only while holding a Lease of the cluster, and wait for it. A standby on the same
    /// state directory takes over within 40 s. `--lease` sets the length of the Lease
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
    /// The Secret, as `NAME` or `NAMESPACE/NAME`, that holds the key of the IDs of secrets: with it a
    /// process without the state directory's secrets still recognises contracts. It has the type
    /// `vsiflow.io/id-key` and may be empty [default: the state directory].
    #[arg(long, value_name = "NAME", requires = "kube", hide_short_help = true)]
    pub(crate) id_key_secret: Option<String>,
    /// A local folder whose files resources may name, by `file:` URLs and by KEY_FILE,
    /// KNOWN_HOSTS_FILE and IMAGE_CA_FILE; may be repeated [default: none].
    #[arg(long = "allow-files", value_name = "DIR", requires = "kube", value_parser = folder)]
    pub(crate) files: Vec<PathBuf>,
    /// A network without public addresses from which images may be read, such as `10.1.0.0/16`;
    /// may be repeated [default: none].
    #[arg(
        long = "allow-image-addresses",
        value_name = "CIDR",
        requires = "kube",
        value_delimiter = ','
    )]
    pub(crate) networks: Vec<Cidr>,
    /// A bridge of hosts that networks of mode `bridge` may put guests on, such as `br0`; may be
    /// repeated [default: none].
    #[arg(
        long = "allow-bridge",
        value_name = "NAME",
        requires = "kube",
        value_delimiter = ','
    )]
    pub(crate) bridges: Vec<String>,
    /// Serve history, logs, retry and cancel of each object to the cluster's API server at this address,
    /// such as `0.0.0.0:8443`, as `subresources.vsiflow.io/v1`, for users who have a right on the object.
    #[arg(long, value_name = "ADDRESS", requires = "subresources_service")]
    pub(crate) subresources_address: Option<SocketAddr>,
    /// The Service of that address, as the APIService names it.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        value_parser = service,
        requires_all = ["kube", "subresources_address"]
    )]
    pub(crate) subresources_service: Option<ServiceName>,
    /// What to do for resources that a lost journal served: `adopt` adopts the existing domains
    /// and disks, and restarts and rebuilds no VSI.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = LostJournalPolicy::Wait, requires = "kube")]
    pub(crate) journal_lost: LostJournalPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LostJournalPolicy {
    /// Do nothing, and report it.
    Wait,
    /// Adopt what exists on the hosts.
    Adopt,
}

fn service(text: &str) -> Result<ServiceName, String> {
    let (namespace, name) = text
        .split_once('/')
        .ok_or_else(|| "write NAMESPACE/NAME".to_owned())?;
    for part in [namespace, name] {
        vsiflow_workflows::spec::meta::check_subdomain(part)?;
    }
    Ok(ServiceName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

fn folder(text: &str) -> Result<PathBuf, String> {
    let folder = PathBuf::from(text);
    let plain = folder.components().all(|part| part != Component::ParentDir);
    if folder.is_absolute() && plain {
        Ok(folder)
    } else {
        Err("name it by its absolute path".to_owned())
    }
}

/// The shortest lease: a busy machine must be able to renew it.
const MIN_DURATION: Duration = Duration::from_secs(3);

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match lease >= MIN_DURATION {
        true if lease.subsec_nanos() > 0 => Err("a lease lasts whole seconds".to_owned()),
        true => Ok(lease),
        false => Err(format!(
            "a lease lasts at least {}",
            humantime::format_duration(MIN_DURATION)
        )),
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UiArgs {
    /// The port of 127.0.0.1 to listen at [default: any that is free].
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) port: u16,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CrdArgs {
    /// Include rules in CEL, for API servers from 1.25 on, which then refuse mistakes
    /// immediately.
    #[arg(long)]
    pub(crate) cel: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct MigrateArgs {
    /// Show what would be migrated, without changing anything (the default).
    #[arg(long, conflicts_with = "apply")]
    pub(crate) check: bool,
    /// Migrate the resources, one after the other.
    #[arg(long)]
    pub(crate) apply: bool,
    /// A namespace to migrate; may be repeated [default: the kubeconfig's].
    #[arg(
        long = "namespace",
        short = 'n',
        value_name = "NAMESPACE",
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespaces: Vec<String>,
    /// Migrate all namespaces.
    #[arg(long, short = 'A')]
    pub(crate) all_namespaces: bool,
    /// The kubeconfig to use.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<super::OutputFormat>,
}
