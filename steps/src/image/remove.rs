//! Deletes a base image that is no longer used.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, Name},
    step::{Done, Observed, Step, StepContext},
};

use super::{
    UploadChunks,
    sidecar::{self, Sidecar},
};
use crate::{
    error,
    guards::{self, DeletionCandidate, SharedBy},
    ports::{DeletionGround, HostPorts, Hosts, VolumeKey},
};

/// Deletes an image that this journal uploaded, and its sidecar. A file that somebody put in its place is
/// not deleted.
///
/// The guards are checked first: all domains' definitions and all volumes' backing chains on the host.
/// This journal is asked whether a run is about to use the image. A run that begins later waits for the
/// end of this one, and uploads the image again. The image is deleted before its sidecar, so a crash in
/// between leaves a claim of ours, and the next attempt or upload knows that the volume is ours.
pub struct RemoveImage {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`RemoveImage`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The image's volume.
    pub volume: VolumeKey,
}

/// What [`RemoveImage`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The deleted volume; `None` if it did not exist, or is not this journal's.
    pub removed: Option<VolumeKey>,
}

impl RemoveImage {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

/// The image's sidecar, if it has a claim of this journal.
async fn own_sidecar(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<Option<Sidecar>, Failure> {
    let sidecar = sidecar::read(ports, &cx.journal_id, key).await?;
    Ok(sidecar.filter(|sidecar| sidecar.ours))
}

/// Checks that the file under the image's name is the one that this journal uploaded: an administrator may
/// have put another in its place, and the claim beside it does not show that.
async fn is_uploaded(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
    sidecar: &Sidecar,
) -> Result<(), Failure> {
    let Some(volume) = ports.storage.volume(key).await? else {
        return Ok(());
    };
    let is_same = match &sidecar.whole {
        // An upload that was not completed leaves a file that nothing else identifies.
        None => {
            let upload = Name::of(UploadChunks::NAME);
            cx.recorded.was_intended(&cx.entity, &upload)
        }
        Some(mark) if volume.physical != mark.size => false,
        Some(mark) if volume.modified == mark.modified => true,
        Some(mark) => ports.storage.sha256(key).await?.to_string() == mark.sha256,
    };
    if is_same {
        return Ok(());
    }
    Err(error::NOT_OURS
        .failure("the file under the image's name is not the one that this journal uploaded")
        .with_remedy("Move the file to another name, or delete it, then run the command again.")
        .on_host(ports.host.name())
        .of_object(format!("volume {key}")))
}

/// The failure if a run found the image whole: this step cannot know whether it has copied the image yet.
fn about_to_be_used(ports: &HostPorts, key: &VolumeKey) -> Failure {
    error::IN_USE
        .failure("a VSI or a data disk is being made from it")
        .with_remedy("Wait until that is made; vsiflow checks again automatically.")
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}

/// Checks whether a removal would delete the image now, without deleting anything.
///
/// # Errors
/// What a removal would fail with.
pub async fn check_removal(
    cx: &StepContext,
    hosts: &Arc<dyn Hosts>,
    params: &Params,
) -> Result<(), Failure> {
    let ports = hosts.host(&params.host).await?;
    let Some(sidecar) = removable(cx, hosts, &ports, params).await? else {
        return Ok(());
    };
    for volume in [&params.volume, &sidecar] {
        guards::removable(cx, &ports, doomed(volume)).await?;
    }
    Ok(())
}

/// The sidecar of an image that nothing uses, on this host or another; `None` if it is not this journal's.
async fn removable(
    cx: &StepContext,
    hosts: &Arc<dyn Hosts>,
    ports: &HostPorts,
    params: &Params,
) -> Result<Option<VolumeKey>, Failure> {
    let key = &params.volume;
    let Some(sidecar) = own_sidecar(cx, ports, key).await? else {
        return Ok(None);
    };
    if cx.recorded.is_awaited(&cx.entity) {
        return Err(about_to_be_used(ports, key));
    }
    is_uploaded(cx, ports, key, &sidecar).await?;
    guards::unused_elsewhere(cx, hosts, &params.host, key, SharedBy::Claim).await?;
    Ok(Some(sidecar::key(key)))
}

/// A volume of an image that has a claim of this journal.
fn doomed(key: &VolumeKey) -> DeletionCandidate<'_> {
    DeletionCandidate {
        key,
        recorded: true,
        owner: None,
    }
}

#[async_trait]
impl Step for RemoveImage {
    const NAME: &'static str = "remove_image";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let sidecar = own_sidecar(cx, &ports, &params.volume).await?;
        Ok(if sidecar.is_some() {
            Observed::Needed
        } else {
            Observed::Present(Output { removed: None })
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let key = &params.volume;
        let Some(sidecar) = removable(cx, &self.hosts, &ports, params).await? else {
            return Ok(Done::present(Output { removed: None }));
        };
        for volume in [key, &sidecar] {
            guards::remove(cx, &ports, doomed(volume), DeletionGround::Scratch).await?;
        }
        let removed = Some(key.clone());
        Ok(Done::created(Output { removed }))
    }
}
