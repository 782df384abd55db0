//! A Kubernetes cluster that the journals of a set serve: the share of each journal's operator, and its
//! access to the other journals.
//!
//! Each process watches the cluster once ([`SharedCluster`]). Each journal that it holds has its own operator
//! on that watch, which serves the journal's share (see `vsiflow_kube::share`). The database says which
//! journal an object belongs to; a journal's records say what it knows.
//!
//! This module records nothing except claims on names, and nothing that uses more of a namespace's quota
//! unless journal 0 admitted it.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure},
};
use vsiflow_kube::{
    Operator, OperatorEnd, WatchedCluster,
    share::{
        JournalShare, NetworkInquiry, NetworkSummary, PoolPermits, ResourceDecision, StillRequested,
    },
};
use vsiflow_workflows::{
    fleet::{Adopting, EntityPresence, FleetError, NetworkName, QuotaObject, RequestStatus},
    spec::Resolved,
};

use super::{
    DECIDES, adopting, choose,
    decided::{self, waiting::DecidedResources},
    failure::{failed, unanswered},
    journal_holder::JournalHolder,
    local_documents,
    members::Journals,
    networks::ClusterNetworks,
    object_requests::{ObjectRequests, RequestingJournal},
};
use crate::{
    args::{ClusterArgs, Common, LostJournalPolicy},
    compose::{App, bounds::ReadBounds},
    exit::{Exit, ExitProblem},
    metrics::Metrics,
    serving::cluster::ServedCluster,
};

/// The cluster as a process of a set watches and serves it.
#[derive(Clone)]
pub(super) struct SharedCluster {
    served: Arc<ServedCluster>,
    watched: WatchedCluster,
}

impl SharedCluster {
    /// The cluster that the command line names, if any. Does not connect to it yet.
    ///
    /// # Errors
    /// VSI0762, and when no client of the cluster can be made.
    pub(super) async fn of(
        common: &Common,
        args: &ClusterArgs,
    ) -> Result<Option<Self>, ExitProblem> {
        refuse_options(args)?;
        let Some(served) = ServedCluster::of(common, args).await? else {
            return Ok(None);
        };
        let watched = served.watched();
        let served = Arc::new(served);
        Ok(Some(Self { served, watched }))
    }

    /// What the cluster's resources may refer to. Secrets are stored, sealed, because another process of the
    /// set may continue.
    pub(super) fn bounds(&self) -> ReadBounds {
        ReadBounds {
            elsewhere: false,
            id_key: None,
            ..self.served.bounds()
        }
    }

    /// Watches the cluster for the operators of all journals in this process.
    pub(super) async fn watch(&self, metrics: &Metrics) -> ExitProblem {
        metrics.connect(self.watched.health());
        self.served.report();
        ended(self.watched.watch().await).await
    }

    /// The queue of decisions on custom resources for the operator of one journal.
    pub(super) fn decided(&self) -> Arc<DecidedResources> {
        let watched = self.watched.clone();
        Arc::new(DecidedResources::new(move || watched.wake()))
    }

    /// Serves the share of a journal that this process holds.
    pub(super) async fn serve(&self, holder: &Arc<JournalHolder>) -> ExitProblem {
        let share = Arc::new(ClusterShare {
            holder: holder.clone(),
            hosts: Mutex::default(),
            elsewhere: Mutex::default(),
            asks: ObjectRequests::of("vsi"),
            networks: ClusterNetworks::default(),
        });
        let operator = self
            .served
            .sharing(&self.watched, &holder.app, share.clone());
        tokio::select! {
            end = Box::pin(Operator::run(operator)) => ended(end).await,
            never = self.poll_networks(holder, &share) => match never {},
        }
    }

    /// In journal 0: polls all journals about the networks of the cluster.
    async fn poll_networks(&self, holder: &JournalHolder, share: &ClusterShare) -> Infallible {
        if holder.shard.number != DECIDES {
            return std::future::pending().await;
        }
        let (set, held) = (holder.shard.set().clone(), holder.held.clone());
        let journals = Journals::new(set, holder.sealer.clone(), held);
        let asking = share
            .networks
            .keep_polling(&journals, || self.watched.wake());
        Box::pin(asking).await
    }
}

async fn ended(end: OperatorEnd) -> ExitProblem {
    crate::serving::cluster::ended(end).await
}

/// Refuses options for a single process, and those that have no meaning when secrets are in the
/// database.
fn refuse_options(args: &ClusterArgs) -> Result<(), ExitProblem> {
    let options = [
        (
            args.leader_elect,
            "--leader-elect",
            "journals are held by leases of the database",
        ),
        (
            args.id_key_secret.is_some(),
            "--id-key-secret",
            "secrets and their ids are sealed in the database",
        ),
        (
            args.subresources_address.is_some(),
            "--subresources-address",
            "one process answers for its own journals alone",
        ),
        (
            args.journal_lost == LostJournalPolicy::Adopt,
            "--journal-lost=adopt",
            "what a journal does not know may be another one's",
        ),
    ];
    let Some((_, option, why)) = options.into_iter().find(|(options, ..)| *options) else {
        return Ok(());
    };
    let message = format!("{option} is not for a set of journals: {why}");
    let remedy = format!("leave {option} out, or serve one journal without --shards");
    Err(ExitProblem::new(Exit::Usage, "VSI0762", message, &remedy))
}

/// Access to the other journals of a set for the operator of one of them.
struct ClusterShare {
    holder: Arc<JournalHolder>,
    /// Cache of the journals that hosts belong to; an assignment never changes.
    hosts: Mutex<BTreeMap<String, u16>>,
    /// Cache of the entities that other journals have recorded; that never changes either.
    elsewhere: Mutex<BTreeSet<EntityId>>,
    asks: ObjectRequests,
    networks: ClusterNetworks,
}

impl fmt::Debug for ClusterShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterShare({:?})", self.holder.shard)
    }
}

impl ClusterShare {
    fn known_hosts(&self) -> BTreeMap<String, u16> {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.clone()
    }

    /// Whether another journal has recorded the entity, deleted or not.
    async fn knows(&self, journal: u16, entity: &EntityId) -> Result<bool, ExitProblem> {
        let other = self
            .holder
            .shard
            .place
            .member(&self.holder.common, journal, None);
        let app = Box::pin(App::open_to_read_at(&other)).await?;
        let known = app.fleet.knowledge(entity) != EntityPresence::None;
        app.close().await;
        if known {
            self.elsewhere().insert(entity.clone());
        }
        Ok(known)
    }

    fn elsewhere(&self) -> MutexGuard<'_, BTreeSet<EntityId>> {
        let elsewhere = self.elsewhere.lock();
        elsewhere.unwrap_or_else(PoisonError::into_inner)
    }

    fn asking(&self) -> RequestingJournal<'_> {
        RequestingJournal {
            set: self.holder.shard.set(),
            sealer: &self.holder.sealer,
            held: &self.holder.held,
        }
    }
}

#[async_trait]
impl JournalShare for ClusterShare {
    fn number(&self) -> u16 {
        self.holder.shard.number
    }

    async fn journals_of_hosts(
        &self,
        hosts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError> {
        let before = self.known_hosts();
        let mut all = BTreeMap::new();
        for host in hosts {
            let journal = match before.get(host) {
                Some(journal) => *journal,
                None => self
                    .holder
                    .shard
                    .set()
                    .assign(host)
                    .await
                    .map_err(unanswered)?,
            };
            all.insert(host.clone(), journal);
        }
        let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone_from(&all);
        Ok(all)
    }

    async fn journals_of_names(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError> {
        let owners = self.holder.shard.set().name_owners(names).await;
        let owners = owners.map_err(unanswered)?.into_iter();
        Ok(owners.map(|(name, owner)| (name, owner.journal)).collect())
    }

    async fn may_be_elsewhere(&self, name: &str, entity: &EntityId) -> Result<bool, FleetError> {
        if self.elsewhere().contains(entity) {
            return Ok(true);
        }
        let owners = self
            .holder
            .shard
            .set()
            .name_owners(&[name.to_owned()].into())
            .await;
        let owners = owners.map_err(unanswered)?;
        match owners.get(name) {
            Some(owner) if owner.journal != self.holder.shard.number => {
                // Visible only once it is recorded, or once nothing is being recorded any more.
                let knows = self.knows(owner.journal, entity).await;
                Ok(owner.is_busy || knows.map_err(|problem| failed(&problem))?)
            }
            _ => Ok(false),
        }
    }

    async fn apply(
        &self,
        resolved: Resolved,
        by: By,
        still: &dyn StillRequested,
        admitted: &BTreeSet<String>,
    ) -> Result<(), FleetError> {
        let mut others = local_documents::namespaces(&resolved);
        others.retain(|namespace| !admitted.contains(namespace));
        if let Some(namespace) = self.limited(&others).await?.first() {
            return Err(failed(&local_documents::limited_by_now(namespace)));
        }
        let check = async { still.check().await.map_err(ExitProblem::from) };
        let applied =
            local_documents::apply_if(&self.holder.app, &self.holder.common, resolved, by, check);
        let applied = Box::pin(applied).await;
        applied.map(drop).map_err(|problem| failed(&problem))
    }

    async fn adopt(
        &self,
        what: Adopting,
        by: By,
        still: &dyn StillRequested,
    ) -> Result<(), FleetError> {
        let check = async { still.check().await.map_err(ExitProblem::from) };
        let JournalHolder { app, common, .. } = &*self.holder;
        let adopted = adopting::adopt_if(app, common, what, by, check);
        let adopted = Box::pin(adopted).await;
        adopted.map(drop).map_err(|problem| failed(&problem))
    }

    async fn decide(&self, uid: Uuid, resolved: &Resolved) -> Result<(), FleetError> {
        let part = decided::question(uid, resolved.clone());
        self.asks.ask(self.asking(), uid, part).await
    }

    async fn deciding(&self, uid: Uuid) -> Result<RequestStatus, FleetError> {
        self.asks.status_of(self.asking(), uid).await
    }

    fn decided(&self) -> BTreeMap<Uuid, ResourceDecision> {
        let decided = self.holder.decided.as_ref();
        decided.map(|decided| decided.take()).unwrap_or_default()
    }

    fn settle(&self, uid: Uuid, outcome: Option<Result<(), Failure>>) {
        if let Some(decided) = &self.holder.decided {
            decided.settle(uid, outcome);
        }
    }

    fn permit(&self, pools: PoolPermits) {
        if let Some(decided) = &self.holder.decided {
            decided.permit(pools);
        }
    }

    async fn limited(&self, namespaces: &BTreeSet<String>) -> Result<BTreeSet<String>, FleetError> {
        if namespaces.is_empty() {
            return Ok(BTreeSet::new());
        }
        let limited = self.holder.shard.set().limited_among(namespaces).await;
        limited.map_err(unanswered)
    }

    async fn limit(&self, resolved: Resolved, by: By) -> Result<(), FleetError> {
        let noted = choose::note_limits(&self.holder, &resolved).await;
        noted.map_err(|problem| failed(&problem))?;
        self.holder.app.fleet.apply(resolved, by).await.map(drop)
    }

    async fn quotas(&self) -> Result<Vec<QuotaObject>, FleetError> {
        let quotas = self.holder.app.fleet.quotas();
        let namespaces = quotas.namespaces().await?;
        if namespaces.is_empty() {
            return Ok(Vec::new());
        }
        let taken = choose::used_elsewhere(&self.holder, &namespaces).await;
        let taken = taken.map_err(|problem| failed(&problem))?;
        quotas.list_beside(&taken).await
    }

    fn watch_networks(&self, networks: BTreeMap<NetworkName, NetworkInquiry>) {
        self.networks.ask(networks);
    }

    fn network_report(&self, network: &NetworkName) -> Option<NetworkSummary> {
        self.networks.last_report(network)
    }
}
