//! The state that the handles of a connection share with its task.
//!
//! The lock is held for a few instructions at a time and never across an await.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OnceCell, OwnedSemaphorePermit, broadcast, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{KeepAlive, claim::ConnectionClaim, memory::PacketShare};
use crate::error::{Cause, CloseReason, Error, LibvirtError};
use crate::lifecycle_event::{EVENTS, LifecycleEvent};
use crate::protocol::Procedure;
use crate::xdr::XdrError;

/// A command to the task to write something.
#[derive(Debug)]
pub(crate) enum ConnectionCommand {
    /// A call.
    Call(Outgoing),
    /// A packet of an open stream.
    Stream {
        serial: u32,
        procedure: Procedure,
        kind: i32,
        status: i32,
        payload: Bytes,
    },
}

/// A call on its way to the task.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) procedure: Procedure,
    pub(crate) payload: Vec<u8>,
    pub(crate) deadline: Instant,
    pub(crate) claim: ConnectionClaim,
    pub(crate) place: OwnedSemaphorePermit,
    pub(crate) answer: oneshot::Sender<Result<CallAnswer, CallFailure>>,
    /// The receiver of the packets of the stream that this call opens.
    pub(crate) stream: Option<mpsc::Sender<StreamEvent>>,
}

/// A successful reply.
#[derive(Debug)]
pub(crate) struct CallAnswer {
    /// The serial of the call, which is also that of the stream it opened.
    pub(crate) serial: u32,
    pub(crate) payload: Bytes,
}

/// Why a written call has no successful reply.
#[derive(Debug)]
pub(crate) enum CallFailure {
    Libvirt(Box<LibvirtError>),
    BadReply(XdrError),
    Closed(CloseReason),
}

impl CallFailure {
    pub(crate) fn into_error(self, procedure: Procedure) -> Error {
        match self {
            Self::Libvirt(error) => Error::Libvirt(error),
            Self::BadReply(error) => Error::BadReply { procedure, error },
            Self::Closed(reason) => Error::OutcomeUnknown {
                procedure,
                cause: Cause::Closed(reason),
            },
        }
    }
}

/// What is received on a stream.
#[derive(Debug)]
pub(crate) enum StreamEvent {
    /// Data; empty data means the end of the stream.
    Data(Bytes),
    /// libvirt confirmed the finish, or the abort.
    Finished,
    /// The stream failed.
    Failed(CallFailure),
}

/// A written call that libvirt has not answered.
#[derive(Debug)]
pub(super) struct PendingCall {
    pub(super) procedure: Procedure,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<CallAnswer, CallFailure>>,
    /// Released when libvirt has replied.
    pub(super) place: OwnedSemaphorePermit,
}

/// An open stream.
#[derive(Debug, Clone)]
pub(super) struct OpenStream {
    pub(super) procedure: Procedure,
    pub(super) events: mpsc::Sender<StreamEvent>,
}

/// The state behind the lock.
#[derive(Debug, Default)]
pub(super) struct CallTable {
    pub(super) pending: HashMap<u32, PendingCall>,
    pub(super) streams: HashMap<u32, OpenStream>,
    /// Streams that were aborted, until libvirt confirms it.
    pub(super) leaving: HashSet<u32>,
    pub(super) urgent: Urgent,
    pub(super) keep_alive: Option<KeepAlive>,
    pub(super) stage: CallStage,
}

impl CallTable {
    pub(super) fn is_closing(&self) -> bool {
        self.stage != CallStage::Open
    }

    pub(super) fn abort_all_streams(&mut self) {
        for (serial, stream) in self.streams.drain() {
            self.leaving.insert(serial);
            self.urgent.aborts.push((serial, stream.procedure));
        }
    }
}

/// How far a connection has closed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallStage {
    #[default]
    Open,
    /// No new calls are accepted.
    Closing,
    /// libvirt was asked to close, and closes its side after its reply.
    Parting,
    /// libvirt has replied.
    Parted,
}

/// Packets that precede the queue. The peer cannot make it grow.
#[derive(Debug, Default)]
pub(super) struct Urgent {
    pub(super) ping: bool,
    pub(super) pong: bool,
    /// Streams whose owner was dropped before they finished.
    pub(super) aborts: Vec<(u32, Procedure)>,
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionShared {
    table: Mutex<CallTable>,
    /// Notified when `urgent`, `keep_alive` or `stage` changed, and when closing waits for replies.
    pub(super) wake: Notify,
    /// Notified when keep-alive begins.
    pub(super) watched: Notify,
    /// Counts received data.
    pub(super) received: AtomicU64,
    /// Set while a stream's owner accepts nothing, so nothing is read: that does not count as silence.
    pub(super) held_up: AtomicBool,
    pub(super) events: broadcast::Sender<LifecycleEvent>,
    /// The connection's only registration for events, because libvirt refuses a second one.
    pub(crate) registration: OnceCell<i32>,
    /// The memory for large packets.
    pub(super) packets: PacketShare,
    /// Set when libvirt has opened the connection.
    opened: AtomicBool,
    closed: watch::Sender<Option<CloseReason>>,
}

impl ConnectionShared {
    pub(super) fn new(packets: PacketShare) -> Self {
        Self {
            packets,
            opened: AtomicBool::new(false),
            table: Mutex::default(),
            wake: Notify::new(),
            watched: Notify::new(),
            received: AtomicU64::new(0),
            held_up: AtomicBool::new(false),
            events: broadcast::Sender::new(EVENTS),
            registration: OnceCell::new(),
            closed: watch::Sender::new(None),
        }
    }

    pub(super) fn table(&self) -> MutexGuard<'_, CallTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start_keep_alive(&self, keep_alive: KeepAlive) {
        self.table().keep_alive = Some(keep_alive);
        self.watched.notify_one();
    }

    pub(super) fn note_opened(&self) {
        self.opened.store(true, Ordering::Release);
    }

    /// Whether libvirt has opened the connection.
    pub(super) fn is_opened(&self) -> bool {
        self.opened.load(Ordering::Acquire)
    }

    pub(super) fn start_closing(&self) {
        self.table().stage = CallStage::Closing;
        self.wake.notify_one();
    }

    /// Aborts a stream unless it had already ended (`is_ended`). Packets that libvirt still sends for it are
    /// dropped.
    pub(crate) fn leave_stream(&self, serial: u32, procedure: Procedure, is_ended: bool) {
        let mut table = self.table();
        if table.streams.remove(&serial).is_some() {
            table.leaving.insert(serial);
            if !is_ended {
                table.urgent.aborts.push((serial, procedure));
                self.wake.notify_one();
            }
        }
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<LifecycleEvent> {
        self.events.subscribe()
    }

    pub(super) fn is_open(&self) -> bool {
        self.closed.borrow().is_none() && !self.table().is_closing()
    }

    /// Whether libvirt was asked to close.
    pub(super) fn is_parting(&self) -> bool {
        matches!(self.table().stage, CallStage::Parting | CallStage::Parted)
    }

    pub(super) fn all_expired(&self, places: usize) -> bool {
        let now = Instant::now();
        let table = self.table();
        table
            .pending
            .values()
            .filter(|call| call.deadline <= now)
            .count()
            >= places
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.closed.borrow().clone()
    }

    pub(crate) async fn closed(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(CloseReason::ByUs),
            Err(_) => CloseReason::ByUs,
        }
    }

    /// Ends everything that is pending with this reason.
    pub(super) fn end(&self, reason: &CloseReason) {
        self.closed.send_replace(Some(reason.clone()));
        let (pending, streams) = {
            let mut table = self.table();
            (
                std::mem::take(&mut table.pending),
                std::mem::take(&mut table.streams),
            )
        };
        for call in pending.into_values() {
            let _ = call.answer.send(Err(CallFailure::Closed(reason.clone())));
        }
        // A stream's owner sees that its channel is closed and reads the reason.
        drop(streams);
    }

    pub(super) fn note_sign_of_life(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }
}
