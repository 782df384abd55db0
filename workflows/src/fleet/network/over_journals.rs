//! Networks over the journals of a set: each journal has those of its own hosts, and journal 0 speaks for the network as a whole.
//!
//! Guarantees:
//! - Nothing is deleted that something in the journal is on.
//! - A report says what is there at one moment: who asks whether the network is gone for good has nothing recorded meanwhile.

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
    spec::{DesiredNetwork, DesiredVsi},
};

/// How a network is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkEnd {
    /// By its `deletionPolicy`, once nothing is on it.
    Delete,
    /// It stays on its hosts, which are not asked.
    Orphan,
}

/// A network that a journal is asked about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NetworkQuestion {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether what is on it is asked for, too.
    pub users: bool,
    /// Whether it is to end, and how.
    pub end: Option<NetworkEnd>,
}

/// What a journal says of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkReport {
    /// Where it is on each host of the journal.
    pub states: Vec<NetworkState>,
    /// What people call the VSIs and pools that are on it, where that was asked for.
    pub users: Vec<String>,
    /// Why it does not end.
    pub refused: Option<Failure>,
}

impl NetworkReport {
    /// Adds what another journal says.
    pub fn add(&mut self, other: Self) {
        self.states.extend(other.states);
        self.users.extend(other.users);
        self.users.sort();
        self.users.dedup();
        self.refused = self.refused.take().or(other.refused);
    }
}

/// The templates of a group whose members are gone.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EndedGroup {
    /// The group, for people.
    pub group: String,
    /// What its members were made from.
    pub templates: Vec<DesiredVsi>,
}

/// That a network does not end while these are on it: `VSI0746`.
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
    /// What people call everything in this journal that is on the network of that name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn users(self, namespace: &str, name: &str) -> Result<Vec<String>, FleetError> {
        let fleet = self.fleet;
        let mut users = fleet.pools_on(namespace, name).await?;
        for known in fleet.known_networks().await? {
            if known.is_named(namespace, name) && !known.is_deleted() {
                users.extend(fleet.users_of(&known).await?);
            }
        }
        users.sort();
        users.dedup();
        Ok(users)
    }

    /// The hosts of all networks, by the networks' namespaces and names.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn places(self) -> Result<BTreeMap<(String, String), BTreeSet<String>>, FleetError> {
        let mut places = BTreeMap::<_, BTreeSet<String>>::new();
        for known in self.fleet.known_networks().await? {
            if !known.is_deleted() {
                let network = known.wanted.network;
                let hosts = places.entry((network.namespace, network.name));
                hosts.or_default().insert(known.wanted.host);
            }
        }
        Ok(places)
    }

    /// How a network is here; with an end, it is asked for before.
    ///
    /// # Errors
    /// When the journal cannot be read. Why a network does not end is part of the report.
    pub async fn report(
        self,
        question: &NetworkQuestion,
        by: By,
    ) -> Result<NetworkReport, FleetError> {
        let (namespace, name) = (&question.namespace, &question.name);
        let refused = match question.end {
            Some(end) => self.ended(namespace, name, end, by).await?,
            None => None,
        };
        let users = if question.users {
            self.users(namespace, name).await?
        } else {
            Vec::new()
        };
        Ok(NetworkReport {
            states: self.states(namespace, name).await?,
            users,
            refused,
        })
    }

    /// Has it end wherever that was not asked for yet; why it does not.
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

    /// Deletes what only the members of a group were on. Whether some are on their way.
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
    /// Templates as other journals are told of them: without the networks that another pool's members may be on.
    pub(in crate::fleet) async fn ended_group(
        &self,
        group: &str,
        templates: &[&DesiredVsi],
    ) -> Result<EndedGroup, FleetError> {
        let mut ended = EndedGroup {
            group: group.to_owned(),
            templates: Vec::new(),
        };
        for template in templates {
            let mut template = DesiredVsi::clone(template);
            for (on_host, network) in template.made_networks.clone() {
                let users = self.pools_on(&network.namespace, &network.name).await?;
                if !users.is_empty() {
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

    /// The pools of this journal that make members on the network of that name, on whichever host.
    async fn pools_on(&self, namespace: &str, name: &str) -> Result<Vec<String>, FleetError> {
        let mut users = Vec::new();
        for pool in self.living::<PoolRecord>().await? {
            let record = &pool.wanted;
            let templates = std::iter::once(&record.template).chain(&record.proposed);
            let mut networks = templates.flat_map(|template| template.vsi.made_networks.values());
            let is_its = |network: &DesiredNetwork| {
                (network.namespace.as_str(), network.name.as_str()) == (namespace, name)
            };
            if !pool.is_deleting() && networks.any(is_its) {
                users.push(format!("pool/{}", pool.label()));
            }
        }
        Ok(users)
    }
}
