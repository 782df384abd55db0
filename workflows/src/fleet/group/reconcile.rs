//! Reconciles one group: reads the state of its pools, decides, acts, and records progress.

use std::collections::BTreeMap;

use vsiflow_engine::model::{EntityId, Failure, FailureClass, Name, Text};

use crate::fleet::{
    Fleet, FleetError, GroupHandle, OtherJournal, Verdict,
    group::{known::record_group, over_journals::is_unheard},
    known::{KnownGroup, KnownPool},
    placement::is_no_host,
    pool::NextObservation,
    pool::size::refuse_large_item,
    store::DesiredUpdates,
};
use crate::{
    group::{
        self, GroupAction, GroupDecision, GroupOutcome, GroupRecord, GroupView, ItemRecord,
        ItemState, ItemView, WaveView, decide,
    },
    phase::Phase,
    pool,
    spec::{DesiredVsi, Resolved, group::Quorum},
};

/// The pools of a group, and the view that a decision is made from.
pub(super) struct GroupPools {
    pub(super) pools: BTreeMap<String, KnownPool>,
    pub(super) view: GroupView,
}

/// What an action of a decision came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CarriedOut {
    /// It is done.
    Done,
    /// It waits for what a guest does not show yet.
    Waits,
    /// A guest or a host is asked, and did not answer yet.
    Asked,
    /// The group's record changed first.
    Recorded,
}

/// What carrying out a decision came to.
#[derive(Debug, Default)]
struct GroupProgress {
    trouble: Vec<Failure>,
    /// Whether to reconcile again immediately.
    more: bool,
    /// Whether a guest or a host is asked, and did not answer yet.
    is_asked: bool,
}

impl CarriedOut {
    fn of(is_recorded: bool) -> Self {
        if is_recorded {
            Self::Recorded
        } else {
            Self::Done
        }
    }
}

impl GroupHandle<'_> {
    /// The groups of this state directory that are neither available nor stuck: entity, namespace and
    /// name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(self) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let mut open = Vec::new();
        for group in self.fleet.living::<GroupRecord>().await? {
            let found = self.fleet.group_pools(&group, &[]).await?;
            let decision = decide(&found.view);
            if !matches!(
                decision.outcome,
                GroupOutcome::Available | GroupOutcome::Stuck(..) | GroupOutcome::Held
            ) {
                let (namespace, name) = (group.record.namespace, group.record.name);
                open.push((group.entity, namespace, name));
            }
        }
        Ok(open)
    }
}

impl Fleet {
    /// Reconciles a group and records what follows for its pools.
    pub(in crate::fleet) async fn reconcile_group(
        &self,
        entity: &EntityId,
    ) -> Result<NextObservation, FleetError> {
        let _one_look = self.pools.looking.lock().await;
        let Some(group) = self.known_record::<GroupRecord>(entity).await? else {
            return Ok(NextObservation::default());
        };
        let generation = group.generation();
        if group.is_deleted() {
            self.pools.found(entity, generation, Some(Verdict::Reached));
            return Ok(NextObservation::default());
        }
        let found = Box::pin(self.group_pools(&group, &[])).await?;
        let own = found.pools.values().map(|pool| pool.entity.clone());
        let own: Vec<_> = own.filter(|pool| !self.pools.drives(pool)).collect();
        if !own.is_empty() {
            self.work_on_pools(own);
        }
        Box::pin(self.restore_secrets(&group, &found)).await?;
        if Box::pin(self.record_earlier_outputs(&group, &found.pools)).await? {
            return Ok(NextObservation {
                more: true,
                ..NextObservation::default()
            });
        }
        let decision = decide(&found.view);
        let carried_out = Box::pin(self.carry_out_group(&group, &found, &decision)).await;
        let GroupProgress {
            mut trouble,
            more,
            is_asked,
        } = carried_out;
        trouble.retain(|failure| !super::super::pool::is_passing(failure) && !is_unheard(failure));
        let asks = matches!(decision.actions.as_slice(), [.., GroupAction::Ask(_)]);
        let verdict = match (trouble.into_iter().next(), decision.outcome) {
            (Some(failure), _) => Some(Verdict::Blocked(failure)),
            (None, GroupOutcome::Available) => Some(Verdict::Reached),
            (None, GroupOutcome::Gone) => {
                let is_gone = self.end_group(&group).await?;
                is_gone.then_some(Verdict::Reached)
            }
            (None, GroupOutcome::Held) => Some(Verdict::Blocked(group.not_ordered())),
            (None, GroupOutcome::Stuck(wave, item)) => self.stuck_item(&group, &found, wave, item),
            (None, GroupOutcome::Progressing(_)) if decision.actions.is_empty() => self.paused(),
            (
                None,
                GroupOutcome::Progressing(_) | GroupOutcome::Gate(_) | GroupOutcome::Outputs(_),
            ) => None,
        };
        if is_asked && verdict.is_none() {
            // Whether an obstacle still exists is only known with the answer.
            self.pools.not_reached(entity, generation);
        } else {
            self.pools.found(entity, generation, verdict);
        }
        let open = Vec::new();
        Ok(NextObservation { asks, more, open })
    }

    /// The pools of a group, with the state of each. A caller that only displays the group passes the
    /// other journals of a set in `others`; the process that reconciles the group uses what its pools'
    /// reconciliation found there.
    pub(super) async fn group_pools(
        &self,
        group: &KnownGroup,
        others: &[OtherJournal<'_>],
    ) -> Result<GroupPools, FleetError> {
        let record = &group.record;
        let pools = self.pools_of_group(record.uid).await?;
        let mut states = BTreeMap::new();
        for (item, pool) in &pools {
            let state = if self.pools.journals().is_some() {
                self.item_state_over(pool)
            } else {
                let (members, _) = Box::pin(self.members_over(pool, others)).await?;
                item_state(pool, &pool::decide(&members.view))
            };
            states.insert(item.clone(), state);
        }
        let waves = record.waves.iter().map(|wave| WaveView {
            open: record.is_open(wave),
            any: wave.gate.members == Quorum::Any,
            unread: group.unread(wave, &pools).next().is_some(),
            items: wave
                .items
                .iter()
                .map(|item| item_view(record, item, &pools, &states))
                .collect(),
        });
        let view = GroupView {
            deleting: group.is_deleting(),
            is_held: self.lacks_order(group),
            waves: waves.collect(),
        };
        Ok(GroupPools { pools, view })
    }

    /// The verdict of the pool of a stuck item.
    fn stuck_item(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        wave: usize,
        item: usize,
    ) -> Option<Verdict> {
        let item = group.item_at(wave, item)?;
        let pool = found.pools.get(&item.name)?;
        let verdict = self.verdict(&pool.entity)?;
        let of_pool = |failure: Failure| {
            if failure.object.is_empty() {
                failure.of_object(format!("pool/{}", pool.label()))
            } else {
                failure
            }
        };
        Some(match verdict {
            Verdict::Failed(failure) => Verdict::Failed(of_pool(failure)),
            Verdict::Blocked(failure) => Verdict::Blocked(of_pool(failure)),
            // The group is reconciled again: the pool's own reconciliation comes later.
            Verdict::Reached => return None,
            Verdict::Cancelled => Verdict::Cancelled,
        })
    }

    /// Carries out a decision. A failure of one item does not stop the others.
    async fn carry_out_group(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        decision: &GroupDecision,
    ) -> GroupProgress {
        let mut progress = GroupProgress::default();
        for action in &decision.actions {
            let is_new = matches!(action, GroupAction::Make(..));
            let carried_out = match *action {
                GroupAction::Make(wave, item) | GroupAction::Update(wave, item) => {
                    Box::pin(self.make_item(group, found, (wave, item))).await
                }
                GroupAction::Remove(wave, item) => {
                    let recorded = self.remove_item(group, (wave, item)).await;
                    recorded.map(CarriedOut::of)
                }
                GroupAction::Delete(wave, item) => {
                    let deleted = Box::pin(self.delete_item(group, found, (wave, item))).await;
                    deleted.map(|()| CarriedOut::Done)
                }
                GroupAction::Ask(wave) => Box::pin(self.check_gate(group, found, wave)).await,
                GroupAction::Read(wave) => {
                    let read = Box::pin(self.read_outputs(group, found, wave)).await;
                    if decision.outcome == GroupOutcome::Outputs(wave) {
                        self.show_unread(group, &read);
                    }
                    read.map(|read| read.carried_out)
                }
            };
            match carried_out {
                // The pool is reconciled next.
                Ok(CarriedOut::Done) => progress.more |= is_new,
                Ok(CarriedOut::Waits) => {}
                Ok(CarriedOut::Asked) => progress.is_asked = true,
                // The rest is decided again.
                Ok(CarriedOut::Recorded) => {
                    progress.more = true;
                    break;
                }
                Err(error) => progress.trouble.push(*error.failure),
            }
        }
        progress
    }

    /// Makes the pool of an item, or updates it to the current document.
    async fn make_item(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        place: (usize, usize),
    ) -> Result<CarriedOut, FleetError> {
        let Some(item) = group.item_at(place.0, place.1) else {
            return Ok(CarriedOut::Done);
        };
        // Addresses are recorded before anything is made from them.
        match self.new_addresses(group, item, &found.pools).await? {
            None => return Ok(CarriedOut::Asked),
            Some(Ok(new)) if new.is_empty() => {}
            Some(Ok(new)) => {
                let mut record = group.record.clone();
                record
                    .resolved
                    .entry(item.name.clone())
                    .or_default()
                    .extend(new);
                let what = format!("the addresses for {}", item.name);
                self.record_progress(group, record, &what).await?;
                return Ok(CarriedOut::Recorded);
            }
            Some(Err(why)) => {
                tracing::debug!(group = group.label(), item = item.name, why, "it waits");
                return Err(self.unresolved(group, item, &why));
            }
        }
        if self.awaits_output(group, item, &found.pools).await? {
            return Ok(CarriedOut::Waits);
        }
        let new = self.new_outputs(group, item).await?;
        if !new.is_empty() {
            let mut record = group.record.clone();
            record
                .filled
                .entry(item.name.clone())
                .or_default()
                .extend(new);
            let what = format!("the outputs for {}", item.name);
            self.record_progress(group, record, &what).await?;
            return Ok(CarriedOut::Recorded);
        }
        let known = found.pools.get(&item.name);
        let pool = self.filled(group, item, known).await?;
        refuse_large_item(&group.record, item, &pool, known)?;
        let what = match known {
            None => format!("wave {}", group.wave_name(place.0)),
            Some(_) => format!("a change of {}", item.name),
        };
        let resolved = Resolved {
            pools: vec![pool],
            ..Resolved::default()
        };
        let hosts = Box::pin(self.hosts_to_choose_from(&resolved)).await?;
        let (entity, namespace) = (&group.entity, &group.record.namespace);
        let Some(survey) = self.survey_in_task(entity, namespace, &hosts).await? else {
            return Ok(CarriedOut::Asked);
        };
        let (is_stale, by) = (survey.is_stale, group.controller(&what));
        match Box::pin(self.apply_on(resolved, survey, by)).await {
            Err(error) if is_stale && is_no_host(&error.failure) => {
                self.survey_later(entity, namespace, &hosts, true);
                Ok(CarriedOut::Asked)
            }
            made => made.map(|_| CarriedOut::Done),
        }
    }

    fn unresolved(&self, group: &KnownGroup, item: &ItemRecord, why: &str) -> FleetError {
        let message = format!("{} refers to a value that is unknown: {why}", item.name);
        let failure = Failure::new(FailureClass::Recheck, "VSI0734", message)
            .of_object(format!("group/{}", group.record.full_name()))
            .with_remedy(
                "it is checked again; make sure that the member exists and has an address",
            );
        failure.into()
    }

    /// Records that an item is not made again; the next reconciliation deletes its pool.
    async fn remove_item(
        &self,
        group: &KnownGroup,
        place: (usize, usize),
    ) -> Result<bool, FleetError> {
        let Some(item) = group.item_at(place.0, place.1) else {
            return Ok(false);
        };
        let mut record = group.record.clone();
        record.removed.insert(item.name.clone());
        // A wave whose gate was open stays open: its recorded revision now excludes the removed item.
        for wave in &group.record.waves {
            let before = wave.revision(&group.record.removed);
            if record.opened.get(&wave.name) == Some(&before) {
                let now = wave.revision(&record.removed);
                record.opened.insert(wave.name.clone(), now);
            }
        }
        let what = format!("the removal of {}", item.name);
        self.record_progress(group, record, &what).await
    }

    async fn delete_item(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
        place: (usize, usize),
    ) -> Result<(), FleetError> {
        let item = group.item_at(place.0, place.1);
        let Some(pool) = item.and_then(|item| found.pools.get(&item.name)) else {
            return Ok(());
        };
        let orphan = group.workflow() == group::FORGET;
        let what = if group.is_deleting() {
            "the deletion"
        } else {
            "a member that is not needed any more"
        };
        let by = group.controller(what);
        // By UID, because another pool may have taken the name in between.
        let (namespace, uid) = (&group.record.namespace, pool.entity.id());
        self.pools().delete(namespace, uid, orphan, by).await?;
        Ok(())
    }

    pub(super) async fn record_progress(
        &self,
        group: &KnownGroup,
        record: GroupRecord,
        what: &str,
    ) -> Result<bool, FleetError> {
        let mut updates = DesiredUpdates::default();
        record_group(group, &record, &mut updates)?;
        self.record(updates, group.controller(what)).await?;
        Ok(true)
    }

    /// Ends a deleted group after its last pool: deletes its networks first, then erases its secrets and
    /// records it as deleted. Returns whether it is deleted.
    async fn end_group(&self, group: &KnownGroup) -> Result<bool, FleetError> {
        let by = group.controller("the last member");
        if group.workflow() == group::DELETE {
            let items = group.record.waves.iter().flat_map(|wave| &wave.items);
            let members: Vec<_> = items.map(|item| item.template.vsi.as_ref()).collect();
            let own = Box::pin(self.delete_networks_of(&members, by.clone())).await?;
            let elsewhere = Box::pin(self.end_networks_elsewhere(group, &members)).await?;
            if own || elsewhere {
                return Ok(false);
            }
        }
        let (entity, phase) = (group.entity.clone(), Name::of(Phase::Deleted.as_str()));
        // Before the end, because a process that waits for it may end at once.
        for secret in group.record.secrets() {
            self.secrets.erase(&secret).await?;
            self.engine
                .erased(entity.clone(), secret, by.clone())
                .await?;
        }
        self.engine
            .note_state(entity, phase, Text::default(), by)
            .await?;
        Ok(true)
    }
}

impl Fleet {
    /// Deletes the group's networks in the other journals of a set. Returns whether some are still
    /// being deleted.
    async fn end_networks_elsewhere(
        &self,
        group: &KnownGroup,
        members: &[&DesiredVsi],
    ) -> Result<bool, FleetError> {
        let Some(journals) = self.pools.journals() else {
            return Ok(false);
        };
        let ended = self.ended_group(&group.label(), members).await?;
        if ended.templates.is_empty() {
            return Ok(false);
        }
        journals.end_networks(&ended).await
    }
}

impl KnownGroup {
    pub(super) fn item_at(&self, wave: usize, item: usize) -> Option<&ItemRecord> {
        self.record.waves.get(wave)?.items.get(item)
    }

    pub(super) fn wave_name(&self, wave: usize) -> &str {
        let wave = self.record.waves.get(wave);
        wave.map_or("", |wave| wave.name.as_str())
    }
}

fn item_view(
    record: &GroupRecord,
    item: &ItemRecord,
    pools: &BTreeMap<String, KnownPool>,
    states: &BTreeMap<String, ItemState>,
) -> ItemView {
    let of = pools.get(&item.name);
    let of = of.and_then(|pool| pool.record.of_group.as_ref());
    let remove_after = item.remove_after.as_ref();
    let mut waves = record.waves.iter();
    ItemView {
        state: states
            .get(&item.name)
            .copied()
            .unwrap_or(ItemState::Missing),
        current: of.is_none_or(|of| of.revision == item.revision()),
        removed: record.removed.contains(&item.name),
        remove_after: remove_after.and_then(|after| waves.position(|wave| wave.name == *after)),
    }
}

fn item_state(pool: &KnownPool, decided: &pool::PoolDecision) -> ItemState {
    use pool::PoolOutcome as Of;
    let stuck = matches!(decided.outcome, Of::Stuck(_) | Of::Off(_) | Of::Foreign(_));
    match decided.outcome {
        _ if pool.is_deleting() => ItemState::Deleting { stuck },
        Of::Available => ItemState::Available,
        _ if stuck => ItemState::Stuck,
        _ => ItemState::Busy,
    }
}
