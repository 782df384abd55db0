//! Finds the copy in a snapshot from which a boot disk is copied.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{CopySum, copies, found};
use crate::{
    image::BaseImage,
    ports::{Hosts, VolumeFormat, VolumeKey},
};

/// Looks up the copy, which replaces a base image, and compares it with what was recorded of it. The step only
/// reads, so a crash during it leaves nothing.
pub struct FindCopy {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`FindCopy`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The copy.
    pub volume: VolumeKey,
    /// Its recorded length and hash; `None` if it is taken without a check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<CopySum>,
}

impl FindCopy {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, params: &Params) -> Result<BaseImage, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let gone = "the snapshot's copy is not there";
        let volume = found(&ports, &params.volume, gone).await?;
        if let Some(expected) = &params.expected {
            copies::check(&ports, &volume, expected).await?;
        }
        Ok(BaseImage {
            host: params.host.clone(),
            key: volume.key,
            path: volume.path,
            format: VolumeFormat::Qcow2,
            size: volume.physical,
            virtual_size: volume.capacity,
            sha256: String::new(),
            modified: volume.modified,
            origin: String::new(),
        })
    }
}

#[async_trait]
impl Step for FindCopy {
    const NAME: &'static str = "find_copy";
    type Params = Params;
    type Output = BaseImage;

    async fn observe(
        &self,
        _: &StepContext,
        params: &Params,
    ) -> Result<Observed<BaseImage>, Failure> {
        if params.expected.is_some() {
            // The check reads the whole copy.
            return Ok(Observed::Needed);
        }
        Ok(Observed::Present(self.inspect(params).await?))
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<BaseImage>, Failure> {
        Ok(Done::present(self.inspect(params).await?))
    }
}
