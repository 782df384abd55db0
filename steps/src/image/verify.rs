//! Verifies the image on the host, byte by byte.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, FailureClass},
    step::{Done, Observed, Step, StepContext},
};

use super::{
    BaseImage, Params, RunningDigest, claimed, format, gone,
    qcow2::Unfit,
    shared_hash::SharedHashes,
    sidecar, transfer, upload_chunks,
    whole::{self, Judged},
};
use crate::{
    error,
    ports::{HostPorts, Hosts, ImageSource, VolumeInfo, VolumeKey},
};

/// Compares the hash of what was sent with the hash of what the host has. The host's hash is the one that
/// it computed during the upload, if nothing has changed since. Otherwise the host syncs the image to its
/// disk and reads it once more.
///
/// A host reports bytes that it could not write to its disk only once, to the first sync, and still
/// serves them from its memory. If an earlier attempt may have received that error and crashed, the host
/// has to drop its cached pages before it hashes.
///
/// The step changes nothing unless the host lost bytes since the upload (a power cut before the sync):
/// then it sends the image again, because the upload's node is done and does not run again. It also sends
/// it again if the image was unusable or the wrong one and the user asked for a retry. A crash during the
/// step leaves the volume as it was, or a part of it; the next attempt hashes it again.
pub struct VerifyImage {
    hosts: Arc<dyn Hosts>,
    source: Arc<dyn ImageSource>,
}

/// What [`VerifyImage`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The verified image.
    pub image: BaseImage,
    /// How it was verified, for people.
    #[serde(default)]
    pub note: Option<String>,
}

impl VerifyImage {
    /// The step, acting through these hosts, with images from this source.
    pub fn new(hosts: Arc<dyn Hosts>, source: Arc<dyn ImageSource>) -> Self {
        Self { hosts, source }
    }

    /// Checks that the host has what was sent, and sends it once more if not.
    async fn settle(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        params: &Params,
        key: &VolumeKey,
    ) -> Result<(Hashed, String), Failure> {
        let sent: upload_chunks::Output = cx.output("upload_chunks")?;
        // If an earlier attempt began to send it again, continue that.
        if cx.saved::<AnyCheckpoint>().await?.is_none() {
            let equal = |found: &Hashed| sent.sha256.as_ref() == Some(&found.sha256);
            let along = sent.along.as_ref().filter(|_| cx.attempt == 1);
            let along = read_along(ports, key, along).await?;
            if let Some(on_host) = along.filter(equal) {
                return Ok((on_host, sent.identity));
            }
            // A hash that differs from the one computed during the upload is in doubt.
            let from = if sent.undisturbed && sent.along.is_none() && cx.attempt == 1 {
                Bytes::AsSynced
            } else {
                Bytes::OfDisk
            };
            let on_host = hash(cx, ports, key, from).await?;
            if let Some(on_host) = on_host.filter(equal) {
                return Ok((on_host, sent.identity));
            }
        }
        self.send_again(cx, ports, params, key).await
    }

    async fn send_again(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        params: &Params,
        key: &VolumeKey,
    ) -> Result<(Hashed, String), Failure> {
        sidecar::hold(cx, ports, key).await?;
        let source = params.source(&self.source).await?;
        // Send it uncompressed: compression must not corrupt it twice.
        let unpacked = HostPorts {
            transfer: ports.transfer.unpacked(),
            ..ports.clone()
        };
        let upload = transfer::Upload {
            cx,
            ports: &unpacked,
            source: source.as_ref(),
            params,
            key,
            interval: transfer::INTERVAL,
            hashes: &SharedHashes::default(),
        };
        let resent = upload.bring().await?;
        let sha256 = resent.sha256.to_string();
        let along = read_along(ports, key, resent.along.as_ref()).await?;
        let hashed = match along.filter(|hashed| hashed.sha256 == sha256) {
            None => hash(cx, ports, key, Bytes::OfDisk).await?,
            along => along,
        };
        match hashed {
            Some(found) if found.sha256 == sha256 => Ok((found, resent.identity)),
            _ => {
                cx.save(&()).await?;
                Err(error::VERIFICATION
                    .failure("the host returned other bytes than were sent, twice")
                    .on_host(ports.host.name())
                    .of_object(format!("volume {key}")))
            }
        }
    }
}

/// Matches any checkpoint of an upload.
#[derive(Deserialize)]
struct AnyCheckpoint {
    #[serde(rename = "places")]
    _places: Vec<serde::de::IgnoredAny>,
}

#[async_trait]
impl Step for VerifyImage {
    const NAME: &'static str = "verify_image";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, cx: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(match claimed(cx)?.whole {
            Some(image) => Observed::Present(Output { image, note: None }),
            None => Observed::Needed,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let key = claimed(cx)?.volume;
        let (found, identity) = self.settle(cx, &ports, params, &key).await?;
        let mut note = found.note();
        let image = match judge(&ports, params, found, identity).await {
            // The user ran `retry`: the source may have the right image by now.
            Err(unfit) if unfit.class == FailureClass::Blocked && cx.attempt > 1 => {
                let (found_again, identity_again) =
                    self.send_again(cx, &ports, params, &key).await?;
                note = found_again.note();
                judge(&ports, params, found_again, identity_again).await?
            }
            judged => judged?,
        };
        let note = Some(note.to_owned());
        Ok(Done::created(Output { image, note }))
    }
}

/// The bytes that are hashed.
pub(super) enum Bytes {
    /// The bytes that a sync reports as written. It must be the first sync after they were sent.
    AsSynced,
    /// The bytes on the disk, whatever a sync reports.
    OfDisk,
}

/// The host's hash of a volume.
pub(super) struct Hashed {
    /// The SHA-256 of its bytes.
    pub(super) sha256: String,
    /// The volume as it was before its bytes, or the last of them, were read.
    volume: VolumeInfo,
    /// Whether they were read during the upload.
    along: bool,
}

impl Hashed {
    fn note(&self) -> &'static str {
        if self.along {
            "the host read it along with the upload"
        } else {
            "the host read it after the upload"
        }
    }
}

/// The hash computed during the upload, if the volume has not changed since.
async fn read_along(
    ports: &HostPorts,
    key: &VolumeKey,
    along: Option<&RunningDigest>,
) -> Result<Option<Hashed>, Failure> {
    let Some(along) = along else {
        return Ok(None);
    };
    let volume = (ports.storage.volume(key).await?).filter(|volume| along.is_of(volume));
    Ok(volume.map(|volume| Hashed {
        sha256: along.sha256.clone(),
        volume,
        along: true,
    }))
}

/// The hash of the volume as the host reads it after a sync; `None` if it does not exist.
pub(super) async fn hash(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
    bytes: Bytes,
) -> Result<Option<Hashed>, Failure> {
    let Some(volume) = ports.storage.volume(key).await? else {
        return Ok(None);
    };
    cx.report("verifying on the host", 0, Some(volume.physical));
    ports.storage.sync(key).await?;
    if matches!(bytes, Bytes::OfDisk) {
        ports.storage.drop_cached(key).await?;
    }
    let sha256 = ports.storage.sha256(key).await?.to_string();
    Ok(Some(Hashed {
        sha256,
        volume,
        along: false,
    }))
}

/// The image in a volume with this hash, if it is the requested one.
async fn judge(
    ports: &HostPorts,
    params: &Params,
    found: Hashed,
    identity: String,
) -> Result<BaseImage, Failure> {
    let sha256 = &found.sha256;
    if let Some(expected) = params.expected()?.filter(|expected| expected != sha256) {
        let message = format!("the image's SHA-256 is {sha256}, `imageChecksum` says {expected}");
        return Err(error::CHECKSUM.failure(message).of_object(&params.url));
    }
    base_image(ports, params, found, identity).await
}

/// The image in a volume with this hash, if it may be copied.
pub(super) async fn base_image(
    ports: &HostPorts,
    params: &Params,
    found: Hashed,
    identity: String,
) -> Result<BaseImage, Failure> {
    let (key, before) = (&found.volume.key, &found.volume);
    let volume = ports
        .storage
        .volume(key)
        .await?
        .ok_or_else(|| gone(ports, key))?;
    if (volume.physical, &volume.modified) != (before.physical, &before.modified) {
        return Err(error::VERIFICATION
            .failure("another program wrote into the volume while it was verified")
            .on_host(ports.host.name())
            .of_object(format!("volume {key}")));
    }
    let head = ports.storage.read(key, 0, format::HEADER_MAX).await?;
    let unfit = |unfit: &Unfit| {
        let failure = format::unfit_image(unfit, &params.url);
        failure.on_host(ports.host.name())
    };
    let judged = format::of_whole(&head, volume.physical);
    let (format, virtual_size) = judged.map_err(|why| unfit(&why))?;
    if volume.backing.is_some() {
        return Err(unfit(&Unfit::Backing));
    }
    let checked = whole::check_volume(ports, &volume, &head, format).await;
    checked.map_err(|failed| match failed {
        Judged::Unfit(why) => unfit(&why),
        Judged::Unread(failure) => failure,
    })?;
    Ok(BaseImage {
        host: params.host.clone(),
        key: volume.key,
        path: volume.path,
        format,
        size: volume.physical,
        virtual_size,
        sha256: found.sha256,
        modified: volume.modified,
        origin: identity,
    })
}
