//! Creates the volume of a data disk as a copy of another volume.

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
    error, guards, ownership,
    ports::{DomainInfo, HostPorts, Hosts, VolumeInfo, VolumeKey},
    snapshot,
};

/// Copies the volume on the host, once. After that its content belongs to the user.
///
/// A crash during the step leaves no volume, half a copy or a whole one. They cannot be distinguished
/// until the sidecar on the host says that the copy is whole. Until then the next attempt deletes the
/// copy and copies again; afterwards it checks the disk. The disk is not attached before its run has
/// ended.
///
/// Nothing may write to another data disk while it is copied: the step waits for a guest that uses it,
/// and deletes a copy if the source changed.
pub struct FillVolume {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`FillVolume`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The volume.
    pub volume: VolumeKey,
    /// The volume that is copied.
    pub source: VolumeKey,
    /// Whether it was made before: if it no longer exists, the step fails and does not make it again.
    #[serde(default)]
    pub made: bool,
    /// The size that the guest will see, in bytes; 0 if none is set.
    #[serde(default)]
    pub size: u64,
    /// Whether others may write to the source, as to another data disk.
    #[serde(default)]
    pub shared: bool,
}

impl FillVolume {
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
impl Step for FillVolume {
    const NAME: &'static str = "fill_volume";
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
        let source = idle(cx, &ports, params).await?;
        disk.fits(source.capacity)?;
        cx.report("copying the disk", 0, None);
        let copy = disk.copy(&source).await?;
        let source_after = idle(cx, &ports, params).await;
        if source_after.as_ref() != Ok(&source) {
            disk.discard().await?;
            source_after?;
            return Err(changed(&ports, params, "it changed while it was copied"));
        }
        disk.mark(&copy, &params.source.to_string()).await?;
        Ok(Done::created(filling::output(copy)))
    }
}

/// The source; an error if a running or saved guest uses it, or any guest has a layer over it.
async fn idle(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<VolumeInfo, Failure> {
    let gone = "what the disk is to be a copy of is not there";
    let source = guards::current_volume(cx, &params.source);
    guards::is_whole_disk(cx, ports, &source)?;
    let source = snapshot::found(ports, &source, gone).await?;
    if !params.shared {
        return Ok(source);
    }
    let domains = ports.domains.domains().await?;
    let all_domains: Vec<&DomainInfo> = domains.iter().collect();
    let listed = guards::active_volumes(ports).await?;
    for user in guards::users(ports, &all_domains, &source, &listed).await? {
        let (domain, called) = (user.domain, ownership::called(cx, user.domain));
        if let Some(layer) = &user.layer {
            let why = format!("{called} has {layer}, a layer over it");
            return Err(changed(ports, params, &why));
        }
        if domain.state.is_active() || domain.saved {
            return Err(changed(ports, params, &format!("{called} has it")));
        }
    }
    guards::over(cx, ports, &[&source], &listed).await?;
    Ok(source)
}

fn changed(ports: &HostPorts, params: &Params, why: &str) -> Failure {
    error::DISK_SOURCE_IN_USE
        .failure(format!("the disk that is to be copied is in use: {why}"))
        .on_host(ports.host.name())
        .of_object(format!("volume {}", params.source))
}
