//! The reading part of a connection's task.

use std::sync::atomic::Ordering;

use tokio::io::AsyncRead;

use crate::connection::shared::{
    CallAnswer, CallFailure, CallStage, ConnectionShared, OpenStream, StreamEvent,
};
use crate::error::{CloseReason, LibvirtError};
use crate::lifecycle_event;
use crate::packet::{Packet, PacketHeader, PacketReader, ReadError, kind, status};
use crate::protocol::{
    KEEPALIVE_PING, KEEPALIVE_PROGRAM, Procedure, QEMU_PROGRAM, REMOTE_PROGRAM, VERSION,
};

/// Reads packets and dispatches them to their receivers.
pub(super) struct IncomingPackets<'a, R> {
    reader: PacketReader<R>,
    shared: &'a ConnectionShared,
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
            let packet = match self.reader.next(|| self.shared.note_sign_of_life()).await {
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
