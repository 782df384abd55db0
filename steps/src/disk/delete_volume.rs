//! Deletes the volume of a data disk.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards::{self, DeletionCandidate},
    ports::{Hosts, Removed, VolumeKey},
};

/// Deletes the volume once the guards give it free: as long as any domain, ours or not, running or
/// off, names it, or a volume lies over it, the step is blocked and looks again by itself.
///
/// A crash in its middle leaves the volume or none; the next attempt goes by what it finds.
pub struct DeleteVolume {
    hosts: Arc<dyn Hosts>,
}

/// What [`DeleteVolume`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The volume.
    pub volume: VolumeKey,
    /// Whether this journal recorded the intent to make it.
    pub recorded: bool,
}

/// What [`DeleteVolume`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whether it was deleted now.
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

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        let absent = Observed::Present(Output { removed: false });
        if !params.recorded {
            // Nothing was ever made: what bears the name is another's, and stays.
            return Ok(absent);
        }
        let ports = self.hosts.host(&params.host).await?;
        Ok(match ports.storage.volume(&params.volume).await? {
            Some(_) => Observed::Needed,
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
        let removed = guards::remove(cx, &ports, doomed).await? == Removed::Removed;
        Ok(Done::updated(Output { removed }))
    }
}
