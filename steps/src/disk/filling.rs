//! Fills a volume exactly once, from any source.
//!
//! Each filled disk has a small sidecar volume, like a base image ([`sidecar`]). It is made before the
//! disk, and the last step marks the disk in it as whole. A disk that is marked whole may hold a user's
//! data, whatever this journal has recorded, and is never made again.

use vsiflow_engine::{
    model::{Failure, Name},
    step::{Observed, Step as _, StepContext},
};

use super::{FillFromImage, FillVolume, create_volume::Output};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    image::sidecar::{self, Mark},
    ports::{DeletionGround, HostPorts, VolumeFormat, VolumeInfo, VolumeKey},
    snapshot,
};

/// A disk to fill.
pub(super) struct Filling<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) volume: &'a VolumeKey,
    /// Whether it was made before: if it no longer exists, the step fails and does not make it again.
    pub(super) made: bool,
    /// The size that the guest will see, in bytes; 0 if none is set.
    pub(super) size: u64,
}

impl Filling<'_> {
    /// Checks whether the disk is whole or has to be filled.
    pub(super) async fn observe(&self) -> Result<Observed<Output>, Failure> {
        let ours = self.cx.intended_before || self.was_intended();
        let key = &guards::current_volume(self.cx, self.volume);
        if self.made || key != self.volume || ours && self.is_marked().await? {
            let Some(volume) = self.ports.storage.volume(key).await? else {
                return Err(super::vanished(self.ports, key));
            };
            guards::record_data_disk_once(self.cx, self.ports, &volume).await?;
            return Ok(Observed::Present(output(volume)));
        }
        guards::no_later_volume(self.ports, self.volume).await?;
        if ours {
            Ok(Observed::Needed)
        } else {
            guards::free_or_ours(self.cx, self.ports, self.volume).await
        }
    }

    /// Whether this journal recorded the intent to fill it, also from another source, before its document
    /// was corrected.
    fn was_intended(&self) -> bool {
        let mut steps = [FillVolume::NAME, FillFromImage::NAME].into_iter();
        steps.any(|step| {
            let recorded = &self.cx.recorded;
            recorded.was_intended(&self.cx.entity, &Name::of(step))
        })
    }

    async fn is_marked(&self) -> Result<bool, Failure> {
        let sidecar = sidecar::read(self.ports, &self.cx.journal_id, self.volume).await?;
        Ok(sidecar.is_some_and(|sidecar| sidecar.ours && sidecar.whole.is_some()))
    }

    /// Refuses a source that does not fit, before anything is made.
    pub(super) fn fits(&self, needed: u64) -> Result<(), Failure> {
        if self.size == 0 || needed <= self.size {
            Ok(())
        } else {
            Err(too_small(self.size, needed)
                .on_host(self.ports.host.name())
                .of_object(format!("volume {}", self.volume)))
        }
    }

    /// Deletes what an earlier attempt left and copies the source on the host. The disk is not marked
    /// whole yet.
    pub(super) async fn copy(&self, from: &VolumeInfo) -> Result<VolumeInfo, Failure> {
        sidecar::hold(self.cx, self.ports, self.volume).await?;
        let doomed = self.doomed();
        let copied =
            snapshot::copy(self.cx, self.ports, from, doomed, DeletionGround::Scratch).await;
        copied.map_err(in_use)
    }

    /// Deletes the copy.
    pub(super) async fn discard(&self) -> Result<(), Failure> {
        let removed =
            guards::remove(self.cx, self.ports, self.doomed(), DeletionGround::Scratch).await;
        removed.map(drop).map_err(in_use)
    }

    /// Marks the disk as whole on the host. After that its content belongs to the user.
    pub(super) async fn mark(&self, made: &VolumeInfo, identity: &str) -> Result<(), Failure> {
        let claim = sidecar::claim_of(self.cx, identity);
        let mark = Mark {
            sha256: String::new(),
            size: made.physical,
            virtual_size: made.capacity,
            format: VolumeFormat::Qcow2,
            modified: made.modified.clone(),
        };
        sidecar::write(self.ports, self.volume, &claim, Some(&mark)).await?;
        guards::record_data_disk(self.cx, self.ports, made).await
    }

    fn doomed(&self) -> DeletionCandidate<'_> {
        DeletionCandidate {
            key: self.volume,
            recorded: true,
            owner: None,
        }
    }
}

/// Replaces the code `IN_USE`: a VSI treats a disk that failed with it as existing, and this one is not.
fn in_use(failure: Failure) -> Failure {
    if failure.code.as_str() == error::IN_USE.code {
        error::DISK_SOURCE_IN_USE
            .failure(failure.message.as_str())
            .on_host(failure.host.as_str())
            .of_object(failure.object.as_str())
    } else {
        failure
    }
}

pub(super) fn too_small(size: u64, needed: u64) -> Failure {
    let message = format!("the data disk has {size} bytes, and what it is filled with {needed}");
    let gib = needed.div_ceil(1 << 30);
    error::DISK_TOO_SMALL.failure(message).with_remedy(format!(
        "Set `size` of the data disk to {gib}Gi or more, then apply again."
    ))
}

pub(super) fn output(volume: VolumeInfo) -> Output {
    Output {
        path: volume.path,
        capacity: volume.capacity,
    }
}
