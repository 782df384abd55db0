//! Checks that the memory of a snapshot can be restored, before anything is deleted for it.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    SavedMemory, layers,
    memory::{VolumeTrace, difference, intact, unfit},
};
use crate::{
    error, ownership,
    ports::{HostPorts, Hosts, VolumeKey},
};

/// Reads the whole file with a guest's memory and compares its length and hash with those recorded when
/// it was saved, and its machine with the current definition.
///
/// It runs before the guest is shut down, so damaged memory or memory of another machine costs nothing.
/// The step only reads, so a crash during it leaves nothing; the next attempt reads again.
pub struct CheckMemory {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`CheckMemory`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The memory.
    pub memory: SavedMemory,
    /// The disks that are restored with it: the guest may write to no other.
    pub disks: Vec<VolumeKey>,
}

/// What [`CheckMemory`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The file that was read.
    pub file: VolumeTrace,
}

impl CheckMemory {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, cx: &StepContext, params: &Params) -> Result<Output, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        fits(cx, &ports, params).await?;
        let activity = "checking the memory";
        cx.report(activity, 0, Some(params.memory.length));
        let file = intact(&ports, &params.memory).await?;
        cx.report(activity, params.memory.length, Some(params.memory.length));
        Ok(Output {
            file: VolumeTrace::of(&file),
        })
    }
}

/// Checks as [`CheckMemory`] does, except for the hash of the memory, which has to be read whole. Nothing is changed.
///
/// # Errors
/// The reason why the memory would not be restored; port errors by their kind.
pub async fn foresee(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<(), Failure> {
    fits(cx, ports, params).await
}

#[async_trait]
impl Step for CheckMemory {
    const NAME: &'static str = "check_memory";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Present(self.inspect(cx, params).await?))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::present(self.inspect(cx, params).await?))
    }
}

/// Checks that the defined machine is the one in the memory, and that it writes only to the snapshot's
/// disks.
async fn fits(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<(), Failure> {
    let uuid = params.uuid;
    let domain = ownership::own_domain(cx, ports, uuid)
        .await?
        .ok_or_else(|| {
            error::MISSING
                .failure("the domain is not defined")
                .on_host(ports.host.name())
                .of_object(format!("domain {uuid}"))
        })?;
    let file = super::memory::of_length(ports, &params.memory).await?;
    let saved = ports.domains.saved_machine(&file.path).await?;
    if saved.uuid != uuid {
        return Err(unfit(ports, uuid, "the memory is that of another domain"));
    }
    if let Some(changed_part) = difference(&saved.shape, &domain.stored) {
        let why = format!("its {changed_part} changed since its memory was saved");
        return Err(unfit(ports, uuid, &why));
    }
    let mut paths = Vec::new();
    for disk in &params.disks {
        let folder = ports.storage.volume(disk).await?;
        // A missing disk is made again from its copy, at the path beside the memory.
        paths.push(folder.map_or_else(|| layers::beside(&file.path, disk), |volume| volume.path));
    }
    let mut written = domain.stored.disks.iter().filter(|disk| !disk.readonly);
    match written.find(|disk| !paths.contains(&disk.source)) {
        None => Ok(()),
        Some(disk) => {
            let why = format!(
                "the guest writes to {}, which is not in the snapshot",
                disk.source
            );
            Err(unfit(ports, uuid, &why))
        }
    }
}
