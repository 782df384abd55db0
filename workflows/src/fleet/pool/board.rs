//! In-memory state of the pool controller: the pools it works on, and the last result for each. Not
//! persistent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::Instant};
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Failure};

use crate::fleet::{
    Verdict,
    group::{ReadOutputs, known::PoolMakers},
    index::Known,
    inquiries::Inquiries,
    network::room::NetworkRooms,
    pool::over_journals::{MemberJournals, MembersInquiries, PoolReport},
};

/// When the silence of a journal is reported. A takeover of a journal by another process takes less.
const LONG_SILENT: Duration = Duration::from_secs(30);

/// State shared by the pool controller and its callers.
#[derive(Default)]
pub(in crate::fleet) struct Board {
    state: Mutex<State>,
    /// Held while a pool or group is reconciled: two concurrent reconciliations would act twice on the
    /// same view.
    pub(in crate::fleet) looking: tokio::sync::Mutex<()>,
    /// Whether the gates of groups are open.
    pub(in crate::fleet) gates_asked: Inquiries<()>,
    /// The outputs of groups' members.
    pub(in crate::fleet) outputs_asked: Inquiries<ReadOutputs>,
    /// The addresses of groups' members.
    pub(in crate::fleet) addresses_asked: Inquiries<String>,
    /// Whether the members of pools were observed on their hosts.
    pub(in crate::fleet) members_observed: Inquiries<()>,
    /// What hosts for new members said about networks; their capacities are measured with it.
    pub(in crate::fleet) hosts_surveyed: Inquiries<NetworkRooms>,
    /// The reports of all journals of a set on the members of pools.
    pub(in crate::fleet) members_reported: MembersInquiries,
    /// Which group makes each pool.
    pub(in crate::fleet) makers: PoolMakers,
    /// The tasks that ask; they end with the controller.
    tasks: Mutex<JoinSet<()>>,
    requests: watch::Sender<()>,
    moved: watch::Sender<()>,
    reports: watch::Sender<()>,
    /// Whether this is a journal of a set.
    is_of_set: AtomicBool,
    /// The journals that have members, if not this one alone.
    journals: OnceLock<Arc<dyn MemberJournals>>,
}

#[derive(Default)]
struct State {
    /// Whether the controller's task was started.
    runs: bool,
    all: bool,
    driven: BTreeSet<EntityId>,
    /// The members that this process has resumed, by the UIDs of their pools.
    resumed: BTreeMap<Uuid, BTreeSet<EntityId>>,
    /// The last verdict, with the generation of the pool that it is for.
    verdicts: BTreeMap<EntityId, (u64, Verdict)>,
    /// The namespaces of pools and groups. They never change.
    namespaces: BTreeMap<EntityId, String>,
    /// Why the gate of a group was closed at its last check.
    gates: BTreeMap<EntityId, String>,
    /// Entities whose desired state comes from objects elsewhere.
    owned_elsewhere: BTreeSet<EntityId>,
    /// Since when a journal has not reported on a pool's members.
    silent_since: BTreeMap<EntityId, Instant>,
    /// The members of each pool, as last read.
    read: BTreeMap<Uuid, ReadMembers>,
    /// The last report on each pool whose members are in several journals.
    reports: BTreeMap<EntityId, PoolReport>,
    /// The generation of each of these pools that was decided last, and when journals may be asked again.
    asked_again: BTreeMap<EntityId, (u64, Instant)>,
}

/// Ends the questions of a controller that ends.
pub(super) struct EndOfQuestions(Arc<Board>);

impl Drop for EndOfQuestions {
    fn drop(&mut self) {
        let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }
}

/// Members of a pool, as they were read.
type ReadMembers = BTreeMap<EntityId, Arc<Known>>;

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn be_of_set(&self) {
        self.is_of_set.store(true, Ordering::Relaxed);
    }

    /// Whether this is a journal of a set.
    pub(in crate::fleet) fn is_of_set(&self) -> bool {
        self.is_of_set.load(Ordering::Relaxed)
    }

    /// Sets the journals that have members. Works once.
    pub(super) fn set_journals(
        &self,
        journals: Arc<dyn MemberJournals>,
    ) -> Result<(), Arc<dyn MemberJournals>> {
        self.journals.set(journals)
    }

    /// The journals that have members, if not this one alone.
    pub(in crate::fleet) fn journals(&self) -> Option<&Arc<dyn MemberJournals>> {
        self.journals.get()
    }

    /// The failure to report for silent journals, once the silence has lasted [`LONG_SILENT`].
    pub(super) fn long_silent(
        &self,
        pool: &EntityId,
        silent: &BTreeMap<u16, Failure>,
    ) -> Option<Failure> {
        let mut state = self.state();
        let Some((journal, failure)) = silent.first_key_value() else {
            state.silent_since.remove(pool);
            return None;
        };
        let since = state.silent_since.entry(pool.clone());
        let since = since.or_insert_with(Instant::now);
        tracing::warn!(%pool, journal, %failure, "a journal does not say what members it has");
        (since.elapsed() >= LONG_SILENT).then(|| failure.clone())
    }

    /// Stores the newest report of a pool.
    pub(super) fn set_report(&self, pool: &EntityId, report: PoolReport) {
        let before = self.state().reports.insert(pool.clone(), report.clone());
        if !before.is_some_and(|before| before.shows_the_same(&report)) {
            self.reports.send_replace(());
        }
    }

    /// Whether the journals may be asked about this generation of a pool: not soon after a decision. The end of a
    /// question wakes the controller, and pools would ask for one another's sake without an end.
    pub(super) fn may_ask_journals(&self, pool: &EntityId, generation: u64) -> bool {
        let state = self.state();
        let again = state.asked_again.get(pool);
        again.is_none_or(|(decided, from)| *decided != generation || Instant::now() >= *from)
    }

    /// A pool was decided: its journals are asked again after this time.
    pub(super) fn ask_journals_after(&self, pool: &EntityId, generation: u64, wait: Duration) {
        let again = (generation, Instant::now() + wait);
        self.state().asked_again.insert(pool.clone(), again);
    }

    /// A request of a pool was answered: its journals may be asked now.
    pub(super) fn ask_journals_now(&self, pool: &EntityId) {
        self.state().asked_again.remove(pool);
    }

    /// Changes when a pool's report shows something new.
    pub(super) fn report_changed(&self) -> watch::Receiver<()> {
        self.reports.subscribe()
    }

    /// Runs the task of a question. The controller looks again when it has ended.
    pub(in crate::fleet) fn ask(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let requests = self.requests.clone();
        tasks.spawn(async move {
            task.await;
            requests.send_replace(());
        });
    }

    /// Ends all questions when it is dropped.
    pub(super) fn end_of_questions(self: &Arc<Self>) -> EndOfQuestions {
        EndOfQuestions(self.clone())
    }

    /// Drops everything about a deleted pool or group.
    pub(super) fn forget(&self, pool: &EntityId) {
        self.gates_asked.forget(pool);
        self.outputs_asked.forget(pool);
        self.addresses_asked.forget(pool);
        self.members_observed.forget(pool);
        self.hosts_surveyed.forget(pool);
        self.members_reported.0.forget(pool);
        let mut state = self.state();
        state.driven.remove(pool);
        state.verdicts.remove(pool);
        state.gates.remove(pool);
        state.namespaces.remove(pool);
        state.reports.remove(pool);
        state.silent_since.remove(pool);
        state.asked_again.remove(pool);
        if let Ok(uid) = pool.id().parse::<Uuid>() {
            state.resumed.remove(&uid);
            state.read.remove(&uid);
        }
    }

    /// The report from a pool's last reconciliation.
    pub(in crate::fleet) fn report(&self, pool: &EntityId) -> Option<PoolReport> {
        self.state().reports.get(pool).cloned()
    }

    /// Drops a `Reached` verdict, because work for the pool is in progress. An obstacle may still
    /// exist, so other verdicts stay.
    pub(in crate::fleet) fn not_reached(&self, pool: &EntityId, generation: u64) {
        if let Some(Verdict::Reached) = self.verdict(pool, generation) {
            self.found(pool, generation, None);
        }
    }

    /// Also works on these pools; returns whether to start the task.
    pub(super) fn drive(&self, pools: impl Iterator<Item = EntityId>) -> bool {
        let mut state = self.state();
        let before = state.driven.len();
        let mut any = false;
        for pool in pools {
            any = true;
            state.verdicts.remove(&pool);
            state.asked_again.remove(&pool);
            state.driven.insert(pool);
        }
        let starts = any && !std::mem::replace(&mut state.runs, true);
        drop(state);
        if any || before > 0 {
            self.requests.send_replace(());
        }
        starts
    }

    /// Works on all pools; returns whether to start the task.
    pub(super) fn drive_all(&self) -> bool {
        let mut state = self.state();
        state.all = true;
        let starts = !std::mem::replace(&mut state.runs, true);
        drop(state);
        self.requests.send_replace(());
        starts
    }

    /// The pools to reconcile; `None` for all.
    pub(super) fn active_pools(&self) -> Option<Vec<EntityId>> {
        let state = self.state();
        (!state.all).then(|| state.driven.iter().cloned().collect())
    }

    /// Whether a pool is worked on.
    pub(in crate::fleet) fn drives(&self, pool: &EntityId) -> bool {
        let state = self.state();
        state.all || state.driven.contains(pool)
    }

    /// Changes when there is new work.
    pub(super) fn requests(&self) -> watch::Receiver<()> {
        self.requests.subscribe()
    }

    /// Changes when the verdict of a pool changes.
    pub(in crate::fleet) fn moved(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }

    /// Those of a pool's unsettled members that this process did not resume yet. Marks them as resumed,
    /// and drops members that do not exist any more.
    pub(super) fn resume(
        &self,
        pool: Uuid,
        unsettled: Vec<EntityId>,
        exists: impl Fn(&EntityId) -> bool,
    ) -> Vec<EntityId> {
        let mut state = self.state();
        let resumed = state.resumed.entry(pool).or_default();
        resumed.retain(exists);
        let unsettled = unsettled.into_iter();
        unsettled
            .filter(|member| resumed.insert(member.clone()))
            .collect()
    }

    /// The verdict for this generation of a pool; `None` while work is in progress.
    pub(in crate::fleet) fn verdict(&self, pool: &EntityId, generation: u64) -> Option<Verdict> {
        let state = self.state();
        let found = state.verdicts.get(pool).filter(|(of, _)| *of == generation);
        found.map(|(_, verdict)| verdict.clone())
    }

    /// Takes the members of a pool as last read.
    pub(in crate::fleet) fn take_read(&self, pool: Uuid) -> ReadMembers {
        self.state().read.remove(&pool).unwrap_or_default()
    }

    /// Stores the members of a pool as read.
    pub(in crate::fleet) fn put_read(&self, pool: Uuid, members: &[Arc<Known>]) {
        let members = members.iter();
        let members = members.map(|known| (known.entity.clone(), known.clone()));
        let members: ReadMembers = members.collect();
        let mut state = self.state();
        if members.is_empty() {
            state.read.remove(&pool)
        } else {
            state.read.insert(pool, members)
        };
    }

    /// Sets all entities whose desired state comes from objects elsewhere.
    pub(super) fn set_owned_elsewhere(&self, all: BTreeSet<EntityId>) {
        self.state().owned_elsewhere = all;
    }

    /// Whether the entity's desired state comes from an object elsewhere.
    pub(super) fn is_owned_elsewhere(&self, entity: &EntityId) -> bool {
        self.state().owned_elsewhere.contains(entity)
    }

    /// The namespace of a pool or group, if it was read.
    pub(super) fn namespace(&self, entity: &EntityId) -> Option<String> {
        self.state().namespaces.get(entity).cloned()
    }

    /// Stores the namespace of a pool or group.
    pub(super) fn set_namespace(&self, entity: &EntityId, namespace: &str) {
        let mut state = self.state();
        state
            .namespaces
            .insert(entity.clone(), namespace.to_owned());
    }

    /// Stores why the gate of a group is closed; `None` if it is open.
    pub(in crate::fleet) fn gate(&self, group: &EntityId, closed: Option<String>) {
        let mut state = self.state();
        match closed {
            Some(why) => state.gates.insert(group.clone(), why),
            None => state.gates.remove(group),
        };
    }

    /// Why the gate of a group was closed at its last check.
    pub(in crate::fleet) fn closed_gate(&self, group: &EntityId) -> Option<String> {
        self.state().gates.get(group).cloned()
    }

    pub(in crate::fleet) fn found(
        &self,
        pool: &EntityId,
        generation: u64,
        verdict: Option<Verdict>,
    ) {
        let mut state = self.state();
        let before = match &verdict {
            Some(verdict) => state
                .verdicts
                .insert(pool.clone(), (generation, verdict.clone())),
            None => state.verdicts.remove(pool),
        };
        drop(state);
        if before.map(|(_, before)| before) != verdict {
            self.moved.send_replace(());
        }
    }
}
