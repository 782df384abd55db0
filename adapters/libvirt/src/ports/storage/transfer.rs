//! Writes and reads volumes with libvirt's bulk streams.

use std::time::Duration;

use bytes::Bytes;
use vsiflow_steps::ports::{PortErrorKind, PortResult, VolumeKey};

use super::LibvirtHost;
use crate::{
    ports::{QUICK, upload::VolumeUpload},
    protocol::{StorageVol, storage_flags},
};

/// How long the host may accept nothing, or send nothing, on a stream.
const STALL: Duration = Duration::from_secs(60);

/// How long to wait for a free bulk connection.
const PLACE: Duration = Duration::from_secs(600);

impl LibvirtHost {
    pub(super) async fn begin_upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<VolumeUpload> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let bulk = self
            .session
            .bulk(PLACE)
            .await
            .map_err(|e| self.unconnected(&e))?;
        // Zero means no limit for libvirt; an empty upload sends nothing.
        let announced = length.unwrap_or(0);
        let bulk_calls = bulk.within(QUICK);
        let begin_upload =
            |flags| bulk_calls.storage_vol_upload(&volume, offset, announced, flags, STALL);
        let (opened, sparse) = match begin_upload(storage_flags::UPLOAD_SPARSE).await {
            Err(error) if is_unsupported(&error) => (begin_upload(0).await, false),
            opened => (opened, true),
        };
        let stream = opened.map_err(|e| self.of_volume(key, &e))?;
        Ok(VolumeUpload::new(&self.name, key, stream, sparse, bulk))
    }

    pub(super) async fn piece(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let info = self.present(&calls, &volume).await?;
        let length = info.physical.saturating_sub(offset).min(max);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = Vec::new();
        let keep = |piece: &[u8]| bytes.extend_from_slice(piece);
        self.stream(key, &volume, offset, length, keep).await?;
        Ok(bytes.into())
    }

    pub(super) async fn stream(
        &self,
        key: &VolumeKey,
        volume: &StorageVol,
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]) + Send,
    ) -> PortResult<()> {
        let bulk = self
            .session
            .bulk(PLACE)
            .await
            .map_err(|e| self.unconnected(&e))?;
        let opened = bulk
            .within(QUICK)
            .storage_vol_download(volume, offset, length, STALL)
            .await;
        let mut stream = opened.map_err(|e| self.of_volume(key, &e))?;
        let mut remaining = length;
        while let Some(piece) = stream.next().await.map_err(|e| self.of_volume(key, &e))? {
            // A peer that sends more than requested may never end.
            remaining = remaining.checked_sub(piece.len() as u64).ok_or_else(|| {
                let words = format!("it sends more than the {length} bytes that were asked for");
                self.speaking(&format!("volume {key}"))
                    .error(PortErrorKind::Other, words)
            })?;
            take(&piece);
        }
        Ok(())
    }
}

/// Whether libvirt does not support a flag or a call: `VIR_ERR_NO_SUPPORT` (3), `VIR_ERR_INVALID_ARG` (8).
fn is_unsupported(error: &crate::Error) -> bool {
    error
        .libvirt()
        .is_some_and(|error| matches!(error.code, 3 | 8))
}
