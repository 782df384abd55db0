//! The reading part of a connection's task.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout, timeout_at};

use crate::connection::memory::{FREE, PacketMemory};
use crate::connection::shared::{
    CallAnswer, CallFailure, CallStage, ConnectionShared, OpenStream, StreamEvent,
};
use crate::error::{CloseReason, LibvirtError};
use crate::lifecycle_event;
use crate::packet::{Packet, PacketHeader, PacketReader, ReadError, kind, status};
use crate::protocol::{
    KEEPALIVE_PING, KEEPALIVE_PROGRAM, Procedure, QEMU_PROGRAM, REMOTE_PROGRAM, VERSION,
};
use crate::time;

/// The largest packet before libvirt has opened the connection. Its answers until then have a few bytes.
const BEFORE_OPENING: usize = 64 << 10;
/// How long a packet that has reserved memory may make no progress.
const STALLED: Duration = Duration::from_secs(10);
/// How long such a packet may take, with the wait for its memory.
const WITHIN: Duration = Duration::from_secs(60);

/// Reads packets and dispatches them to their receivers.
pub(super) struct IncomingPackets<'a, R> {
    reader: PacketReader<R>,
    shared: &'a ConnectionShared,
}

/// A packet and the memory that it has until it is handed on.
struct Received {
    packet: Packet,
    _memory: Option<PacketMemory>,
}

impl From<ReadError> for CloseReason {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::ByPeer,
            ReadError::Io(error) => Self::Io(error.to_string()),
            ReadError::Length(_) => Self::Protocol(error.to_string()),
        }
    }
}

impl<'a, R: AsyncRead + Unpin> IncomingPackets<'a, R> {
    pub(super) fn new(read: R, shared: &'a ConnectionShared) -> Self {
        Self {
            reader: PacketReader::new(read),
            shared,
        }
    }

    pub(super) async fn run(&mut self) -> CloseReason {
        loop {
            let received = match self.next().await {
                Ok(received) => received,
                Err(reason) => return reason,
            };
            if let Err(problem) = self.dispatch(received.packet).await {
                return CloseReason::Protocol(problem);
            }
        }
    }

    /// The next packet, with the memory that it has.
    async fn next(&mut self) -> Result<Received, CloseReason> {
        let sign_of_life = || self.shared.note_sign_of_life();
        let length = self.reader.announced(sign_of_life).await?;
        if length > BEFORE_OPENING && !self.shared.is_opened() {
            return Err(CloseReason::Protocol(format!(
                "a packet announces {length} bytes before the connection is open"
            )));
        }
        if length > FREE {
            return self.large(length).await;
        }
        let packet = self.reader.next(sign_of_life).await?;
        Ok(Received {
            packet,
            _memory: None,
        })
    }

    /// A packet for which memory is reserved. It has to get on, because others wait for that memory.
    async fn large(&mut self, length: usize) -> Result<Received, CloseReason> {
        let late = |why: String| CloseReason::Late(format!("{length} bytes; {why}"));
        let deadline = time::deadline(WITHIN);
        // While this side does not read, libvirt is not silent.
        self.shared.held_up.store(true, Ordering::Relaxed);
        let reserved = timeout_at(deadline, self.shared.packets.reserve(length)).await;
        self.shared.held_up.store(false, Ordering::Relaxed);
        let memory =
            reserved.map_err(|_| late(format!("there was no memory for it within {WITHIN:?}")))?;
        loop {
            if let Some(packet) = self.reader.take()? {
                return Ok(Received {
                    packet,
                    _memory: Some(memory),
                });
            }
            let remaining = deadline.saturating_duration_since(Instant::now());
            let more = self.reader.read_more(|| self.shared.note_sign_of_life());
            match timeout(remaining.min(STALLED), more).await {
                Ok(result) => result?,
                Err(_) if remaining <= STALLED => {
                    return Err(late(format!("not all of it came within {WITHIN:?}")));
                }
                Err(_) => return Err(late(format!("none of it came for {STALLED:?}"))),
            }
        }
    }

    async fn dispatch(&mut self, packet: Packet) -> Result<(), String> {
        let PacketHeader {
            program,
            version,
            kind,
            ..
        } = packet.header;
        match (program, version, kind) {
            (REMOTE_PROGRAM | QEMU_PROGRAM, VERSION, kind::REPLY) => self.reply(packet),
            (REMOTE_PROGRAM, VERSION, kind::STREAM) => self.stream(packet).await,
            (REMOTE_PROGRAM, VERSION, kind::MESSAGE) => self.message(&packet),
            (KEEPALIVE_PROGRAM, VERSION, kind::MESSAGE) => self.keep_alive(&packet.header),
            _ => return Err(format!("unexpected packet {:?}", packet.header)),
        }
        Ok(())
    }

    fn reply(&self, packet: Packet) {
        let serial = packet.header.serial;
        let call = self.shared.table().pending.remove(&serial);
        let Some(call) = call else {
            return self.unexpected_reply(serial);
        };
        let answer = match packet.header.status {
            status::OK => Ok(CallAnswer {
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

    /// Handles a reply without a pending call: the expected one is the reply to `ConnectClose`.
    fn unexpected_reply(&self, serial: u32) {
        let mut table = self.shared.table();
        if table.stage == CallStage::Parting {
            table.stage = CallStage::Parted;
            self.shared.wake.notify_one();
        } else {
            tracing::warn!(serial, "libvirt replied to a call that was not made");
        }
    }

    /// Records that libvirt confirmed an abort, or that the stream had already ended.
    fn abort_confirmed(&self, serial: u32) {
        if self.shared.table().leaving.remove(&serial) {
            self.shared.wake.notify_one();
        }
    }

    /// Sends a stream's packet to its owner. While the owner accepts nothing, nothing else is read from this
    /// connection; that is the backpressure for libvirt.
    async fn stream(&mut self, packet: Packet) {
        let serial = packet.header.serial;
        let stream = self.shared.table().streams.get(&serial).cloned();
        let Some(OpenStream { events, procedure }) = stream else {
            if packet.header.status != status::CONTINUE {
                self.abort_confirmed(serial);
            }
            return;
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
            tracing::debug!(
                procedure = header.procedure,
                "an event without a subscription"
            );
            return;
        }
        match lifecycle_event::decode(payload) {
            Ok(event) => drop(self.shared.events.send(event)),
            Err(error) => tracing::warn!(%error, "a malformed event"),
        }
    }

    fn keep_alive(&self, header: &PacketHeader) {
        if header.procedure == KEEPALIVE_PING {
            self.shared.table().urgent.pong = true;
            self.shared.wake.notify_one();
        }
    }
}

/// Decodes the payload of an error.
fn failure(procedure: Procedure, payload: &[u8]) -> CallFailure {
    match LibvirtError::decode(procedure, payload) {
        Ok(error) => CallFailure::Libvirt(Box::new(error)),
        Err(error) => CallFailure::BadReply(error),
    }
}
