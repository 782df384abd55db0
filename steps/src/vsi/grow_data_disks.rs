//! Makes data disks larger.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    error, ownership,
    ports::{HostPorts, Hosts, VolumeInfo, VolumeKey},
};

/// Grows each disk to its size, through the guest's QEMU if it runs. A disk is never made smaller.
///
/// A crash during the step leaves some disks grown; the next attempt checks their sizes and continues.
pub struct GrowDataDisks {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`GrowDataDisks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The disks that may have to grow.
    pub disks: Vec<Growing>,
}

/// A disk and its desired size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Growing {
    /// The volume.
    pub volume: VolumeKey,
    /// The size the guest sees, in bytes.
    pub size: u64,
}

/// What [`GrowDataDisks`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The disks that this step grew.
    pub grown: Vec<VolumeKey>,
}

impl GrowDataDisks {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for GrowDataDisks {
    const NAME: &'static str = "grow_data_disks";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        for disk in &params.disks {
            if find(&ports, disk).await?.capacity < disk.size {
                return Ok(Observed::Needed);
            }
        }
        Ok(Observed::Present(Output { grown: Vec::new() }))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = ownership::own_domain(cx, &ports, params.uuid).await?;
        let runs = domain.is_some_and(|domain| domain.state.is_active());
        let mut grown = Vec::new();
        for disk in &params.disks {
            let volume = find(&ports, disk).await?;
            if volume.capacity >= disk.size {
                continue;
            }
            if runs {
                let domains = &ports.domains;
                domains
                    .grow_disk(params.uuid, &volume.path, disk.size)
                    .await?;
            } else {
                ports.storage.resize(&disk.volume, disk.size).await?
            }
            grown.push(disk.volume.clone());
        }
        Ok(Done::updated(Output { grown }))
    }
}

async fn find(ports: &HostPorts, disk: &Growing) -> Result<VolumeInfo, Failure> {
    let volume = ports.storage.volume(&disk.volume).await?;
    volume.ok_or_else(|| {
        error::MISSING
            .failure("the data disk that is to grow is not there")
            .on_host(ports.host.name())
            .of_object(format!("volume {}", disk.volume))
    })
}
