//! Asks all journals for their reports on a pool, outside of the controller's turn (see
//! [`inquiries`](crate::fleet::inquiries)).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use vsiflow_engine::model::{Failure, FailureClass};

use super::{MemberJournals, MemberQuestions, MemberReports};
use crate::{
    fleet::{Fleet, FleetError, inquiries::Inquiries, known::KnownPool},
    pool::{MemberState, MemberView, PoolRecord, member_name},
};

/// Longer than a journal may take to answer.
const LONGEST: Duration = Duration::from_secs(90);

/// What the journals reported on a pool.
#[derive(Clone)]
pub(in crate::fleet) struct ReportedMembers {
    pub(super) reports: MemberReports,
    /// The members that may be in a journal that did not report.
    pub(super) unknown: BTreeMap<u32, MemberView>,
}

/// The questions to all journals about the members of pools.
pub(in crate::fleet) struct MembersInquiries(pub(in crate::fleet) Inquiries<ReportedMembers>);

impl Default for MembersInquiries {
    fn default() -> Self {
        Self(Inquiries::lasting(LONGEST))
    }
}

impl Fleet {
    /// The reports of all journals on a pool, each used once; `None` if they are not there yet.
    pub(super) fn reported_members(
        &self,
        pool: &KnownPool,
        questions: &MemberQuestions,
    ) -> Result<Option<ReportedMembers>, FleetError> {
        let inquiries = &self.pools.members_reported.0;
        let learned = inquiries.take(&pool.entity, &question(pool, questions));
        let reported = learned.transpose()?.transpose();
        reported.map_err(|why| unreported(pool, &why).into())
    }

    /// Asks all journals for their reports on a pool, unless they are asked already.
    pub(super) fn ask_for_members(
        &self,
        journals: &Arc<dyn MemberJournals>,
        pool: &KnownPool,
        questions: MemberQuestions,
    ) {
        let inquiries = &self.pools.members_reported.0;
        let (journals, record) = (journals.clone(), pool.record.clone());
        let question = question(pool, &questions);
        let ask = async move {
            let reports = journals.report(&questions).await?;
            let unknown = unknown(journals.as_ref(), &record, &reports).await?;
            Ok(Ok(ReportedMembers { reports, unknown }))
        };
        let namespace = &pool.record.namespace;
        self.ask(inquiries, &pool.entity, namespace, question, ask);
    }
}

fn question(pool: &KnownPool, questions: &MemberQuestions) -> String {
    format!("{} {questions:?}", pool.generation())
}

fn unreported(pool: &KnownPool, why: &str) -> Failure {
    let message = format!("the journals did not report its members: {why}");
    Failure::new(FailureClass::Recheck, "VSI0766", message)
        .of_object(format!("pool/{}", pool.label()))
}

/// The members that may be in a journal that does not report.
async fn unknown(
    journals: &dyn MemberJournals,
    record: &PoolRecord,
    reports: &MemberReports,
) -> Result<BTreeMap<u32, MemberView>, FleetError> {
    let mut unknown = BTreeMap::new();
    if reports.silent.is_empty() {
        return Ok(unknown);
    }
    let end = record.replicas.saturating_add(record.strategy.max_surge);
    let members = reports.reports.values().flat_map(|report| &report.members);
    let reported: Vec<_> = members.map(|member| member.number).collect();
    for number in (0..end).filter(|number| !reported.contains(number)) {
        let name = member_name(&record.name, number);
        let journal = journals.journal_of(&record.namespace, &name).await?;
        if journal.is_some_and(|journal| reports.silent.contains_key(&journal)) {
            let view = MemberView {
                state: MemberState::Unknown,
                may_serve: true,
                current: true,
            };
            unknown.insert(number, view);
        }
    }
    Ok(unknown)
}
