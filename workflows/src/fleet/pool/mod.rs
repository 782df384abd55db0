//! Pools: their commands, and the controller that reconciles them (see [`crate::pool`]).
//!
//! One task of each fleet reconciles the pools and groups that this process works on: those that a
//! command asked for, or all of them after [`Fleet::drive_all`]. It runs when something of a VSI, a
//! data disk or a pool was recorded, and at intervals, because a host that answers again records
//! nothing. It ends with its fleet; the next one finds what it did not record. It never waits for a guest
//! or a member's host: those are asked in tasks (see [`inquiries`](super::inquiries)). Namespaces take turns.

pub(in crate::fleet) mod apply;
mod board;
mod control;
pub(in crate::fleet) mod evict;
pub(in crate::fleet) mod known;
pub(in crate::fleet) mod member_texts;
pub(in crate::fleet) mod members;
pub(in crate::fleet) mod object;
pub(in crate::fleet) mod over_journals;
pub(in crate::fleet) mod plan;
pub(in crate::fleet) mod policies;
mod quiet_period;
pub(in crate::fleet) mod reconcile;
mod shown;
pub(in crate::fleet) mod size;
mod surplus;
mod taken_back;
pub(in crate::fleet) mod template;
mod turns;

pub(super) use board::Board;
pub use object::{PoolMember, PoolObject, PoolStatus};
pub(super) use reconcile::is_passing;
pub use shown::{PoolMembership, ShownMember, ShownPool};

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use vsiflow_engine::model::EntityId;

use self::{
    quiet_period::{News, QuietPeriod, news},
    turns::{ReconcileTurns, TURN},
};
use super::{
    Fleet, PoolHandle, Verdict,
    inquiries::{Inquiries, Learned},
};
use crate::{group::GroupRecord, pool::PoolRecord, record::kind};

/// How often pools are reconciled although nothing was recorded.
const IDLE_POLL: Duration = Duration::from_secs(5);
/// How often pools are reconciled while a gate is checked.
const GATE_POLL: Duration = Duration::from_millis(500);
/// When to reconcile next.
#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct NextObservation {
    /// A gate is checked, and its opening records no event.
    pub(in crate::fleet) asks: bool,
    /// There is more to do than one reconciliation does.
    pub(in crate::fleet) more: bool,
    /// The members that have not reached their desired state.
    pub(in crate::fleet) open: Vec<EntityId>,
}

impl PoolHandle<'_> {
    /// Changes when the verdict of a pool changes.
    pub fn moved(self) -> watch::Receiver<()> {
        self.fleet.pools.moved()
    }

    /// Changes when a report on members in several journals shows something new.
    pub fn report_changed(self) -> watch::Receiver<()> {
        self.fleet.pools.report_changed()
    }
}

impl Fleet {
    /// Works on these pools, as long as this fleet exists.
    pub(in crate::fleet) fn work_on_pools(&self, pools: impl IntoIterator<Item = EntityId>) {
        let pools = pools.into_iter();
        let pools = pools.filter(is_worked_on);
        if self.pools.drive(pools) {
            self.spawn_controller();
        }
    }

    /// Works on all pools, including those that are made later.
    pub(in crate::fleet) fn work_on_all_pools(&self) {
        if self.pools.drive_all() {
            self.spawn_controller();
        }
    }

    /// Works on a pool that a caller waits for.
    pub(in crate::fleet) fn continue_with_pool(&self, pool: &EntityId) {
        if !self.pools.drives(pool) {
            self.work_on_pools([pool.clone()]);
        }
    }

    fn spawn_controller(&self) {
        let fleet = self.for_a_task();
        self.spawn("the controller of pools and groups", async move {
            Box::pin(fleet.control_pools()).await;
        });
    }

    /// Reconciles the active pools until the engine ends.
    async fn control_pools(&self) {
        let _questions = self.pools.end_of_questions();
        let mut notices = self.notices();
        let mut requests = self.pools.requests();
        let mut turns = ReconcileTurns::default();
        loop {
            requests.mark_unchanged();
            let begun = Instant::now();
            let mut next = NextObservation::default();
            loop {
                Box::pin(self.take_turns(&mut turns, &mut next)).await;
                if !turns.are_unfinished() {
                    break;
                }
            }
            if next.more {
                continue;
            }
            // Nothing is recorded when a guest begins to pass a gate's probes.
            let again = if next.asks { GATE_POLL } else { IDLE_POLL };
            let quiet = QuietPeriod::after(begun.elapsed(), next.open);
            tokio::select! {
                biased;
                news = news(&mut notices) => if matches!(news, News::Ended) { return },
                _ = requests.changed() => {}
                () = sleep(again) => {}
            }
            // Changes within a short time are handled together.
            if quiet
                .wait(&mut notices, |member| self.is_open(member))
                .await
            {
                return;
            }
        }
    }

    /// Looks at pools and groups for one turn of each namespace.
    async fn take_turns(&self, turns: &mut ReconcileTurns, next: &mut NextObservation) {
        let mut due = BTreeMap::<_, Vec<_>>::new();
        for entity in self.pools_to_control() {
            let namespace = self.namespace_of(&entity).await;
            due.entry(namespace).or_default().push(entity);
        }
        turns.begin(due);
        for namespace in turns.namespaces() {
            let begun = Instant::now();
            while let Some(entity) = turns.next_of(&namespace) {
                let outcome = Box::pin(self.reconcile(&entity)).await;
                next.asks |= outcome.asks;
                next.more |= outcome.more;
                next.open.extend(outcome.open);
                if begun.elapsed() >= TURN {
                    break;
                }
            }
        }
    }

    /// The namespace of a pool or group; empty if it cannot be read.
    async fn namespace_of(&self, entity: &EntityId) -> String {
        if let Some(namespace) = self.pools.namespace(entity) {
            return namespace;
        }
        let namespace = match entity.kind().as_str() {
            kind::GROUP => {
                let group = self.known_record::<GroupRecord>(entity).await;
                group.ok().flatten().map(|group| group.record.namespace)
            }
            _ => {
                let pool = self.known_record::<PoolRecord>(entity).await;
                pool.ok().flatten().map(|pool| pool.record.namespace)
            }
        };
        if let Some(namespace) = &namespace {
            self.pools.set_namespace(entity, namespace);
        }
        namespace.unwrap_or_default()
    }

    /// This fleet for a task, which must not keep it alive.
    pub(in crate::fleet) fn for_a_task(&self) -> Self {
        Self {
            owner: None,
            ..self.clone()
        }
    }

    /// Asks guests or hosts for a pool or group, unless it asks already. The controller looks again when the
    /// question has ended.
    pub(in crate::fleet) fn ask<T: Clone + Send + 'static>(
        &self,
        inquiries: &Inquiries<T>,
        owner: &EntityId,
        namespace: &str,
        question: String,
        ask: impl Future<Output = Learned<T>> + Send + 'static,
    ) {
        if let Some(task) = inquiries.asking(owner, namespace, question, ask) {
            self.pools
                .ask(self.observed("a question to guests and hosts", task));
        }
    }

    fn is_open(&self, member: &EntityId) -> bool {
        let state = self.engine.entity(member);
        state.is_some_and(|state| !state.is_settled())
    }

    /// Reconciles a pool or a group.
    async fn reconcile(&self, entity: &EntityId) -> NextObservation {
        let outcome = match entity.kind().as_str() {
            kind::GROUP => Box::pin(self.reconcile_group(entity)).await,
            _ => match self.pools.journals() {
                Some(journals) => {
                    let outcome = self.reconcile_over_journals(journals, entity);
                    Box::pin(outcome).await
                }
                None => Box::pin(self.reconcile_pool(entity)).await,
            },
        };
        outcome.unwrap_or_else(|error| {
            tracing::warn!(%entity, %error, "it could not be looked at");
            let verdict = Some(Verdict::Blocked(*error.failure));
            self.pools.found(entity, self.generation(entity), verdict);
            NextObservation::default()
        })
    }

    /// Pools before groups, which depend on them.
    fn pools_to_control(&self) -> Vec<EntityId> {
        let all = || [kind::POOL, kind::GROUP].map(|kind| self.entities_of(kind));
        let mut entities = match self.pools.active_pools() {
            Some(some) => some,
            None => all().into_iter().flatten().map(|(id, _)| id).collect(),
        };
        entities.retain(|entity| {
            let is_gone = self.is_gone(entity);
            if is_gone {
                self.pools.forget(entity);
            }
            !is_gone
        });
        entities.sort_by_key(|entity| entity.kind().as_str() == kind::GROUP);
        entities
    }
}

/// Whether an entity is a pool or a group.
pub(in crate::fleet) fn is_worked_on(entity: &EntityId) -> bool {
    [kind::POOL, kind::GROUP].contains(&entity.kind().as_str())
}
