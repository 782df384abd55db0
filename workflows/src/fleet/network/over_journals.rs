//! Networks across the journals of a set: each journal has the networks of its own hosts, and journal 0
//! manages the network as a whole.
//!
//! Guarantees:
//! - A network is not deleted while something in the journal is on it.
//! - A report shows one moment: a caller that checks whether the network is finally deleted must not have
//!   anything recorded in the meantime.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::By,
    model::{Failure, FailureClass},
};

use super::object::NetworkState;
use crate::{
    fleet::{ErrorKind, Fleet, FleetError, NetworkHandle, group::controller},
    pool::PoolRecord,
    spec::DesiredVsi,
};

/// The way in which a network is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkEnd {
    /// By its `deletionPolicy`, once nothing is on it.
    Delete,
    /// It stays on its hosts, and they are not asked.
    Orphan,
}

/// The namespace and the name of a network.
pub type NetworkName = (String, String);

/// A question to a journal about a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetworkQuestion {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether to report the VSIs and pools that are on it.
    pub users: bool,
    /// The way in which the network is to end; `None` if it is not to end.
    pub end: Option<NetworkEnd>,
}

/// A journal's report about a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// The state of the network on each host of the journal.
    pub states: Vec<NetworkState>,
    /// The names of the VSIs and pools that are on it, if the question asked for them.
    pub users: Vec<String>,
    /// The reason why it does not end.
    pub refused: Option<Failure>,
}

impl NetworkReport {
    /// Adds the report of another journal.
    pub fn add(&mut self, other: Self) {
        self.states.extend(other.states);
        self.users.extend(other.users);
        self.users.sort();
        self.users.dedup();
        self.refused = self.refused.take().or(other.refused);
    }
}

/// The templates of a group whose members are deleted.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EndedGroup {
    /// The display name of the group.
    pub group: String,
    /// The templates that its members were made from.
    pub templates: Vec<DesiredVsi>,
}

/// The failure `VSI0746`: a network does not end while these VSIs and pools are on it.
pub fn in_use(namespace: &str, name: &str, users: &[String]) -> Failure {
    let message = format!("the network is in use by {}", users.join(", "));
    Failure::new(FailureClass::Blocked, "VSI0746", message)
        .of_object(format!("network/{namespace}/{name}"))
        .with_remedy(
            "delete them first, or have their documents choose other networks; `--orphan` forgets \
             the network as it is",
        )
}

impl NetworkHandle<'_> {
    /// The names of everything in this journal that is on the network with this name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn users(self, namespace: &str, name: &str) -> Result<Vec<String>, FleetError> {
        let fleet = self.fleet;
        let mut pools = fleet.pools_by_network().await?;
        let its = pools.remove(&(namespace.to_owned(), name.to_owned()));
        let mut users = its.unwrap_or_default();
        for known in fleet.known_networks().await? {
            if known.is_named(namespace, name) && !known.is_deleted() {
                users.extend(fleet.users_of(&known).await?);
            }
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// The hosts of all networks, by namespace and name of the network.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn places(self) -> Result<BTreeMap<(String, String), BTreeSet<String>>, FleetError> {
        let all = self.all_states().await?.into_iter();
        let hosts = |states: Vec<NetworkState>| states.into_iter().map(|state| state.host);
        Ok(all
            .map(|(name, states)| (name, hosts(states).collect()))
            .collect())
    }

    /// Reports the networks of this journal. First the end of those with an `end` is requested.
    ///
    /// # Errors
    /// When the journal cannot be read. The reason why a network does not end is part of its report.
    pub async fn reports(
        self,
        questions: &[NetworkQuestion],
        by: By,
    ) -> Result<Vec<NetworkReport>, FleetError> {
        // Read once for all questions: a tenant may have any number of networks.
        let (pools, places) = (self.fleet.pools_by_network().await?, self.places().await?);
        let mut reports = Vec::new();
        for question in questions {
            let (namespace, name) = (&question.namespace, &question.name);
            let key = (namespace.clone(), name.clone());
            let mut report = NetworkReport::default();
            if places.contains_key(&key) {
                if let Some(end) = question.end {
                    report.refused = self.ended(namespace, name, end, by.clone()).await?;
                }
                if question.users {
                    report.users = self.users(namespace, name).await?;
                }
            } else if question.users {
                report.users = pools.get(&key).cloned().unwrap_or_default();
            }
            reports.push(report);
        }
        let mut states = self.all_states().await?;
        for (report, question) in reports.iter_mut().zip(questions) {
            let name = (question.namespace.clone(), question.name.clone());
            report.states = states.remove(&name).unwrap_or_default();
        }
        Ok(reports)
    }

    /// The states of all networks, by namespace and name.
    async fn all_states(self) -> Result<BTreeMap<(String, String), Vec<NetworkState>>, FleetError> {
        let mut states = BTreeMap::<_, Vec<_>>::new();
        for known in self.fleet.known_networks().await? {
            if !known.is_deleted() {
                let state = self.fleet.network_state(&known);
                let network = known.record.network;
                let its = states.entry((network.namespace, network.name));
                its.or_default().push(state);
            }
        }
        Ok(states)
    }

    /// Requests the end of a network on every host where it was not requested yet. Returns why it does not
    /// end.
    async fn ended(
        self,
        namespace: &str,
        name: &str,
        end: NetworkEnd,
        by: By,
    ) -> Result<Option<Failure>, FleetError> {
        let orphan = end == NetworkEnd::Orphan;
        let all = self.fleet.known_networks().await?;
        let mut alive = all
            .iter()
            .filter(|network| network.is_named(namespace, name) && !network.is_deleted());
        if alive.all(|known| known.workflow() == known.ended_by(orphan)) {
            return Ok(None);
        }
        match self.delete(namespace, name, orphan, by).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(Some(*error.failure)),
        }
    }

    /// Deletes the networks that only the members of a group were on. Returns whether deletions are in
    /// progress.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn end_of_group(self, group: &EndedGroup) -> Result<bool, FleetError> {
        let templates: Vec<_> = group.templates.iter().collect();
        let by = controller(&group.group, "the last member");
        self.fleet.delete_networks_of(&templates, by).await
    }
}

impl Fleet {
    /// The templates that are sent to other journals: without the networks that another pool's members may
    /// be on.
    pub(in crate::fleet) async fn ended_group(
        &self,
        group: &str,
        templates: &[&DesiredVsi],
    ) -> Result<EndedGroup, FleetError> {
        let pools = self.pools_by_network().await?;
        let mut ended = EndedGroup {
            group: group.to_owned(),
            templates: Vec::new(),
        };
        for template in templates {
            let mut template = DesiredVsi::clone(template);
            for (on_host, network) in template.made_networks.clone() {
                if pools.contains_key(&(network.namespace, network.name)) {
                    template.made_networks.remove(&on_host);
                    template.networks.retain(|one| *one != on_host);
                }
            }
            if !template.made_networks.is_empty() {
                ended.templates.push(template);
            }
        }
        Ok(ended)
    }

    /// The pools of this journal that make members on networks, on any host, by namespace and name of the
    /// network.
    async fn pools_by_network(
        &self,
    ) -> Result<BTreeMap<(String, String), Vec<String>>, FleetError> {
        let mut users = BTreeMap::<_, Vec<String>>::new();
        for pool in self.living::<PoolRecord>().await? {
            if pool.is_deleting() {
                continue;
            }
            let record = &pool.record;
            let templates = std::iter::once(&record.template).chain(&record.proposed);
            let networks = templates.flat_map(|template| template.vsi.made_networks.values());
            let names = networks.map(|one| (one.namespace.clone(), one.name.clone()));
            for name in names.collect::<BTreeSet<_>>() {
                let its = users.entry(name).or_default();
                its.push(format!("pool/{}", pool.label()));
            }
        }
        Ok(users)
    }
}
