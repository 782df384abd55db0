//! Checks whether hosts have room for the networks that documents ask for, before anything is recorded.
//!
//! Each host is asked with a time limit, and only about networks that do not exist yet. It is asked with the
//! survey of hosts, before the locks of an apply are taken: one that answers late would hold up others under
//! them. A host that does not answer, or was not asked, causes no refusal: the network's own run checks again
//! before it makes anything. Nothing is made or recorded here.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::timeout;
use vsiflow_engine::model::{EntityId, Failure};
use vsiflow_steps::network::{check_network, uuid_of};

use super::apply::{KnownNetwork, free_of};
use crate::{
    fleet::{ErrorKind, Fleet, FleetError, placement::MemberHosts},
    network::{self, NetworkRecord},
    spec::{DesiredVsi, Resolved, ResolvedPool},
};

/// How many networks are checked on hosts at the same time.
const CONCURRENT_CHECKS: usize = 32;
/// The time limit for the answer of a host.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What hosts said about networks that they are to have.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct NetworkRooms(Vec<(NetworkRecord, Option<Failure>)>);

impl NetworkRooms {
    /// What prevents a network, as its host said.
    fn obstacle(&self, record: &NetworkRecord) -> Option<&Failure> {
        let mut rooms = self.0.iter();
        rooms.find(|(of, _)| of == record)?.1.as_ref()
    }
}

impl Fleet {
    /// Refuses documents that ask for a network that a host has no room for: for VSIs, and for members that
    /// pools and groups are to make.
    ///
    /// # Errors
    /// `VSI0315`, `VSI0225` and `VSI0749` if a host reports an obstacle, `VSI0747` if another network that
    /// vsiflow makes overlaps.
    pub(in crate::fleet) async fn refuse_networks(
        &self,
        resolved: &Resolved,
        members: &MemberHosts,
        rooms: &NetworkRooms,
    ) -> Result<(), FleetError> {
        let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let vsis = vsis.map(|vsi| (vsi, BTreeSet::from([vsi.host.as_str()])));
        let pools = self.pools_that_stay(resolved).await?;
        let records = records_of(&pools, vsis, members);
        Box::pin(self.refuse_crowded(records, rooms)).await
    }

    /// Makes the same check for members of a recorded pool, on these hosts.
    pub(in crate::fleet) async fn refuse_networks_of(
        &self,
        template: &DesiredVsi,
        hosts: BTreeSet<String>,
    ) -> Result<(), FleetError> {
        let hosts = hosts.iter().map(String::as_str);
        let records: Vec<_> = of_template(template, hosts).collect();
        let rooms = Box::pin(self.ask_for_rooms(records.clone())).await?;
        Box::pin(self.refuse_crowded(records, &rooms)).await
    }

    /// The networks that documents ask for and that do not exist yet: of VSIs on their hosts, or on each host
    /// among which one is chosen, and of members that pools are to make, on these hosts.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(in crate::fleet) async fn networks_in_question(
        &self,
        resolved: &Resolved,
        members: &MemberHosts,
    ) -> Result<Vec<NetworkRecord>, FleetError> {
        let vsis = resolved.vsis.iter().map(|vsi| {
            let hosts = match vsi.desired.host.as_str() {
                "" => vsi.desired.possible_hosts().collect(),
                own => BTreeSet::from([own]),
            };
            (&vsi.desired, hosts)
        });
        let pools = self.pools_that_stay(resolved).await?;
        Ok(records_of(&pools, vsis, members))
    }

    /// Asks hosts whether they have room for networks. Under the global pause no host is asked.
    pub(in crate::fleet) async fn ask_for_rooms(
        &self,
        mut records: Vec<NetworkRecord>,
    ) -> Result<NetworkRooms, FleetError> {
        if records.is_empty() || self.global_pause().is_some() {
            return Ok(NetworkRooms::default());
        }
        let known = self.known_networks().await?;
        records.retain(|record| !exists_or_begun(record, &known));
        let looks = records.into_iter().map(|record| async move {
            let obstacle = self.refusal(&record).await?;
            Ok((record, obstacle))
        });
        let looks: Vec<_> = looks.collect();
        let rooms = stream::iter(looks).buffered(CONCURRENT_CHECKS);
        rooms.try_collect().await.map(NetworkRooms)
    }

    async fn refuse_crowded(
        &self,
        mut records: Vec<NetworkRecord>,
        rooms: &NetworkRooms,
    ) -> Result<(), FleetError> {
        if records.is_empty() {
            return Ok(());
        }
        let known = self.known_networks().await?;
        records.retain(|record| !exists_or_begun(record, &known));
        let alive = known.iter().filter(|known| !known.is_deleted());
        let alive: Vec<_> = alive.map(|network| &network.record).collect();
        for record in &records {
            let others = alive.iter().copied().chain(&records);
            free_of(record, others.filter(|other| !is_same(other, record)))?;
        }
        let mut obstacles = records.iter().filter_map(|record| rooms.obstacle(record));
        let Some(obstacle) = obstacles.next() else {
            return Ok(());
        };
        let remedy = "correct the document, or remove from the host what the message names; then apply again";
        let failure = obstacle.clone().with_remedy(remedy);
        Err(FleetError::new(ErrorKind::Blocked, failure))
    }

    /// What prevents the network on a host, as the host reports it.
    async fn refusal(&self, record: &NetworkRecord) -> Result<Option<Failure>, FleetError> {
        let (host, params) = (&record.host, record.network.params(&record.host));
        let uuid = uuid_of(&self.journal_id, &entity(record)?.to_string());
        let look = async {
            let ports = self.hosts.host(host).await.map_err(Failure::from)?;
            check_network::obstacle(&ports, &params, uuid).await
        };
        Ok(match timeout(ANSWER_TIMEOUT, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(failure)) => {
                tracing::debug!(host, %failure, "the host does not say whether it has room");
                None
            }
            Err(_) => {
                tracing::debug!(host, "the host does not say in time whether it has room");
                None
            }
        })
    }
}

/// The networks that VSIs, each with its hosts, and members of pools are to be on.
fn records_of<'a>(
    pools: &[&ResolvedPool],
    vsis: impl Iterator<Item = (&'a DesiredVsi, BTreeSet<&'a str>)>,
    members: &MemberHosts,
) -> Vec<NetworkRecord> {
    // Members of pools were checked with their pool.
    let vsis = vsis.filter(|(vsi, _)| vsi.member_of.is_none());
    let vsis = vsis.flat_map(|(vsi, hosts)| of_template(vsi, hosts));
    let templates = pools.iter().flat_map(|pool| {
        let template = &pool.template.desired;
        let chosen = members.of(&pool.desired.namespace, &pool.desired.name);
        let hosts = chosen.map(String::as_str).chain([template.host.as_str()]);
        of_template(template, hosts)
    });
    let all = vsis.chain(templates);
    let all = all.map(|one| ((one.host.clone(), one.network.on_host()), one));
    let all: BTreeMap<_, _> = all.collect();
    all.into_values().collect()
}

fn of_template<'a>(
    vsi: &'a DesiredVsi,
    hosts: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = NetworkRecord> {
    // Nothing is made before its documents name a host.
    let hosts = hosts.into_iter().filter(|host| !host.is_empty());
    hosts.flat_map(|host| {
        vsi.made_networks.values().map(|network| NetworkRecord {
            host: host.to_owned(),
            network: network.clone(),
        })
    })
}

/// Whether the network exists, or is being made as requested: its own run checks the host.
fn exists_or_begun(record: &NetworkRecord, known: &[KnownNetwork]) -> bool {
    let mut alive = known.iter().filter(|known| !known.is_deleted());
    alive.any(|network| {
        is_same(&network.record, record)
            && (network::is_recorded(&network.state)
                || network.record.network.lasting() == record.network.lasting())
    })
}

fn is_same(one: &NetworkRecord, other: &NetworkRecord) -> bool {
    one.host == other.host && one.network.on_host() == other.network.on_host()
}

fn entity(record: &NetworkRecord) -> Result<EntityId, FleetError> {
    let entity = record.entity();
    entity.map_err(|error| FleetError::defect(error.to_string()))
}
