//! Hosts and runs, as lists show them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use vsiflow_engine::model::{EntityId, Failure, RunId, RunPhase, RunResult, RunState, Timestamp};

use crate::fleet::{
    FleetError, HistoryHandle, HostHandle, placement, unreadable::DesiredReading,
    vsi::object::rfc3339,
};
use crate::placement::{CapacityRecord, Promised};
use crate::record::{HostRecord, kind};
use crate::spec::host::HostLimits;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostObject {
    /// Its id.
    pub name: String,
    /// How it is reached.
    pub transport: &'static str,
    /// Whether any host key is accepted.
    pub insecure: bool,
    /// VSIs on it that are not deleted.
    pub vsis: usize,
    /// `Ready` or `NotReady` by the newest look, `Unknown` where nobody looked; with
    /// `,SchedulingDisabled` where it is cordoned.
    pub status: String,
    /// What keeps it from answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it is cordoned; it may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<String>,
    /// The labels that it is chosen by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it has and what is promised there.
    pub room: HostRoom,
    /// Which unused images go automatically, where any do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_policy: Option<String>,
    /// What is worth a look although it is worked with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a host has and what is promised there. What it never said is absent: nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostRoom {
    /// Its processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// The processors of the VSIs on it.
    pub cpus_promised: u64,
    /// Its memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The memory of the VSIs on it, in bytes.
    pub memory_promised: u64,
    /// Its pools by name; those without VSIs as far as it said which there are.
    pub pools: BTreeMap<String, PoolRoom>,
    /// How many times its processors may be promised.
    pub overcommit_cpus: String,
    /// How many times its memory may be promised.
    pub overcommit_memory: String,
    /// How many times the size of a pool may be promised.
    pub overcommit_pool: String,
    /// The devices that its settings name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

/// What a pool has and what is promised there, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolRoom {
    /// Its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// What was free when its host was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// The sizes of the disks there, as far as they are known.
    pub promised: u64,
}

fn room(
    capacity: Option<CapacityRecord>,
    promised: &Promised,
    limits: Option<HostLimits>,
) -> HostRoom {
    let (capacity, limits) = (capacity.unwrap_or_default(), limits.unwrap_or_default());
    let mut pools = BTreeMap::<String, PoolRoom>::new();
    for (name, pool) in capacity.pools {
        let room = pools.entry(name).or_default();
        (room.capacity, room.available) = (Some(pool.capacity), Some(pool.available));
    }
    for (name, size) in &promised.all.pools {
        pools.entry(name.clone()).or_default().promised = *size;
    }
    HostRoom {
        cpus: capacity.cpus,
        cpus_promised: promised.all.cpus,
        memory: capacity.memory,
        memory_promised: promised.all.memory,
        pools,
        overcommit_cpus: limits.overcommit.cpus.to_string(),
        overcommit_memory: limits.overcommit.memory.to_string(),
        overcommit_pool: limits.overcommit.pool.to_string(),
        devices: limits.devices,
    }
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunObject {
    /// Its id.
    pub name: String,
    /// Its entity.
    pub entity: String,
    /// Its workflow.
    pub workflow: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// `Active`, `Paused`, or how it ended.
    pub phase: &'static str,
}

impl HostHandle<'_> {
    /// All hosts.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self) -> Result<Vec<HostObject>, FleetError> {
        let mut promises = placement::host_promises(self.fleet).await?;
        let mut hosts = Vec::new();
        for (entity, state) in self.fleet.entities_of(kind::HOST) {
            let read: DesiredReading<HostRecord> = self.fleet.read_desired(&entity, &state).await?;
            let host = match read {
                DesiredReading::Record(host) => host,
                DesiredReading::Nothing => continue,
                DesiredReading::Lost(why) => {
                    hosts.push(lost(&entity, &why));
                    continue;
                }
            };
            let name = host.record.id();
            let transport = match &host.record {
                crate::spec::HostConnection::Ssh(_) => "ssh",
                crate::spec::HostConnection::Unix { .. } => "unix",
                crate::spec::HostConnection::Sim { .. } => "sim",
            };
            let cordoned = crate::phase::why_cordoned(state.state.as_ref()).map(str::to_owned);
            let answers = self.fleet.reach.answers(&name);
            let promised = promises.remove(&name).unwrap_or_default();
            let capacity = self.fleet.recorded_capacity(&name).await?;
            hosts.push(HostObject {
                room: room(capacity, &promised.sum, host.limits),
                status: status(answers.as_ref(), cordoned.is_some()),
                message: answers.and_then(Result::err),
                cordoned,
                warnings: self.fleet.reach.warning(&name).into_iter().collect(),
                name,
                transport,
                image_policy: host.record.image_policy().map(|policy| policy.to_string()),
                insecure: host.record.is_insecure(),
                vsis: promised.living,
                labels: host.labels,
            });
        }
        Ok(hosts)
    }
}

impl HistoryHandle<'_> {
    /// All runs, oldest first.
    pub fn runs(self) -> Vec<RunObject> {
        let mut runs: Vec<_> = self
            .fleet
            .engine
            .entities()
            .values()
            .flat_map(|e| e.runs.clone())
            .collect();
        runs.sort_unstable();
        let objects = runs.into_iter().filter_map(|id| {
            let run = self.fleet.engine.run(id)?;
            Some(RunObject {
                name: id.to_string(),
                entity: run
                    .entity
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                workflow: run
                    .graph
                    .as_ref()
                    .map(|g| g.workflow.to_string())
                    .unwrap_or_default(),
                started: began(id),
                phase: phase(&run),
            })
        });
        objects.collect()
    }
}

/// A host whose settings cannot be read.
fn lost(entity: &EntityId, why: &Failure) -> HostObject {
    HostObject {
        name: entity.id().to_owned(),
        transport: "unknown",
        insecure: false,
        vsis: 0,
        status: "Unreadable".to_owned(),
        message: Some(format!("{why}. {}", why.remedy)),
        cordoned: None,
        image_policy: None,
        warnings: Vec::new(),
        room: HostRoom::default(),
        labels: BTreeMap::new(),
    }
}

/// The status of a host, in the form of `kubectl get nodes`.
fn status(answers: Option<&Result<(), String>>, cordoned: bool) -> String {
    let ready = match answers {
        Some(Ok(())) => "Ready",
        Some(Err(_)) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if cordoned { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

/// When a run began, RFC 3339.
pub(in crate::fleet) fn began(run: RunId) -> String {
    rfc3339(Timestamp(run.0.timestamp_ms()))
}

pub(in crate::fleet) fn phase(run: &RunState) -> &'static str {
    match &run.phase {
        RunPhase::New | RunPhase::Active => "Active",
        RunPhase::Paused => "Paused",
        RunPhase::Finished(RunResult::Succeeded) => "Succeeded",
        RunPhase::Finished(RunResult::Failed(_)) => "Failed",
        RunPhase::Finished(RunResult::Cancelled) => "Cancelled",
        RunPhase::Finished(RunResult::Superseded) => "Superseded",
    }
}
