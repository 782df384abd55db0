//! The writing part of a connection's task.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::shared::{
    CallStage, ConnectionCommand, ConnectionShared, OpenStream, Outgoing, PendingCall, Urgent,
};
use crate::error::CloseReason;
use crate::packet::{PacketHeader, encode, kind, status};
use crate::protocol::{KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, Procedure, VERSION};
use crate::time;

/// How long libvirt may take to confirm `ConnectClose`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long libvirt may take to confirm aborted streams. It first writes their data to the disk.
const ABORT_TIMEOUT: Duration = Duration::from_secs(60);
/// A larger write buffer is freed after use.
const MAX_IDLE_BUFFER: usize = 1 << 20;

/// Writes commands from the queue, and urgent packets before them.
pub(super) struct OutgoingPackets<'a, W> {
    write: W,
    queue: mpsc::Receiver<ConnectionCommand>,
    shared: &'a ConnectionShared,
    serial: u32,
    buffer: BytesMut,
}

impl<'a, W: AsyncWrite + Unpin> OutgoingPackets<'a, W> {
    pub(super) fn new(
        write: W,
        queue: mpsc::Receiver<ConnectionCommand>,
        shared: &'a ConnectionShared,
    ) -> Self {
        Self {
            write,
            queue,
            shared,
            serial: 0,
            buffer: BytesMut::new(),
        }
    }

    pub(super) async fn run(&mut self) -> CloseReason {
        match self.serve().await {
            Ok(()) => CloseReason::ByUs,
            Err(error) => CloseReason::Io(error.to_string()),
        }
    }

    /// Writes commands until no handle is left, then awaits pending calls and closes.
    async fn serve(&mut self) -> io::Result<()> {
        loop {
            self.write_urgent().await?;
            if self.shared.table().is_closing() {
                break;
            }
            tokio::select! {
                biased;
                () = self.shared.wake.notified() => {}
                command = self.queue.recv() => match command {
                    Some(command) => self.write_command(command).await?,
                    None => break,
                },
            }
        }
        self.shared.table().stage = CallStage::Closing;
        self.await_pending().await?;
        if self.abort_streams().await? {
            let _ = timeout(CLOSE_TIMEOUT, self.send_close()).await;
        }
        let _ = timeout(CLOSE_TIMEOUT, self.write.shutdown()).await;
        Ok(())
    }

    async fn await_pending(&mut self) -> io::Result<()> {
        let last = |shared: &ConnectionShared| {
            let table = shared.table();
            table.pending.values().map(|call| call.deadline).max()
        };
        while let Some(last) = last(self.shared).filter(|last| *last > Instant::now()) {
            self.write_urgent().await?;
            woken_before(self.shared, last).await;
        }
        Ok(())
    }

    /// Aborts open streams and waits until libvirt confirms it. Returns whether it did.
    ///
    /// While libvirtd has an open stream, the connection may either end or be asked to close, but not both at
    /// the same time. The thread that replies to the call and the one that sees the end would both free the
    /// stream, and libvirtd crashes (`virNetServerClientCloseLocked` in libvirt's
    /// `src/rpc/virnetserverclient.c` unlocks the client while `remoteClientCloseFunc` in its
    /// `src/remote/remote_daemon_dispatch.c` removes the streams).
    async fn abort_streams(&mut self) -> io::Result<bool> {
        self.shared.table().abort_all_streams();
        let last = time::deadline(ABORT_TIMEOUT);
        loop {
            self.write_urgent().await?;
            if self.shared.table().leaving.is_empty() {
                return Ok(true);
            }
            if last <= Instant::now() {
                return Ok(false);
            }
            woken_before(self.shared, last).await;
        }
    }

    /// Asks libvirt to close and waits for its reply.
    async fn send_close(&mut self) -> io::Result<()> {
        let header = self.call_header(Procedure::ConnectClose);
        self.shared.table().stage = CallStage::Parting;
        self.write_packet(&header, &[]).await?;
        while self.shared.table().stage == CallStage::Parting {
            self.write_urgent().await?;
            self.shared.wake.notified().await;
        }
        Ok(())
    }

    async fn write_urgent(&mut self) -> io::Result<()> {
        let urgent = std::mem::take(&mut self.shared.table().urgent);
        let Urgent { ping, pong, aborts } = urgent;
        if pong {
            self.write_packet(&keep_alive_header(KEEPALIVE_PONG), &[])
                .await?;
        }
        if ping {
            self.write_packet(&keep_alive_header(KEEPALIVE_PING), &[])
                .await?;
        }
        for (serial, procedure) in aborts {
            self.write_packet(&stream_header(serial, procedure, status::ERROR), &[])
                .await?;
        }
        Ok(())
    }

    async fn write_command(&mut self, command: ConnectionCommand) -> io::Result<()> {
        match command {
            ConnectionCommand::Call(call) => self.write_call(call).await,
            ConnectionCommand::Stream {
                serial,
                procedure,
                kind,
                status,
                payload,
            } => {
                let header = PacketHeader {
                    kind,
                    ..stream_header(serial, procedure, status)
                };
                self.write_stream(&header, payload).await
            }
        }
    }

    async fn write_call(&mut self, call: Outgoing) -> io::Result<()> {
        let Outgoing {
            procedure,
            payload,
            deadline,
            claim,
            place,
            answer,
            stream,
        } = call;
        if !claim.write() {
            return Ok(());
        }
        let header = self.call_header(procedure);
        {
            let mut table = self.shared.table();
            if let Some(events) = stream {
                table
                    .streams
                    .insert(header.serial, OpenStream { procedure, events });
            }
            table.pending.insert(
                header.serial,
                PendingCall {
                    procedure,
                    deadline,
                    answer,
                    place,
                },
            );
        }
        self.write_packet(&header, &payload).await
    }

    /// Writes a stream's packet. Drops it if the stream has already ended.
    async fn write_stream(&mut self, header: &PacketHeader, payload: Bytes) -> io::Result<()> {
        if !self.shared.table().streams.contains_key(&header.serial) {
            return Ok(());
        }
        self.write_packet(header, &payload).await
    }

    /// Writes a packet as one piece: over SSH each piece would become a packet of its own.
    async fn write_packet(&mut self, header: &PacketHeader, payload: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        if !encode(header, payload, &mut self.buffer) {
            return Err(io::Error::other("a packet beyond libvirt's limit"));
        }
        self.write.write_all(&self.buffer).await?;
        self.write.flush().await?;
        if self.buffer.capacity() > MAX_IDLE_BUFFER {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    fn call_header(&mut self, procedure: Procedure) -> PacketHeader {
        // 0 is the serial of events.
        self.serial = self.serial.wrapping_add(1).max(1);
        PacketHeader {
            program: procedure.program(),
            version: VERSION,
            procedure: procedure.number(),
            kind: kind::CALL,
            serial: self.serial,
            status: status::OK,
        }
    }
}

async fn woken_before(shared: &ConnectionShared, last: Instant) {
    tokio::select! {
        () = shared.wake.notified() => {}
        () = sleep_until(last) => {}
    }
}

fn stream_header(serial: u32, procedure: Procedure, status: i32) -> PacketHeader {
    PacketHeader {
        program: procedure.program(),
        version: VERSION,
        procedure: procedure.number(),
        kind: kind::STREAM,
        serial,
        status,
    }
}

fn keep_alive_header(procedure: i32) -> PacketHeader {
    PacketHeader {
        program: KEEPALIVE_PROGRAM,
        version: VERSION,
        procedure,
        kind: kind::MESSAGE,
        serial: 0,
        status: status::OK,
    }
}
