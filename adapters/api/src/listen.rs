//! Listener: accepts and closes TCP connections, within limits of number and time.
//!
//! A connection passes two stages. In the first the client authenticates itself (TLS). If too many
//! connections are in this stage, the oldest one is closed, so that a client that holds connections open
//! cannot shut out the others. In the second stage it is served; these connections are limited in total
//! and per address.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::FutureExt as _;
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use crate::{TlsAcceptor, api::places::Place, place::Wire};

/// Limits on connections and their times.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that have not authenticated themselves yet; beyond this, the oldest is closed.
    pub handshakes: usize,
    /// How long authentication may take.
    pub handshake: Duration,
    /// Connections that are served at the same time; further ones are closed immediately.
    pub connections: usize,
    /// The same for one address, so that it cannot use up all connections. Of IPv6 addresses the first 64
    /// bits count.
    pub each: usize,
    /// Connections that are served although no request of theirs was by a known caller; beyond this, the
    /// oldest is closed.
    pub unknown: usize,
    /// How long a request's head may take, and how long a connection may idle between two requests.
    pub head: Duration,
    /// How long a connection accepts new requests.
    pub whole: Duration,
    /// How much longer the last answer may take.
    pub last: Duration,
    /// How long a client may read nothing of an answer.
    pub unread: Duration,
}

/// Limits for small public pages. Nobody is known there, so that nobody who holds connections open keeps probes
/// out.
pub const METRICS: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(10),
    connections: 64,
    each: 16,
    unknown: 48,
    head: Duration::from_secs(10),
    whole: Duration::from_secs(60),
    last: Duration::ZERO,
    unread: Duration::from_secs(60),
};

/// Limits for answers that take up to a minute, and for clients that forward requests of many users.
pub const API: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(5),
    connections: 256,
    each: 256,
    unknown: 256,
    head: Duration::from_secs(30),
    whole: Duration::from_secs(600),
    last: Duration::from_secs(60),
    unread: Duration::from_secs(60),
};

/// Limits for users on other machines, whose answers may follow something: like those of the sockets,
/// except for the lifetime of a connection, so that a revoked token stops working when it ends.
pub const REMOTE: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(5),
    connections: 512,
    each: 128,
    unknown: 64,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(3_600),
    last: Duration::ZERO,
    unread: Duration::from_secs(600),
};

/// The maximum length of a request's head, in bytes.
pub(crate) const MAX_HEAD_LEN: usize = 16 * 1024;
/// The delay after a connection could not be accepted: the reason (no free file descriptors, for
/// example) may pass.
pub(crate) const RETRY_WAIT: Duration = Duration::from_millis(100);

/// How often the log reports why a client is refused.
const WARN_INTERVAL: Duration = Duration::from_secs(60);

/// The client of a connection; an extension of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The client's certificate (DER), which was verified; none if none is required.
    pub certificate: Option<Arc<[u8]>>,
    /// The place of the first caller whom a request of this connection showed.
    known: Arc<OnceLock<Place>>,
}

impl Peer {
    /// Whether a request of this connection was by a caller who is known.
    pub(crate) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Notes that a request of this connection showed who its caller is. Its connection then counts as one
    /// of a known client, and has that caller's place as long as it is open.
    pub(crate) fn note_known(&self, place: Place) {
        let _ = self.known.set(place);
    }
}

/// What counts as one address: an IPv6 network of 64 bits is one client's.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address => address,
    }
}

/// How connections are secured.
#[derive(Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By TLS, with the acceptor that this function returns for each connection; if it returns none, the
    /// connection is refused.
    Tls(Arc<dyn Fn() -> Option<TlsAcceptor> + Send + Sync>),
}

/// An authenticated connection, or why it was refused.
type Admitted = Result<(Box<dyn Wire>, Peer), String>;

/// Serves as long as it is polled. A panic in the service ends only its own connection.
pub async fn serve<S, B>(
    listener: TcpListener,
    security: Security,
    service: S,
    limits: Limits,
) -> Infallible
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut unauthenticated = UnauthenticatedConnections::default();
    let mut served = Served::default();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, address)) => {
                    unauthenticated.take(show(stream, address, security.clone(), limits), limits);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(RETRY_WAIT).await;
                }
            },
            Some(shown) = unauthenticated.tasks.join_next() => match shown {
                Ok(Ok((wire, peer))) => {
                    let client = ServedClient {
                        address: client_of(peer.address.ip()),
                        known: peer.known.clone(),
                    };
                    served.take(client, run_http(wire, peer, service.clone(), limits), limits);
                }
                Ok(Err(why)) => unauthenticated.warn_now_and_then(&why),
                // It was closed to make room for another one.
                Err(_) => {}
            },
            Some(ended) = served.tasks.join_next_with_id() => served.forget(ended),
        }
    }
}

/// Connections that have not authenticated themselves.
#[derive(Default)]
struct UnauthenticatedConnections {
    tasks: JoinSet<Admitted>,
    /// The oldest first; some may have ended.
    order: VecDeque<AbortHandle>,
    reported: Option<Instant>,
}

impl UnauthenticatedConnections {
    fn take(&mut self, task: impl Future<Output = Admitted> + Send + 'static, limits: Limits) {
        self.order.retain(|one| !one.is_finished());
        while self.order.len() >= limits.handshakes
            && let Some(oldest) = self.order.pop_front()
        {
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(task));
    }

    /// Logs a refusal now and then: unknown clients must not fill the log.
    fn warn_now_and_then(&mut self, why: &str) {
        let now = Instant::now();
        let again = |reported: Instant| now.saturating_duration_since(reported) >= WARN_INTERVAL;
        if self.reported.is_none_or(again) {
            self.reported = Some(now);
            tracing::warn!("a client is not let in: {why}");
        }
    }
}

/// Connections that are served, the oldest first.
#[derive(Default)]
struct Served {
    tasks: JoinSet<()>,
    all: VecDeque<(AbortHandle, ServedClient)>,
}

/// The client of a connection that is served.
struct ServedClient {
    address: IpAddr,
    known: Arc<OnceLock<Place>>,
}

impl ServedClient {
    fn is_unknown(&self) -> bool {
        self.known.get().is_none()
    }
}

impl Served {
    fn take(
        &mut self,
        client: ServedClient,
        task: impl Future<Output = ()> + Send + 'static,
        limits: Limits,
    ) {
        let address = client.address;
        let its = self.all.iter().filter(|(_, one)| one.address == address);
        if its.count() >= limits.each || !self.has_room(limits) {
            tracing::debug!(%address, "a connection too many");
            return;
        }
        let task = self.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(%address, "a service panicked; its connection is closed");
            }
        });
        self.all.push_back((task, client));
    }

    /// Whether there is room for one more connection. If necessary, closes the oldest one whose client is
    /// not known.
    fn has_room(&mut self, limits: Limits) -> bool {
        if limits.unknown >= limits.connections {
            return self.all.len() < limits.connections;
        }
        let unknown = self.all.iter().filter(|(_, one)| one.is_unknown()).count();
        if unknown < limits.unknown && self.all.len() < limits.connections {
            return true;
        }
        let oldest = self.all.iter().position(|(_, one)| one.is_unknown());
        let oldest = oldest.and_then(|at| self.all.remove(at));
        oldest.inspect(|(task, _)| task.abort()).is_some()
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.all.retain(|(task, _)| task.id() != id);
    }
}

/// Authenticates a client.
async fn show(
    stream: TcpStream,
    address: SocketAddr,
    security: Security,
    limits: Limits,
) -> Admitted {
    let plain = Peer {
        address,
        certificate: None,
        known: Arc::default(),
    };
    let acceptor = match &security {
        Security::Plain => return Ok((Box::new(stream), plain)),
        Security::Tls(acceptor) => acceptor(),
    };
    let acceptor = acceptor.ok_or_else(|| format!("{address}: no caller can be verified yet"))?;
    let shown = timeout(limits.handshake, acceptor.accept(stream)).await;
    let shown = shown.map_err(|_| format!("{address}: it did not say in time who it is"))?;
    let secured = shown.map_err(|error| format!("{address}: {error}"))?;
    let certificates = secured.get_ref().1.peer_certificates();
    let certificate = certificates
        .and_then(|all| all.first())
        .map(|one| one.as_ref().into());
    let peer = Peer {
        certificate,
        ..plain
    };
    Ok((Box::new(secured), peer))
}

async fn run_http<S, B>(wire: Box<dyn Wire>, peer: Peer, service: S, limits: Limits)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let address = peer.address;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        service.call(request)
    });
    let mut wire = TimeoutStream::new(wire);
    wire.set_write_timeout(Some(limits.unread));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(Box::pin(wire)), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let done = tokio::select! {
        done = &mut serving => Some(done),
        () = sleep(limits.whole) => {
            serving.as_mut().graceful_shutdown();
            timeout(limits.last, serving).await.ok()
        }
    };
    match done {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%address, ?error, "a connection failed"),
        None => tracing::debug!(%address, "a connection took too long"),
    }
}

#[cfg(test)]
mod tests;
