//! Finds the volume of a pool where an image is, or can be uploaded.

use vsiflow_engine::{model::Failure, step::StepContext};

use super::{
    BaseImage, Params,
    hash::hash_source,
    identity::{self, RequestedImage, other_name},
    sidecar::{self, Mark, Sidecar},
    unchanged,
    verify::{self, Bytes},
};
use crate::{
    guards, names,
    ports::{HostPorts, ImageSource, VolumeInfo, VolumeKey},
};

/// The volume of an image, and its state.
pub(super) enum ImagePlace {
    /// No volume has this name.
    Free(VolumeKey),
    /// A claim of this journal whose content is not written yet.
    Unwritten(VolumeKey),
    /// A claim of this journal for an older content of the same URL, and the number of bytes uploaded.
    Outdated { volume: VolumeKey, size: u64 },
    /// A claim of this journal for this image, and perhaps a part of it.
    Ours(VolumeKey),
    /// The image, whole.
    Whole(Box<BaseImage>),
}

/// The search for an image's place.
pub(super) struct ImageSearch<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) params: &'a Params,
    pub(super) request: &'a RequestedImage,
    pub(super) source: &'a dyn ImageSource,
}

impl ImageSearch<'_> {
    /// The image's place: the desired name, or the alternative name if that is taken.
    pub(super) async fn find(&self) -> Result<ImagePlace, Failure> {
        let alternative = other_name(self.params, &self.request.identity);
        // A reserved name is never an image's, whatever its URL says, and no file system takes a longer one.
        let free = |name: &&VolumeKey| {
            !names::is_reserved(&name.name) && !identity::is_too_long(&name.name)
        };
        for name in [&self.params.volume, &alternative].into_iter().filter(free) {
            if let Some(place) = self.judge(name).await? {
                return Ok(place);
            }
        }
        Err(guards::not_ours(self.ports, &alternative))
    }

    /// Judges one name; `None` if it is taken by another image.
    async fn judge(&self, name: &VolumeKey) -> Result<Option<ImagePlace>, Failure> {
        let sidecar = sidecar::read(self.ports, &self.cx.journal_id, name).await?;
        let volume = self.ports.storage.volume(name).await?;
        match (sidecar, volume) {
            (None, None) => Ok(Some(ImagePlace::Free(name.clone()))),
            (None, Some(volume)) => self.unclaimed(&volume).await,
            (Some(sidecar), volume) if sidecar.ours => self.ours(name, sidecar, volume).await,
            (Some(sidecar), volume) => self.foreign(name, sidecar, volume).await,
        }
    }

    /// Judges a file that no vsiflow uploaded, or whose claim was deleted.
    async fn unclaimed(&self, volume: &VolumeInfo) -> Result<Option<ImagePlace>, Failure> {
        let recorded = self.recorded().filter(|image| unchanged(image, volume));
        match recorded {
            Some(image) => Ok(Some(ImagePlace::Whole(Box::new(image)))),
            None => self.by_hash(volume).await,
        }
    }

    /// The image as this journal recorded it when it was verified. The content of a volume or a sidecar
    /// is no proof: an attacker may have written it so that others boot from it.
    fn recorded(&self) -> Option<BaseImage> {
        let image = self.cx.previous_output::<BaseImage>();
        image.filter(|image| image.origin == self.request.identity)
    }

    async fn ours(
        &self,
        name: &VolumeKey,
        sidecar: Sidecar,
        volume: Option<VolumeInfo>,
    ) -> Result<Option<ImagePlace>, Failure> {
        let Some(claim) = sidecar.claim else {
            return Ok(Some(ImagePlace::Unwritten(name.clone())));
        };
        let size = volume.as_ref().map_or(0, |volume| volume.physical);
        let same = claim.identity == self.request.identity;
        let is_claimant = claim.entity == self.cx.entity.to_string();
        let name = || name.clone();
        match (sidecar.whole, volume) {
            (None, _) if same && is_claimant => Ok(Some(ImagePlace::Ours(name()))),
            // One machine known by two names.
            (None, _) if same => Err(sidecar::claimed(self.ports, &name())),
            (None, _) if is_claimant => Ok(Some(ImagePlace::Outdated {
                volume: name(),
                size,
            })),
            (Some(mark), Some(volume)) if same => match self.recorded() {
                Some(image) if mark == Mark::of(&image) && unchanged(&image, &volume) => {
                    Ok(Some(ImagePlace::Whole(Box::new(image))))
                }
                // The file or its mark changed or was replaced: it is ours only if its bytes match.
                _ => self.by_hash(&volume).await,
            },
            (Some(_), None) if same => Ok(Some(ImagePlace::Ours(name()))),
            _ => Ok(None),
        }
    }

    async fn foreign(
        &self,
        name: &VolumeKey,
        sidecar: Sidecar,
        volume: Option<VolumeInfo>,
    ) -> Result<Option<ImagePlace>, Failure> {
        let same = |claim: &sidecar::SidecarClaim| claim.identity == self.request.identity;
        if !sidecar.claim.as_ref().is_none_or(same) {
            return Ok(None);
        }
        match (sidecar.whole, volume) {
            (Some(_), Some(volume)) => self.by_hash(&volume).await,
            // It was whole and then deleted; its owner may upload it again.
            (Some(_), None) => Ok(None),
            (None, _) => Err(sidecar::claimed(self.ports, name)),
        }
    }

    /// The image, if the volume has its bytes as the host reads them from its disk.
    async fn by_hash(&self, volume: &VolumeInfo) -> Result<Option<ImagePlace>, Failure> {
        let Some(expected) = self.expected(volume).await? else {
            return Ok(None);
        };
        let (cx, key) = (self.cx, &volume.key);
        let hashed = verify::hash(cx, self.ports, key, Bytes::OfDisk).await?;
        let Some(hashed) = hashed.filter(|hashed| hashed.sha256 == expected) else {
            return Ok(None);
        };
        let identity = self.request.identity.clone();
        let image = verify::base_image(self.ports, self.params, hashed, identity).await?;
        Ok(Some(ImagePlace::Whole(Box::new(image))))
    }

    /// The SHA-256 the volume must have; `None` if its length rules it out.
    async fn expected(&self, volume: &VolumeInfo) -> Result<Option<String>, Failure> {
        if let Some(sha256) = &self.request.sha256 {
            return Ok(Some(sha256.clone()));
        }
        if let Some(image) = self.recorded() {
            return Ok((image.size == volume.physical).then_some(image.sha256));
        }
        let length = self.source.probe(&self.params.url).await?.length;
        if length.is_some_and(|length| length != volume.physical) {
            return Ok(None);
        }
        let activity = "comparing with the source";
        let hash = hash_source(self.cx, self.source, self.ports, self.params, activity).await?;
        Ok(Some(hash.to_string()))
    }
}
