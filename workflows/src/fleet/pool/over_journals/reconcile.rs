//! Reconciles a pool whose members are in several journals.

use std::sync::Arc;

use vsiflow_engine::model::{EntityId, Failure};

use super::{
    MemberJournals, MemberQuestions, MemberReports, Obstacle, PoolReport, RequestStatus,
    ask::{FoundMembers, LeavingDisks, leaving_disks},
    inquiry::ReportedMembers,
};
use crate::{
    fleet::{
        Fleet, FleetError, Verdict,
        known::KnownPool,
        pool::{
            GATE_POLL, IDLE_POLL, NextObservation,
            reconcile::{foreign, is_passing, off, replaces, unwell},
        },
    },
    pool::{MemberView, PoolDecision, PoolOutcome, PoolRecord, PoolView, decide, member_name},
};

/// The reports of one reconciliation, and the decision made from them.
struct Observation {
    reports: MemberReports,
    found: FoundMembers,
    view: PoolView,
    decision: PoolDecision,
}

impl Observation {
    fn of(pool: &KnownPool, reported: ReportedMembers, is_held: bool) -> Self {
        let ReportedMembers { reports, unknown } = reported;
        let mut found = FoundMembers::new();
        for (journal, report) in &reports.reports {
            for member in &report.members {
                let before = found.insert(member.number, (*journal, member.clone()));
                if before.is_some() {
                    let name = member_name(&pool.record.name, member.number);
                    tracing::error!(%name, "a member is in two journals");
                }
            }
        }
        let mut view = PoolView {
            is_held,
            ..view_of(pool, &reports, &found)
        };
        view.members.extend(unknown);
        let decision = decide(&view);
        Self {
            reports,
            found,
            view,
            decision,
        }
    }
}

impl Fleet {
    /// Reconciles a pool, and sends the request that follows to the journals.
    pub(in crate::fleet::pool) async fn reconcile_over_journals(
        &self,
        journals: &Arc<dyn MemberJournals>,
        entity: &EntityId,
    ) -> Result<NextObservation, FleetError> {
        let _one_look = self.pools.looking.lock().await;
        let Some(pool) = self.known_record::<PoolRecord>(entity).await? else {
            return Ok(NextObservation::default());
        };
        let generation = pool.generation();
        if pool.is_deleted() {
            self.pools.forget(entity);
            self.pools.found(entity, generation, Some(Verdict::Reached));
            return Ok(NextObservation::default());
        }
        let soon = NextObservation {
            asks: true,
            ..NextObservation::default()
        };
        let mut refused = match journals.status_of(pool.record.uid).await? {
            RequestStatus::Open => {
                self.pools.not_reached(entity, generation);
                return Ok(soon);
            }
            RequestStatus::Answered(refused) => {
                self.pools.ask_journals_now(entity);
                refused
            }
            RequestStatus::Nothing => Vec::new(),
        };
        // A change that came in between is handled by the next reconciliation.
        refused.retain(|failure| !is_passing(failure));
        if let Some(failure) = refused.into_iter().next() {
            let verdict = Some(Verdict::Blocked(failure));
            self.pools.found(entity, generation, verdict);
            return Ok(NextObservation::default());
        }
        let observed = self.observe_all(journals, &pool);
        if !matches!(observed, Ok(None)) {
            self.pools.ask_journals_after(entity, generation, GATE_POLL);
        }
        let Some(look) = observed? else {
            let is_settled = self.pools.verdict(entity, generation) == Some(Verdict::Reached);
            return Ok(NextObservation {
                asks: !is_settled,
                ..NextObservation::default()
            });
        };
        let report = PoolReport::of(look.view.clone(), look.found.clone());
        self.pools.set_report(entity, report);
        if Box::pin(self.note_rollout(&pool, &look.view)).await? {
            return Ok(soon);
        }
        let policies = self.newest_policies(&pool.record).await;
        let mut disks = leaving_disks(&pool, &policies, &look.reports, &look.found);
        if look.view.is_held && !disks.now.is_empty() {
            disks.now.clear();
            disks.obstacles.push(Obstacle::Blocked(pool.not_ordered()));
        }
        let ask = self.ask_of(&pool, &look.found, &look.decision, &disks);
        let ask = Box::pin(ask).await?;
        if !ask.is_empty() {
            journals.ask(pool.record.uid, ask).await?;
            self.pools.not_reached(entity, generation);
            return Ok(soon);
        }
        let verdict = Box::pin(self.outcome_over(&pool, &look, &disks)).await?;
        let settled = matches!(verdict, Some(Verdict::Reached));
        self.pools.found(entity, generation, verdict);
        Ok(if settled {
            self.pools.ask_journals_after(entity, generation, IDLE_POLL);
            NextObservation::default()
        } else {
            soon
        })
    }

    /// Decides by the reports of all journals; `None` while they are asked. The recorded state of running members
    /// may be old, so their hosts are checked before one is replaced.
    fn observe_all(
        &self,
        journals: &Arc<dyn MemberJournals>,
        pool: &KnownPool,
    ) -> Result<Option<Observation>, FleetError> {
        let questions = |look| MemberQuestions::of(&pool.record, look);
        if let Some(reported) = self.reported_members(pool, &questions(true))? {
            return Ok(Some(Observation::of(pool, reported, self.is_held(pool))));
        }
        let Some(reported) = self.reported_members(pool, &questions(false))? else {
            if self.pools.may_ask_journals(&pool.entity, pool.generation()) {
                self.ask_for_members(journals, pool, questions(false));
            }
            return Ok(None);
        };
        let look = Observation::of(pool, reported, self.is_held(pool));
        if replaces(&look.view, &look.decision) {
            self.ask_for_members(journals, pool, questions(true));
            self.pools.not_reached(&pool.entity, pool.generation());
            return Ok(None);
        }
        Ok(Some(look))
    }

    /// The verdict on a pool, for those that wait for it.
    async fn outcome_over(
        &self,
        pool: &KnownPool,
        look: &Observation,
        disks: &LeavingDisks,
    ) -> Result<Option<Verdict>, FleetError> {
        let name = |number: u32| member_name(&pool.record.name, number);
        if let Some(failure) = self.pools.long_silent(&pool.entity, &look.reports.silent) {
            return Ok(Some(Verdict::Blocked(failure)));
        }
        let obstacles = disks.obstacles.iter();
        let mut obstacles = obstacles.filter_map(|obstacle| match obstacle {
            Obstacle::Failed(failure) | Obstacle::Blocked(failure) => Some(failure.clone()),
            Obstacle::Cancelled | Obstacle::Unwell(_) => None,
        });
        if let Some(failure) = obstacles.next() {
            return Ok(Some(Verdict::Blocked(failure)));
        }
        Ok(match look.decision.outcome {
            PoolOutcome::Available | PoolOutcome::Gone
                if disks.open || !look.reports.silent.is_empty() =>
            {
                None
            }
            PoolOutcome::Available => Some(Verdict::Reached),
            PoolOutcome::Progressing if look.decision.actions.is_empty() => self.paused(),
            PoolOutcome::Progressing => None,
            PoolOutcome::Gone => {
                self.end_pool(pool).await?;
                Some(Verdict::Reached)
            }
            PoolOutcome::Stuck(number) => Some(stuck(&name(number), look.found.get(&number))),
            PoolOutcome::Off(number) => Some(Verdict::Blocked(off(&name(number)))),
            PoolOutcome::Foreign(number) => Some(Verdict::Blocked(foreign(pool, &name(number)))),
            PoolOutcome::Held => Some(Verdict::Blocked(pool.not_ordered())),
        })
    }
}

fn view_of(pool: &KnownPool, reports: &MemberReports, found: &FoundMembers) -> PoolView {
    let record = &pool.record;
    let views = found.iter().map(|(number, (_, member))| {
        let view = MemberView {
            state: member.state,
            may_serve: member.may_serve,
            current: member.current,
        };
        (*number, view)
    });
    let foreign = reports.reports.values().flat_map(|report| &report.foreign);
    let foreign = foreign.filter(|number| !found.contains_key(number));
    PoolView {
        replicas: record.replicas,
        strategy: record.present_strategy(),
        deleting: pool.is_deleting(),
        members: views.collect(),
        foreign: if pool.is_deleting() {
            Default::default()
        } else {
            foreign.copied().collect()
        },
        cordoned: record.cordoned.clone(),
        evicting: Default::default(),
        emptying: Default::default(),
        is_held: false,
    }
}

/// Why a member is not ready.
fn stuck(name: &str, member: Option<&(u16, super::ReportedMember)>) -> Verdict {
    let of_member = |failure: &Failure| failure.clone().of_object(format!("vsi/{name}"));
    match member.and_then(|(_, member)| member.obstacle.as_ref()) {
        Some(Obstacle::Failed(failure)) => Verdict::Failed(of_member(failure)),
        Some(Obstacle::Blocked(failure)) => Verdict::Blocked(of_member(failure)),
        Some(Obstacle::Cancelled) => Verdict::Cancelled,
        Some(Obstacle::Unwell(detail)) => Verdict::Failed(unwell(name, detail)),
        None => Verdict::Failed(unwell(name, "")),
    }
}
