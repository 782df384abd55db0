//! Sends the image to its volume.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{Params, claimed, transfer};
use crate::{
    guards,
    ports::{Hosts, ImageSource},
};

/// Makes the volume and uploads the whole image into it.
///
/// A crash in its middle leaves a part of the image, or all of it unrecorded. The next attempt
/// asks the guards, deletes it and sends everything again; the claim and this step's recorded
/// intent say that it is ours.
pub struct UploadChunks {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
}

/// What [`UploadChunks`] sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The SHA-256 of what was sent; none where the image was whole already.
    pub sha256: Option<String>,
    /// The bytes sent.
    pub size: u64,
}

impl UploadChunks {
    /// The step, acting through these hosts, with images of that source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        Self { hosts, source }
    }
}

#[async_trait]
impl Step for UploadChunks {
    const NAME: &'static str = "upload_chunks";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let claim = claimed(cx)?;
        if claim.whole.is_some() {
            return Ok(Observed::Present(Output::default()));
        }
        let ports = self.hosts.host(&params.host).await?;
        guards::free_or_ours(cx, &ports, &claim.volume).await
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let key = claimed(cx)?.volume;
        let (source, recorded) = (self.source.as_ref(), cx.intended_before);
        let sent = transfer::upload_anew(cx, &ports, source, &params.url, &key, recorded).await?;
        Ok(Done::created(Output {
            sha256: Some(sent.sha256.to_string()),
            size: sent.size,
        }))
    }
}
