//! Creates the volume of a data disk.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards, ownership,
    ports::{HostPorts, Hosts, PortErrorKind, VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec},
};

/// Creates the volume once. After that its content belongs to the user, and it is never created again.
///
/// A crash during the step leaves no volume or the whole one. The recorded intent shows the next attempt
/// that the volume it finds is its own.
pub struct CreateVolume {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`CreateVolume`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The volume.
    pub volume: VolumeKey,
    /// The size the guest sees, in bytes.
    pub size: u64,
    /// The volume's format.
    pub format: VolumeFormat,
    /// Whether this journal recorded the intent to make it in another run: one of a VSI.
    #[serde(default)]
    pub recorded: bool,
    /// Whether it was made before: if it no longer exists, the step fails and does not make it again.
    #[serde(default)]
    pub made: bool,
    /// Whether an earlier journal made it: which volume it is now is found out on the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
}

/// What [`CreateVolume`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The path on the host.
    pub path: String,
    /// The size the guest sees, in bytes.
    pub capacity: u64,
}

impl CreateVolume {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for CreateVolume {
    const NAME: &'static str = "create_volume";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        if params.adopted {
            guards::find_present(cx, &ports, &params.volume).await?;
        }
        let key = guards::current_volume(cx, &params.volume);
        match ports.storage.volume(&key).await? {
            Some(volume) if params.recorded || cx.intended_before => {
                if cx.attempt > 1 {
                    // An earlier attempt may have ended between the creation and the sync.
                    ports.storage.sync(&key).await?;
                }
                guards::record_data_disk_once(cx, &ports, &volume).await?;
                Ok(Observed::Present(output(volume)))
            }
            Some(_) => {
                ownership::not_behind_host(cx, &ports).await?;
                Err(guards::not_ours(&ports, &key))
            }
            None if params.made || key != params.volume => Err(super::vanished(&ports, &key)),
            None => {
                guards::no_later_volume(&ports, &key).await?;
                Ok(Observed::Needed)
            }
        }
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let volume = make(&ports, params).await?;
        ports.storage.sync(&params.volume).await?;
        guards::record_data_disk(cx, &ports, &volume).await?;
        Ok(Done::created(output(volume)))
    }
}

async fn make(ports: &HostPorts, params: &Params) -> Result<VolumeInfo, Failure> {
    let spec = VolumeSpec {
        key: params.volume.clone(),
        format: params.format,
        capacity: params.size,
        backing: None,
    };
    let created = ports.storage.create(&spec).await;
    created.map_err(|error| match error.kind {
        PortErrorKind::Exists => guards::not_ours(ports, &params.volume),
        _ => error.into(),
    })
}

fn output(volume: VolumeInfo) -> Output {
    Output {
        path: volume.path,
        capacity: volume.capacity,
    }
}
