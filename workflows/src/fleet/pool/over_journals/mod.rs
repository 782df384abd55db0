//! Pools whose members are in several journals (docs/adr/0015-pools-over-journals.md).
//!
//! The journal that has the pool decides, as with one journal, by the same pure function. What it looks at are reports
//! of all journals ([`PoolHandle::report`](crate::fleet::PoolHandle::report)); what carries a decision out is an ask
//! ([`MembersRequest`]), which goes through [`MemberJournals`]. By what these travel is not known here.
//!
//! Guarantees, as long as a [`MemberJournals`] keeps its own:
//! - A pool has at most one ask at a time, and is looked at only while none is open. So a report tells what became of
//!   every ask before it.
//! - A member whose journal does not report is unknown: nothing is done to it, nothing takes its number, and it counts
//!   as away.
//! - No pool is gone or available while a journal does not report.

mod ask;
mod pool_report;
mod reconcile;
mod report;
mod shown;

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::Failure;

pub(in crate::fleet) use pool_report::PoolReport;
pub use shown::OtherJournal;

use crate::{
    fleet::{
        EndedGroup, Fleet, FleetError, GuestQuestion, GuestReports, PoolHandle, ShownMember,
        Verdict,
    },
    phase::Phase,
    pool::{MemberState, PoolRecord},
    spec::{PowerState, Resolved},
};

/// What every journal is asked about a pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberQuestions {
    /// The pool.
    pub pool: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The revision that its members are to have.
    pub revision: String,
    /// How its members are to be.
    pub power_state: PowerState,
    /// Whose names below that number are taken by others is to be said.
    pub numbers: u32,
    /// Whether the hosts of members are looked at first: what is recorded of those that run may be old.
    pub look: bool,
    /// Whether hosts are left alone for now.
    #[serde(default)]
    pub left_alone: bool,
}

impl MemberQuestions {
    pub(in crate::fleet) fn of(record: &PoolRecord, look: bool) -> Self {
        let surge = record.strategy.max_surge;
        Self {
            pool: record.uid,
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            revision: record.template.revision.clone(),
            power_state: record.template.vsi.power_state,
            numbers: record.replicas.saturating_add(surge),
            look,
            left_alone: false,
        }
    }
}

/// What a journal says of a pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MembersReport {
    /// The members that it has.
    pub members: Vec<ReportedMember>,
    /// The data disks of members that it has.
    pub disks: Vec<ReportedDisk>,
    /// The numbers whose names other VSIs have there.
    pub foreign: Vec<u32>,
}

/// A member, as its journal knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportedMember {
    /// Its number.
    pub number: u32,
    /// The UID of its VSI.
    pub uid: Uuid,
    /// Its phase.
    pub phase: Phase,
    /// How it is.
    pub state: MemberState,
    /// Whether its guest may be serving.
    pub may_serve: bool,
    /// Whether it is made from the revision that was asked about.
    pub current: bool,
    /// What keeps it from being as it is to be; none where nothing does, or nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// What an object of it says.
    pub shown: ShownMember,
}

/// What keeps a member from being as it is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Obstacle {
    /// It failed.
    Failed(Failure),
    /// Something has to be done or decided.
    Blocked(Failure),
    /// Somebody cancelled it.
    Cancelled,
    /// It is not ready any more, for what is recorded of it.
    Unwell(String),
}

impl Obstacle {
    fn of(verdict: Option<Verdict>) -> Option<Self> {
        match verdict {
            Some(Verdict::Failed(failure)) => Some(Self::Failed(failure)),
            Some(Verdict::Blocked(failure)) => Some(Self::Blocked(failure)),
            Some(Verdict::Cancelled) => Some(Self::Cancelled),
            Some(Verdict::Reached) | None => None,
        }
    }
}

/// A data disk of a member, as its journal knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportedDisk {
    /// The member's number.
    pub number: u32,
    /// Its UID.
    pub uid: Uuid,
    /// Whether its policy says that it goes with its member.
    pub goes: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What keeps it from being as it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
}

/// What the journals said, by their numbers.
#[derive(Clone, Debug, Default)]
pub struct MemberReports {
    /// What they said.
    pub reports: BTreeMap<u16, MembersReport>,
    /// Those that said nothing, and why.
    pub silent: BTreeMap<u16, Failure>,
}

/// What is to be done for a pool. Nothing of it does anything a second time.
#[derive(Clone, Debug, Default)]
pub struct MembersRequest {
    /// The pool, for people.
    pub pool: String,
    /// Whether a cluster that the journals of a set share asks for the pool: a journal then makes only those members whose
    /// hosts the namespace of the pool may use.
    pub of_shared_cluster: bool,
    /// Members to make or to change, and their data disks. A host is chosen for those that ask for it.
    pub apply: Resolved,
    /// What is to be deleted, by journal.
    pub delete: BTreeMap<u16, Vec<MemberDeletion>>,
}

/// Something of a pool that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDeletion {
    /// Whether it is a data disk.
    pub is_disk: bool,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: Uuid,
    /// Whether its host is not asked.
    pub orphan: bool,
}

/// How the newest ask of a pool stands.
#[derive(Clone, Debug)]
pub enum RequestStatus {
    /// It is not answered.
    Open,
    /// This process asked it, and it is answered; what was refused of it.
    Answered(Vec<Failure>),
    /// None is open.
    Nothing,
}

/// The journals that have members.
///
/// What it guarantees: what [`Self::status_of`] calls open may still be carried out, by whichever process, and of
/// every other ask nothing is done any more. A report that was asked for afterwards shows everything that was. An ask of a
/// process that lost the journal of the pool is never carried out.
#[async_trait]
pub trait MemberJournals: Send + Sync {
    /// How the newest ask of a pool stands. Whoever is told that it is answered is told so once.
    async fn status_of(&self, pool: Uuid) -> Result<RequestStatus, FleetError>;

    /// What all journals say of a pool.
    async fn report(&self, questions: &MemberQuestions) -> Result<MemberReports, FleetError>;

    /// The journal that has the name of a VSI, or had it last.
    async fn journal_of(&self, namespace: &str, name: &str) -> Result<Option<u16>, FleetError>;

    /// What guests of members show and say: those of one journal, or of all.
    async fn ask_guests(
        &self,
        of: Option<u16>,
        question: GuestQuestion,
    ) -> Result<GuestReports, FleetError>;

    /// Has the journals of the templates' hosts, but the pools' own, delete networks that nothing else is on. Whether some
    /// are on their way.
    ///
    /// # Errors
    /// When a journal does not say so.
    async fn end_networks(&self, group: &EndedGroup) -> Result<bool, FleetError>;

    /// Has something done, and does not wait for it.
    async fn ask(&self, pool: Uuid, ask: MembersRequest) -> Result<(), FleetError>;
}

impl PoolHandle<'_> {
    /// Whether members may be in other journals of a set.
    pub fn are_over_journals(self) -> bool {
        self.fleet.pools.is_of_set()
    }

    /// From now on members are in the journals of a set, of which this one has the pools.
    pub fn reach_over(self, journals: std::sync::Arc<dyn MemberJournals>) {
        let _ = self.fleet.pools.set_journals(journals);
    }
}

impl Fleet {
    /// From now on this fleet is that of a journal of a set: members of pools may be in other ones, and count as VSIs
    /// of their own.
    pub fn be_of_set(&self) {
        self.pools.be_of_set();
    }
}
