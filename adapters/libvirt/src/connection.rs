//! A connection to libvirt: one socket, one task that owns it.
//!
//! - **Who waits for what.** A call is handed to the task over a bounded queue. Once the task has
//!   begun to write it, the task keeps its place until libvirt replies or the connection ends,
//!   whether or not the caller is still there; a caller that goes away earlier is never sent.
//! - **Five calls.** libvirtd serves five outstanding calls of a client and leaves the rest unread
//!   (`max_client_requests` in its `libvirtd.conf`), pings among them. A connection therefore has
//!   four places for calls; who finds none waits here, within its own time, and learns in the end
//!   that it was [not sent](Error::NotSent). A place is free again when libvirt has replied, not
//!   when the caller has lost patience.
//! - **Death.** However the connection ends, every pending call ends with a typed error, and
//!   [`Connection::closed`] says why.
//! - **The end in order.** Calls that were written are awaited, streams that are still open aborted
//!   until libvirt confirms it, and only then is libvirt told, and its answer awaited. A libvirtd
//!   that is told while it has a stream open may die of it.
//! - **Keep-alive.** Announced to libvirt when it opens; both sides ping when the other is silent.

mod claim;
mod shared;
mod task;

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout_at;

use crate::error::{Cause, CloseReason, Error, Result};
use crate::events::DomainEvents;
use crate::packet::PAYLOAD_MAX;
use crate::protocol::Procedure;
use crate::time;
use crate::xdr::{self, XdrError};

use claim::ConnectionClaim;
pub(crate) use shared::{CallAnswer, ConnectionCommand, ConnectionShared, Outgoing, StreamEvent};

/// Calls of one connection that libvirt may be busy with at a time.
pub const PLACES: usize = 4;
/// Packets that may wait to be written; a stream's are up to 256 KiB each.
const QUEUE: usize = 8;

/// How a connection is watched over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// After so long a silence, and again after each further one, libvirt is pinged.
    pub interval: Duration,
    /// After so many pings without a sign of life the connection is closed.
    pub pings: u32,
}

impl KeepAlive {
    /// For calls: half a minute of silence is death, as with libvirt's own client (5 s, 5 pings).
    pub const CONTROL: Self = Self {
        interval: Duration::from_secs(5),
        pings: 5,
    };
    /// For streams: a host that is busy writing to its disk reads no ping meanwhile.
    pub const BULK: Self = Self {
        interval: Duration::from_secs(15),
        pings: 8,
    };
}

/// A connection; clones share it. It closes, in order, when the last clone is gone, the calls
/// already written have been answered or have run out of time, and streams have ended.
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
    /// Starts a connection on a byte stream, without a word to the other side yet. `guard` is
    /// dropped when the stream is: a place among a bounded number of them, say.
    ///
    /// Must be called within a Tokio runtime.
    pub fn start<S, G>(stream: S, guard: G) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        G: Send + 'static,
    {
        let (commands, queue) = mpsc::channel(QUEUE);
        let places = Arc::new(Semaphore::new(PLACES));
        let shared = Arc::new(ConnectionShared::default());
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

    /// The same connection, for calls that may take so long each. The time counts from the call to
    /// its reply, waiting for a free place included; the error tells whether it was sent.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Calls {
        Calls {
            connection: self.clone(),
            timeout,
        }
    }

    /// From now on libvirt is pinged when silent, and the connection closed when it stays so.
    pub(crate) fn keep_alive(&self, keep_alive: KeepAlive) {
        self.inner.shared.start_keep_alive(keep_alive);
    }

    /// Waits for the connection's end and says why it ended. Cancel safe.
    pub async fn closed(&self) -> CloseReason {
        self.inner.shared.closed().await
    }

    /// Why the connection ended, if it did.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.shared.close_reason()
    }

    /// Whether calls may be made: it has not ended, and is not on its way to.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.shared.is_open()
    }

    /// Whether every place is taken by a call whose time is up. Nothing more can be asked over such
    /// a connection; another one may fare better.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.inner.places.available_permits() == 0 && self.inner.shared.all_expired(PLACES)
    }

    /// How many further calls would be sent without waiting for a place.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.inner.places.available_permits()
    }

    /// Closes in order: calls already written are awaited up to their deadlines, new ones are not
    /// sent. Returns when the connection has ended. Cancel safe; the closing continues.
    pub async fn close(&self) {
        self.inner.places.close();
        self.inner.shared.start_closing();
        self.inner.shared.closed().await;
    }

    /// The lifecycle events of all domains, from now on.
    pub(crate) fn receive_events(&self) -> DomainEvents {
        DomainEvents::new(self.clone(), self.inner.shared.subscribe())
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
        // Dropped with this future, by a time-out or by the caller, it takes the call back, unless
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

    /// Why nothing can be sent any more.
    fn ended(&self) -> Cause {
        Cause::Closed(self.close_reason().unwrap_or(CloseReason::ByUs))
    }
}

/// A connection together with the time each of its calls may take.
///
/// The calls themselves are in [`protocol`](crate::protocol). None of them is cancel safe in the
/// sense that it could be taken up again: dropped before it was written a call is never sent,
/// afterwards libvirt carries it out, and nobody hears of its outcome.
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

    /// The time a call may take.
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

/// A call's arguments as its payload.
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
