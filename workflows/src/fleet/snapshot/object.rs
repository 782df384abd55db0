//! Snapshots as Kubernetes-shaped objects. The names of their keys are stable.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_engine::{model::Timestamp, step::Step as _};
use vsiflow_steps::snapshot::CopyDisks;

use super::known::{KnownSnapshot, READY};
use crate::fleet::{
    Condition, Fleet, FleetError, Metadata, SnapshotHandle,
    unreadable::{LostEntity, UNREADABLE},
    vsi::conditions::condition,
    vsi::object::rfc3339,
};
use crate::{
    record::{SnapshotRecord, kind},
    spec::documents,
};

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Who it is.
    pub metadata: Metadata,
    /// Its desired state.
    pub spec: Value,
    /// What is.
    pub status: SnapshotStatus,
}

/// What is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// `Pending`, `Creating`, `Ready`, `Blocked`, `Failed`, `Deleting`, `Deleted` or `Unreadable`.
    pub phase: String,
    /// What stands in its way.
    pub description: String,
    /// The host's id.
    pub host: String,
    /// The UID of the VSI.
    pub virtual_server_uid: String,
    /// The copies.
    pub disks: Vec<SnapshotDisk>,
    /// The guest's memory, where it is saved, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<SnapshotMemory>,
    /// Bytes that all copies and the memory take on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was due by its VSI's snapshotPolicy, RFC 3339; none of one that somebody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduled_time: Option<String>,
    /// The newest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// What holds and what does not.
    pub conditions: Vec<Condition>,
}

/// A copy of a disk.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDisk {
    /// What people call the disk: `boot`, or `disk/NAME`.
    pub name: String,
    /// The disk, as `POOL/NAME`.
    pub volume: String,
    /// Its copy, as `POOL/NAME`.
    pub copy: String,
    /// The size the guest sees, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Bytes taken on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocation: Option<u64>,
}

/// The memory of a guest in a file.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotMemory {
    /// The file, as `POOL/NAME`.
    pub volume: String,
    /// Its length in bytes, once it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Its SHA-256, once it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl SnapshotHandle<'_> {
    /// All snapshots by namespace and name; with `deleted`, deleted ones too.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self, deleted: bool) -> Result<Vec<SnapshotObject>, FleetError> {
        let mut objects = Vec::new();
        for known in self.fleet.known_snapshots().await? {
            if deleted || !known.is_deleted() {
                objects.push(self.fleet.snapshot_object(&known).await?);
            }
        }
        let lost = self.fleet.lost(kind::SNAPSHOT).await?;
        objects.extend(lost.iter().map(|lost| self.fleet.lost_snapshot(lost)));
        Ok(objects)
    }

    /// One snapshot; a deleted one if no other has that name.
    ///
    /// # Errors
    /// When there is no snapshot of that name, or the journal cannot be read.
    pub async fn get(self, namespace: &str, name: &str) -> Result<SnapshotObject, FleetError> {
        let lost = self.fleet.lost_one(kind::SNAPSHOT, namespace, name).await?;
        if let Some(lost) = lost {
            return Ok(self.fleet.lost_snapshot(&lost));
        }
        let known = self.fleet.find_snapshot(namespace, name, true).await?;
        self.fleet.snapshot_object(&known).await
    }
}

impl Fleet {
    /// A snapshot whose desired state cannot be read.
    fn lost_snapshot(&self, lost: &LostEntity) -> SnapshotObject {
        let (metadata, changed) = self.lost_metadata(lost);
        SnapshotObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::SNAPSHOT,
            metadata,
            spec: json!({}),
            status: SnapshotStatus {
                phase: UNREADABLE.to_owned(),
                description: lost.description(),
                host: String::new(),
                virtual_server_uid: String::new(),
                disks: Vec::new(),
                memory: None,
                size: None,
                scheduled_time: None,
                run_id: lost.state.runs.last().map(ToString::to_string),
                conditions: vec![lost.condition("Ready", changed)],
            },
        }
    }

    async fn snapshot_object(&self, known: &KnownSnapshot) -> Result<SnapshotObject, FleetError> {
        let (record, state) = (&known.record, &known.state);
        let name = (record.namespace.clone(), record.name.clone());
        let partly = self.partly_lost(&known.entity, state, name);
        if let Some(lost) = partly.await?.filter(|_| !known.is_deleted()) {
            return Ok(self.lost_snapshot(&lost));
        }
        let made = self.output_of(CopyDisks::NAME, state).await?;
        let copies = made.get("copies").and_then(Value::as_array);
        let copies: Vec<Value> = copies.cloned().unwrap_or_default();
        let number = |index: usize, key: &str| copies.get(index)?.get(key)?.as_u64();
        let disks = record.disks.iter().enumerate();
        let disks: Vec<_> = disks
            .map(|(index, disk)| SnapshotDisk {
                name: disk.disk.clone(),
                volume: disk.volume.to_string(),
                copy: disk.copy.to_string(),
                capacity: number(index, "capacity"),
                allocation: number(index, "allocation"),
            })
            .collect();
        let phase = known.phase().to_owned();
        let failure = self.obstacle(&known.entity);
        let failed = failure.as_ref().map(ToString::to_string);
        let detail = state.state.as_ref().map(|(_, detail)| detail.to_string());
        let description = failed.or(detail).unwrap_or_default();
        let reason = failure.map_or_else(|| phase.clone(), |failure| failure.code.to_string());
        let (created, changed) = self.engine.times(&known.entity).unwrap_or_default();
        let ready = condition("Ready", phase == READY, &reason, &description, changed);
        let memory = memory(record, &made);
        let sizes = disks.iter().filter_map(|disk| disk.allocation);
        let sizes: Vec<u64> = sizes.chain(memory.as_ref().and_then(|m| m.size)).collect();
        let status = SnapshotStatus {
            phase,
            description,
            host: record.host.clone(),
            virtual_server_uid: record.vsi.to_string(),
            size: (!sizes.is_empty()).then(|| {
                sizes
                    .iter()
                    .fold(0_u64, |sum, one| sum.saturating_add(*one))
            }),
            disks,
            memory,
            scheduled_time: record.due_ms.map(|ms| rfc3339(Timestamp(ms))),
            run_id: state.runs.last().map(ToString::to_string),
            conditions: vec![ready],
        };
        let desired = state.desired.as_ref();
        Ok(SnapshotObject {
            api_version: documents::VSIFLOW_API_VERSION,
            kind: documents::SNAPSHOT,
            metadata: Metadata {
                name: record.name.clone(),
                namespace: record.namespace.clone(),
                uid: known.uid.to_string(),
                generation: desired.map_or(0, |desired| desired.generation),
                creation_timestamp: rfc3339(created),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            },
            spec: json!({
                "virtualServer": record.vsi_name,
                "quiesce": record.quiesce,
                "memory": record.memory.is_some(),
            }),
            status,
        })
    }
}

fn memory(record: &SnapshotRecord, made: &Value) -> Option<SnapshotMemory> {
    let whole = |key: &str| made.get("memory")?.get(key);
    record.memory.as_ref().map(|volume| SnapshotMemory {
        volume: volume.to_string(),
        size: whole("length").and_then(Value::as_u64),
        sha256: whole("sha256").and_then(Value::as_str).map(str::to_owned),
    })
}
