//! An upload into a volume of a simulated host.

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    Content, SimHost, SimHostState,
    host::{Call, object},
};
use crate::{
    image::qcow2,
    ports::{PortErrorKind, PortResult, UploadSink, VolumeKey},
};

/// An upload into the content with that ID.
pub(super) struct SimSink {
    pub(super) host: SimHost,
    pub(super) key: VolumeKey,
    pub(super) id: u64,
    pub(super) at: u64,
    pub(super) left: Option<u64>,
    /// Whether it writes into the file that it opened, even if the name leads to another file later.
    pub(super) by_path: bool,
}

/// An upload that holds the newest part back until the next one is known.
pub(super) struct SimPathSink {
    sink: SimSink,
    held_back: Option<SimPart>,
    written: watch::Sender<u64>,
}

enum SimPart {
    Data(Bytes),
    Hole(u64),
}

impl SimPathSink {
    pub(super) fn new(sink: SimSink) -> Self {
        let (written, _) = watch::channel(sink.at);
        Self {
            sink,
            held_back: None,
            written,
        }
    }

    async fn pass(&mut self, next: Option<SimPart>) -> PortResult<()> {
        match std::mem::replace(&mut self.held_back, next) {
            Some(SimPart::Data(bytes)) => self.sink.send(bytes).await?,
            Some(SimPart::Hole(length)) => self.sink.send_hole(length).await?,
            None => {}
        }
        self.written.send_replace(self.sink.at);
        Ok(())
    }
}

#[async_trait]
impl UploadSink for SimPathSink {
    async fn send(&mut self, bytes: Bytes) -> PortResult<()> {
        self.pass(Some(SimPart::Data(bytes))).await
    }

    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        self.pass(Some(SimPart::Hole(length))).await
    }

    fn written(&self) -> Option<watch::Receiver<u64>> {
        Some(self.written.subscribe())
    }

    async fn finish(mut self: Box<Self>) -> PortResult<Option<String>> {
        self.pass(None).await?;
        Box::new(self.sink).finish().await?;
        Ok(Some("sent into the pool's folder".to_owned()))
    }

    async fn abort(self: Box<Self>) {}
}

#[async_trait]
impl UploadSink for SimSink {
    async fn send(&mut self, bytes: Bytes) -> PortResult<()> {
        let (host, len) = (self.host.clone(), bytes.len() as u64);
        let end = self.at.saturating_add(len);
        let written = host.call(Call::act("send", object(&self.key)), |state, _| {
            if self.left.is_some_and(|announced| announced < len) {
                let words = "more data than announced";
                return Err(host.error(PortErrorKind::Rejected, &object(&self.key), words));
            }
            self.grow(state, end)
        });
        written.await?;
        let (id, at) = (self.id, self.at);
        let stored = host
            .store
            .on(move |store| store.write(id, at, &bytes))
            .await;
        stored.map_err(|error| host.store_error(&object(&self.key), &error))?;
        self.at = end;
        self.left = self.left.map(|announced| announced.saturating_sub(len));
        Ok(())
    }

    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        let host = self.host.clone();
        let end = self.at.saturating_add(length);
        let passed = host.call(Call::act("send", object(&self.key)), |state, _| {
            if self.left.is_some_and(|announced| announced < length) {
                let words = "more data than announced";
                return Err(host.error(PortErrorKind::Rejected, &object(&self.key), words));
            }
            self.grow(state, end)
        });
        passed.await?;
        self.at = end;
        self.left = self.left.map(|announced| announced.saturating_sub(length));
        Ok(())
    }

    async fn finish(self: Box<Self>) -> PortResult<Option<String>> {
        let (id, store) = (self.id, self.host.store.clone());
        let content = Content::Stored {
            id,
            len: self.at,
            zero_from: None,
        };
        let head = store
            .on(move |store| store.read(&content, 0, qcow2::HEADER_MAX))
            .await
            .map_err(|error| self.host.store_error(&object(&self.key), &error))?;
        let virtual_size = qcow2::virtual_size(&head).ok();
        self.host
            .call(Call::act("finish", object(&self.key)), |state, _| {
                let change = state.change();
                if self.by_path && !self.has_its_file(state)? {
                    let words = "its path leads to another file";
                    let key = object(&self.key);
                    return Err(self.host.error(PortErrorKind::Replaced, &key, words));
                }
                // An upload into a volume that was deleted during it ends without an error.
                if let Ok(volume) = self.host.volume_of(state, &self.key) {
                    let format = if virtual_size.is_some() {
                        "qcow2"
                    } else {
                        "raw"
                    };
                    volume.format = format.to_owned();
                    volume.capacity = virtual_size.unwrap_or(volume.physical());
                    volume.modified = change;
                }
                Ok(None)
            })
            .await
    }

    async fn abort(self: Box<Self>) {}
}

impl SimSink {
    fn grow(&self, state: &mut SimHostState, end: u64) -> PortResult<()> {
        if self.by_path && !self.has_its_file(state)? {
            return Ok(());
        }
        self.host.grow(state, &self.key, self.id, end)
    }

    /// Whether the volume's name still leads to the file that was opened.
    fn has_its_file(&self, state: &mut SimHostState) -> PortResult<bool> {
        let pool = self.host.pool_of(state, &self.key.pool)?;
        let content = pool
            .volumes
            .get(&self.key.name)
            .map(|volume| &volume.content);
        Ok(matches!(content, Some(Content::Stored { id, .. }) if *id == self.id))
    }
}

impl SimHost {
    /// Extends the file before its bytes are stored: until then they read as zeros.
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
