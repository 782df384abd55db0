//! An upload into a volume of a simulated host.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Content, SimHost, SimHostState,
    host::{Call, object},
};
use crate::{
    image::qcow2,
    ports::{PortErrorKind, PortResult, UploadSink, VolumeKey},
};

/// Bytes on their way into the content of that id.
pub(super) struct SimSink {
    pub(super) host: SimHost,
    pub(super) key: VolumeKey,
    pub(super) id: u64,
    pub(super) at: u64,
    pub(super) left: Option<u64>,
}

#[async_trait]
impl UploadSink for SimSink {
    async fn send(&mut self, bytes: Bytes) -> PortResult<()> {
        let (host, len) = (self.host.clone(), bytes.len() as u64);
        let end = self.at.saturating_add(len);
        let written = host.call(Call::act("send", object(&self.key)), |state, _| {
            if self.left.is_some_and(|left| left < len) {
                let words = "more data than announced";
                return Err(host.error(PortErrorKind::Rejected, &object(&self.key), words));
            }
            host.grow(state, &self.key, self.id, end)
        });
        written.await?;
        let (id, at) = (self.id, self.at);
        let stored = host
            .store
            .on(move |store| store.write(id, at, &bytes))
            .await;
        stored.map_err(|error| host.store_error(&object(&self.key), &error))?;
        self.at = end;
        self.left = self.left.map(|left| left.saturating_sub(len));
        Ok(())
    }

    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        let host = self.host.clone();
        let end = self.at.saturating_add(length);
        let passed = host.call(Call::act("send", object(&self.key)), |state, _| {
            if self.left.is_some_and(|left| left < length) {
                let words = "more data than announced";
                return Err(host.error(PortErrorKind::Rejected, &object(&self.key), words));
            }
            host.grow(state, &self.key, self.id, end)
        });
        passed.await?;
        self.at = end;
        self.left = self.left.map(|left| left.saturating_sub(length));
        Ok(())
    }

    async fn finish(self: Box<Self>) -> PortResult<()> {
        let (id, store) = (self.id, self.host.store.clone());
        let content = Content::Stored {
            id,
            len: self.at,
            zero_from: None,
        };
        let head = store
            .on(move |store| store.read(&content, 0, qcow2::HEADER_MAX))
            .await;
        let head = head.map_err(|error| self.host.store_error(&object(&self.key), &error))?;
        let found = qcow2::virtual_size(&head).ok();
        self.host
            .call(Call::act("finish", object(&self.key)), |state, _| {
                let change = state.change();
                // An upload into a volume that was deleted meanwhile ends without an error.
                if let Ok(volume) = self.host.volume_of(state, &self.key) {
                    let format = if found.is_some() { "qcow2" } else { "raw" };
                    volume.format = format.to_owned();
                    volume.capacity = found.unwrap_or(volume.physical());
                    volume.modified = change;
                }
                Ok(())
            })
            .await
    }

    async fn abort(self: Box<Self>) {}
}

impl SimHost {
    /// The file grows before its bytes are there: until they are it reads as zeros.
    fn grow(&self, state: &mut SimHostState, key: &VolumeKey, id: u64, end: u64) -> PortResult<()> {
        let change = state.change();
        let pool = self.pool_of(state, &key.pool)?;
        let available = pool.available();
        let Some(volume) = pool.volumes.get_mut(&key.name) else {
            return Ok(());
        };
        let len = volume.content.len().max(end);
        if len.saturating_sub(volume.content.len()) > available {
            return Err(self.no_space(key));
        }
        volume.content = Content::Stored {
            id,
            len,
            zero_from: None,
        };
        volume.modified = change;
        Ok(())
    }
}
