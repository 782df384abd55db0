//! Makes the data disks of a snapshot again, beside the present ones.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    copy_as,
    restore_disks::DiskToRestore,
    restored_room::{RestoredRoom, copy_of, format_of, grow, whole_copy},
};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    ownership,
    ports::{DeletionGround, DomainInfo, HostPorts, Hosts, VolumeFormat, VolumeInfo, VolumeKey},
};

/// Copies each data disk of a snapshot to a volume of a name that none had before, in the format of the guest's
/// definition, while the guest keeps the present disks. Before the first copy the step checks that all copies exist and
/// are what was recorded, and that there is room. A later step defines the guest with the new volumes; until then
/// nothing is lost by a failure, a cancellation or a crash.
///
/// The disk's own stream records the name before the volume is made. A crash during the step leaves some volumes whole
/// and one half; each whole one is saved, and the next attempt makes the half one again. The snapshot is not changed.
pub struct RestoreBeside {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`RestoreBeside`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The data disks, and their copies.
    pub disks: Vec<DiskToRestore>,
}

/// What [`RestoreBeside`] made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The disks, in the order of the parameters.
    pub disks: Vec<DiskBeside>,
}

/// A data disk that was made beside the present one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskBeside {
    /// The volume that the disk is as yet.
    pub replaces: VolumeKey,
    /// The new volume.
    pub volume: VolumeKey,
    /// The path of the new volume on the host.
    pub path: String,
    /// The format of the new volume.
    pub format: VolumeFormat,
}

impl RestoreBeside {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for RestoreBeside {
    const NAME: &'static str = "restore_beside";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        for disk in &params.disks {
            guards::replacement_is_ordered(cx, Some(&disk.of.volume)).await?;
        }
        // A disk's content does not show whether all of the copy is in it.
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = ownership::own_domain(cx, &ports, params.uuid).await?;
        let mut restored: Output = cx.saved().await?.unwrap_or_default();
        let copies = ready(cx, &ports, params, &restored).await?;
        let total = params.disks.len() as u64;
        for (disk, from) in params.disks.iter().zip(&copies).skip(restored.disks.len()) {
            cx.report("restoring disks", restored.disks.len() as u64, Some(total));
            restored
                .disks
                .push(make(cx, &ports, disk, from, domain.as_ref()).await?);
            cx.save(&restored).await?;
        }
        Ok(Done::created(restored))
    }
}

/// Finds all copies, and checks everything that could stop the work later.
async fn ready(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
    made: &Output,
) -> Result<Vec<VolumeInfo>, Failure> {
    let (mut sources, mut room) = (Vec::new(), RestoredRoom::of(ports).await?);
    for (index, disk) in params.disks.iter().enumerate() {
        if index < made.disks.len() {
            sources.push(copy_of(ports, disk).await?);
            continue;
        }
        cx.report("checking the copies", index as u64, None);
        let copy = whole_copy(ports, disk).await?;
        let (half, _) = next_volume(cx, ports, disk)?;
        let half = ports.storage.volume(&half).await?;
        room.add(disk, &copy, half.as_ref());
        sources.push(copy);
    }
    room.check_beside(ports)?;
    Ok(sources)
}

/// The volume to make, and whether this journal began to make it.
fn next_volume(
    cx: &StepContext,
    ports: &HostPorts,
    disk: &DiskToRestore,
) -> Result<(VolumeKey, bool), Failure> {
    guards::next_volume(cx, &disk.of.volume).ok_or_else(|| {
        error::MISSING
            .failure("the journal has no such data disk any more")
            .on_host(ports.host.name())
            .of_object(format!("volume {}", disk.of.volume))
    })
}

async fn make(
    cx: &StepContext,
    ports: &HostPorts,
    disk: &DiskToRestore,
    from: &VolumeInfo,
    domain: Option<&DomainInfo>,
) -> Result<DiskBeside, Failure> {
    let (volume, is_begun) = next_volume(cx, ports, disk)?;
    let candidate = DeletionCandidate {
        key: &volume,
        recorded: is_begun,
        owner: None,
    };
    guards::remove(cx, ports, candidate, DeletionGround::Scratch).await?;
    guards::record_beside(cx, &volume).await?;
    let format = format_of(domain, disk);
    let copied = copy_as(ports, from, candidate, format).await?;
    grow(ports, disk, &copied).await?;
    Ok(DiskBeside {
        replaces: disk.of.volume.clone(),
        path: copied.path,
        format,
        volume,
    })
}
