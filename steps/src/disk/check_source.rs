//! Checks the image that a data disk will be filled with.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::filling;
use crate::{
    image::head,
    ports::{ImageSource, source_for},
};

/// Checks that the image fits into the disk, before any of it is sent. A size that is only known after
/// unpacking is checked once the image is on the host.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt checks again.
pub struct CheckSource {
    source: Arc<dyn ImageSource>,
}

/// Parameters of [`CheckSource`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID: its settings give access to the image.
    pub host: String,
    /// The URL of the image.
    pub url: String,
    /// `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    pub checksum: Option<String>,
    /// The size that the guest will see, in bytes.
    pub size: u64,
}

/// What [`CheckSource`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The size of the image as a guest would see it, in bytes, if it is known.
    pub virtual_size: Option<u64>,
}

impl CheckSource {
    /// The step, with images from this source.
    pub fn new(source: Arc<dyn ImageSource>) -> Self {
        Self { source }
    }
}

#[async_trait]
impl Step for CheckSource {
    const NAME: &'static str = "check_source";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let source = source_for(&self.source, &params.host, params.checksum.as_deref()).await?;
        let virtual_size = head::examine(&*source, &params.url).await?;
        match virtual_size.filter(|needed| *needed > params.size) {
            Some(needed) => Err(filling::too_small(params.size, needed).of_object(&params.url)),
            None => Ok(Done::present(Output { virtual_size })),
        }
    }
}
