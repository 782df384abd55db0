//! Share: decides which resources an operator serves, if the journals of a set serve one cluster
//! (docs/adr/0017-custom-resources-over-journals.md).
//!
//! Each journal of a set has its own operator, and all of them see the same cluster. A resource is
//! served by one of them: by the one that knows it, or, before any of them does, by the journal of its
//! host. Journal 0 is responsible for what has no host: it has one chosen across all journals, or
//! reports what is missing.
//!
//! Guarantees:
//! - **A journal owns what it knows by UID**, whatever the resource says now: no other operator deletes
//!   it, removes its finalizer or reports it as lost.
//! - **No finalizer is removed while the entity may be recorded in another journal.** A resource that is
//!   deleted before its journal reported it retains its finalizer until it is certain that no journal
//!   has it.
//! - **What is deleted is not recorded afterwards.** After its names are claimed, and before it is
//!   recorded, the API server is asked whether it still exists ([`StillRequested`]). The operator that
//!   removes the finalizer reads the claims after it saw the deletion: one of the two sees the other.
//! - **The operator of the chosen host's journal records the VSI**, and translates the resource itself:
//!   what its namespace may use there, and with which settings, is decided where the host is known.
//! - **Pools and groups belong to journal 0**, and their members to the journals of their hosts. Each of
//!   those permits members on its hosts from its own view of the cluster ([`PoolPermits`]), reports
//!   them, and finalizes their objects. Journal 0 creates the objects.
//! - **Networks are on the hosts of many journals.** Journal 0 reports the resource's status, and has
//!   all of them end it; each journal changes its own networks from its own view of the cluster. What
//!   would make a network anew is recorded only while its resource exists.
//! - **Journal 0 admits additional usage in a namespace with a quota** before it is recorded, whichever
//!   journal records it, and no more is recorded than was admitted.
//!
//! What this module never does: ask a database ([`JournalShare`] does), or record anything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass},
};
use vsiflow_workflows::{
    fleet::{
        Adopting, ChosenHost, FleetError, NetworkEnd, NetworkName, NetworkState, ObjectUsage,
        QuotaObject, RequestStatus,
    },
    spec::Resolved,
};

use crate::{kind::ResourceKind, resource::ResourceKey};

/// The number of the journal that has the quotas, and that has hosts chosen for what has none.
pub(crate) const DECIDES: u16 = 0;
/// Error code of resources that a set of journals does not serve.
pub(crate) const NOT_SERVED: &str = "VSI0763";

/// The other journals, as the operator of one of them needs them.
#[async_trait]
pub trait JournalShare: Debug + Send + Sync {
    /// The number of this journal.
    fn number(&self) -> u16;

    /// The journals of hosts, by the hosts' IDs. A new host is assigned to a journal for good.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn journals_of_hosts(
        &self,
        hosts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError>;

    /// The journals that last had an object with one of these names (`vsi/NAMESPACE/NAME`), by the
    /// names.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn journals_of_names(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError>;

    /// Whether another journal knows the entity, which would have that name, or is recording something
    /// under the name.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn may_be_elsewhere(&self, name: &str, entity: &EntityId) -> Result<bool, FleetError>;

    /// Records the desired state of resources in this journal, after their names are claimed and `still`
    /// succeeded. The caller has already ensured that quotas permit it in the namespaces `admitted`.
    /// Cancel safe: a second call continues what was started.
    ///
    /// # Errors
    /// As [`Fleet::apply`](vsiflow_workflows::fleet::Fleet::apply) and [`StillRequested::check`]; if
    /// another journal has a name; and if a namespace that is not in `admitted` has a quota by now.
    async fn apply(
        &self,
        resolved: Resolved,
        by: By,
        still: &dyn StillRequested,
        admitted: &BTreeSet<String>,
    ) -> Result<(), FleetError>;

    /// Adopts an existing domain on a host of this journal, after its name is claimed and `still`
    /// succeeded. Cancel safe: a second call continues what was started.
    ///
    /// # Errors
    /// As [`VsiHandle::adopt`](vsiflow_workflows::fleet::VsiHandle::adopt) and
    /// [`StillRequested::check`]; and if another journal has the name.
    async fn adopt(
        &self,
        what: Adopting,
        by: By,
        still: &dyn StillRequested,
    ) -> Result<(), FleetError>;

    /// Has journal 0 decide across all journals about the one VSI or data disk of `resolved`, which has
    /// that UID: choose a host if it has none, and admit what it takes if its namespace has a quota. The
    /// operator of the host's journal then records it ([`decided`](Self::decided)).
    ///
    /// # Errors
    /// When the database does not answer.
    async fn decide(&self, uid: Uuid, resolved: &Resolved) -> Result<(), FleetError>;

    /// The state of that request, whichever process sent it. An answer is returned once.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn deciding(&self, uid: Uuid) -> Result<RequestStatus, FleetError>;

    /// The decisions for resources on hosts of this journal, by UID. Each of them is held until
    /// [`settle`](Self::settle) reports its outcome in the pass that begins with this call.
    fn decided(&self) -> BTreeMap<Uuid, ResourceDecision>;

    /// Reports the outcome of a decision: it is recorded, or why not; none if that is not known yet.
    fn settle(&self, uid: Uuid, outcome: Option<Result<(), Failure>>);

    /// Publishes on which hosts of this journal members of the cluster's pools may be, as of one pass.
    fn permit(&self, pools: PoolPermits);

    /// Those of these namespaces in which journal 0 must admit additional usage: they have quotas, or
    /// are about to.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn limited(&self, namespaces: &BTreeSet<String>) -> Result<BTreeSet<String>, FleetError>;

    /// Journal 0: records quotas. Before that, it makes admission mandatory in their namespaces.
    ///
    /// # Errors
    /// As [`Fleet::apply`](vsiflow_workflows::fleet::Fleet::apply), and when the database does not answer.
    async fn limit(&self, resolved: Resolved, by: By) -> Result<(), FleetError>;

    /// Journal 0: its quotas, with the usage in all journals.
    ///
    /// # Errors
    /// When a journal does not report its usage.
    async fn quotas(&self) -> Result<Vec<QuotaObject>, FleetError>;

    /// Journal 0: sets the networks that all journals are asked about from now on, and those that they
    /// must end. The cluster's operators run a pass when a report changes.
    fn watch_networks(&self, networks: BTreeMap<NetworkName, NetworkInquiry>);

    /// The newest report about a network; none before the first one.
    fn network_report(&self, network: &NetworkName) -> Option<NetworkSummary>;
}

/// What the journals are asked about a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkInquiry {
    /// The UID of its resource: a report about one resource says nothing about the next one with the
    /// same name.
    pub uid: Uuid,
    /// Whether the network must end, and how.
    pub end: Option<NetworkEnd>,
}

/// The combined reports of all journals about a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSummary {
    /// The inquiry that the journals answered. For a network that ends the report is complete, even
    /// though more may be recorded later: nothing is recorded on a network that is being deleted.
    pub inquiry: NetworkInquiry,
    /// The state on each host.
    pub states: Vec<NetworkState>,
    /// Why it does not end.
    pub refused: Option<Failure>,
    /// Why a journal did not answer the last time; the other fields are older then.
    pub silent: Option<Failure>,
}

/// On which hosts of a journal the cluster's pools may have members, as its operator found. The operator
/// knows which namespace's settings of a host are valid, and records them in its journal before it
/// permits anything.
#[derive(Clone, Debug, Default)]
pub struct PoolPermits {
    /// Namespace, name of the pool, and host.
    permitted: BTreeSet<(String, String, String)>,
    /// What is wrong with pools and groups, by namespace and name.
    refused: BTreeMap<(String, String), Failure>,
}

impl PoolPermits {
    pub(crate) fn permit(&mut self, (namespace, pool): (&str, &str), host: &str) {
        let permitted = (namespace.to_owned(), pool.to_owned(), host.to_owned());
        self.permitted.insert(permitted);
    }

    pub(crate) fn refuse(&mut self, (namespace, pool): (&str, &str), why: Failure) {
        let pool = (namespace.to_owned(), pool.to_owned());
        self.refused.insert(pool, why);
    }

    /// Checks whether a pool may have members on a host.
    ///
    /// # Errors
    /// What is wrong with the pool there; VSI0769 if the operator has not seen the pool's current state.
    pub fn judge(&self, (namespace, pool): (&str, &str), host: &str) -> Result<(), Failure> {
        let place = (namespace.to_owned(), pool.to_owned(), host.to_owned());
        if self.permitted.contains(&place) {
            return Ok(());
        }
        let mut refused = self.refused.iter();
        // The name of a pool of a group begins with the group's name.
        let refused = refused.find(|((of, name), _)| {
            let is_its = |rest: &str| rest.is_empty() || rest.starts_with('-');
            of == namespace && pool.strip_prefix(name.as_str()).is_some_and(is_its)
        });
        let refused = refused.map(|(_, failure)| failure.clone());
        Err(refused.unwrap_or_else(|| {
            let why = "the operator of its host's journal has not seen the pool's current state";
            Failure::new(FailureClass::Transient, "VSI0769", why)
                .of_object(format!("pool/{namespace}/{pool}"))
                .on_host(host)
        }))
    }
}

/// A decision of journal 0 about a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceDecision {
    /// The chosen host.
    pub host: ChosenHost,
    /// The usage that was admitted.
    pub admitted: Vec<ObjectUsage>,
}

/// Checks whether what is about to be recorded is still requested.
#[async_trait]
pub trait StillRequested: Send + Sync {
    /// Checks once more.
    ///
    /// # Errors
    /// If part of it is not requested any more, or that is unknown.
    async fn check(&self) -> Result<(), FleetError>;
}

/// Which journal owns a resource, by names and hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceOwner {
    /// This journal.
    Own,
    /// Another journal.
    Other,
    /// This journal, unless another one has claimed its name.
    Unclaimed,
}

/// The journal of a host; journal 0 if `host` is empty; none for a host that is not assigned to a
/// journal.
pub(crate) fn home_of(host: &str, hosts: &BTreeMap<String, u16>) -> Option<u16> {
    match host {
        "" => Some(DECIDES),
        host => hosts.get(host).copied(),
    }
}

/// The owner of a resource, by whether this journal knows its UID and by the journal of its host.
pub(crate) fn owner(own: u16, is_known: bool, home: Option<u16>) -> ResourceOwner {
    if is_known {
        ResourceOwner::Own
    } else if home == Some(own) {
        ResourceOwner::Unclaimed
    } else {
        ResourceOwner::Other
    }
}

/// Whether a resource that this journal does not know belongs to another journal, which has its name.
pub(crate) fn is_anothers(own: u16, is_worked_on: bool, claimed_by: Option<u16>) -> bool {
    // A name remains claimed after its object is deleted, so it says nothing about a resource that no
    // journal worked on.
    is_worked_on && claimed_by.is_some_and(|journal| journal != own)
}

/// The name of an object in a set; none for kinds that no journal has as an entity of its own.
pub(crate) fn name_of(key: &ResourceKey) -> Option<String> {
    let kind = match key.kind {
        ResourceKind::Vsi | ResourceKind::VirtualServer => "vsi",
        ResourceKind::DataDisk => "disk",
        ResourceKind::Snapshot => "snapshot",
        _ => return None,
    };
    Some(format!("{kind}/{}/{}", key.namespace, key.name))
}

/// The name of a VSI in a set.
pub(crate) fn name_of_vsi(namespace: &str, name: &str) -> String {
    format!("vsi/{namespace}/{name}")
}

/// The failure of a resource that a set of journals does not serve.
pub(crate) fn not_served(key: &ResourceKey, why: &str) -> Failure {
    let message = format!("{why}, which a set of journals does not serve from a cluster");
    Failure::new(FailureClass::Blocked, "VSI0763", message)
        .of_object(key.to_string())
        .with_remedy(
            "serve the cluster with one journal, without --shards; or apply a document to the set",
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u16 = 2;

    fn hosts() -> BTreeMap<String, u16> {
        [("a".to_owned(), OWN), ("b".to_owned(), 1)].into()
    }

    #[test]
    fn what_a_journal_knows_is_its_own_wherever_it_is_said_to_be() {
        for host in ["", "a", "b", "new"] {
            let home = home_of(host, &hosts());
            assert_eq!(owner(OWN, true, home), ResourceOwner::Own);
        }
    }

    #[test]
    fn what_nobody_knows_is_that_of_its_host_and_without_one_that_of_journal_0() {
        let new = |own, host| owner(own, false, home_of(host, &hosts()));
        assert_eq!(new(OWN, "a"), ResourceOwner::Unclaimed);
        assert_eq!(new(OWN, "b"), ResourceOwner::Other);
        assert_eq!(new(OWN, ""), ResourceOwner::Other);
        assert_eq!(new(0, ""), ResourceOwner::Unclaimed);
        for own in [0, 1, OWN] {
            assert_eq!(new(own, "unassigned"), ResourceOwner::Other);
        }
    }

    #[test]
    fn members_are_on_no_host_that_its_journal_did_not_permit() {
        let mut permits = PoolPermits::default();
        let others = Failure::new(FailureClass::Blocked, "VSI0612", "it is another's");
        permits.permit(("a", "web"), "lpar1");
        permits.refuse(("b", "web"), others.clone());
        assert_eq!(permits.judge(("a", "web"), "lpar1"), Ok(()));
        assert_eq!(permits.judge(("b", "web"), "lpar1"), Err(others.clone()));
        let of_group = permits.judge(("b", "web-node"), "lpar1");
        assert_eq!(of_group, Err(others), "the pool is the group's");
        for (place, host) in [
            (("a", "web"), "lpar2"),
            (("a", "we"), "lpar1"),
            (("a", "webs"), "lpar1"),
            (("b", "webs"), "lpar1"),
        ] {
            let judged = permits.judge(place, host).unwrap_err();
            assert_eq!(judged.code.as_str(), "VSI0769", "{place:?} {host}");
        }
    }

    #[test]
    fn a_name_that_another_journal_had_says_something_only_of_what_was_worked_on() {
        assert!(!is_anothers(OWN, false, Some(1)));
        assert!(is_anothers(OWN, true, Some(1)));
        assert!(!is_anothers(OWN, true, Some(OWN)), "it is lost here");
        assert!(!is_anothers(OWN, true, None), "it is lost here");
    }
}
