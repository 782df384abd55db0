//! Restores the disks of a VSI from a snapshot.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

pub use super::restored_room::{foresee, foresee_beside};
use super::{
    CopySum, DiskCopy, VolumeTrace, copy_as, found,
    restored_room::{RestoredRoom, copy_of, format_of, grow, whole_copy},
    runs, without_memory,
};
use crate::{
    guards::{self, DeletionCandidate, own_disks},
    ownership,
    ports::{DeletionGround, DomainInfo, HostPorts, Hosts, VolumeFormat, VolumeInfo, VolumeKey},
};

/// Deletes each disk of a guest that is off, if the guards permit it, and copies it again from the
/// snapshot, in the format of the guest's definition. Before the first deletion the step checks that all copies
/// exist and are what was recorded, all disks may be deleted, the guest writes to no other file, and there is room.
///
/// A crash during the step leaves some disks restored, one missing or half, and the rest as they were.
/// The order to replace a disk is spent before the disk is deleted, so without one nothing is. Each restored
/// disk is saved; the next attempt continues after them. The run belongs to the VSI, so the
/// VSI is not started before all disks are restored. The snapshot is not changed.
pub struct RestoreDisks {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`RestoreDisks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The snapshot's name for people.
    pub snapshot: String,
    /// The disks, and their copies.
    pub disks: Vec<DiskToRestore>,
    /// Every volume that this journal names, or has named, as a disk that the guest writes to: what it wrote elsewhere
    /// would not fit the restored disks. Not checked if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<VolumeKey>,
    /// Whether memory is restored with them: then the output has the state of the disks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_memory: bool,
}

/// A disk to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskToRestore {
    /// The disk, by the volume that it is now, and its copy.
    #[serde(flatten)]
    pub of: DiskCopy,
    /// The minimum size that the guest will see, in bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// Whether this journal recorded the intent to make the disk.
    pub recorded: bool,
    /// The copy's recorded length and hash; `None` if it is restored without a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<CopySum>,
}

/// What [`RestoreDisks`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The snapshot.
    pub snapshot: String,
    /// The disks that were restored.
    pub disks: Vec<String>,
    /// The state of the restored disks, if memory is restored with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<VolumeTrace>,
}

impl RestoreDisks {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for RestoreDisks {
    const NAME: &'static str = "restore_disks";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        // A disk's content does not show whether all of the copy is in it.
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = off(cx, &ports, params).await?;
        let mut restored: Vec<String> = cx.saved().await?.unwrap_or_default();
        let copies = ready(cx, &ports, params, &restored).await?;
        let total = params.disks.len() as u64;
        for (disk, from) in params.disks.iter().zip(&copies) {
            if restored.contains(&disk.of.disk) {
                continue;
            }
            cx.report("restoring disks", restored.len() as u64, Some(total));
            let format = format_of(domain.as_ref(), disk);
            let volume = replace(cx, &ports, doomed(params, disk), from, format).await?;
            grow(&ports, disk, &volume).await?;
            restored.push(disk.of.disk.clone());
            cx.save(&restored).await?;
        }
        // Only now are the orders used up: an attempt that is repeated before needs them again.
        for disk in &params.disks {
            guards::record_made(cx, &ports, &disk.of.volume).await?;
        }
        let disks = params.disks.iter().map(|disk| disk.of.disk.clone());
        Ok(Done::updated(Output {
            snapshot: params.snapshot.clone(),
            disks: disks.collect(),
            left: traces(&ports, params).await?,
        }))
    }
}

/// The state of the disks once all of them are restored.
async fn traces(ports: &HostPorts, params: &Params) -> Result<Vec<VolumeTrace>, Failure> {
    let mut traces = Vec::new();
    for disk in params.disks.iter().filter(|_| params.for_memory) {
        let volume = found(ports, &disk.of.volume, "the disk is gone since it was made").await?;
        traces.push(VolumeTrace::of(&volume));
    }
    Ok(traces)
}

async fn off(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<Option<DomainInfo>, Failure> {
    let domain = ownership::own_domain(cx, ports, params.uuid).await?;
    without_memory(ports, domain.as_ref())?;
    if let Some(domain) = &domain {
        own_disks::writes_only_to(cx, ports, domain, &params.named).await?;
    }
    match domain.as_ref().filter(|domain| domain.state.is_active()) {
        None => Ok(domain),
        Some(_) => Err(runs(
            ports,
            params.uuid,
            "the guest runs; its disks are put back while it is off",
        )),
    }
}

/// Finds all copies, and checks everything that could stop the work later.
async fn ready(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
    done: &[String],
) -> Result<Vec<VolumeInfo>, Failure> {
    let (mut sources, mut room) = (Vec::new(), RestoredRoom::of(ports).await?);
    for disk in &params.disks {
        if done.contains(&disk.of.disk) {
            sources.push(copy_of(ports, disk).await?);
            continue;
        }
        cx.report("checking the copies", sources.len() as u64, None);
        let copy = whole_copy(ports, disk).await?;
        let old = guards::removable(cx, ports, doomed(params, disk)).await?;
        room.add(disk, &copy, old.as_ref());
        sources.push(copy);
    }
    room.check(ports)?;
    Ok(sources)
}

async fn replace(
    cx: &StepContext,
    ports: &HostPorts,
    old: DeletionCandidate<'_>,
    copy: &VolumeInfo,
    format: VolumeFormat,
) -> Result<VolumeInfo, Failure> {
    // What came since the check would refuse the deletion, after the order is spent.
    guards::removable(cx, ports, old).await?;
    guards::spend_order(cx, old.key).await?;
    guards::record_replacement(cx, old.key).await?;
    guards::remove(cx, ports, old, DeletionGround::Ordered).await?;
    copy_as(ports, copy, old, format).await
}

fn doomed<'a>(params: &Params, disk: &'a DiskToRestore) -> DeletionCandidate<'a> {
    DeletionCandidate {
        key: &disk.of.volume,
        recorded: disk.recorded,
        owner: Some(params.uuid),
    }
}
