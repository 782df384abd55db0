//! A connection to libvirt: one socket, owned by one task.
//!
//! - **Calls.** A call is sent to the task over a bounded queue. Once the task has begun to write it, the
//!   call occupies a slot until libvirt replies or the connection ends, even if the caller is dropped. A call
//!   whose caller is dropped earlier is never sent.
//! - **Four slots.** libvirtd serves five outstanding calls of a client (`max_client_requests` in its
//!   `libvirtd.conf`) and leaves all further packets unread, including pings. A connection therefore has four
//!   slots for calls. A caller without a free slot waits within its timeout, and its error says that the call
//!   was [not sent](Error::NotSent). A slot is free again when libvirt has replied, not when the caller gives
//!   up.
//! - **Errors.** However the connection ends, every pending call ends with a typed error, and
//!   [`Connection::closed`] reports the reason.
//! - **Graceful close.** Calls that were written are awaited, and open streams are aborted until libvirt
//!   confirms it. Only then is libvirt asked to close, and its reply awaited. A libvirtd that is asked while
//!   it has an open stream may crash.
//! - **Memory.** A packet beyond 256 KiB reserves its memory before it is read, from the share of the host's owner,
//!   and has to get on (`memory`). Until libvirt has opened the connection no packet has more than 64 KiB.
//! - **Keep-alive.** Announced to libvirt when the connection opens; each side pings when the other is
//!   silent.

mod claim;
pub(crate) mod memory;
mod shared;
mod task;

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout_at;

use crate::error::{Cause, CloseReason, Error, Result};
use crate::packet::PAYLOAD_MAX;
use crate::protocol::Procedure;
use crate::time;
use crate::xdr::{self, XdrError};

use claim::ConnectionClaim;
use memory::PacketBudget;
pub(crate) use shared::{CallAnswer, ConnectionCommand, ConnectionShared, Outgoing, StreamEvent};

/// How many calls of one connection libvirt may process at the same time.
pub const PLACES: usize = 4;
/// How many commands may wait to be written; a stream's packets have up to 256 KiB each.
const QUEUE: usize = 8;

/// When a silent peer is pinged, and when the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// After this much silence libvirt is pinged, and again after each further interval.
    pub interval: Duration,
    /// After this many pings without a packet from libvirt the connection is closed.
    pub pings: u32,
}

impl KeepAlive {
    /// For calls: closed after half a minute of silence, like libvirt's own client (5 s, 5 pings).
    pub const CONTROL: Self = Self {
        interval: Duration::from_secs(5),
        pings: 5,
    };
    /// For streams: a host that is busy writing to its disk does not read pings.
    pub const BULK: Self = Self {
        interval: Duration::from_secs(15),
        pings: 8,
    };
}

/// A connection; clones share it. It closes gracefully after the last clone is dropped, once written calls
/// were answered or timed out, and streams have ended.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<ConnectionInner>,
}

#[derive(Debug)]
struct ConnectionInner {
    commands: mpsc::Sender<ConnectionCommand>,
    places: Arc<Semaphore>,
    shared: Arc<ConnectionShared>,
}

impl Connection {
    /// Starts a connection on a byte stream, without sending anything yet. `guard` is dropped with the
    /// stream; it may be a permit that limits how many streams there are. `owner` is who pays for large packets.
    ///
    /// Must be called within a Tokio runtime.
    pub fn start<S, G>(stream: S, guard: G, owner: &Arc<str>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        G: Send + 'static,
    {
        let (commands, queue) = mpsc::channel(QUEUE);
        let places = Arc::new(Semaphore::new(PLACES));
        let packets = PacketBudget::of_process().share(owner);
        let shared = Arc::new(ConnectionShared::new(packets));
        let running = task::run(stream, queue, Arc::clone(&shared), Arc::clone(&places));
        tokio::spawn(async move {
            running.await;
            drop(guard);
        });
        Self {
            inner: Arc::new(ConnectionInner {
                commands,
                places,
                shared,
            }),
        }
    }

    /// The same connection, for calls with this timeout each. It includes waiting for a free slot; the error
    /// says whether the call was sent.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Calls {
        Calls {
            connection: self.clone(),
            timeout,
        }
    }

    /// libvirt has opened the connection: from now on its packets may be large.
    pub(crate) fn opened(&self) {
        self.inner.shared.note_opened();
    }

    /// Starts the keep-alive: libvirt is pinged when it is silent, and the connection closed if it stays
    /// silent.
    pub(crate) fn keep_alive(&self, keep_alive: KeepAlive) {
        self.inner.shared.start_keep_alive(keep_alive);
    }

    /// Waits until the connection has ended, and returns the reason. Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        self.inner.shared.closed().await
    }

    /// Why the connection ended, if it has.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.shared.close_reason()
    }

    /// Whether calls are accepted: the connection has neither ended nor begun to close.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.shared.is_open()
    }

    /// Whether every slot is occupied by a call that has timed out. No call can be sent over such a
    /// connection; another connection may still work.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.inner.places.available_permits() == 0 && self.inner.shared.all_expired(PLACES)
    }

    /// How many further calls would be sent without waiting for a slot.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.inner.places.available_permits()
    }

    /// Closes gracefully: written calls are awaited up to their deadlines, and no new ones are sent. Returns
    /// when the connection has ended. Cancel safe; the closing continues.
    pub async fn close(&self) {
        self.inner.places.close();
        self.inner.shared.start_closing();
        self.inner.shared.closed().await;
    }

    pub(crate) fn shared(&self) -> &Arc<ConnectionShared> {
        &self.inner.shared
    }

    pub(crate) fn commands(&self) -> &mpsc::Sender<ConnectionCommand> {
        &self.inner.commands
    }

    /// Sends a call and waits for its reply.
    pub(crate) async fn request(
        &self,
        procedure: Procedure,
        payload: Vec<u8>,
        stream: Option<mpsc::Sender<StreamEvent>>,
        timeout: Duration,
    ) -> Result<CallAnswer> {
        let deadline = time::deadline(timeout);
        let not_sent = |cause| Error::NotSent { procedure, cause };
        let timed_out = Cause::TimedOut(timeout);
        let place = match timeout_at(deadline, Arc::clone(&self.inner.places).acquire_owned()).await
        {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(not_sent(self.ended())),
            Err(_) => return Err(not_sent(timed_out)),
        };
        let (answer, reply) = oneshot::channel();
        // When this future is dropped, by a timeout or by the caller, `waiting` withdraws the call, unless
        // the task has begun to write it.
        let (claim, waiting) = ConnectionClaim::new();
        let call = Outgoing {
            procedure,
            payload,
            deadline,
            claim,
            place,
            answer,
            stream,
        };
        match timeout_at(
            deadline,
            self.inner.commands.send(ConnectionCommand::Call(call)),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(not_sent(self.ended())),
            Err(_) => return Err(not_sent(timed_out)),
        }
        match timeout_at(deadline, reply).await {
            Ok(Ok(answered)) => answered.map_err(|failure| failure.into_error(procedure)),
            Ok(Err(_)) => Err(not_sent(self.ended())),
            Err(_) if waiting.take_back() => Err(not_sent(timed_out)),
            Err(_) => Err(Error::OutcomeUnknown {
                procedure,
                cause: timed_out,
            }),
        }
    }

    /// Why no call can be sent any more.
    fn ended(&self) -> Cause {
        Cause::Closed(self.close_reason().unwrap_or(CloseReason::ByUs))
    }
}

/// A connection together with the timeout of each of its calls.
///
/// The calls are in [`protocol`](crate::protocol). None of them is cancel safe. If a call's future is dropped
/// before the call was written, the call is never sent. If it is dropped later, libvirt carries the call out,
/// and its outcome is lost.
#[derive(Debug, Clone)]
pub struct Calls {
    connection: Connection,
    timeout: Duration,
}

impl Calls {
    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The timeout of a call.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Calls a procedure.
    pub(crate) async fn call<A, R>(&self, procedure: Procedure, args: &A) -> Result<R>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let payload = encode(procedure, args)?;
        let answer = self
            .connection
            .request(procedure, payload, None, self.timeout)
            .await?;
        xdr::from_bytes(&answer.payload).map_err(|error| Error::BadReply { procedure, error })
    }
}

/// Encodes a call's arguments as its payload.
pub(crate) fn encode<A: Serialize + ?Sized>(procedure: Procedure, args: &A) -> Result<Vec<u8>> {
    let refused = |error| Error::BadArguments { procedure, error };
    let payload = xdr::to_bytes(args).map_err(refused)?;
    if payload.len() > PAYLOAD_MAX {
        return Err(refused(XdrError::TooLong(payload.len() as u64)));
    }
    Ok(payload)
}

#[cfg(test)]
pub(crate) mod fake_peer;
#[cfg(test)]
mod tests;
