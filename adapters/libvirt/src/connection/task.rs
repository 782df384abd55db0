//! The task that owns a connection's socket: it reads, it writes, it keeps alive, all at once, and
//! whichever of the three ends first ends the connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::shared::{
    Answer, CallFailure, Command, Outgoing, Pending, Shared, Stream, StreamEvent, Urgent,
};
use crate::error::{CloseReason, LibvirtError};
use crate::events;
use crate::packet::{Header, Packet, PacketReader, ReadError, encode, kind, status};
use crate::protocol::{
    KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, Procedure, REMOTE_PROGRAM, VERSION,
};

/// How long the farewell may take to write.
const FAREWELL: Duration = Duration::from_secs(2);
/// A write buffer that grew beyond this is given back.
const BUFFER_KEPT: usize = 1 << 20;

/// Runs a connection to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    queue: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
) {
    let (read, write) = tokio::io::split(stream);
    let mut reading = Reading {
        reader: PacketReader::new(read),
        shared: &shared,
    };
    let mut writing = Writing::new(write, queue, &shared);
    let reason = tokio::select! {
        reason = reading.run() => reason,
        reason = writing.run() => reason,
        reason = keep_alive(&shared) => reason,
    };
    tracing::debug!(%reason, "libvirt connection ended");
    // In this order: who finds the queue closed asks for the reason.
    shared.end(&reason);
    places.close();
}

/// The reading third.
struct Reading<'a, R> {
    reader: PacketReader<R>,
    shared: &'a Shared,
}

impl<R: AsyncRead + Unpin> Reading<'_, R> {
    async fn run(&mut self) -> CloseReason {
        loop {
            let packet = match self.reader.next(|| self.shared.hear()).await {
                Ok(packet) => packet,
                Err(ReadError::Closed) => return CloseReason::ByPeer,
                Err(ReadError::Io(error)) => return CloseReason::Io(error.to_string()),
                Err(error) => return CloseReason::Protocol(error.to_string()),
            };
            if let Err(problem) = self.dispatch(packet).await {
                return CloseReason::Protocol(problem);
            }
        }
    }

    async fn dispatch(&mut self, packet: Packet) -> Result<(), String> {
        let Header {
            program,
            version,
            kind,
            ..
        } = packet.header;
        match (program, version, kind) {
            (REMOTE_PROGRAM, VERSION, kind::REPLY) => self.reply(packet),
            (REMOTE_PROGRAM, VERSION, kind::STREAM) => self.stream(packet).await,
            (REMOTE_PROGRAM, VERSION, kind::MESSAGE) => self.message(&packet),
            (KEEPALIVE_PROGRAM, VERSION, kind::MESSAGE) => self.keep_alive(&packet.header),
            _ => return Err(format!("unexpected packet {:?}", packet.header)),
        }
        Ok(())
    }

    fn reply(&self, packet: Packet) {
        let serial = packet.header.serial;
        let Some(call) = self.shared.table().pending.remove(&serial) else {
            tracing::warn!(serial, "libvirt replied to a call nobody made");
            return;
        };
        let answer = match packet.header.status {
            status::OK => Ok(Answer {
                serial,
                payload: packet.payload,
            }),
            _ => Err(failure(call.procedure, &packet.payload)),
        };
        if answer.is_err() {
            self.shared.table().streams.remove(&serial);
        }
        if let Err(answer) = call.answer.send(answer) {
            let ok = answer.is_ok();
            tracing::debug!(serial, procedure = %call.procedure, ok, "a late reply, unheard");
        }
        drop(call.place);
        self.shared.wake.notify_one();
    }

    /// Hands a stream's packet to its owner. While the owner takes nothing, nothing else is read
    /// from this connection; that is what keeps libvirt from sending on.
    async fn stream(&mut self, packet: Packet) {
        let serial = packet.header.serial;
        let (events, procedure) = match self.shared.table().streams.get(&serial) {
            Some(stream) => (stream.events.clone(), stream.procedure),
            // Of a stream that was aborted meanwhile.
            None => return,
        };
        let event = match packet.header.status {
            status::CONTINUE => StreamEvent::Data(packet.payload),
            status::OK => StreamEvent::Finished,
            _ => StreamEvent::Failed(failure(procedure, &packet.payload)),
        };
        if !matches!(event, StreamEvent::Data(_)) {
            self.shared.table().streams.remove(&serial);
        }
        self.shared.held_up.store(true, Ordering::Relaxed);
        let _ = events.send(event).await;
        self.shared.held_up.store(false, Ordering::Relaxed);
    }

    fn message(&self, packet: &Packet) {
        let Packet { header, payload } = packet;
        if header.procedure != Procedure::DomainEventCallbackLifecycle.number() {
            tracing::debug!(procedure = header.procedure, "an event nobody asked for");
            return;
        }
        match events::decode(payload) {
            Ok(event) => drop(self.shared.events.send(event)),
            Err(error) => tracing::warn!(%error, "a malformed event"),
        }
    }

    fn keep_alive(&self, header: &Header) {
        if header.procedure == KEEPALIVE_PING {
            self.shared.table().urgent.pong = true;
            self.shared.wake.notify_one();
        }
    }
}

/// What an error's payload says.
fn failure(procedure: Procedure, payload: &[u8]) -> CallFailure {
    match LibvirtError::decode(procedure, payload) {
        Ok(error) => CallFailure::Libvirt(Box::new(error)),
        Err(error) => CallFailure::BadReply(error),
    }
}

/// The writing third.
struct Writing<'a, W> {
    write: W,
    queue: mpsc::Receiver<Command>,
    shared: &'a Shared,
    serial: u32,
    buffer: BytesMut,
}

impl<'a, W: AsyncWrite + Unpin> Writing<'a, W> {
    fn new(write: W, queue: mpsc::Receiver<Command>, shared: &'a Shared) -> Self {
        Self {
            write,
            queue,
            shared,
            serial: 0,
            buffer: BytesMut::new(),
        }
    }

    async fn run(&mut self) -> CloseReason {
        match self.serve().await {
            Ok(()) => CloseReason::ByUs,
            Err(error) => CloseReason::Io(error.to_string()),
        }
    }

    /// Writes what is asked for until no handle is left, then awaits what is pending.
    async fn serve(&mut self) -> std::io::Result<()> {
        loop {
            self.write_urgent().await?;
            if self.shared.table().closing {
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
        self.shared.table().closing = true;
        self.await_pending().await?;
        let _ = timeout(FAREWELL, self.farewell()).await;
        Ok(())
    }

    async fn await_pending(&mut self) -> std::io::Result<()> {
        loop {
            self.write_urgent().await?;
            let last = self
                .shared
                .table()
                .pending
                .values()
                .map(|call| call.deadline)
                .max();
            let Some(last) = last.filter(|last| *last > Instant::now()) else {
                return Ok(());
            };
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = sleep_until(last) => {}
            }
        }
    }

    async fn farewell(&mut self) -> std::io::Result<()> {
        let header = self.call_header(Procedure::ConnectClose);
        self.write_packet(&header, &[]).await?;
        self.write.shutdown().await
    }

    async fn write_urgent(&mut self) -> std::io::Result<()> {
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

    async fn write_command(&mut self, command: Command) -> std::io::Result<()> {
        match command {
            Command::Call(call) => self.write_call(call).await,
            Command::Stream {
                serial,
                procedure,
                status,
                payload,
            } => {
                self.write_stream(&stream_header(serial, procedure, status), payload)
                    .await
            }
        }
    }

    async fn write_call(&mut self, call: Outgoing) -> std::io::Result<()> {
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
                    .insert(header.serial, Stream { procedure, events });
            }
            table.pending.insert(
                header.serial,
                Pending {
                    procedure,
                    deadline,
                    answer,
                    place,
                },
            );
        }
        self.write_packet(&header, &payload).await
    }

    /// Not for a stream that ended meanwhile: its packets are worth nothing to anybody.
    async fn write_stream(&mut self, header: &Header, payload: Bytes) -> std::io::Result<()> {
        if !self.shared.table().streams.contains_key(&header.serial) {
            return Ok(());
        }
        self.write_packet(header, &payload).await
    }

    /// One piece a packet: over SSH each piece would become a packet of its own.
    async fn write_packet(&mut self, header: &Header, payload: &[u8]) -> std::io::Result<()> {
        self.buffer.clear();
        if !encode(header, payload, &mut self.buffer) {
            return Err(std::io::Error::other("a packet beyond libvirt's limit"));
        }
        self.write.write_all(&self.buffer).await?;
        self.write.flush().await?;
        if self.buffer.capacity() > BUFFER_KEPT {
            self.buffer = BytesMut::new();
        }
        Ok(())
    }

    fn call_header(&mut self, procedure: Procedure) -> Header {
        // 0 is the serial of events.
        self.serial = self.serial.wrapping_add(1).max(1);
        Header {
            program: REMOTE_PROGRAM,
            version: VERSION,
            procedure: procedure.number(),
            kind: kind::CALL,
            serial: self.serial,
            status: status::OK,
        }
    }
}

fn stream_header(serial: u32, procedure: Procedure, status: i32) -> Header {
    Header {
        program: REMOTE_PROGRAM,
        version: VERSION,
        procedure: procedure.number(),
        kind: kind::STREAM,
        serial,
        status,
    }
}

fn keep_alive_header(procedure: i32) -> Header {
    Header {
        program: KEEPALIVE_PROGRAM,
        version: VERSION,
        procedure,
        kind: kind::MESSAGE,
        serial: 0,
        status: status::OK,
    }
}

/// The third that pings. Begins when told to.
async fn keep_alive(shared: &Shared) -> CloseReason {
    let limits = loop {
        shared.watched.notified().await;
        if let Some(limits) = shared.table().keep_alive {
            break limits;
        }
    };
    let mut heard = shared.heard.load(Ordering::Relaxed);
    let mut silent = 0_u32;
    loop {
        sleep(limits.interval).await;
        let now = shared.heard.load(Ordering::Relaxed);
        silent = if now != heard || shared.held_up.load(Ordering::Relaxed) {
            0
        } else {
            silent.saturating_add(1)
        };
        heard = now;
        if silent > limits.pings {
            return CloseReason::Silent(limits.interval.saturating_mul(silent));
        }
        // While held up nothing is heard, but libvirt must go on hearing from this side.
        if silent > 0 || shared.held_up.load(Ordering::Relaxed) {
            shared.table().urgent.ping = true;
            shared.wake.notify_one();
        }
    }
}
