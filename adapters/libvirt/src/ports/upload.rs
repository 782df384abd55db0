//! Uploads bytes into a volume through libvirt's stream.

use async_trait::async_trait;
use bytes::Bytes;
use vsiflow_steps::ports::{PortError, PortResult, UploadSink, VolumeKey, send_zeros};

use super::error::ErrorContext;
use crate::{connection::Connection, stream::UploadStream};

/// An upload on a separate connection.
pub(super) struct VolumeUpload {
    host: String,
    object: String,
    stream: UploadStream,
    /// Whether the host accepts holes.
    sparse: bool,
    /// Which way the bytes are sent, and why, if there was a choice.
    note: Option<String>,
    /// Held until the upload ends: the connection closes with it.
    _connection: Connection,
}

impl VolumeUpload {
    pub(super) fn new(
        host: &str,
        key: &VolumeKey,
        stream: UploadStream,
        sparse: bool,
        connection: Connection,
    ) -> Self {
        let (host, object) = (host.to_owned(), format!("volume {key}"));
        Self {
            host,
            object,
            stream,
            sparse,
            note: None,
            _connection: connection,
        }
    }

    /// Records why the bytes are sent through libvirt.
    pub(super) fn because(self, why: &str) -> Self {
        let note = Some(format!("sent through libvirt: {why}"));
        Self { note, ..self }
    }
}

fn of(host: &str, object: &str, error: &crate::Error) -> PortError {
    ErrorContext { host, object }.of(error)
}

#[async_trait]
impl UploadSink for VolumeUpload {
    async fn send(&mut self, bytes: Bytes) -> PortResult<()> {
        let sent = self.stream.send(bytes).await;
        sent.map_err(|error| of(&self.host, &self.object, &error))
    }

    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        if self.sparse {
            let passed = self.stream.send_hole(length).await;
            return passed.map_err(|error| of(&self.host, &self.object, &error));
        }
        send_zeros(self, length).await
    }

    async fn finish(self: Box<Self>) -> PortResult<Option<String>> {
        let Self {
            host,
            object,
            stream,
            note,
            _connection,
            ..
        } = *self;
        let finished = stream.finish().await;
        finished.map_err(|error| of(&host, &object, &error))?;
        Ok(note)
    }

    async fn abort(self: Box<Self>) {
        // Whether libvirt confirms the abort does not matter: the bytes that arrived stay in either case.
        let _ = self.stream.abort().await;
    }
}
