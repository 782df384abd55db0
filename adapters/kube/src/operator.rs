//! Operator: runs everything that serves a cluster.

mod unreported;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use vsiflow_workflows::{
    fleet::Fleet,
    spec::{HostSettings, NoFiles, Permits},
};

use crate::{
    Health, View,
    controller::{Controller, LostJournal},
    event_recorder::EventRecorder,
    events::{EventNote, WAITING},
    follow::Follower,
    reporter::{DueResources, Reporter},
    resource_cache::{ObjectSource, ResourceCache, WatchedKind},
    share::JournalShare,
    status_queue::StatusQueue,
    subresources::Subresources,
    watch::follow,
};

/// Timeout for connecting to the API server.
const CONNECT: Duration = Duration::from_secs(10);

/// The namespaces that are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// These, each with its own access rules.
    These(Vec<String>),
    /// All existing and future namespaces.
    All,
}

/// Error: the cluster cannot be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ApiConnectError {
    /// The kubeconfig, or the pod's in-cluster configuration, cannot be used.
    #[error("the cluster's address and credentials cannot be read: {0}")]
    Config(String),
    /// The client cannot be created from the configuration.
    #[error("no client of the cluster can be made: {0}")]
    Client(String),
}

impl ApiConnectError {
    /// The error of reading credentials, without any content of their files.
    pub(crate) fn of_config(error: &(dyn std::error::Error + 'static)) -> Self {
        let inner = || error.source()?.downcast_ref();
        let kubeconfig = error.downcast_ref::<KubeconfigError>().or_else(inner);
        Self::Config(match kubeconfig {
            Some(KubeconfigError::Parse(wrong)) => {
                let place = wrong.location().map_or_else(String::new, |place| {
                    format!(" (line {}, column {})", place.line(), place.column())
                });
                format!("the file is not the YAML of a kubeconfig{place}")
            }
            _ => error.to_string(),
        })
    }
}

/// A client for the cluster of a kubeconfig; without one, for the cluster of `$KUBECONFIG`, or for the
/// one that this process runs in. No request is sent yet. Also returns the default namespace. With
/// `retries`, a request that the API server was too busy to answer is repeated silently: this is for
/// callers that repeat everything until it succeeds.
///
/// # Errors
/// If the address or credentials cannot be read.
pub async fn connect(
    kubeconfig: Option<PathBuf>,
    retries: bool,
) -> Result<(Client, String), ApiConnectError> {
    let options = KubeConfigOptions::default();
    let read = match kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map(Some),
        None => listed_kubeconfig(),
    };
    let mut config = match read.map_err(|error| ApiConnectError::of_config(&error))? {
        Some(read) => {
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(|error| ApiConnectError::of_config(&error))?
        }
        None => {
            let config = Config::infer().await;
            config.map_err(|error| ApiConnectError::of_config(&error))?
        }
    };
    config.default_retry = retries;
    let namespace = config.default_namespace.clone();
    Ok((client_of(config)?, namespace))
}

/// The files of `$KUBECONFIG` together, without those that do not exist, as kubectl reads them. `None` if it
/// names none that exists.
pub(crate) fn listed_kubeconfig() -> Result<Option<Kubeconfig>, KubeconfigError> {
    let list = std::env::var_os("KUBECONFIG").unwrap_or_default();
    merged(std::env::split_paths(&list))
}

fn merged(paths: impl Iterator<Item = PathBuf>) -> Result<Option<Kubeconfig>, KubeconfigError> {
    let mut all: Option<Kubeconfig> = None;
    // An empty part of the list names nothing.
    let exists =
        |path: &PathBuf| !path.as_os_str().is_empty() && !matches!(path.try_exists(), Ok(false));
    for path in paths.filter(exists) {
        let next = Kubeconfig::read_from(path)?;
        all = Some(match all {
            Some(earlier) => earlier.merge(next)?,
            None => next,
        });
    }
    Ok(all)
}

/// A client with these settings and a timeout for connecting.
pub(crate) fn client_of(mut config: Config) -> Result<Client, ApiConnectError> {
    config.connect_timeout = Some(CONNECT);
    let client = Client::try_from(config);
    client.map_err(|error| ApiConnectError::Client(error.to_string()))
}

/// Why the operator stopped serving a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorEnd {
    /// The engine ended.
    Engine,
    /// A part of the operator ended or panicked; the process must end too.
    Defect(String),
}

/// The tasks that run while a cluster is served, and one that ends after the start.
#[derive(Clone, Copy, Debug)]
enum OperatorTask {
    Watch,
    EventRecorder,
    Reporter,
    Controller,
    Follower,
    Unreported,
}

/// The watched state of a cluster, shared by all journals that this process serves it with.
#[derive(Clone)]
pub struct WatchedCluster {
    client: Client,
    cache: Arc<ResourceCache>,
    sources: Vec<ObjectSource>,
    health: Arc<Health>,
}

impl WatchedCluster {
    /// The cluster, limited to these namespaces. No request is sent yet.
    pub fn new(client: Client, namespaces: &Namespaces) -> Self {
        let sources = sources(namespaces);
        Self {
            client,
            cache: Arc::new(ResourceCache::new(sources.clone())),
            sources,
            health: Arc::default(),
        }
    }

    /// Whether the API server answers.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Wakes every operator to check everything again.
    pub fn wake(&self) {
        self.cache.poke();
    }

    /// Watches the cluster. A watch never ends normally, so this returns only after a defect. Cancel
    /// safe: the next call lists.
    pub async fn watch(&self) -> OperatorEnd {
        let mut watches = JoinSet::new();
        self.begin(&mut watches);
        match watches.join_next().await {
            Some(Err(error)) => OperatorEnd::Defect(error.to_string()),
            _ => OperatorEnd::Defect("a watch ended".to_owned()),
        }
    }

    fn begin(&self, parts: &mut JoinSet<OperatorTask>) {
        for source in self.sources.clone() {
            let (client, cache) = (self.client.clone(), self.cache.clone());
            let following = follow(client, source, cache, self.health.clone());
            parts.spawn(as_part(following, OperatorTask::Watch));
        }
    }
}

/// The operator of a cluster and a fleet.
pub struct Operator {
    cluster: WatchedCluster,
    /// Whether another task runs the watches.
    is_watched: bool,
    fleet: Fleet,
    host: Option<HostSettings>,
    lost: LostJournal,
    share: Option<Arc<dyn JournalShare>>,
    health: Arc<Health>,
    served_by: Option<String>,
    delivered: Arc<watch::Sender<bool>>,
    permits: Arc<dyn Permits>,
}

impl Operator {
    /// Serves these namespaces. With `host`, every VSI lives on that host, whatever resources say. No
    /// request is sent yet.
    pub fn new(
        client: Client,
        fleet: Fleet,
        namespaces: &Namespaces,
        host: Option<HostSettings>,
    ) -> Self {
        Self::on(WatchedCluster::new(client, namespaces), fleet, host)
    }

    /// Serves the share that a journal has of a cluster. Another task must run
    /// [`WatchedCluster::watch`].
    pub fn sharing(
        cluster: &WatchedCluster,
        fleet: Fleet,
        host: Option<HostSettings>,
        share: Arc<dyn JournalShare>,
    ) -> Self {
        let health = cluster.health.of(&format!("journal {}", share.number()));
        Self {
            is_watched: true,
            share: Some(share),
            health: Arc::new(health),
            ..Self::on(cluster.clone(), fleet, host)
        }
    }

    fn on(cluster: WatchedCluster, fleet: Fleet, host: Option<HostSettings>) -> Self {
        Self {
            health: cluster.health.clone(),
            cluster,
            is_watched: false,
            fleet,
            host,
            lost: LostJournal::default(),
            share: None,
            served_by: None,
            delivered: Arc::new(watch::Sender::new(false)),
            permits: Arc::new(NoFiles),
        }
    }

    /// Sets what to do for resources that an empty journal does not know.
    #[must_use]
    pub fn with_lost_journal(self, lost: LostJournal) -> Self {
        Self { lost, ..self }
    }

    /// Sets which files of this machine resources may name; the default permits none.
    #[must_use]
    pub fn with_permits(self, permits: Arc<dyn Permits>) -> Self {
        Self { permits, ..self }
    }

    /// Sets the Lease under which it acts, `NAMESPACE/NAME`: each status names it, so that users can
    /// find this process.
    #[must_use]
    pub fn with_lease(self, lease: Option<String>) -> Self {
        Self {
            served_by: lease,
            ..self
        }
    }

    /// Becomes true once every listed secret was passed to the fleet. A namespace that cannot be listed
    /// is waited for only for a while.
    pub fn delivered(&self) -> watch::Receiver<bool> {
        self.delivered.subscribe()
    }

    /// A view of the cached state of the cluster.
    pub fn view(&self) -> View {
        View {
            cache: self.cluster.cache.clone(),
            host: self.host.clone(),
        }
    }

    /// The server of the API of subresources for objects of the cluster.
    pub fn subresources(&self) -> Subresources {
        let (client, fleet) = (self.cluster.client.clone(), self.fleet.clone());
        Subresources::new(client, fleet, self.cluster.cache.clone())
    }

    /// Whether the API server answers.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Serves until the engine ends, or until any part of the operator does: a process that continued
    /// without it would look healthy and do nothing. Cancel safe: what was not written is found again.
    pub async fn run(self) -> OperatorEnd {
        let (sender, event_notes) = mpsc::channel(WAITING);
        let mut parts = self.parts(&sender, event_notes);
        let unreported = unreported::report(
            self.cluster.cache.clone(),
            self.fleet.clone(),
            sender.clone(),
        );
        parts.spawn(async move {
            unreported.await;
            OperatorTask::Unreported
        });
        loop {
            match parts.join_next().await {
                Some(Ok(OperatorTask::Unreported)) => {}
                Some(Ok(OperatorTask::Follower)) | None => return OperatorEnd::Engine,
                Some(Ok(part)) => return OperatorEnd::Defect(format!("{part:?} ended")),
                Some(Err(error)) => return OperatorEnd::Defect(error.to_string()),
            }
        }
    }

    /// Starts everything that runs while the cluster is served.
    fn parts(
        &self,
        sender: &mpsc::Sender<EventNote>,
        event_notes: mpsc::Receiver<EventNote>,
    ) -> JoinSet<OperatorTask> {
        let status_queue = Arc::new(StatusQueue::default());
        let (client, cache) = (&self.cluster.client, &self.cluster.cache);
        let fleet = &self.fleet;
        let follower = Follower {
            fleet: fleet.clone(),
            cache: cache.clone(),
            status_queue: status_queue.clone(),
            event_notes: sender.clone(),
            next: None,
            is_behind: false,
        };
        let recorder = EventRecorder::new(client.clone(), cache.clone(), event_notes);
        let reporter = Reporter {
            client: client.clone(),
            fleet: fleet.clone(),
            cache: cache.clone(),
            status_queue: status_queue.clone(),
            health: self.health.clone(),
            written: BTreeMap::new(),
            event_notes: sender.clone(),
            served_by: self.served_by.clone(),
            share: self.share.clone(),
            quotas: BTreeMap::new(),
            counted_at: None,
            counting: JoinSet::new(),
            due: DueResources::default(),
        };
        let controller = Controller::new(
            client.clone(),
            fleet.clone(),
            cache.clone(),
            status_queue,
            self.host.clone(),
            self.lost,
            self.delivered.clone(),
        );
        let controller = controller
            .with_permits(self.permits.clone())
            .with_share(self.share.clone())
            .with_health(self.health.clone());
        let mut parts = JoinSet::new();
        if !self.is_watched {
            self.cluster.begin(&mut parts);
        }
        parts.spawn(as_part(recorder.run(), OperatorTask::EventRecorder));
        parts.spawn(as_part(reporter.run(), OperatorTask::Reporter));
        parts.spawn(as_part(controller.run(), OperatorTask::Controller));
        parts.spawn(as_part(follower.run(), OperatorTask::Follower));
        parts
    }
}

async fn as_part(work: impl Future<Output = ()>, part: OperatorTask) -> OperatorTask {
    work.await;
    part
}

/// All watches.
fn sources(namespaces: &Namespaces) -> Vec<ObjectSource> {
    let places = match namespaces {
        Namespaces::All => vec![None],
        Namespaces::These(these) => these.iter().cloned().map(Some).collect(),
    };
    let all = places.iter().flat_map(|place| {
        WatchedKind::all()
            .into_iter()
            .map(|what| (what, place.clone()))
    });
    all.collect()
}

#[cfg(test)]
mod tests;
