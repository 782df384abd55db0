//! Sends the image to its volume.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    Params, claimed, shared_hash::SharedHashes, sidecar, transfer, write_behind::RunningDigest,
};
use crate::ports::{Hosts, ImageSource};

/// Makes the volume and uploads the image into it.
///
/// A crash in its middle leaves a part of the image, or all of it unrecorded. On record are the
/// places up to which the host had it, with the hash of what was before them; the next attempt
/// opens the source there and continues, so that at most [`transfer::INTERVAL`] is sent twice. Where
/// the host lost what it had, or the source has another image now, it asks the guards, deletes the
/// part and sends everything anew; the claim beside the volume says that it is ours.
pub struct UploadChunks {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
    interval: u64,
    /// For all hosts that get the same image at the same time.
    hashes: SharedHashes,
}

/// What [`UploadChunks`] sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The SHA-256 of what was sent; none where the image was whole already.
    pub sha256: Option<String>,
    /// The bytes of the image.
    pub size: u64,
    /// What tells the image from others, as its source was when it was sent.
    #[serde(default)]
    pub identity: String,
    /// Whether one attempt sent all of it, so that no sync on the host can have failed unseen.
    #[serde(default)]
    pub undisturbed: bool,
    /// What the host read of the volume while it was filled, where it did.
    #[serde(default)]
    pub along: Option<RunningDigest>,
    /// Which way the last part of it went, for people.
    #[serde(default)]
    pub note: Option<String>,
}

impl UploadChunks {
    /// The step, acting through these hosts, with images of that source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        Self {
            hosts,
            source,
            interval: transfer::INTERVAL,
            hashes: SharedHashes::default(),
        }
    }

    /// At most so many bytes are sent twice.
    #[must_use]
    pub fn with_interval(mut self, bytes: u64) -> Self {
        self.interval = bytes;
        self
    }
}

#[async_trait]
impl Step for UploadChunks {
    const NAME: &'static str = "upload_chunks";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, cx: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(match claimed(cx)?.whole {
            Some(_) => Observed::Present(Output::default()),
            None => Observed::Needed,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let key = claimed(cx)?.volume;
        sidecar::hold(cx, &ports, &key).await?;
        let source = params.source(&self.source).await?;
        let upload = transfer::Upload {
            cx,
            ports: &ports,
            source: source.as_ref(),
            params,
            key: &key,
            interval: self.interval,
            hashes: &self.hashes,
        };
        let sent = upload.bring().await;
        self.hashes.forget();
        let sent = sent?;
        Ok(Done::created(Output {
            sha256: Some(sent.sha256.to_string()),
            size: sent.size,
            identity: sent.identity,
            undisturbed: cx.attempt == 1,
            along: sent.along,
            note: sent.note,
        }))
    }
}
