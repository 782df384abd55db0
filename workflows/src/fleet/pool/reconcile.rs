//! Reconciles one pool: reads the state of its members, decides, acts, and stores the verdict.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use vsiflow_engine::{
    executor::Drive,
    model::{EntityId, Failure, FailureClass, Name, Text},
};

use crate::fleet::{
    Fleet, FleetError, PoolHandle, Verdict,
    host::scan::{ScanMode, is_watched},
    index::Known,
    known::KnownPool,
    placement::{HostSurvey, HostsInQuestion, is_no_host},
    pool::{NextObservation, members::PoolMembers},
};
use crate::{
    phase::Phase,
    pool::{
        MemberState, PoolAction, PoolDecision, PoolOutcome, PoolRecord, PoolView, decide,
        member_name,
    },
    record::kind,
    spec::Resolved,
};

/// How many members one batch of the journal, and one reconciliation, makes at most. The limit gives other
/// pools their turn, and notices new commands for this one. A batch of long members has fewer.
///
/// Not fewer, because members that start together stay in step: a host refreshes its storage pool for
/// each boot disk, and cannot while it copies another.
const BATCH: usize = 1_000;
/// After this many members were refused one by one, batches are refused as a whole.
const REFUSED: usize = 4;
/// How many hosts are checked at the same time.
const PARALLEL: usize = 8;

impl PoolHandle<'_> {
    /// The pools that have unfinished work: entity, namespace and name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(self) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let mut open = Vec::new();
        for pool in self.fleet.living::<PoolRecord>().await? {
            let found = self.fleet.members(&pool).await?;
            let decision = decide(&found.view);
            let continues = matches!(
                decision.outcome,
                PoolOutcome::Progressing | PoolOutcome::Gone
            );
            if continues || !decision.actions.is_empty() || pool.is_deleting() {
                let (namespace, name) = (pool.record.namespace, pool.record.name);
                open.push((pool.entity, namespace, name));
            }
        }
        Ok(open)
    }
}

impl Fleet {
    /// Reconciles a pool and records what follows for its members.
    pub(super) async fn reconcile_pool(
        &self,
        entity: &EntityId,
    ) -> Result<NextObservation, FleetError> {
        let _one_look = self.pools.looking.lock().await;
        let Some(pool) = self.known_record::<PoolRecord>(entity).await? else {
            return Ok(NextObservation::default());
        };
        let generation = pool.generation();
        if pool.is_deleted() {
            self.pools.found(entity, generation, Some(Verdict::Reached));
            return Ok(NextObservation::default());
        }
        let found = Box::pin(self.members(&pool)).await?;
        if Box::pin(self.end_evictions(&pool, &found)).await?
            || Box::pin(self.take_back_surplus(&pool, &found)).await?
        {
            return Ok(NextObservation::default());
        }
        let decision = decide(&found.view);
        // The recorded state of running members may be old.
        if replaces(&found.view, &decision) && !self.have_been_observed(&pool, &found, &decision)? {
            self.pools.not_reached(entity, generation);
            return Ok(NextObservation {
                asks: false,
                more: false,
                open: found.unsettled(),
            });
        }
        if Box::pin(self.note_rollout(&pool, &found.view)).await? {
            return Ok(NextObservation::default());
        }
        self.resume_members(&pool, &found).await?;
        let hosts = Box::pin(self.hosts_for_members(&pool, &found, &decision)).await?;
        let namespace = &pool.record.namespace;
        let survey = self.survey_in_task(entity, namespace, &hosts).await?;
        let unsettled = found.unsettled();
        let asking = NextObservation {
            asks: false,
            more: false,
            open: unsettled.clone(),
        };
        let Some(survey) = survey else {
            self.pools.not_reached(entity, generation);
            return Ok(asking);
        };
        let is_stale = survey.is_stale;
        let (mut trouble, more) = Box::pin(self.carry_out(&pool, &found, &decision, survey)).await;
        if is_stale && trouble.iter().any(is_no_host) {
            self.survey_later(entity, namespace, &hosts, true);
            self.pools.not_reached(entity, generation);
            return Ok(asking);
        }
        let open = Box::pin(self.delete_disks(&pool, &found, &mut trouble)).await?;
        let open = Box::pin(self.delete_evicted_disks(&pool, &found, &mut trouble)).await || open;
        // A change that came in between is handled by the next reconciliation.
        trouble.retain(|failure| !is_passing(failure));
        let verdict = match trouble.into_iter().next() {
            Some(failure) => Some(Verdict::Blocked(failure)),
            None => Box::pin(self.outcome(&pool, &found, &decision, open)).await?,
        };
        self.pools.found(entity, generation, verdict);
        Ok(NextObservation {
            asks: false,
            more,
            open: unsettled,
        })
    }

    /// The verdict on a pool, for those that wait for it.
    async fn outcome(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        decision: &PoolDecision,
        disks_are_open: bool,
    ) -> Result<Option<Verdict>, FleetError> {
        let name = |number: u32| member_name(&pool.record.name, number);
        Ok(match decision.outcome {
            PoolOutcome::Available | PoolOutcome::Gone if disks_are_open => self.paused(),
            PoolOutcome::Available => Some(Verdict::Reached),
            // What is to be recorded is recorded all the same.
            PoolOutcome::Progressing if decision.actions.is_empty() => self.paused(),
            PoolOutcome::Progressing => None,
            PoolOutcome::Gone => {
                self.end_pool(pool).await?;
                Some(Verdict::Reached)
            }
            PoolOutcome::Stuck(number) => Some(self.stuck(pool, found, number)),
            PoolOutcome::Off(number) => Some(Verdict::Blocked(off(&name(number)))),
            PoolOutcome::Foreign(number) => Some(Verdict::Blocked(foreign(pool, &name(number)))),
            PoolOutcome::Held => Some(Verdict::Blocked(pool.not_ordered())),
        })
    }

    /// Why a member is not ready.
    fn stuck(&self, pool: &KnownPool, found: &PoolMembers, number: u32) -> Verdict {
        let name = member_name(&pool.record.name, number);
        let member = found.members.get(&number).map(AsRef::as_ref);
        let verdict = member.and_then(|member| self.verdict(&member.entity));
        let of_member = |failure: Failure| failure.of_object(format!("vsi/{name}"));
        match verdict {
            Some(Verdict::Failed(failure)) => Verdict::Failed(of_member(failure)),
            Some(Verdict::Blocked(failure)) => Verdict::Blocked(of_member(failure)),
            Some(Verdict::Cancelled) => Verdict::Cancelled,
            Some(Verdict::Reached) | None => {
                let detail = member.and_then(|member| member.state.state.as_ref());
                let detail = detail.map(|(_, detail)| detail.to_string());
                Verdict::Failed(unwell(&name, &detail.unwrap_or_default()))
            }
        }
    }

    /// Resumes members whose work another process started.
    async fn resume_members(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
    ) -> Result<(), FleetError> {
        let members: BTreeSet<_> = found.members.values().map(|known| &known.entity).collect();
        let exists = |member: &EntityId| members.contains(member);
        let open = self
            .pools
            .resume(pool.record.uid, found.unsettled(), exists);
        if !open.is_empty() {
            let open = self.with_disks(open).await?;
            self.engine.drive(Drive::These(open)).await?;
        }
        Ok(())
    }

    pub(super) async fn observe_members(
        &self,
        members: impl Iterator<Item = &Arc<Known>>,
    ) -> Result<(), FleetError> {
        let mut hosts = BTreeMap::<String, Vec<Known>>::new();
        for known in members.filter(|known| is_watched(known)) {
            let host = known.record.vsi.host.clone();
            hosts.entry(host).or_default().push((**known).clone());
        }
        let looks = hosts.into_iter().map(|(host, known)| async move {
            let scan = self.scan_host(host, known, ScanMode::Nothing);
            Box::pin(scan).await.map(drop)
        });
        let looks: Vec<_> = looks.collect();
        stream::iter(looks)
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await
    }

    /// Whether the members were observed on their hosts for exactly this decision. If not, their hosts are
    /// asked; what they say is recorded, and the decision is made anew.
    fn have_been_observed(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        decision: &PoolDecision,
    ) -> Result<bool, FleetError> {
        let question = format!("{} {:?}", pool.generation(), decision.actions);
        let observed = &self.pools.members_observed;
        if let Some(learned) = observed.take(&pool.entity, &question) {
            return match learned? {
                Ok(()) => Ok(true),
                Err(why) => {
                    let message = format!("what state its members are in is not known: {why}");
                    let failure = Failure::new(FailureClass::Transient, "VSI0102", message);
                    Err(failure.of_object(format!("pool/{}", pool.label())).into())
                }
            };
        }
        let fleet = self.for_a_task();
        let members: Vec<_> = found.members.values().cloned().collect();
        let ask = async move {
            Box::pin(fleet.observe_members(members.iter())).await?;
            Ok(Ok(()))
        };
        let namespace = &pool.record.namespace;
        self.ask(observed, &pool.entity, namespace, question, ask);
        Ok(false)
    }

    /// The hosts among which a decision has to choose, for members that are new or leave a host.
    async fn hosts_for_members(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        decision: &PoolDecision,
    ) -> Result<HostsInQuestion, FleetError> {
        let (mut leaving, mut hosts) = (Vec::new(), HostsInQuestion::default());
        for action in &decision.actions {
            match action {
                PoolAction::Evict(number) if !self.is_decided(pool, found, *number) => {
                    leaving.push(*number);
                }
                PoolAction::Make(number) => hosts.add_of(&pool.record.template_of(*number).vsi),
                PoolAction::Evict(_) | PoolAction::Update(_) | PoolAction::Delete(_) => {}
            }
        }
        let requests = Box::pin(self.eviction_requests(pool, found, &leaving)).await?;
        let of_leaving = HostsInQuestion::of_requests(&requests);
        hosts.hosts.extend(of_leaving.hosts);
        hosts.archs.extend(of_leaving.archs);
        Ok(hosts)
    }

    /// Carries out a decision. Returns the failures, and whether members are left to make. A failure of
    /// one member does not stop the others.
    async fn carry_out(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        decision: &PoolDecision,
        survey: HostSurvey,
    ) -> (Vec<Failure>, bool) {
        let (mut trouble, mut missing, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
        for action in &decision.actions {
            let done = match action {
                PoolAction::Make(number) => {
                    missing.push(*number);
                    continue;
                }
                PoolAction::Evict(number) => {
                    leaving.push(*number);
                    continue;
                }
                PoolAction::Update(number) => self.update_member(pool, *number).await,
                PoolAction::Delete(number) => self.delete_member(pool, found, *number).await,
            };
            trouble.extend(done.err().map(|error| *error.failure));
        }
        if !leaving.is_empty() {
            trouble.extend(Box::pin(self.evict_members(pool, found, &leaving, &survey)).await);
        }
        let at_once = if missing.is_empty() {
            Ok(BATCH)
        } else {
            self.members_at_once(pool, &missing, BATCH).await
        };
        let at_once = at_once.unwrap_or_else(|error| {
            trouble.push(*error.failure);
            missing.clear();
            BATCH
        });
        let mut batches: Vec<_> = missing.chunks(at_once).rev().collect();
        let (mut made, mut refused) = (0_usize, 0_usize);
        while made < BATCH
            && let Some(numbers) = batches.pop()
        {
            let (first, second) = numbers.split_at(numbers.len().div_ceil(2));
            match self.make_members(pool, numbers, survey.clone()).await {
                Ok(()) => made = made.saturating_add(numbers.len()),
                Err(error)
                    if second.is_empty() || refused >= REFUSED || concerns_all(&error.failure) =>
                {
                    refused = refused.saturating_add(1);
                    trouble.push(*error.failure);
                }
                // One of them is refused: the others are made without it.
                Err(_) => batches.extend([second, first]),
            }
        }
        (trouble, !batches.is_empty())
    }

    async fn make_members(
        &self,
        pool: &KnownPool,
        numbers: &[u32],
        survey: HostSurvey,
    ) -> Result<(), FleetError> {
        let mut resolved = Resolved::default();
        // Cached, because a rollout has two templates at most.
        let mut secrets = BTreeMap::new();
        for number in numbers {
            let template = pool.record.template_of(*number);
            let read = match secrets.entry(template.revision.as_str()) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(new) => new.insert(self.template_secrets(template).await?),
            };
            let made = self.member(&pool.record, template, read, *number).await?;
            let (mut vsi, mut disks) = made;
            self.place_evicted(&pool.record, *number, (&mut vsi, &mut disks));
            resolved.vsis.push(vsi);
            resolved.data_disks.extend(disks);
        }
        let by = pool.controller("a new member");
        let made = self.apply_on(resolved, survey, by);
        Box::pin(made).await.map(drop)
    }

    async fn update_member(&self, pool: &KnownPool, number: u32) -> Result<(), FleetError> {
        let template = &pool.record.template;
        let secrets = self.template_secrets(template).await?;
        let (vsi, data_disks) = self
            .member(&pool.record, template, &secrets, number)
            .await?;
        let resolved = Resolved {
            vsis: vec![vsi],
            data_disks,
            ..Resolved::default()
        };
        let by = pool.controller("the template");
        // A member that exists stays on its host.
        let updated = self.apply_on(resolved, HostSurvey::default(), by);
        Box::pin(updated).await.map(drop)
    }

    /// Ends a deleted pool after its last member: erases its secrets and records it as deleted.
    pub(super) async fn end_pool(&self, pool: &KnownPool) -> Result<(), FleetError> {
        let by = pool.controller("the last member");
        let (entity, phase) = (pool.entity.clone(), Name::of(Phase::Deleted.as_str()));
        // Before the end, because a process that waits for it may end at once.
        for secret in pool.record.secrets() {
            self.secrets.erase(&secret).await?;
            self.engine
                .erased(entity.clone(), secret, by.clone())
                .await?;
        }
        self.engine
            .note_state(entity, phase, Text::default(), by)
            .await?;
        Ok(())
    }
}

/// Whether a member that may serve is about to go, because others are ready.
pub(super) fn replaces(view: &PoolView, decision: &PoolDecision) -> bool {
    let counts_others = !view.deleting && view.strategy.max_unavailable < view.replicas;
    decision.actions.iter().any(|action| match action {
        PoolAction::Update(number) | PoolAction::Evict(number) => {
            let member = view.members.get(number);
            member.is_some_and(|member| member.may_serve)
        }
        PoolAction::Delete(number) => {
            let member = view.members.get(number);
            counts_others && member.is_some_and(|member| member.state == MemberState::Ready)
        }
        PoolAction::Make(_) => false,
    })
}

/// Whether making fewer members at a time would not help.
fn concerns_all(failure: &Failure) -> bool {
    is_passing(failure) || is_no_host(failure)
}

/// Whether the failure is temporary: another change was made at the same time, or a deletion has not
/// ended.
pub(in crate::fleet) fn is_passing(failure: &Failure) -> bool {
    let passing = ["VSI0014", "VSI0015", "VSI0702"];
    passing.contains(&failure.code.as_str())
}

pub(super) fn off(name: &str) -> Failure {
    let message = "it is off or suspended, as requested";
    Failure::new(FailureClass::Blocked, "VSI0724", message)
        .of_object(format!("vsi/{name}"))
        .with_remedy("start it with `vsiflow start` or `unpause`; the pool then continues")
}

/// A guest that is not ready any more.
pub(super) fn unwell(name: &str, detail: &str) -> Failure {
    Failure::new(
        FailureClass::Failed,
        "VSI0724",
        format!("it is not ready: {detail}"),
    )
    .of_object(format!("vsi/{name}"))
    .with_remedy("see `vsiflow describe`; the pool continues once it is ready")
}

pub(super) fn foreign(pool: &KnownPool, name: &str) -> Failure {
    taken(&pool.label(), name)
}

/// A VSI has a member's name and was not made by the pool.
pub(in crate::fleet) fn taken(pool: &str, name: &str) -> Failure {
    let message = format!("{name} is a VSI that {}/{pool} did not make", kind::POOL);
    Failure::new(FailureClass::Blocked, "VSI0721", message)
        .of_object(format!("vsi/{name}"))
        .with_remedy("delete that VSI, or give the pool another name; the pool never takes it over")
}
