//! Deletes the volumes of a data disk.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards::{self, DeletionCandidate, SharedBy},
    image::sidecar,
    ports::{DeletionGround, HostPorts, Hosts, Removed, VolumeKey},
};

/// Deletes the volume that the disk is, if the guards permit it, and before it those that restorations left. The
/// step is blocked, and checks again automatically, as long as any domain names one of them (ours or not, running or
/// off) or another volume is a layer over it.
///
/// The sidecar that says that the disk was filled is deleted last: a disk never exists without it.
///
/// A crash during the step leaves some of the volumes, the sidecar, or nothing; the next attempt acts on what it
/// finds.
pub struct DeleteVolume {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`DeleteVolume`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The disk's first volume.
    pub volume: VolumeKey,
    /// Whether this journal recorded the intent to make it.
    pub recorded: bool,
    /// Whether it was filled when it was made: then a sidecar on the host says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filled: bool,
}

/// What [`DeleteVolume`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whether this step deleted it.
    pub removed: bool,
}

impl DeleteVolume {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for DeleteVolume {
    const NAME: &'static str = "delete_volume";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let absent = Observed::Present(Output { removed: false });
        if !params.recorded {
            // Nothing was ever made: a volume of this name is foreign and is not touched.
            return Ok(absent);
        }
        let ports = self.hosts.host(&params.host).await?;
        for (key, _) in guards::all_volumes(cx, &params.volume) {
            if ports.storage.volume(&key).await?.is_some() {
                return Ok(Observed::Needed);
            }
        }
        if params.filled && has_sidecar(cx, &ports, params).await? {
            return Ok(Observed::Needed);
        }
        Ok(absent)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let candidate = |key| DeletionCandidate {
            key,
            recorded: params.recorded,
            owner: None,
        };
        let volumes = guards::all_volumes(cx, &params.volume);
        let (hosts, here) = (&self.hosts, &params.host);
        for (key, _) in &volumes {
            guards::unused_elsewhere(cx, hosts, here, key, SharedBy::Name).await?;
            guards::removable(cx, &ports, candidate(key)).await?;
        }
        let mut removed = false;
        for (key, is_written) in volumes.iter().rev() {
            let ground = if *is_written {
                DeletionGround::Ordered
            } else {
                DeletionGround::Scratch
            };
            let deletion = guards::remove_for_good(cx, &ports, candidate(key), ground).await?;
            removed |= deletion == Removed::Removed;
        }
        if params.filled && has_sidecar(cx, &ports, params).await? {
            let key = sidecar::key(&params.volume);
            guards::remove(cx, &ports, candidate(&key), DeletionGround::Scratch).await?;
        }
        Ok(Done::updated(Output { removed }))
    }
}

async fn has_sidecar(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<bool, Failure> {
    let sidecar = sidecar::read(ports, &cx.journal_id, &params.volume).await?;
    Ok(sidecar.is_some_and(|sidecar| sidecar.ours))
}
