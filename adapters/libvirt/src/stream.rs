//! Streams: bulk data into and out of a volume, and a guest's console in both directions.
//!
//! A stream belongs to the connection that opened it, and has the serial of the call that opened it. Its
//! packets are not acknowledged one by one: an error of libvirt arrives in the middle, and only the confirmed
//! finish shows that all packets arrived. Even then nothing is synced to the host's disk.
//!
//! Dropping a stream that was not finished aborts it; bytes that arrived stay in the volume.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use crate::connection::{Calls, Connection, ConnectionCommand, StreamEvent, encode};
use crate::error::{Cause, CloseReason, Error, Result};
use crate::packet::{STREAM_PAYLOAD_MAX, kind, status};
use crate::protocol::Procedure;
use crate::time;

/// How many packets of a download wait for their reader, up to 256 KiB each.
const DOWNLOAD_QUEUE: usize = 4;

impl Calls {
    pub(crate) async fn open_upload<A: Serialize + ?Sized>(
        &self,
        procedure: Procedure,
        args: &A,
        stall: Duration,
    ) -> Result<UploadStream> {
        Ok(UploadStream {
            link: self.open_stream(procedure, args, stall, 1).await?,
            sent: 0,
        })
    }

    pub(crate) async fn open_download<A: Serialize + ?Sized>(
        &self,
        procedure: Procedure,
        args: &A,
        stall: Duration,
    ) -> Result<DownloadStream> {
        let link = self
            .open_stream(procedure, args, stall, DOWNLOAD_QUEUE)
            .await?;
        Ok(DownloadStream {
            link,
            finishing: false,
        })
    }

    pub(crate) async fn open_both_ways<A: Serialize + ?Sized>(
        &self,
        procedure: Procedure,
        args: &A,
        stall: Duration,
    ) -> Result<ConsoleStream> {
        let link = self
            .open_stream(procedure, args, stall, DOWNLOAD_QUEUE)
            .await?;
        Ok(ConsoleStream { link })
    }

    async fn open_stream<A: Serialize + ?Sized>(
        &self,
        procedure: Procedure,
        args: &A,
        stall: Duration,
        queue: usize,
    ) -> Result<StreamLink> {
        let payload = encode(procedure, args)?;
        let (sender, events) = mpsc::channel(queue);
        let connection = self.connection().clone();
        let answer = connection
            .request(procedure, payload, Some(sender), self.timeout())
            .await?;
        Ok(StreamLink {
            connection,
            serial: answer.serial,
            procedure,
            events,
            stall,
            over: false,
            is_ended: false,
        })
    }
}

/// A stream that writes a volume.
#[derive(Debug)]
pub struct UploadStream {
    link: StreamLink,
    sent: u64,
}

impl UploadStream {
    /// Sends data. Returns when all of it was sent, so it is as fast as the host accepts it.
    ///
    /// Not cancel safe: when this is dropped, a part of the data may be sent; [`sent`](Self::sent) returns
    /// how much.
    ///
    /// # Errors
    /// libvirt's own error, if it has stopped the stream, for example because there is no space;
    /// [`Error::OutcomeUnknown`] if the connection ended, or the host accepted nothing within the timeout.
    /// The volume then contains a prefix of the data; its physical size shows the length.
    pub async fn send(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let packet = data.split_to(data.len().min(STREAM_PAYLOAD_MAX));
            let length = packet.len() as u64;
            self.link.write(status::CONTINUE, packet).await?;
            self.sent = self.sent.saturating_add(length);
        }
        Ok(())
    }

    /// Skips this many bytes without sending them: the file is extended by a hole. Existing content at that
    /// position stays. Only for a stream that was opened as sparse.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn send_hole(&mut self, length: u64) -> Result<()> {
        let mut hole = BytesMut::with_capacity(12);
        hole.put_u64(length);
        hole.put_u32(0);
        let (kind, status) = (kind::STREAM_HOLE, status::CONTINUE);
        self.link.write_as(kind, status, hole.freeze()).await?;
        self.sent = self.sent.saturating_add(length);
        Ok(())
    }

    /// How many bytes were sent so far; not all of them may have arrived.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Ends the stream and waits until libvirt confirms that it received everything.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn finish(mut self) -> Result<()> {
        self.link.write(status::OK, Bytes::new()).await?;
        self.link.confirmed().await
    }

    /// Aborts the stream and waits until libvirt confirms it.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub async fn abort(mut self) -> Result<()> {
        self.link.write(status::ERROR, Bytes::new()).await?;
        self.link.is_ended = true;
        self.link.confirmed().await
    }
}

/// A stream that reads a volume.
#[derive(Debug)]
pub struct DownloadStream {
    link: StreamLink,
    finishing: bool,
}

impl DownloadStream {
    /// Reads the next piece of at most 256 KiB; `None` at the end, after libvirt has confirmed that there was
    /// no error. libvirt waits while nothing is read.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// libvirt's own error, if it has stopped the stream; [`Error::OutcomeUnknown`] if the connection ended,
    /// or nothing arrived within the timeout.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.finishing {
            match self.link.next().await? {
                StreamEvent::Data(data) if data.is_empty() => self.finishing = true,
                StreamEvent::Data(data) => return Ok(Some(data)),
                StreamEvent::Finished => return Ok(None),
                StreamEvent::Failed(failure) => {
                    return Err(failure.into_error(self.link.procedure));
                }
            }
        }
        if !self.link.over {
            self.link.write(status::OK, Bytes::new()).await?;
            self.link.confirmed().await?;
        }
        Ok(None)
    }
}

/// A stream in both directions, such as a console.
#[derive(Debug)]
pub struct ConsoleStream {
    link: StreamLink,
}

impl ConsoleStream {
    /// Transfers bytes in both directions until libvirt ends the stream, or the other end of `keys` or
    /// `shown` is closed. An idle stream stays open; the connection's keep-alive checks libvirt.
    ///
    /// Cancel safe: the stream ends when this is dropped.
    ///
    /// # Errors
    /// libvirt's own error, if it has stopped the stream; [`Error::OutcomeUnknown`] if the connection ended,
    /// or libvirt accepted nothing within the timeout.
    pub async fn carry(
        mut self,
        keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> Result<()> {
        let writer = self.link.writer();
        tokio::select! {
            ended = self.link.show(&shown) => ended,
            ended = writer.type_in(keys) => ended,
        }
    }
}

/// The writing half of a stream whose other half is read at the same time.
struct StreamWriter {
    connection: Connection,
    serial: u32,
    procedure: Procedure,
    stall: Duration,
}

impl StreamWriter {
    async fn type_in(&self, mut keys: mpsc::Receiver<Bytes>) -> Result<()> {
        while let Some(mut bytes) = keys.recv().await {
            while !bytes.is_empty() {
                let packet = bytes.split_to(bytes.len().min(STREAM_PAYLOAD_MAX));
                self.write(packet).await?;
            }
        }
        Ok(())
    }

    async fn write(&self, payload: Bytes) -> Result<()> {
        let command = ConnectionCommand::Stream {
            serial: self.serial,
            procedure: self.procedure,
            kind: kind::STREAM,
            status: status::CONTINUE,
            payload,
        };
        let queued = self.connection.commands().send(command);
        let cause = match timeout_at(time::deadline(self.stall), queued).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => {
                let reason = self.connection.close_reason();
                Cause::Closed(reason.unwrap_or(CloseReason::ByUs))
            }
            Err(_) => Cause::TimedOut(self.stall),
        };
        let procedure = self.procedure;
        Err(Error::OutcomeUnknown { procedure, cause })
    }
}

/// An open stream and its connection.
#[derive(Debug)]
struct StreamLink {
    connection: Connection,
    serial: u32,
    procedure: Procedure,
    events: mpsc::Receiver<StreamEvent>,
    stall: Duration,
    /// libvirt has ended the stream, so it must not be aborted.
    over: bool,
    /// The abort was sent, but libvirt has not confirmed it yet.
    is_ended: bool,
}

impl StreamLink {
    /// Queues a packet, unless the stream has failed.
    async fn write(&mut self, status: i32, payload: Bytes) -> Result<()> {
        self.write_as(kind::STREAM, status, payload).await
    }

    async fn write_as(&mut self, kind: i32, status: i32, payload: Bytes) -> Result<()> {
        let (serial, procedure) = (self.serial, self.procedure);
        let command = ConnectionCommand::Stream {
            serial,
            procedure,
            kind,
            status,
            payload,
        };
        let deadline = time::deadline(self.stall);
        let queued = {
            let commands = self.connection.commands();
            tokio::select! {
                biased;
                event = self.events.recv() => Err(event),
                queued = timeout_at(deadline, commands.send(command)) => Ok(queued),
            }
        };
        match queued {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(_))) => Err(self.ended()),
            Ok(Err(_)) => Err(self.stalled()),
            Err(event) => Err(self.interrupted(event)),
        }
    }

    /// The error for an event that arrived before this side has finished.
    fn interrupted(&mut self, event: Option<StreamEvent>) -> Error {
        match event {
            None => self.ended(),
            Some(StreamEvent::Failed(failure)) => {
                self.over = true;
                failure.into_error(self.procedure)
            }
            Some(_) => self.unknown(CloseReason::Protocol("data on an upload".to_owned())),
        }
    }

    fn writer(&self) -> StreamWriter {
        StreamWriter {
            connection: self.connection.clone(),
            serial: self.serial,
            procedure: self.procedure,
            stall: self.stall,
        }
    }

    /// Sends received data to `shown` until the stream ends or the receiver is closed.
    async fn show(&mut self, shown: &mpsc::Sender<Bytes>) -> Result<()> {
        loop {
            let event = tokio::select! {
                event = self.events.recv() => event,
                () = shown.closed() => return Ok(()),
            };
            match event {
                Some(StreamEvent::Data(data)) if data.is_empty() => return Ok(()),
                Some(StreamEvent::Data(data)) => {
                    if shown.send(data).await.is_err() {
                        return Ok(());
                    }
                }
                Some(StreamEvent::Finished) => {
                    self.over = true;
                    return Ok(());
                }
                Some(StreamEvent::Failed(failure)) => {
                    self.over = true;
                    return Err(failure.into_error(self.procedure));
                }
                None => return Err(self.ended()),
            }
        }
    }

    /// Waits until libvirt confirms a finish or an abort.
    async fn confirmed(&mut self) -> Result<()> {
        loop {
            match self.next().await? {
                StreamEvent::Finished => return Ok(()),
                StreamEvent::Failed(failure) => return Err(failure.into_error(self.procedure)),
                StreamEvent::Data(_) => {}
            }
        }
    }

    async fn next(&mut self) -> Result<StreamEvent> {
        let deadline = time::deadline(self.stall);
        match timeout_at(deadline, self.events.recv()).await {
            Ok(Some(event)) => {
                self.over = !matches!(event, StreamEvent::Data(_));
                Ok(event)
            }
            Ok(None) => Err(self.ended()),
            Err(_) => Err(self.stalled()),
        }
    }

    fn ended(&mut self) -> Error {
        self.over = true;
        self.unknown(self.connection.close_reason().unwrap_or(CloseReason::ByUs))
    }

    fn unknown(&self, reason: CloseReason) -> Error {
        Error::OutcomeUnknown {
            procedure: self.procedure,
            cause: Cause::Closed(reason),
        }
    }

    fn stalled(&self) -> Error {
        Error::OutcomeUnknown {
            procedure: self.procedure,
            cause: Cause::TimedOut(self.stall),
        }
    }
}

impl Drop for StreamLink {
    fn drop(&mut self) {
        if !self.over {
            self.connection
                .shared()
                .leave_stream(self.serial, self.procedure, self.is_ended);
        }
    }
}
