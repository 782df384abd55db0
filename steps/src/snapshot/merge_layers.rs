//! Merges the layers that a guest wrote into while its disks were copied.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    DiskCopy,
    layers::{Disks, Saved},
    present,
};
use crate::ports::{HostPorts, Hosts};

/// Merges each layer of a snapshot into its disk while the guest runs, switches the guest back to the
/// disk, and deletes the layer. If the guest is off with a layer, it is started suspended for that,
/// executes nothing, and is turned off afterwards.
///
/// A crash during the step leaves a layer that the guest still writes into, with or without a merge in
/// progress, or one that is no longer used. The guest's definition shows which, and the next attempt
/// continues. That the guest was started only for this is saved before the start. As long as the
/// definition names a layer, merging again loses no content.
pub struct MergeLayers {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`MergeLayers`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Its disks, and their layers.
    pub disks: Vec<DiskCopy>,
}

/// What [`MergeLayers`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The disks whose layers this step merged.
    pub merged: Vec<String>,
}

impl MergeLayers {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for MergeLayers {
    const NAME: &'static str = "merge_layers";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let saved: Saved = cx.saved().await?.unwrap_or_default();
        let disks = present(cx, &params.disks);
        let laid = layered(cx, &ports, params.uuid, &disks)
            .has_layers()
            .await?;
        Ok(if laid || saved.woken {
            Observed::Needed
        } else {
            Observed::Present(Output::default())
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut saved = cx.saved().await?.unwrap_or_default();
        let disks = present(cx, &params.disks);
        let disks = layered(cx, &ports, params.uuid, &disks);
        let merged = disks.merge(&mut saved).await?;
        Ok(Done::updated(Output { merged }))
    }
}

fn layered<'a>(
    cx: &'a StepContext,
    ports: &'a HostPorts,
    uuid: Uuid,
    disks: &'a [DiskCopy],
) -> Disks<'a> {
    Disks {
        cx,
        ports,
        uuid,
        disks,
    }
}
