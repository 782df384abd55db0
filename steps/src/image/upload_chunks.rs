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

/// Creates the volume and uploads the image into it.
///
/// A crash during the step leaves a part of the image, or all of it without a record. Recorded are the
/// positions up to which the host had the image, with the hash of the bytes before them. The next attempt
/// opens the source there and continues, so at most [`transfer::INTERVAL`] bytes are sent twice. If the
/// host lost bytes, or the source has another image now, it deletes the part if the guards permit it and
/// sends everything again. The claim in the sidecar proves that the volume is ours.
pub struct UploadChunks {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
    interval: u64,
    /// Shared by all hosts that get the same image at the same time.
    hashes: SharedHashes,
}

/// What [`UploadChunks`] sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The SHA-256 of what was sent; `None` if the image was whole already.
    pub sha256: Option<String>,
    /// The image's size in bytes.
    pub size: u64,
    /// The image's identity, from the source at the time of the upload.
    #[serde(default)]
    pub identity: String,
    /// Whether one attempt sent all of it, so that no failed sync on the host can have been missed.
    #[serde(default)]
    pub undisturbed: bool,
    /// The host's hash of the volume, if it was computed during the upload.
    #[serde(default)]
    pub along: Option<RunningDigest>,
    /// The way the last part was transferred, for people.
    #[serde(default)]
    pub note: Option<String>,
}

impl UploadChunks {
    /// The step, acting through these hosts, with images from this source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        Self {
            hosts,
            source,
            interval: transfer::INTERVAL,
            hashes: SharedHashes::default(),
        }
    }

    /// Sets the maximum number of bytes that are sent twice.
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
        let brought = upload.bring().await;
        self.hashes.forget();
        let sent = brought?;
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
