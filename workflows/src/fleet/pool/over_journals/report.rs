//! Reports a pool's members in this journal to the journal that has the pool.

use super::{MemberQuestions, MembersReport, Obstacle, ReportedDisk, ReportedMember};
use crate::{
    fleet::{
        Fleet, FleetError, PoolHandle, ShownMember, disk::known::KnownDisk, index::Known,
        pool::members::MemberTarget,
    },
    pool::MemberState,
    spec::{DeletionPolicy, DesiredDataDisk},
};

impl PoolHandle<'_> {
    /// The report of this journal on a pool. If hosts are checked for it, changes found there are
    /// recorded.
    ///
    /// # Errors
    /// When part of it cannot be read: unknown is not absent.
    pub async fn report(self, questions: &MemberQuestions) -> Result<MembersReport, FleetError> {
        let fleet = self.fleet;
        let mut known = fleet.known_of_pool(questions.pool).await?;
        if questions.look && !questions.left_alone {
            Box::pin(fleet.observe_members(known.iter())).await?;
            known = fleet.known_of_pool(questions.pool).await?;
        }
        let members = known
            .iter()
            .filter_map(|known| fleet.reported(questions, known));
        let members = members.collect();
        let foreign = fleet
            .foreign(
                (questions.pool, &questions.namespace, &questions.name),
                0..questions.numbers,
            )
            .await?;
        let disks = fleet.disks_of_pool(questions.pool).await?;
        let disks = disks.iter().filter_map(|disk| fleet.reported_disk(disk));
        Ok(MembersReport {
            members,
            disks: disks.collect(),
            foreign: foreign.into_keys().collect(),
        })
    }
}

impl Fleet {
    fn reported(&self, questions: &MemberQuestions, known: &Known) -> Option<ReportedMember> {
        let number = known.record.vsi.member_of.as_ref()?.number;
        let target = MemberTarget {
            revision: &questions.revision,
            power_state: questions.power_state,
        };
        let view = self.member_view(target, known);
        let state = match view.state {
            // The host is not checked, so it may not be ready any more.
            MemberState::Ready if questions.look && questions.left_alone => MemberState::Unknown,
            state => state,
        };
        let is_stuck = matches!(
            state,
            MemberState::Stuck | MemberState::Deleting { stuck: true }
        );
        Some(ReportedMember {
            number,
            uid: known.record.uid,
            phase: known.phase(),
            state,
            may_serve: view.may_serve,
            current: view.current,
            obstacle: is_stuck.then(|| self.obstacle_of(known)),
            shown: ShownMember::of(known)?,
        })
    }

    fn obstacle_of(&self, known: &Known) -> Obstacle {
        let verdict = Obstacle::of(self.verdict(&known.entity));
        let recorded = known.state.state.as_ref();
        let detail = recorded.map(|(_, detail)| detail.to_string());
        verdict.unwrap_or_else(|| Obstacle::Unwell(detail.unwrap_or_default()))
    }

    fn reported_disk(&self, known: &KnownDisk) -> Option<ReportedDisk> {
        let of = known.record.disk.member_of.as_ref()?;
        if known.is_deleted() {
            return None;
        }
        Some(ReportedDisk {
            number: of.number,
            name: known.record.disk.name.clone(),
            uid: known.uid,
            goes: known.record.disk.deletion_policy == DeletionPolicy::Delete,
            deleting: known.is_deleting(),
            obstacle: Obstacle::of(self.own_verdict(&known.entity)),
            desired: Some(DesiredDataDisk {
                uid: Some(known.uid),
                ..known.record.disk.clone()
            }),
        })
    }
}
