//! Removes the VSI's domain from the host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::delete_volumes::{VolumeToDelete, all_volumes};
use crate::{
    guards::{self, DomainToUndefine},
    ownership,
    ports::{Hosts, Leftovers, Removed, VolumeKey},
};

/// Removes the definition of a domain that is off. If the VSI is not deleted, the settings of its firmware
/// remain, and a domain that was saved with its memory is refused: that memory has data that the guest had
/// not written to its disks.
///
/// The guards are asked first about the volumes that are to be deleted after it: a VSI of which they would keep a
/// part stays whole. So does one whose guest writes to another file in the place of a data disk, such as the layer
/// of a backup tool: whoever got the disk next would have its older content.
///
/// A crash during the step leaves the whole definition or none. A running domain is refused: libvirt
/// would remove its definition while it continues to run.
pub struct UndefineDomain {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`UndefineDomain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Whether its saved memory and the settings of its firmware are deleted, too, as the VSI is.
    #[serde(default)]
    pub discard: bool,
    /// Volumes that are deleted after it. If one may not be deleted, the definition stays as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeToDelete>,
    /// Data disks of the VSI. If the guest writes to another file in the place of one, the definition stays: only it
    /// names that file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stay: Vec<VolumeKey>,
}

impl Params {
    fn leftovers(&self) -> Leftovers {
        if self.discard {
            Leftovers::Delete
        } else {
            Leftovers::Keep
        }
    }
}

/// What [`UndefineDomain`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Whether there was a definition.
    pub removed: bool,
}

impl UndefineDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for UndefineDomain {
    const NAME: &'static str = "undefine_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        match ownership::own_domain(cx, &ports, params.uuid).await? {
            Some(_) => Ok(Observed::Needed),
            None => Ok(Observed::Present(Output { removed: false })),
        }
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let volumes: Vec<VolumeToDelete> = all_volumes(params.uuid, &params.volumes).collect();
        let candidates = volumes.iter().map(|doomed| doomed.candidate(params.uuid));
        let undefined = DomainToUndefine {
            uuid: params.uuid,
            leftovers: params.leftovers(),
            volumes: &candidates.collect::<Vec<_>>(),
            stay: &params.stay,
        };
        let permit = guards::permit_undefinition(cx, &ports, undefined).await?;
        let removed = ports.domains.undefine(&permit).await?;
        Ok(Done::updated(Output {
            removed: removed == Removed::Removed,
        }))
    }
}
