//! Syncs and hashes a volume on the host while it is uploaded: the host writes the bytes to its disk, and
//! computes one SHA-256 of the whole volume.
//!
//! A byte is read only after a sync that covers it, so it is known to be on the disk. A failed sync fails
//! the attempt, because the next sync would not report the error again. Each attempt reads from the
//! beginning, and reads the bytes of earlier attempts from the disk: a sync that failed on those bytes
//! may have been theirs.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

use super::track::Track;
use crate::ports::{HostPorts, Synced, VolumeInfo, VolumeKey};

/// Number of intervals between two syncs on the host.
const SYNC: u64 = 8;

/// The host's hash of a volume, computed while it was filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningDigest {
    /// The SHA-256 of all its bytes.
    pub sha256: String,
    /// The file's length in bytes, after the last of them was sent.
    pub length: u64,
    /// The file's last change by then, as the host reports it.
    #[serde(default)]
    pub modified: Option<String>,
}

impl RunningDigest {
    /// Whether the volume has not changed since.
    pub(super) fn is_of(&self, volume: &VolumeInfo) -> bool {
        (self.length, &self.modified) == (volume.physical, &volume.modified)
    }
}

/// Syncs and hashes during one upload.
pub(super) struct WriteBehind<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) key: &'a VolumeKey,
    pub(super) track: &'a Track,
}

impl WriteBehind<'_> {
    /// Runs until everything was sent, synced and read; if the host cannot hash during the upload, until
    /// everything was sent. If it is dropped during a sync, the result of that sync is lost.
    pub(super) async fn run(&self) -> Result<Option<RunningDigest>, Failure> {
        let (tell, synced) = watch::channel(Synced::Prefix(0));
        let along = (!self.ports.full_verification).then_some(synced);
        let reading = async { Ok(self.read(along).await) };
        let (volume, hash) = tokio::try_join!(self.sync(tell), reading)?;
        Ok(volume.zip(hash).map(|(volume, hash)| RunningDigest {
            sha256: hash.to_string(),
            length: volume.physical,
            modified: volume.modified,
        }))
    }

    /// Returns the host's hash. Without one the image is verified after the upload.
    async fn read(&self, synced: Option<watch::Receiver<Synced>>) -> Option<Hash> {
        let reading = self.ports.storage.sha256_along(self.key, synced?);
        reading.await.unwrap_or_else(|error| {
            tracing::info!(volume = %self.key, %error, "the host stopped reading along");
            None
        })
    }

    /// Syncs as the upload proceeds; returns the volume after the last sync if the host hashes it.
    async fn sync(&self, tell: watch::Sender<Synced>) -> Result<Option<VolumeInfo>, Failure> {
        let storage = &self.ports.storage;
        let mut synced = self.track.saved();
        if synced > 0 && !tell.is_closed() {
            storage.sync(self.key).await?;
            storage.drop_cached(self.key).await?;
            tell.send_replace(Synced::Prefix(synced));
        }
        let more = SYNC.saturating_mul(self.track.interval());
        while let Some(saved) = self.track.recorded_beyond(synced, more).await {
            storage.sync(self.key).await?;
            synced = saved;
            tell.send_replace(Synced::Prefix(synced));
        }
        if tell.is_closed() {
            return Ok(None);
        }
        let length = self.track.completed().await;
        storage.sync(self.key).await?;
        let volume = storage.volume(self.key).await?;
        tell.send_replace(Synced::Whole(length));
        self.cx.report("verifying on the host", 0, Some(length));
        Ok(volume)
    }
}
