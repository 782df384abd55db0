//! Moving an image from its source to a volume, hashing on the way.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

use crate::{
    error,
    guards::{self, Doomed},
    ports::{HostPorts, ImageSource, ImageStream, UploadSink, VolumeFormat, VolumeKey, VolumeSpec},
};

/// What went through.
pub(super) struct Sent {
    pub(super) size: u64,
    pub(super) sha256: Hash,
}

/// Hashes on a blocking thread, so that other tasks go on; holds one piece at a time.
#[derive(Default)]
struct Hasher(Sha256);

impl Hasher {
    async fn add(self, bytes: Bytes) -> Result<Self, Failure> {
        let Self(mut hasher) = self;
        let added = tokio::task::spawn_blocking(move || {
            hasher.update(&bytes);
            hasher
        });
        added
            .await
            .map(Self)
            .map_err(|_| error::VERIFICATION.failure("hashing was interrupted"))
    }

    fn end(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

/// Reads the source in full for its hash.
pub(super) async fn hash_source(
    cx: &StepContext,
    source: &dyn ImageSource,
    url: &str,
) -> Result<Sent, Failure> {
    let mut stream = source.open(url).await?;
    let total = stream.info().length;
    let (mut hasher, mut size) = (Hasher::default(), 0_u64);
    while let Some(bytes) = stream.next().await? {
        size = size.saturating_add(bytes.len() as u64);
        hasher = hasher.add(bytes).await?;
        cx.report("comparing with the source", size, total);
    }
    Ok(Sent {
        size,
        sha256: hasher.end(),
    })
}

/// Makes the volume anew, under the guards, and fills it from the source.
pub(super) async fn upload_anew(
    cx: &StepContext,
    ports: &HostPorts,
    source: &dyn ImageSource,
    url: &str,
    key: &VolumeKey,
    recorded: bool,
) -> Result<Sent, Failure> {
    // The source is opened first: one that does not answer must not cost what is there.
    let mut stream = source.open(url).await?;
    guards::remove(
        cx,
        ports,
        Doomed {
            key,
            recorded,
            owner: None,
        },
    )
    .await?;
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    };
    ports.storage.create(&spec).await?;
    let mut sink = ports.storage.upload(key, 0, stream.info().length).await?;
    match copy(cx, stream.as_mut(), sink.as_mut()).await {
        Ok(sent) => {
            sink.finish().await?;
            Ok(sent)
        }
        Err(failure) => {
            sink.abort().await;
            Err(failure)
        }
    }
}

async fn copy(
    cx: &StepContext,
    stream: &mut dyn ImageStream,
    sink: &mut dyn UploadSink,
) -> Result<Sent, Failure> {
    let total = stream.info().length;
    let (mut hasher, mut size) = (Hasher::default(), 0_u64);
    while let Some(bytes) = stream.next().await? {
        size = size.saturating_add(bytes.len() as u64);
        let (hashed, sent) = tokio::join!(hasher.add(bytes.clone()), sink.send(bytes));
        sent?;
        hasher = hashed?;
        cx.report("uploading", size, total);
    }
    if size == 0 {
        return Err(error::SOURCE_INVALID.failure("the source gave an empty file"));
    }
    Ok(Sent {
        size,
        sha256: hasher.end(),
    })
}
