//! Everything together, for whoever serves a cluster.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use vsiflow_engine::model;
use vsiflow_workflows::{
    fleet::Fleet,
    record::vsi_entity,
    spec::{HostSettings, NoFiles, Permits},
};

use crate::{
    Health, View,
    controller::{Controller, LostJournal},
    event_recorder::EventRecorder,
    events::{EventNote, WAITING, happening},
    follow::Follower,
    reporter::Reporter,
    resource_cache::{ObjectSource, ResourceCache, WatchedKind},
    share::JournalShare,
    status_queue::StatusQueue,
    subresources::Subresources,
    watch::follow,
};

/// How long connecting to the API server may take.
const CONNECT: Duration = Duration::from_secs(10);
/// What happened before a start is told once everything was listed, or after that.
const LISTING: Duration = Duration::from_secs(60);
/// What happened that long before a start may not have been told.
const UNTOLD: Duration = Duration::from_secs(600);

/// Which namespaces are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Those, each with rights of its own.
    These(Vec<String>),
    /// All there are and will be.
    All,
}

/// A cluster that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiConnectError {
    /// The kubeconfig, or what a pod is told of its cluster, cannot be used.
    #[error("the cluster's address and credentials cannot be read: {0}")]
    Config(String),
    /// No client can be made of it.
    #[error("no client of the cluster can be made: {0}")]
    Client(String),
}

/// A client for the cluster that a kubeconfig names; without one, for the cluster this process
/// runs in, or that `$KUBECONFIG` names. The cluster is not asked yet. Also gives the namespace
/// that is meant where none is named. With `retries`, a request that the API server was too busy to
/// answer is sent again unseen: for whoever repeats everything until it is as it should be.
///
/// # Errors
/// When address or credentials cannot be read.
pub async fn connect(
    kubeconfig: Option<PathBuf>,
    retries: bool,
) -> Result<(Client, String), ApiConnectError> {
    let wrong = |error: &dyn std::fmt::Display| ApiConnectError::Config(error.to_string());
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(read, &options).await;
            config.map_err(|error| wrong(&error))?
        }
        None => Config::infer().await.map_err(|error| wrong(&error))?,
    };
    config.default_retry = retries;
    let namespace = config.default_namespace.clone();
    Ok((client_of(config)?, namespace))
}

/// A client with these settings, which does not wait for ever to be connected.
pub(crate) fn client_of(mut config: Config) -> Result<Client, ApiConnectError> {
    config.connect_timeout = Some(CONNECT);
    let client = Client::try_from(config);
    client.map_err(|error| ApiConnectError::Client(error.to_string()))
}

/// Why a cluster is not served any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorEnd {
    /// The engine ended.
    Engine,
    /// A part of what serves it ended or panicked; the process has to end as well.
    Defect(String),
}

/// What runs as long as a cluster is served, and what is over after the start.
#[derive(Clone, Copy, Debug)]
enum OperatorTask {
    Watch,
    EventRecorder,
    Reporter,
    Controller,
    Follower,
    Untold,
}

/// What a process sees of a cluster, for all the journals that it serves it with.
#[derive(Clone)]
pub struct WatchedCluster {
    client: Client,
    cache: Arc<ResourceCache>,
    sources: Vec<ObjectSource>,
    health: Arc<Health>,
}

impl WatchedCluster {
    /// These namespaces. Nothing is asked yet.
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

    /// Has every operator look at everything again.
    pub fn wake(&self) {
        self.cache.poke();
    }

    /// Watches until a watch ends, which none does. Cancel safe: the next one lists.
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

/// A cluster that is served with a fleet.
pub struct Operator {
    cluster: WatchedCluster,
    /// Whether somebody else has the cluster watched.
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
    /// Serves these namespaces; with `host`, every VSI lives there, whatever resources say.
    /// Nothing is asked yet.
    pub fn new(
        client: Client,
        fleet: Fleet,
        namespaces: &Namespaces,
        host: Option<HostSettings>,
    ) -> Self {
        Self::on(WatchedCluster::new(client, namespaces), fleet, host)
    }

    /// Serves the share that a journal has of a cluster, which somebody else has watched
    /// ([`WatchedCluster::watch`]).
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

    /// With that done for what an empty journal does not know.
    #[must_use]
    pub fn with_lost_journal(self, lost: LostJournal) -> Self {
        Self { lost, ..self }
    }

    /// With that to be named by resources; without it no file of this machine may be.
    #[must_use]
    pub fn with_permits(self, permits: Arc<dyn Permits>) -> Self {
        Self { permits, ..self }
    }

    /// With the Lease by which it acts, `NAMESPACE/NAME`: each status names it, so that whoever
    /// looks for this process finds it.
    #[must_use]
    pub fn with_lease(self, lease: Option<String>) -> Self {
        Self {
            served_by: lease,
            ..self
        }
    }

    /// Becomes true once the fleet was given the secrets of everything that was listed. A namespace
    /// that cannot be listed is waited for only a while.
    pub fn delivered(&self) -> watch::Receiver<bool> {
        self.delivered.subscribe()
    }

    /// What it sees of the cluster.
    pub fn view(&self) -> View {
        View {
            cache: self.cluster.cache.clone(),
            host: self.host.clone(),
        }
    }

    /// What answers for objects of the cluster in the API of subresources.
    pub fn subresources(&self) -> Subresources {
        let (client, fleet) = (self.cluster.client.clone(), self.fleet.clone());
        Subresources::new(client, fleet, self.cluster.cache.clone())
    }

    /// Whether the API server answers.
    pub fn health(&self) -> Arc<Health> {
        self.health.clone()
    }

    /// Serves until the engine ends, or until any part of what serves does: a process that goes on
    /// without it would look well and do nothing. Cancel safe: what was not written is found again.
    pub async fn run(self) -> OperatorEnd {
        let (sender, happenings) = mpsc::channel(WAITING);
        let mut parts = self.parts(&sender, happenings);
        let untold = self.untold(sender.clone());
        parts.spawn(async move {
            untold.await;
            OperatorTask::Untold
        });
        loop {
            match parts.join_next().await {
                Some(Ok(OperatorTask::Untold)) => {}
                Some(Ok(OperatorTask::Follower)) | None => return OperatorEnd::Engine,
                Some(Ok(part)) => return OperatorEnd::Defect(format!("{part:?} ended")),
                Some(Err(error)) => return OperatorEnd::Defect(error.to_string()),
            }
        }
    }

    /// Everything that runs as long as the cluster is served.
    fn parts(
        &self,
        sender: &mpsc::Sender<EventNote>,
        happenings: mpsc::Receiver<EventNote>,
    ) -> JoinSet<OperatorTask> {
        let status_queue = Arc::new(StatusQueue::default());
        let (client, cache) = (&self.cluster.client, &self.cluster.cache);
        let fleet = &self.fleet;
        let follower = Follower {
            fleet: fleet.clone(),
            cache: cache.clone(),
            status_queue: status_queue.clone(),
            happenings: sender.clone(),
            next: None,
        };
        let recorder = EventRecorder::new(client.clone(), cache.clone(), happenings);
        let reporter = Reporter {
            client: client.clone(),
            fleet: fleet.clone(),
            cache: cache.clone(),
            status_queue: status_queue.clone(),
            health: self.health.clone(),
            written: BTreeMap::new(),
            happenings: sender.clone(),
            served_by: self.served_by.clone(),
            share: self.share.clone(),
            quotas: BTreeMap::new(),
            counted_at: None,
            counting: JoinSet::new(),
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

    /// Tells what may not have been told before a crash.
    fn untold(&self, sender: mpsc::Sender<EventNote>) -> impl Future<Output = ()> + use<> {
        let (cache, fleet) = (self.cluster.cache.clone(), self.fleet.clone());
        async move {
            let mut changes = cache.changes();
            // A namespace that cannot be listed must not keep the others from being told.
            let listed = changes.wait_for(|_| cache.is_complete());
            if let Ok(Err(_)) = tokio::time::timeout(LISTING, listed).await {
                return;
            }
            let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
            let untold = u64::try_from(UNTOLD.as_millis()).unwrap_or_default();
            let since = model::Timestamp(now.saturating_sub(untold));
            for resource in cache.snapshot().resources {
                let Ok(entity) = vsi_entity(resource.uid) else {
                    continue;
                };
                if !resource.key.kind.is_vsi() {
                    continue;
                }
                let records = fleet
                    .history()
                    .recorded_of(&entity, since)
                    .await
                    .unwrap_or_default();
                for note in records
                    .iter()
                    .filter_map(|one| happening(resource.uid, one))
                {
                    if sender.send(note).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

async fn as_part(work: impl Future<Output = ()>, part: OperatorTask) -> OperatorTask {
    work.await;
    part
}

/// Every watch there is.
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
