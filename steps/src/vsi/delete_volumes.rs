//! Deletes the volumes that were made for the VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards::{self, DeletionCandidate},
    names,
    ports::{DeletionGround, HostPorts, Hosts, Removed, VolumeKey},
};

/// Deletes each volume that the guards permit to delete, and does not touch what this journal did not
/// make.
///
/// A crash during the step leaves some volumes deleted; the next attempt continues with the rest.
pub struct DeleteVolumes {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`DeleteVolumes`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The volumes.
    pub volumes: Vec<VolumeToDelete>,
}

/// A volume to delete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumeToDelete {
    /// Pool and name.
    pub volume: VolumeKey,
    /// Whether this journal recorded the intent of the step that makes it.
    pub recorded: bool,
}

/// What [`DeleteVolumes`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Volumes that this step deleted.
    pub removed: Vec<VolumeKey>,
    /// Volumes with the name of one of ours that this journal never made: not touched.
    pub kept: Vec<VolumeKey>,
}

impl DeleteVolumes {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for DeleteVolumes {
    const NAME: &'static str = "delete_volumes";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        for doomed in all_volumes(params.uuid, &params.volumes) {
            if ports.storage.volume(&doomed.volume).await?.is_some() {
                return Ok(Observed::Needed);
            }
        }
        Ok(Observed::Present(Output::default()))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut output = Output::default();
        for doomed in all_volumes(params.uuid, &params.volumes) {
            delete(cx, &ports, params.uuid, doomed, &mut output).await?;
        }
        Ok(Done::updated(output))
    }
}

impl VolumeToDelete {
    /// The candidate for the guards, of the VSI with this UID.
    pub(super) fn candidate(&self, uid: Uuid) -> DeletionCandidate<'_> {
        DeletionCandidate {
            key: &self.volume,
            recorded: self.recorded,
            owner: Some(uid),
        }
    }
}

/// The volumes of a VSI, and the rotated file of its console log.
pub(super) fn all_volumes(
    uid: Uuid,
    volumes: &[VolumeToDelete],
) -> impl Iterator<Item = VolumeToDelete> + '_ {
    volumes.iter().flat_map(move |doomed| {
        let key = &doomed.volume;
        let is_log = *key == names::console_log(&key.pool, uid);
        let rotated = VolumeKey {
            pool: key.pool.clone(),
            name: format!("{}.0", key.name),
        };
        let rotated = VolumeToDelete {
            volume: rotated,
            recorded: doomed.recorded,
        };
        std::iter::once(doomed.clone()).chain(is_log.then_some(rotated))
    })
}

async fn delete(
    cx: &StepContext,
    ports: &HostPorts,
    uid: Uuid,
    doomed: VolumeToDelete,
    output: &mut Output,
) -> Result<(), Failure> {
    let key = &doomed.volume;
    if !doomed.recorded {
        if ports.storage.volume(key).await?.is_some() {
            output.kept.push(key.clone());
        }
        return Ok(());
    }
    let candidate = doomed.candidate(uid);
    let is_boot_disk = names::boot_disk_number(&key.name, uid).is_some();
    let removed = if is_boot_disk || guards::is_written(cx, key) {
        guards::remove_for_good(cx, ports, candidate, DeletionGround::Ordered).await?
    } else {
        guards::remove(cx, ports, candidate, DeletionGround::Scratch).await?
    };
    if removed == Removed::Removed {
        output.removed.push(doomed.volume);
    }
    Ok(())
}
