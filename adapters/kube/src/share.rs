//! Which resources are this operator's, where the journals of a set serve one cluster
//! (docs/adr/0017-custom-resources-over-journals.md).
//!
//! Each journal of a set has an operator of its own, and all of them see the same cluster. A resource is served by one of
//! them: by the one that knows it, and before anybody does by the one that its host belongs to. Whatever has no host
//! is the affair of journal 0, which has one chosen over all journals, or says what is missing.
//!
//! Guarantees:
//! - **What a journal knows by its UID is its own**, whatever the resource says by now: nobody else deletes it, lets it go
//!   or says that it is lost.
//! - **Nobody lets go of what may be recorded elsewhere.** A resource that is deleted before its journal has told of it is
//!   kept until it is certain that no journal has it.
//! - **What is deleted is not recorded afterwards.** Once its names are claimed, and before it is recorded, the API server
//!   is asked whether it is still there ([`StillRequested`]). Whoever lets go of it looks at the claims after it saw the
//!   deletion: one of the two sees the other.
//! - **A host that was chosen is taken by the operator of its journal**, which translates the resource itself: what its
//!   namespace may name there, and with which settings, is judged where the host is known.
//! - **Pools and groups are journal 0's**, and their members the journals' of their hosts: each of those permits members on its
//!   hosts by its own look at the cluster ([`PoolPermits`]), tells of them, and lets their objects go. Journal 0 makes the objects.
//! - **Networks are on the hosts of many journals.** Journal 0 tells of the resource, and has all of them end it; each journal
//!   changes what it has by its own look at the cluster. What would make a network anew is recorded only while its resource stays.
//! - **What takes more of a namespace with a quota is admitted by journal 0** before it is recorded, whichever journal
//!   records it, and no more is recorded than was admitted.
//!
//! What this room never does: it asks no database ([`JournalShare`] does), and records nothing.

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
        Adopting, ChosenHost, FleetError, NetworkEnd, NetworkState, ObjectUsage, QuotaObject,
        RequestStatus,
    },
    spec::Resolved,
};

use crate::{kind::ResourceKind, resource::ResourceKey};

/// The journal that has quotas, and speaks for what has no host: it has one chosen.
pub(crate) const DECIDES: u16 = 0;
/// The code of what a set of journals does not serve.
pub(crate) const NOT_SERVED: &str = "VSI0763";

/// The other journals, as the operator of one of them needs them.
#[async_trait]
pub trait JournalShare: Debug + Send + Sync {
    /// The journal's number.
    fn number(&self) -> u16;

    /// The journals of hosts, by the hosts' ids. One that is new is assigned to a journal for good.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn journals_of_hosts(
        &self,
        hosts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError>;

    /// The journals that had something of these names last (`vsi/NAMESPACE/NAME`), by the names.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn journals_of_names(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError>;

    /// Whether another journal knows the entity, which would have that name, or is recording something of the name.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn may_be_elsewhere(&self, name: &str, entity: &EntityId) -> Result<bool, FleetError>;

    /// Records in this journal what resources ask for, once their names are claimed and `still` found nothing against it.
    /// Of the namespaces `admitted` it was seen to that quotas permit it. Cancel safe: what was begun is found by asking
    /// again.
    ///
    /// # Errors
    /// As [`Fleet::apply`](vsiflow_workflows::fleet::Fleet::apply) and [`StillRequested::check`]; where another journal has
    /// a name; and where another namespace has a quota by now.
    async fn apply(
        &self,
        resolved: Resolved,
        by: By,
        still: &dyn StillRequested,
        admitted: &BTreeSet<String>,
    ) -> Result<(), FleetError>;

    /// Takes what stands on a host of this journal into it, once its name is claimed and `still` found nothing against it. Cancel
    /// safe: what was begun is found by asking again.
    ///
    /// # Errors
    /// As [`VsiHandle::adopt`](vsiflow_workflows::fleet::VsiHandle::adopt) and [`StillRequested::check`]; where another journal has
    /// the name.
    async fn adopt(
        &self,
        what: Adopting,
        by: By,
        still: &dyn StillRequested,
    ) -> Result<(), FleetError>;

    /// Has journal 0 decide over all journals about the one VSI or data disk of `resolved`, which has that UID: choose a
    /// host where it has none, and admit what it takes where its namespace has a quota. The operator of the host's journal
    /// then records it ([`decided`](Self::decided)).
    ///
    /// # Errors
    /// When the database does not answer.
    async fn decide(&self, uid: Uuid, resolved: &Resolved) -> Result<(), FleetError>;

    /// What became of that, whichever process asked it. An answer is told once.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn deciding(&self, uid: Uuid) -> Result<RequestStatus, FleetError>;

    /// What was decided for resources on hosts of this journal, by UID. Each of them is held until
    /// [`settle`](Self::settle) says what became of it in the pass that begins with this.
    fn decided(&self) -> BTreeMap<Uuid, ResourceDecision>;

    /// What became of one of them: it is recorded, or why not; none where it is not known yet.
    fn settle(&self, uid: Uuid, outcome: Option<Result<(), Failure>>);

    /// On which hosts of this journal members of the cluster's pools may be, as of a pass.
    fn permit(&self, pools: PoolPermits);

    /// Those of these namespaces of which journal 0 has to admit what is to take more: they have quotas, or are about to.
    ///
    /// # Errors
    /// When the database does not answer.
    async fn limited(&self, namespaces: &BTreeSet<String>) -> Result<BTreeSet<String>, FleetError>;

    /// Journal 0: records quotas. From before that on it is asked what their namespaces may take.
    ///
    /// # Errors
    /// As [`Fleet::apply`](vsiflow_workflows::fleet::Fleet::apply), and when the database does not answer.
    async fn limit(&self, resolved: Resolved, by: By) -> Result<(), FleetError>;

    /// Journal 0: its quotas, with what is taken in all journals.
    ///
    /// # Errors
    /// When a journal does not say what is taken there.
    async fn quotas(&self) -> Result<Vec<QuotaObject>, FleetError>;

    /// Journal 0: from now on all journals are asked about these networks, and to end those that are to end. The cluster's
    /// operators pass once something else is heard.
    fn watch_networks(&self, networks: BTreeMap<NetworkName, NetworkInquiry>);

    /// What was heard of a network last; none before the first time.
    fn network_report(&self, network: &NetworkName) -> Option<NetworkSummary>;
}

/// The namespace and the name of a network.
pub type NetworkName = (String, String);

/// What is asked about a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkInquiry {
    /// The UID of its resource: what was heard of one says nothing of the next one of its name.
    pub uid: Uuid,
    /// Whether it is to end, and how.
    pub end: Option<NetworkEnd>,
}

/// What all journals said of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSummary {
    /// What was to be asked when they were. Nothing that is recorded later is missing in what they said of one that ends: what is on a
    /// network that goes is not recorded.
    pub inquiry: NetworkInquiry,
    /// Where it is on each host.
    pub states: Vec<NetworkState>,
    /// Why it does not end.
    pub refused: Option<Failure>,
    /// Why the newest time a journal said nothing: all else is older then.
    pub silent: Option<Failure>,
}

/// Which hosts of a journal the pools of the cluster may have members on, as its operator found it: it knows whose settings of a
/// host count, and has its journal know them before it permits anything.
#[derive(Clone, Debug, Default)]
pub struct PoolPermits {
    /// By namespace, name of the pool, and host.
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

    /// Whether a pool may have members on a host.
    ///
    /// # Errors
    /// With what is wrong with the pool there; VSI0769 where the operator has not seen it as it is.
    pub fn judge(&self, (namespace, pool): (&str, &str), host: &str) -> Result<(), Failure> {
        let place = (namespace.to_owned(), pool.to_owned(), host.to_owned());
        if self.permitted.contains(&place) {
            return Ok(());
        }
        let mut refused = self.refused.iter();
        // A pool of a group is called by that first.
        let refused = refused.find(|((of, name), _)| {
            let is_its = |rest: &str| rest.is_empty() || rest.starts_with('-');
            of == namespace && pool.strip_prefix(name.as_str()).is_some_and(is_its)
        });
        let refused = refused.map(|(_, failure)| failure.clone());
        Err(refused.unwrap_or_else(|| {
            let why = "the operator of its host's journal has not seen the pool as it is by now";
            Failure::new(FailureClass::Transient, "VSI0769", why)
                .of_object(format!("pool/{namespace}/{pool}"))
                .on_host(host)
        }))
    }
}

/// What journal 0 decided for a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceDecision {
    /// Where it is to be.
    pub host: ChosenHost,
    /// What it may take.
    pub admitted: Vec<ObjectUsage>,
}

/// Whether what is about to be recorded is still asked for.
#[async_trait]
pub trait StillRequested: Send + Sync {
    /// Asks once more.
    ///
    /// # Errors
    /// When something of it is not, or nobody can say.
    async fn check(&self) -> Result<(), FleetError>;
}

/// Whose a resource is, as far as names and hosts tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResourceOwner {
    /// This journal's.
    Own,
    /// Another one's.
    Other,
    /// This journal's, unless another one has its name by now.
    Unclaimed,
}

/// The journal of a host, which is empty where there is none; none for a host that nobody assigned.
pub(crate) fn home_of(host: &str, hosts: &BTreeMap<String, u16>) -> Option<u16> {
    match host {
        "" => Some(DECIDES),
        host => hosts.get(host).copied(),
    }
}

/// Whose a resource is: whether this journal knows it by its UID, and the journal that it belongs to by what it asks for.
pub(crate) fn owner(own: u16, is_known: bool, home: Option<u16>) -> ResourceOwner {
    if is_known {
        ResourceOwner::Own
    } else if home == Some(own) {
        ResourceOwner::Unclaimed
    } else {
        ResourceOwner::Other
    }
}

/// Whether a resource that this journal does not know is another one's that has its name.
pub(crate) fn is_anothers(own: u16, is_worked_on: bool, claimed_by: Option<u16>) -> bool {
    // A name stays claimed after what had it is gone: it says nothing of what nobody has worked on.
    is_worked_on && claimed_by.is_some_and(|journal| journal != own)
}

/// How an object is named in a set; none of what no journal has as an entity of its own.
pub(crate) fn name_of(key: &ResourceKey) -> Option<String> {
    let kind = match key.kind {
        ResourceKind::Vsi | ResourceKind::VirtualServer => "vsi",
        ResourceKind::DataDisk => "disk",
        ResourceKind::Snapshot => "snapshot",
        _ => return None,
    };
    Some(format!("{kind}/{}/{}", key.namespace, key.name))
}

/// How a VSI is named in a set.
pub(crate) fn name_of_vsi(namespace: &str, name: &str) -> String {
    format!("vsi/{namespace}/{name}")
}

/// What a set of journals does not serve.
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
