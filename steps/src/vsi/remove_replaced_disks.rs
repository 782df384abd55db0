//! Deletes disks that another one has replaced.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards::{self, DeletionCandidate},
    ports::{DeletionGround, HostPorts, Hosts, Removed, VolumeKey},
};

/// Deletes each of these disks, which the VSI's definition does not name any more.
///
/// One that a guest may have written to is deleted only by an order for it, which is spent before. One that no
/// definition ever named, or that was made for one start, needs none. No domain is excused: a disk that the VSI's
/// own definition still names is not deleted.
///
/// A crash during the step leaves some disks deleted; the next attempt continues with the rest.
pub struct RemoveReplacedDisks {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`RemoveReplacedDisks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The disks.
    pub disks: Vec<ReplacedDisk>,
}

/// A disk that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedDisk {
    /// Its volume.
    pub volume: VolumeKey,
    /// Whether a guest may have written to it.
    pub written: bool,
}

/// What [`RemoveReplacedDisks`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The volumes that this attempt deleted.
    pub removed: Vec<VolumeKey>,
}

impl RemoveReplacedDisks {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for RemoveReplacedDisks {
    const NAME: &'static str = "remove_replaced_disks";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        if params.disks.is_empty() {
            return Ok(Observed::Present(Output::default()));
        }
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut output = Output::default();
        for disk in &params.disks {
            if remove(cx, &ports, disk).await? == Removed::Removed {
                output.removed.push(disk.volume.clone());
            }
        }
        Ok(Done::updated(output))
    }
}

async fn remove(
    cx: &StepContext,
    ports: &HostPorts,
    disk: &ReplacedDisk,
) -> Result<Removed, Failure> {
    let candidate = DeletionCandidate {
        key: &disk.volume,
        recorded: true,
        owner: None,
    };
    let ground = if disk.written {
        DeletionGround::Ordered
    } else {
        DeletionGround::Scratch
    };
    guards::remove_for_good(cx, ports, candidate, ground).await
}
