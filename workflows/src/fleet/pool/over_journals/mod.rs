//! Pools whose members are in several journals (docs/adr/0015-pools-over-journals.md).
//!
//! The journal that has the pool decides, with the same pure function as for one journal. Its input is
//! reports of all journals ([`PoolHandle::report`](crate::fleet::PoolHandle::report)); a decision is
//! carried out by a request ([`MembersRequest`]) through [`MemberJournals`]. How these are transported
//! is outside this module.
//!
//! Guarantees, as long as the [`MemberJournals`] implementation keeps its own:
//! - A pool has at most one open request, and journals are asked for reports and a decision is made only while
//!   none is open. So a report shows the result of every earlier request.
//! - The controller never waits for another journal's report: a task does, and a later look decides.
//! - A member whose journal does not report is unknown: it is not changed, its number is not used, and
//!   it counts as unavailable.
//! - No pool counts as deleted or available while a journal does not report.

mod ask;
mod inquiry;
mod pool_report;
mod reconcile;
mod report;
mod shown;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::Failure;

pub(in crate::fleet) use inquiry::MembersInquiries;
pub(in crate::fleet) use pool_report::PoolReport;
pub use shown::OtherJournal;

use crate::{
    fleet::{
        EndedGroup, Fleet, FleetError, GuestQuestion, GuestReports, PoolHandle, ShownMember,
        Verdict,
    },
    phase::Phase,
    pool::{MemberState, PoolRecord},
    spec::{DesiredDataDisk, PowerState, Resolved},
};

/// The question to every journal about a pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberQuestions {
    /// The pool.
    pub pool: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The revision that its members should have.
    pub revision: String,
    /// The power state that its members should have.
    pub power_state: PowerState,
    /// Numbers below this are checked for names that other VSIs have.
    pub numbers: u32,
    /// Members below this number may keep an earlier revision.
    #[serde(default = "every_number")]
    pub partition: u32,
    /// Members that a user left out of rollouts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub cordoned: BTreeSet<u32>,
    /// Whether the hosts of members are checked first: the recorded state of running members may be
    /// old.
    pub look: bool,
    /// Whether hosts must not be contacted for now.
    #[serde(default)]
    pub left_alone: bool,
}

/// A process of an earlier version does not say it.
fn every_number() -> u32 {
    u32::MAX
}

impl MemberQuestions {
    /// Whether the member of this number is left out of rollouts, as [`PoolRecord::may_be_outdated`] says.
    pub(in crate::fleet) fn may_be_outdated(&self, number: u32) -> bool {
        number < self.partition || self.cordoned.contains(&number)
    }

    pub(in crate::fleet) fn of(record: &PoolRecord, look: bool) -> Self {
        let surge = record.strategy.max_surge;
        Self {
            pool: record.uid,
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            revision: record.template.revision.clone(),
            power_state: record.template.vsi.power_state,
            numbers: record.replicas.saturating_add(surge),
            partition: record.present_strategy().partition,
            cordoned: record.cordoned.clone(),
            look,
            left_alone: false,
        }
    }
}

/// The report of one journal on a pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MembersReport {
    /// The members in this journal.
    pub members: Vec<ReportedMember>,
    /// The members' data disks in this journal.
    pub disks: Vec<ReportedDisk>,
    /// The numbers whose names other VSIs have in this journal.
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
    /// Its state.
    pub state: MemberState,
    /// Whether its guest may be serving.
    pub may_serve: bool,
    /// Whether it is made from the revision that was asked about.
    pub current: bool,
    /// What keeps it from its desired state; `None` if nothing does, or it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// What objects show of it.
    pub shown: ShownMember,
}

/// What keeps a member from its desired state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Obstacle {
    /// It failed.
    Failed(Failure),
    /// It waits for an action or a decision.
    Blocked(Failure),
    /// Its run was cancelled.
    Cancelled,
    /// It is not ready any more; the text is its recorded state.
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
    /// Its name; empty in reports of earlier versions.
    #[serde(default)]
    pub name: String,
    /// Its UID.
    pub uid: Uuid,
    /// Whether its policy in its journal says that it is deleted with its member. The newest templates of
    /// the pool must say so, too.
    pub goes: bool,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// What keeps it from its desired state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// Its desired state, by which its journal learns another policy; `None` in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredDataDisk>,
}

/// The reports of all journals.
#[derive(Clone, Debug, Default)]
pub struct MemberReports {
    /// The reports, by journal number.
    pub reports: BTreeMap<u16, MembersReport>,
    /// The journals that did not report, and why.
    pub silent: BTreeMap<u16, Failure>,
}

/// What to do for a pool. Safe to repeat.
#[derive(Clone, Debug, Default)]
pub struct MembersRequest {
    /// The pool's name, for messages.
    pub pool: String,
    /// Whether the pool belongs to a cluster that the journals of a set share. A journal then makes
    /// only members whose hosts the pool's namespace may use.
    pub of_shared_cluster: bool,
    /// Members to make or change, and their data disks. A host is chosen for those that need one.
    pub apply: Resolved,
    /// Objects to delete, by journal.
    pub delete: BTreeMap<u16, Vec<MemberDeletion>>,
}

/// A member or data disk of a pool to delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberDeletion {
    /// Whether it is a data disk.
    pub is_disk: bool,
    /// Its namespace.
    pub namespace: String,
    /// Its UID.
    pub uid: Uuid,
    /// Whether to delete it without contacting its host.
    pub orphan: bool,
}

/// The status of a pool's newest request.
#[derive(Clone, Debug)]
pub enum RequestStatus {
    /// It has not ended.
    Open,
    /// This process sent it, and it has ended; the failures of its refused parts.
    Answered(Vec<Failure>),
    /// No request is open.
    Nothing,
}

/// The journals that have members.
///
/// Guarantees: an open request ([`Self::status_of`]) may still be carried out, by any process; all
/// other requests have ended. A report that is asked for afterwards shows everything that was done. A
/// request of a process that has lost the pool's journal is never carried out.
#[async_trait]
pub trait MemberJournals: Send + Sync {
    /// The status of a pool's newest request. [`RequestStatus::Answered`] is returned once for each
    /// request.
    async fn status_of(&self, pool: Uuid) -> Result<RequestStatus, FleetError>;

    /// The reports of all journals on a pool.
    async fn report(&self, questions: &MemberQuestions) -> Result<MemberReports, FleetError>;

    /// The journal that has the name of a VSI, or had it last.
    async fn journal_of(&self, namespace: &str, name: &str) -> Result<Option<u16>, FleetError>;

    /// Asks guests of members: those of one journal, or of all.
    async fn ask_guests(
        &self,
        of: Option<u16>,
        question: GuestQuestion,
    ) -> Result<GuestReports, FleetError>;

    /// Asks the journals of the templates' hosts, except the pool's own, to delete networks that
    /// nothing else uses. Returns whether some are still being deleted.
    ///
    /// # Errors
    /// When a journal does not answer.
    async fn end_networks(&self, group: &EndedGroup) -> Result<bool, FleetError>;

    /// Sends a request, without waiting for its end.
    async fn ask(&self, pool: Uuid, ask: MembersRequest) -> Result<(), FleetError>;
}

impl PoolHandle<'_> {
    /// Whether members may be in other journals of a set.
    pub fn are_over_journals(self) -> bool {
        self.fleet.pools.is_of_set()
    }

    /// Sets the journals of the set that have members of this journal's pools.
    pub fn reach_over(self, journals: std::sync::Arc<dyn MemberJournals>) {
        let _ = self.fleet.pools.set_journals(journals);
    }
}

impl Fleet {
    /// Marks this fleet as one of a journal of a set: members of pools may be in other journals, so
    /// that members count as VSIs of their own.
    pub fn be_of_set(&self) {
        self.pools.be_of_set();
    }
}
