//! Data disks as Kubernetes-shaped objects. The names of their keys are stable.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_engine::{model::Failure, step::Step as _};
use vsiflow_steps::{disk::GrowVolume, error, guards};

use crate::fleet::{
    Condition, DiskHandle, Fleet, FleetError, Metadata,
    disk::{known::KnownDisk, users::DiskUsers},
    index::Known,
    object::qualified,
    unreadable::{LostEntity, UNREADABLE},
    vsi::conditions::condition,
    vsi::object::{annotations, rfc3339},
};
use crate::{
    record::kind,
    spec::{DesiredDataDisk, desired::DiskOrigin, documents},
};

/// A data disk, made or referred to.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind: a disk that is made, or a reference to one that is there.
    pub kind: &'static str,
    /// Who it is; a reference has no UID of its own.
    pub metadata: Metadata,
    /// Its desired state.
    pub spec: Value,
    /// What is.
    pub status: DiskStatus,
}

/// What is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskStatus {
    /// 1 ready, 2 error, 0 anything else.
    pub status: u8,
    /// What stands in its way.
    pub description: String,
    /// `Pending`, `Creating`, `Ready`, `Blocked`, `Deleting`, `Deleted`, or `Referenced`.
    pub phase: String,
    /// The newest generation that was worked for.
    pub observed_generation: u64,
    /// The host's id.
    pub host: String,
    /// The volume, as `POOL/NAME`.
    pub volume: String,
    /// The size that its host told last, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// The newest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The VSIs that have it.
    pub used_by: Vec<String>,
    /// What holds and what does not.
    pub conditions: Vec<Condition>,
}

impl DiskHandle<'_> {
    /// All data disks by namespace and name, including those that VSIs refer to; with `deleted`, also
    /// deleted ones.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self, deleted: bool) -> Result<Vec<DiskObject>, FleetError> {
        let mut vsis = self.fleet.known().await?;
        vsis.retain(|vsi| !vsi.is_deleted());
        let users = DiskUsers::of(&vsis);
        let mut objects = Vec::new();
        for disk in self.fleet.known_disks().await? {
            if deleted || !disk.is_deleted() {
                let object = self.fleet.disk_object(&disk, users.of_disk(disk.uid));
                objects.push(object.await?);
            }
        }
        let lost = self.fleet.lost(kind::DISK).await?;
        objects.extend(lost.into_iter().map(|lost| self.fleet.lost_disk(lost)));
        objects.extend(references(&vsis));
        objects.sort_by(|a, b| {
            let key = |o: &DiskObject| (o.metadata.namespace.clone(), o.metadata.name.clone());
            key(a).cmp(&key(b))
        });
        Ok(objects)
    }

    /// One data disk: one that vsiflow makes, one that VSIs refer to, or a deleted one.
    ///
    /// # Errors
    /// When there is no data disk of that name, or the journal cannot be read.
    pub async fn get(self, namespace: &str, name: &str) -> Result<DiskObject, FleetError> {
        if let Some(lost) = self.fleet.lost_one(kind::DISK, namespace, name).await? {
            return Ok(self.fleet.lost_disk(lost));
        }
        let (namespace, name) = qualified(namespace, name);
        let made = self.fleet.find_disk(namespace, name, true).await;
        if let Some(known) = made.as_ref().ok().filter(|known| !known.is_deleted()) {
            let vsis = self.fleet.known_with(known.uid).await?;
            let users = DiskUsers::of(vsis.iter().filter(|vsi| !vsi.is_deleted()));
            let object = self.fleet.disk_object(known, users.of_disk(known.uid));
            return object.await;
        }
        let mut vsis = self.fleet.known().await?;
        vsis.retain(|vsi| !vsi.is_deleted());
        let is_meant =
            |disk: &DiskObject| disk.metadata.namespace == namespace && disk.metadata.name == name;
        match references(&vsis).into_iter().find(is_meant) {
            Some(reference) => Ok(reference),
            None => {
                let disk = made?;
                let users = DiskUsers::of(&vsis);
                let object = self.fleet.disk_object(&disk, users.of_disk(disk.uid));
                object.await
            }
        }
    }
}

impl Fleet {
    /// A data disk whose desired state cannot be read.
    fn lost_disk(&self, lost: LostEntity) -> DiskObject {
        let (metadata, changed) = self.lost_metadata(&lost);
        DiskObject {
            api_version: documents::API_VERSION,
            kind: documents::DATA_DISK,
            status: DiskStatus {
                status: 2,
                description: lost.description(),
                phase: UNREADABLE.to_owned(),
                observed_generation: lost.state.observed_generation(),
                host: String::new(),
                volume: metadata.uid.clone(),
                capacity: None,
                run_id: lost.state.runs.last().map(ToString::to_string),
                used_by: Vec::new(),
                conditions: vec![lost.condition("Ready", changed)],
            },
            metadata,
            spec: json!({}),
        }
    }

    async fn disk_object(
        &self,
        known: &KnownDisk,
        users: &[&Known],
    ) -> Result<DiskObject, FleetError> {
        let (disk, state) = (&known.record.disk, &known.state);
        let poison = self.poison(&known.entity).await?;
        let grown = match &poison {
            None => self.output_of(GrowVolume::NAME, state).await?,
            Some(_) => Value::Null,
        };
        let present = state
            .objects
            .made
            .get(&guards::object_name(&known.volume()));
        let is_half = !known.is_deleted() && present.is_some_and(guards::is_being_replaced);
        let legacy = known.is_legacy() && users.iter().any(|vsi| vsi.state.reached > 0);
        let recorded = state.state.as_ref().map(|(name, _)| name.to_string());
        let phase = match recorded {
            _ if poison.is_some() => UNREADABLE.to_owned(),
            _ if is_half => "Restoring".to_owned(),
            _ if legacy => "Ready".to_owned(),
            recorded => recorded.unwrap_or_else(|| "Pending".to_owned()),
        };
        let detail = state.state.as_ref().map(|(_, detail)| detail.to_string());
        let half = is_half.then(|| {
            let why = "its restoration was begun and not finished";
            error::HALF_RESTORED.failure(why)
        });
        let remedy = |why: &Failure| format!("{why}. {}", why.remedy);
        let unreadable = poison.as_ref().map(remedy);
        let failure = poison.or_else(|| self.obstacle(&known.entity));
        let failed = failure.as_ref().map(ToString::to_string);
        let half = half.as_ref().map(remedy);
        let description = unreadable.or(failed).or(half).or(detail);
        let description = description.unwrap_or_default();
        let reason = failure.map_or_else(|| phase.clone(), |failure| failure.code.to_string());
        let (created, changed) = self.engine.times(&known.entity).unwrap_or_default();
        let ready = condition("Ready", phase == "Ready", &reason, &description, changed);
        let generation = state
            .desired
            .as_ref()
            .map_or(0, |desired| desired.generation);
        let status = DiskStatus {
            status: match phase.as_str() {
                "Ready" => 1,
                "Blocked" | UNREADABLE => 2,
                _ => 0,
            },
            description,
            phase,
            observed_generation: state.observed_generation(),
            host: disk.host.clone(),
            volume: known.volume().to_string(),
            capacity: grown.get("capacity").and_then(Value::as_u64),
            run_id: state.runs.last().map(ToString::to_string),
            used_by: users.iter().map(|vsi| vsi.label()).collect(),
            conditions: vec![ready],
        };
        Ok(DiskObject {
            api_version: documents::API_VERSION,
            kind: documents::DATA_DISK,
            metadata: Metadata {
                name: disk.name.clone(),
                namespace: disk.namespace.clone(),
                uid: known.uid.to_string(),
                generation,
                creation_timestamp: rfc3339(created),
                labels: disk.labels.clone(),
                annotations: annotations(disk.member_of.as_ref()),
            },
            spec: spec(disk),
            status,
        })
    }
}

fn spec(disk: &DesiredDataDisk) -> Value {
    let mut spec = json!({
        "size": disk.size,
        "storagePool": disk.pool,
        "deletionPolicy": disk.deletion_policy,
    });
    if let (Some(source), Some(fields)) = (&disk.source, spec.as_object_mut()) {
        fields.insert("source".to_owned(), source.shown());
    }
    spec
}

/// The existing volumes that VSIs refer to. Only the VSIs' records name them.
fn references(vsis: &[Known]) -> Vec<DiskObject> {
    let mut found = BTreeMap::new();
    for vsi in vsis {
        for disk in &vsi.record.vsi.disks {
            let DiskOrigin::Existing { volume } = &disk.source else {
                continue;
            };
            let key = (vsi.record.vsi.namespace.clone(), disk.name.clone());
            let users: &mut (_, _, _, Vec<_>) = found.entry(key).or_insert_with(|| {
                let host = vsi.record.vsi.host.clone();
                (host, disk.pool.clone(), volume.clone(), Vec::new())
            });
            users.3.push(vsi.label());
        }
    }
    let object = |((namespace, name), (host, pool, volume, used_by))| DiskObject {
        api_version: documents::API_VERSION,
        kind: documents::DATA_DISK_REF,
        metadata: Metadata {
            name,
            namespace,
            uid: String::new(),
            generation: 0,
            creation_timestamp: String::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        },
        spec: json!({"volumeName": volume, "storagePool": pool}),
        status: DiskStatus {
            status: 1,
            description: String::new(),
            phase: "Referenced".to_owned(),
            observed_generation: 0,
            host,
            volume: format!("{pool}/{volume}"),
            capacity: None,
            run_id: None,
            used_by,
            conditions: Vec::new(),
        },
    };
    found.into_iter().map(object).collect()
}
