//! Deletes the volume of a data disk.

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

/// Deletes the volume if the guards permit it. The step is blocked, and checks again automatically, as
/// long as any domain names the volume (ours or not, running or off) or another volume is a layer over
/// it.
///
/// The sidecar that says that the disk was filled is deleted after it: a disk never exists without it.
///
/// A crash during the step leaves the volume, its sidecar, or nothing; the next attempt acts on what it
/// finds.
pub struct DeleteVolume {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`DeleteVolume`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The volume.
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
        Ok(match ports.storage.volume(&params.volume).await? {
            Some(_) => Observed::Needed,
            None if params.filled && has_sidecar(cx, &ports, params).await? => Observed::Needed,
            None => absent,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let doomed = DeletionCandidate {
            key: &params.volume,
            recorded: params.recorded,
            owner: None,
        };
        let (hosts, here) = (&self.hosts, &params.host);
        guards::unused_elsewhere(cx, hosts, here, &params.volume, SharedBy::Name).await?;
        let removed = guards::remove_for_good(cx, &ports, doomed, DeletionGround::Ordered).await?;
        let removed = removed == Removed::Removed;
        if params.filled && has_sidecar(cx, &ports, params).await? {
            let key = &sidecar::key(&params.volume);
            let sidecar = DeletionCandidate { key, ..doomed };
            guards::remove(cx, &ports, sidecar, DeletionGround::Scratch).await?;
        }
        Ok(Done::updated(Output { removed }))
    }
}

async fn has_sidecar(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<bool, Failure> {
    let found = sidecar::read(ports, &cx.journal_id, &params.volume).await?;
    Ok(found.is_some_and(|found| found.ours))
}
