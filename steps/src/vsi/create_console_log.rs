//! Creates the console log, so that it can be read from its first byte.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    guards,
    ports::{HostPorts, Hosts, PortErrorKind, VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec},
};

/// Creates an empty raw volume to which the host's log daemon will write.
///
/// A crash during the step leaves no volume or the empty one. The next attempt treats what it finds as
/// its own only if the intent to make it was recorded before.
pub struct CreateConsoleLog {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`CreateConsoleLog`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The log to create.
    pub volume: VolumeKey,
}

/// What [`CreateConsoleLog`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The path on the host.
    pub path: String,
}

impl CreateConsoleLog {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for CreateConsoleLog {
    const NAME: &'static str = "create_console_log";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        match ports.storage.volume(&params.volume).await? {
            Some(volume) => Ok(Observed::Present(ours(cx, &ports, volume)?)),
            None => Ok(Observed::Needed),
        }
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let spec = VolumeSpec {
            key: params.volume.clone(),
            format: VolumeFormat::Raw,
            capacity: 0,
            backing: None,
        };
        match ports.storage.create(&spec).await {
            Ok(volume) => Ok(Done::created(Output { path: volume.path })),
            Err(error) if error.kind == PortErrorKind::Exists => {
                match self.observe(cx, params).await? {
                    Observed::Present(output) => Ok(Done::present(output)),
                    Observed::Needed => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn ours(cx: &StepContext, ports: &HostPorts, volume: VolumeInfo) -> Result<Output, Failure> {
    if cx.intended_before {
        Ok(Output { path: volume.path })
    } else {
        Err(guards::not_ours(ports, &volume.key))
    }
}
