//! Makes the volume of a data disk as a copy of another volume.

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

/// Copies the volume on the host, once: from then on its content is the user's.
///
/// A crash in its middle leaves no volume, half a copy or a whole one, and these cannot be told apart
/// as long as the host does not say that it is whole. So the next attempt deletes it and copies again
/// until then, and looks at it afterwards; nobody attaches the disk before its run came to its end.
///
/// What another disk is copied from nobody may write to meanwhile: a guest that has it makes the step
/// wait, and a copy that is not of one moment is deleted.
pub struct FillVolume {
    hosts: Arc<dyn Hosts>,
}

/// What [`FillVolume`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The volume.
    pub volume: VolumeKey,
    /// What it is a copy of.
    pub source: VolumeKey,
    /// Whether it was made before: one that is gone is then missing, not to be made.
    #[serde(default)]
    pub made: bool,
    /// The size that the guest is to see, in bytes; 0 where nobody said.
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
        let made = disk.copy(&source).await?;
        let now = idle(cx, &ports, params).await;
        if now.as_ref() != Ok(&source) {
            disk.discard().await?;
            now?;
            return Err(changed(&ports, params, "it changed while it was copied"));
        }
        disk.mark(&made, &params.source.to_string()).await?;
        Ok(Done::created(filling::output(made)))
    }
}

/// The source, which no guest that is on has.
async fn idle(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<VolumeInfo, Failure> {
    let gone = "what the disk is to be a copy of is not there";
    let source = snapshot::found(ports, &params.source, gone).await?;
    if !params.shared {
        return Ok(source);
    }
    let domains = ports.domains.domains().await?;
    let busy = |domain: &&DomainInfo| domain.state.is_active() || domain.saved;
    let busy: Vec<&DomainInfo> = domains.iter().filter(busy).collect();
    match guards::users(ports, &busy, &source, &[]).await?.first() {
        None => Ok(source),
        Some(user) => {
            let why = format!("{} has it", ownership::called(cx, user));
            Err(changed(ports, params, &why))
        }
    }
}

fn changed(ports: &HostPorts, params: &Params, why: &str) -> Failure {
    error::DISK_SOURCE_IN_USE
        .failure(format!("the disk that is to be copied is in use: {why}"))
        .on_host(ports.host.name())
        .of_object(format!("volume {}", params.source))
}
