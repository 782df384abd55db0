//! What a volume has to go through so that it is filled exactly once, whatever it is filled from.
//!
//! Beside the volume stands a small one, as beside a base image ([`sidecar`]): it is made before, and
//! says last that the disk is whole. A disk that it calls whole may have a user's data in it, whatever
//! this journal remembers, and is never made again.

use vsiflow_engine::{
    model::{Failure, Name},
    step::{Observed, Step as _, StepContext},
};

use super::{FillFromImage, FillVolume, create_volume::Output};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    image::sidecar::{self, Mark},
    ports::{HostPorts, VolumeFormat, VolumeInfo, VolumeKey},
    snapshot,
};

/// A disk that is to be filled.
pub(super) struct Filling<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) volume: &'a VolumeKey,
    /// Whether it was made before: one that is gone is then missing, not to be made.
    pub(super) made: bool,
    /// The size that the guest is to see, in bytes; 0 where nobody said.
    pub(super) size: u64,
}

impl Filling<'_> {
    /// What is there: a disk that is whole, or something to be done.
    pub(super) async fn observe(&self) -> Result<Observed<Output>, Failure> {
        let ours = self.cx.intended_before || self.was_intended();
        if self.made || ours && self.is_marked().await? {
            return match self.ports.storage.volume(self.volume).await? {
                Some(volume) => Ok(Observed::Present(output(volume))),
                None => Err(super::vanished(self.ports, self.volume)),
            };
        }
        if ours {
            Ok(Observed::Needed)
        } else {
            guards::free_or_ours(self.cx, self.ports, self.volume).await
        }
    }

    /// Whether this journal recorded the intent to fill it in any way: from something else, before its
    /// document was corrected.
    fn was_intended(&self) -> bool {
        let mut steps = [FillVolume::NAME, FillFromImage::NAME].into_iter();
        steps.any(|step| {
            let recorded = &self.cx.recorded;
            recorded.was_intended(&self.cx.entity, &Name::of(step))
        })
    }

    async fn is_marked(&self) -> Result<bool, Failure> {
        let found = sidecar::read(self.ports, &self.cx.journal_id, self.volume).await?;
        Ok(found.is_some_and(|found| found.ours && found.whole.is_some()))
    }

    /// Refuses what does not fit, before anything is made.
    pub(super) fn fits(&self, needed: u64) -> Result<(), Failure> {
        if self.size == 0 || needed <= self.size {
            Ok(())
        } else {
            Err(too_small(self.size, needed)
                .on_host(self.ports.host.name())
                .of_object(format!("volume {}", self.volume)))
        }
    }

    /// Copies it from there on the host; what an earlier attempt left goes first. It is not whole yet.
    pub(super) async fn copy(&self, from: &VolumeInfo) -> Result<VolumeInfo, Failure> {
        sidecar::hold(self.cx, self.ports, self.volume).await?;
        let doomed = self.doomed();
        let copied = snapshot::copy(self.cx, self.ports, from, doomed).await;
        copied.map_err(in_use)
    }

    /// Deletes what was copied.
    pub(super) async fn discard(&self) -> Result<(), Failure> {
        let removed = guards::remove(self.cx, self.ports, self.doomed()).await;
        removed.map(drop).map_err(in_use)
    }

    /// Has the host say that the disk is whole. From then on its content is the user's.
    pub(super) async fn mark(&self, made: &VolumeInfo, identity: &str) -> Result<(), Failure> {
        let claim = sidecar::claim_of(self.cx, identity);
        let mark = Mark {
            sha256: String::new(),
            size: made.physical,
            virtual_size: made.capacity,
            format: VolumeFormat::Qcow2,
            modified: made.modified.clone(),
        };
        sidecar::write(self.ports, self.volume, &claim, Some(&mark)).await
    }

    fn doomed(&self) -> DeletionCandidate<'_> {
        DeletionCandidate {
            key: self.volume,
            recorded: true,
            owner: None,
        }
    }
}

/// A VSI takes a disk that only waits for its users for one that is there: this one is not.
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
