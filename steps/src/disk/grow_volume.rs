//! Makes a data disk larger.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards, ownership,
    ports::{DomainInfo, HostPorts, Hosts, VolumeInfo, VolumeKey},
};

/// Grows the disk to its size, through the guest that has it open if one is running. A disk is never made
/// smaller. If a foreign guest has it open, it is not changed until that guest is off. Another file under its name is not
/// changed.
///
/// A crash during the step leaves the old size or the new one; the next attempt checks which.
pub struct GrowVolume {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`GrowVolume`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The volume.
    pub volume: VolumeKey,
    /// The size the guest sees, in bytes.
    pub size: u64,
}

/// What [`GrowVolume`] found or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The size the guest sees, in bytes.
    pub capacity: u64,
    /// The format that the host detected in the volume.
    pub format: String,
}

impl GrowVolume {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for GrowVolume {
    const NAME: &'static str = "grow_volume";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let volume = find(cx, &ports, params).await?;
        Ok(if volume.capacity >= params.size {
            Observed::Present(output(volume))
        } else {
            Observed::Needed
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let volume = find(cx, &ports, params).await?;
        guards::is_the_recorded(cx, &ports, &volume).await?;
        match user(cx, &ports, &volume).await? {
            Some(guest) => {
                let domains = &ports.domains;
                let grown = domains.grow_disk(guest.uuid, &volume.path, params.size);
                grown.await?;
            }
            None => ports.storage.resize(&volume.key, params.size).await?,
        }
        Ok(Done::updated(output(find(cx, &ports, params).await?)))
    }
}

async fn find(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<VolumeInfo, Failure> {
    let key = guards::current_volume(cx, &params.volume);
    let volume = ports.storage.volume(&key).await?;
    volume.ok_or_else(|| super::vanished(ports, &key))
}

/// Our guest that has the volume open. Refuses a volume that has a layer over it: its guest sees the size
/// of the layer.
async fn user(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
) -> Result<Option<DomainInfo>, Failure> {
    let (domains, mut owner) = (ports.domains.domains().await?, None);
    let all_domains: Vec<&DomainInfo> = domains.iter().collect();
    let listed = guards::active_volumes(ports).await?;
    for user in guards::users(ports, &all_domains, volume, &listed).await? {
        let domain = user.domain;
        if let Some(layer) = &user.layer {
            let called = ownership::called(cx, domain);
            return Err(guards::below_layer(cx, ports, volume, &called, layer));
        }
        if !domain.state.is_active() {
            continue;
        }
        if !ownership::is_ours(cx, domain, domain.uuid) {
            let why = format!("domain {}, which is not ours, uses it", domain.name);
            return Err(guards::in_use(ports, volume, &why));
        }
        owner = Some(domain.clone());
    }
    Ok(owner)
}

fn output(volume: VolumeInfo) -> Output {
    Output {
        capacity: volume.capacity,
        format: volume.format,
    }
}
