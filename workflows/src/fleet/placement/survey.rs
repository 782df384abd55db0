//! Asks hosts for their capacity, and caches and records the answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout};
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, EntityState, Precedence, Text},
};
use vsiflow_steps::ports::{HostPorts, PortResult};

use crate::{
    fleet::{
        Fleet, FleetError, network::room::NetworkRooms, store::DesiredUpdates,
        unreadable::DesiredReading,
    },
    placement::{CapacityRecord, PoolCapacity},
    record::{capacity_entity, kind},
};

/// How many hosts are asked at the same time.
const PARALLEL: usize = 32;
/// A host that has not answered after this time counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long an answer is reused: a pool makes its members in several batches.
const MAX_AGE: Duration = Duration::from_secs(30);

/// Capacities measured by this process, and the locks for choosing.
#[derive(Default)]
pub(in crate::fleet) struct Capacities {
    measured: Mutex<BTreeMap<String, Measured>>,
    /// Held while choosing a host.
    choosing: tokio::sync::Mutex<()>,
    /// Held while choosing over several journals.
    turn: tokio::sync::Mutex<()>,
    /// Held while surveying hosts for another journal.
    surveying: tokio::sync::Mutex<()>,
    /// Promises that ended, with the generations of the records that ended them.
    ended: Mutex<BTreeMap<EntityId, u64>>,
}

#[derive(Clone)]
struct Measured {
    at: Instant,
    answer: Result<CapacityRecord, String>,
}

/// The result of asking some hosts.
#[derive(Clone, Default)]
pub(in crate::fleet) struct HostSurvey {
    /// Their capacities, as recorded or about to be recorded.
    pub(super) found: BTreeMap<String, CapacityRecord>,
    /// The hosts that do not answer, and why.
    pub(super) unreachable: BTreeMap<String, String>,
    /// Capacities to record.
    pub(super) news: Vec<CapacityRecord>,
    /// Whether some answers were reused.
    pub(in crate::fleet) is_stale: bool,
    /// What hosts said about networks that they are to have.
    pub(in crate::fleet) networks: NetworkRooms,
}

/// A host's answer, and whether it was given earlier.
struct HostAnswer {
    answer: Result<CapacityRecord, String>,
    is_reused: bool,
}

impl HostSurvey {
    /// Whether each of these hosts has answered, or failed to.
    pub(super) fn has_all(&self, hosts: &BTreeSet<String>) -> bool {
        hosts
            .iter()
            .all(|id| self.found.contains_key(id) || self.unreachable.contains_key(id))
    }

    /// Why a host counts as unreachable, if it does.
    pub(super) fn why_unreachable(&self, host: &str) -> Option<String> {
        let unasked = || "it has not answered yet".to_owned();
        let why = self.unreachable.get(host).cloned();
        why.or_else(|| (!self.found.contains_key(host)).then(unasked))
    }

    /// The survey of hosts that must not be contacted.
    pub(super) fn of_none(hosts: &BTreeSet<String>, why: &str) -> Self {
        let left = hosts.iter().map(|host| (host.clone(), why.to_owned()));
        Self {
            unreachable: left.collect(),
            ..Self::default()
        }
    }
}

impl Fleet {
    /// The capacities of these hosts; with `now`, all are asked again. A host may take [`TIMEOUT`], so no
    /// lock that others need may be held.
    pub(in crate::fleet) async fn survey(
        &self,
        hosts: &BTreeSet<String>,
        archs: &BTreeSet<String>,
        now: bool,
    ) -> Result<HostSurvey, FleetError> {
        let queries = hosts.iter().map(|id| async move {
            let recent = self.capacities.recent(id, archs).filter(|_| !now);
            let is_reused = recent.is_some();
            let answer = match recent {
                Some(answer) => answer,
                None => self.measure(id, archs).await,
            };
            (id.clone(), HostAnswer { answer, is_reused })
        });
        let queries: Vec<_> = queries.collect();
        let answers = stream::iter(queries).buffer_unordered(PARALLEL);
        let answers: BTreeMap<_, _> = answers.collect().await;
        self.survey_by(answers).await
    }

    /// The same by recent answers alone: no host is asked.
    pub(super) async fn recent_survey(
        &self,
        hosts: &BTreeSet<String>,
        archs: &BTreeSet<String>,
    ) -> Result<HostSurvey, FleetError> {
        let answers = hosts.iter().filter_map(|id| {
            let answer = self.capacities.recent(id, archs)?;
            let is_reused = true;
            Some((id.clone(), HostAnswer { answer, is_reused }))
        });
        self.survey_by(answers.collect()).await
    }

    async fn survey_by(
        &self,
        answers: BTreeMap<String, HostAnswer>,
    ) -> Result<HostSurvey, FleetError> {
        let mut survey = HostSurvey::default();
        for (id, HostAnswer { answer, is_reused }) in answers {
            survey.is_stale |= is_reused;
            match answer {
                Err(why) => _ = survey.unreachable.insert(id, why),
                Ok(new) => {
                    let before = self.recorded_capacity(&id).await?;
                    let (record, is_news) = newest(before, new);
                    if is_news {
                        survey.news.push(record.clone());
                    }
                    survey.found.insert(id, record);
                }
            }
        }
        Ok(survey)
    }

    /// The recorded capacity of a host; `None` if there is none, or it cannot be read.
    pub(in crate::fleet) async fn recorded_capacity(
        &self,
        host: &str,
    ) -> Result<Option<CapacityRecord>, FleetError> {
        let entity = capacity_entity(host).ok();
        let Some((entity, state)) =
            entity.and_then(|entity| Some((entity.clone(), self.engine.entity(&entity)?)))
        else {
            return Ok(None);
        };
        Ok(match self.read_desired(&entity, &state).await? {
            DesiredReading::Record(record) => Some(record),
            DesiredReading::Nothing | DesiredReading::Lost(_) => None,
        })
    }

    /// Measures a host that is checked anyway, and records the capacity if it changed. No error if the
    /// host does not answer.
    pub(in crate::fleet) async fn note_capacity(&self, host: &str) -> Result<(), FleetError> {
        let recorded = crate::record::host_entity(host);
        let is_recorded = recorded.is_ok_and(|entity| self.engine.entity(&entity).is_some());
        if !is_recorded || self.engine.observes_only() {
            return Ok(());
        }
        let Ok(new) = self.measure(host, &BTreeSet::new()).await else {
            return Ok(());
        };
        let (record, is_news) = newest(self.recorded_capacity(host).await?, new);
        let mut updates = DesiredUpdates::default();
        if is_news {
            let entity = capacity_entity(host);
            let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
            updates.add(entity, kind::CAPACITY, Precedence::Record, &record, None)?;
        }
        self.record(updates, by_survey()).await
    }

    /// Records changed capacities of recorded hosts that were surveyed for another journal.
    pub(super) async fn note_news(&self, news: Vec<CapacityRecord>) -> Result<(), FleetError> {
        if self.engine.observes_only() {
            return Ok(());
        }
        let mut updates = DesiredUpdates::default();
        for record in news {
            let host = crate::record::host_entity(&record.host);
            if !host.is_ok_and(|entity| self.engine.entity(&entity).is_some()) {
                continue;
            }
            let entity = capacity_entity(&record.host);
            let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
            updates.add(entity, kind::CAPACITY, Precedence::Record, &record, None)?;
        }
        self.record(updates, by_survey()).await
    }

    /// The bytes that are free in an active pool, as its host said lately; `None` if it does not answer.
    pub(in crate::fleet) async fn free_in_pool(&self, host: &str, pool: &str) -> Option<u64> {
        let archs = BTreeSet::new();
        let answer = match self.capacities.recent(host, &archs) {
            Some(answer) => answer,
            None => self.measure(host, &archs).await,
        };
        Some(answer.ok()?.pools.get(pool)?.available)
    }

    async fn measure(&self, id: &str, archs: &BTreeSet<String>) -> Result<CapacityRecord, String> {
        let look = async {
            let ports = self.hosts.host(id).await?;
            capacity(id, &ports, archs).await
        };
        let answer = match timeout(TIMEOUT, look).await {
            Ok(Ok(record)) => Ok(record),
            Ok(Err(error)) => Err(error.message.clone()),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        };
        let measured = Measured {
            at: Instant::now(),
            answer: answer.clone(),
        };
        self.capacities.lock().insert(id.to_owned(), measured);
        answer
    }
}

fn by_survey() -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new("the host says so of itself"),
    }
}

impl Capacities {
    /// Takes the lock for choosing hosts.
    pub(in crate::fleet) async fn choosing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.choosing.lock().await
    }

    /// Takes the lock for choosing hosts over several journals.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Takes the lock for surveying hosts for another journal.
    pub(super) async fn surveying(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.surveying.lock().await
    }

    /// Whether this generation of a promise is known to be its last.
    pub(super) fn is_ended(&self, promise: &EntityId, generation: u64) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(promise) == Some(&generation)
    }

    /// Remembers that a promise ended.
    pub(super) fn note_end(&self, promise: EntityId, generation: u64) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(promise, generation);
    }

    /// Forgets the ends of promises of this kind that the journal no longer has; `all` are those that it has, in order.
    pub(super) fn keep_ends(&self, kind: &str, all: &[(EntityId, Arc<EntityState>)]) {
        let exists = |promise: &EntityId| all.binary_search_by(|(one, _)| one.cmp(promise)).is_ok();
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.retain(|promise, _| promise.kind().as_str() != kind || exists(promise));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Measured>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A recent answer of a host, if it covers these architectures.
    fn recent(&self, id: &str, archs: &BTreeSet<String>) -> Option<Result<CapacityRecord, String>> {
        let found = self.lock().get(id).cloned()?;
        let fresh = found.at.elapsed() < MAX_AGE;
        let has_archs =
            |record: &CapacityRecord| archs.iter().all(|arch| record.archs.contains_key(arch));
        let whole = found.answer.as_ref().map_or(true, has_archs);
        (fresh && whole).then_some(found.answer)
    }
}

async fn capacity(
    id: &str,
    ports: &HostPorts,
    archs: &BTreeSet<String>,
) -> PortResult<CapacityRecord> {
    let machine = ports.host.capacity().await?;
    let pools = ports.storage.pools().await?;
    let pools = pools.into_iter().filter(|pool| pool.active).map(|pool| {
        let (capacity, available) = (pool.capacity, pool.available);
        (
            pool.name,
            PoolCapacity {
                capacity,
                available,
            },
        )
    });
    let pools = pools.collect();
    let mut runs = BTreeMap::new();
    for arch in archs {
        let support = ports.host.guest_support(arch).await?;
        runs.insert(arch.clone(), support.is_some());
    }
    Ok(CapacityRecord {
        host: id.to_owned(),
        cpus: machine.map(|machine| machine.cpus),
        memory: machine.map(|machine| machine.memory),
        pools,
        archs: runs,
    })
}

/// The capacity to use, and whether to record it. Small changes are ignored: a choice uses the
/// journal's values.
fn newest(before: Option<CapacityRecord>, mut new: CapacityRecord) -> (CapacityRecord, bool) {
    let Some(before) = before else {
        return (new, true);
    };
    if before.is_much_like(&new) {
        return (before, false);
    }
    for (arch, can) in before.archs {
        new.archs.entry(arch).or_insert(can);
    }
    (new, true)
}
