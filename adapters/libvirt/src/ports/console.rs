//! Reads console logs as volumes. This needs neither the console itself, which only one client can open, nor
//! a shell.

use async_trait::async_trait;
use vsiflow_steps::ports::{
    ConsoleChunk, ConsolePort, ConsolePosition, PortErrorKind, PortResult, StoragePort as _,
    VolumeKey,
};

use super::LibvirtHost;

#[async_trait]
impl ConsolePort for LibvirtHost {
    async fn read(
        &self,
        log: &VolumeKey,
        position: ConsolePosition,
        max: u64,
    ) -> PortResult<ConsoleChunk> {
        let end = self.length(log).await?.unwrap_or(0);
        if end < position.offset {
            // virtlogd renamed the file that was being read; its rest is read first.
            let rotated = VolumeKey {
                pool: log.pool.clone(),
                name: format!("{}.0", log.name),
            };
            return match self.rest(&rotated, position.offset, max).await? {
                Some(chunk) => Ok(chunk),
                None => Ok(ConsoleChunk {
                    bytes: bytes::Bytes::new(),
                    next: ConsolePosition::default(),
                }),
            };
        }
        let room = max.min(end.saturating_sub(position.offset));
        let bytes = self.bytes(log, position.offset, room).await?;
        let offset = position.offset.saturating_add(bytes.len() as u64);
        Ok(ConsoleChunk {
            bytes,
            next: ConsolePosition { offset },
        })
    }

    async fn end(&self, log: &VolumeKey) -> PortResult<ConsolePosition> {
        let object = format!("volume {log}");
        let missing = || {
            self.speaking(&object)
                .error(PortErrorKind::Missing, "no such log")
        };
        let offset = self.length(log).await?.ok_or_else(missing)?;
        Ok(ConsolePosition { offset })
    }
}

impl LibvirtHost {
    /// The length of a log; `None` if it does not exist.
    async fn length(&self, log: &VolumeKey) -> PortResult<Option<u64>> {
        // Reading the volume refreshes the pool, because QEMU creates the log without libvirt's storage
        // driver.
        let volume = self.volume(log).await?;
        Ok(volume.map(|volume| volume.physical))
    }

    /// The rest of a rotated file; `None` if it was read to its end, or was deleted.
    async fn rest(
        &self,
        rotated: &VolumeKey,
        offset: u64,
        max: u64,
    ) -> PortResult<Option<ConsoleChunk>> {
        let end = self.length(rotated).await?.unwrap_or(0);
        if end <= offset {
            return Ok(None);
        }
        let bytes = self
            .bytes(rotated, offset, max.min(end.saturating_sub(offset)))
            .await?;
        let next = offset.saturating_add(bytes.len() as u64);
        // After the end of the old file, reading continues at the start of the new one.
        let next_offset = if next >= end { 0 } else { next };
        Ok(Some(ConsoleChunk {
            bytes,
            next: ConsolePosition {
                offset: next_offset,
            },
        }))
    }

    async fn bytes(&self, log: &VolumeKey, offset: u64, max: u64) -> PortResult<bytes::Bytes> {
        if max == 0 {
            return Ok(bytes::Bytes::new());
        }
        match vsiflow_steps::ports::StoragePort::read(self, log, offset, max).await {
            // Each start creates the log again, so it may be missing for a moment.
            Err(error) if error.kind == PortErrorKind::Missing => Ok(bytes::Bytes::new()),
            read => read,
        }
    }
}
