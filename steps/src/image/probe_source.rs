//! Checks the source of the image before anything is sent.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{Params, claimed};
use crate::{
    error,
    ports::{HostPorts, Hosts, ImageSource, SourceInfo},
};

/// Checks that the source has the image and that the pool has room for it.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt checks again.
pub struct ProbeSource {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
}

/// What [`ProbeSource`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The length in bytes, if the source reports it.
    pub length: Option<u64>,
    /// Equal for equal content; `None` if the source does not report it.
    pub validator: Option<String>,
}

impl ProbeSource {
    /// The step, acting through these hosts, with images from this source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        Self { hosts, source }
    }
}

#[async_trait]
impl Step for ProbeSource {
    const NAME: &'static str = "probe_source";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, cx: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(match claimed(cx)?.whole {
            Some(_) => Observed::Present(Output::default()),
            None => Observed::Needed,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let source = params.source(&self.source).await?;
        let SourceInfo { length, validator } = source.probe(&params.url).await?;
        if length == Some(0) {
            return Err(error::SOURCE_INVALID
                .failure("the file is empty")
                .of_object(&params.url));
        }
        let ports = self.hosts.host(&params.host).await?;
        let key = claimed(cx)?.volume;
        // The next attempt deletes what an earlier one sent, so its space counts as free.
        let old = ports
            .storage
            .volume(&key)
            .await?
            .map_or(0, |volume| volume.allocation);
        room(&ports, &key.pool, length.unwrap_or(0).saturating_sub(old)).await?;
        Ok(Done::present(Output { length, validator }))
    }
}

async fn room(ports: &HostPorts, pool: &str, needed: u64) -> Result<(), Failure> {
    let available = ports.storage.pool(pool).await?.map(|pool| pool.available);
    match available {
        Some(available) if available < needed => Err(error::NO_SPACE
            .failure(format!(
                "the image needs {needed} bytes and the pool has {available}"
            ))
            .on_host(ports.host.name())
            .of_object(format!("pool {pool}"))),
        _ => Ok(()),
    }
}
