//! Creates the volume of a data disk as a copy of an image that was verified on the host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    create_volume::Output,
    filling::{self, Filling},
};
use crate::{
    image::BaseImage,
    ports::{HostPorts, Hosts, VolumeKey},
    vsi::clone_boot_disk::{BASE_IMAGE_NODE, still_verified},
};

/// Copies the verified image on the host, once. After that the content belongs to the user.
///
/// A crash during the step leaves the same states as one of [`FillVolume`](super::FillVolume), and the
/// next attempt recovers in the same way.
pub struct FillFromImage {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`FillFromImage`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The volume.
    pub volume: VolumeKey,
    /// The size that the guest will see, in bytes.
    pub size: u64,
    /// Whether it was made before: if it no longer exists, the step fails and does not make it again.
    #[serde(default)]
    pub made: bool,
}

impl FillFromImage {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

fn of<'a>(cx: &'a StepContext, ports: &'a HostPorts, params: &'a Params) -> Filling<'a> {
    Filling {
        cx,
        ports,
        volume: &params.volume,
        made: params.made,
        size: params.size,
    }
}

#[async_trait]
impl Step for FillFromImage {
    const NAME: &'static str = "fill_from_image";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        of(cx, &ports, params).observe().await
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let disk = of(cx, &ports, params);
        let base: BaseImage = cx.output(BASE_IMAGE_NODE)?;
        disk.fits(base.virtual_size)?;
        let source = still_verified(&ports, &base).await?;
        cx.report("copying the image", 0, None);
        let copy = disk.copy(&source).await?;
        disk.mark(&copy, &base.origin).await?;
        Ok(Done::created(filling::output(copy)))
    }
}
