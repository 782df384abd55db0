//! Connections: taken, and closed again, no more than can be served and for no longer than it
//! takes.
//!
//! A connection goes through two rooms. In the first it shows who it is (TLS): strangers get no
//! further, and where too many stand there, the one that has stood longest makes room, so that
//! nobody who holds connections open keeps others out. In the second it is served; its places are
//! bounded in all and for each address.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    pin::pin,
    sync::Arc,
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
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;

use crate::{TlsAcceptor, place::Wire};

/// How many connections are held open, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that have not shown yet who they are; of more, the oldest is closed.
    pub handshakes: usize,
    /// How long that may take.
    pub handshake: Duration,
    /// Connections that are served at a time; more are closed at once.
    pub connections: usize,
    /// Of them, those of one address: nobody takes the places of all.
    pub each: usize,
    /// How long a request's head may take, and a connection rest between two.
    pub head: Duration,
    /// How long a connection takes new requests.
    pub whole: Duration,
    /// How much longer the last answer may take.
    pub last: Duration,
    /// How long nothing of an answer may be read.
    pub unread: Duration,
}

/// For pages that are small and for anybody.
pub const METRICS: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(10),
    connections: 64,
    each: 16,
    head: Duration::from_secs(10),
    whole: Duration::from_secs(60),
    last: Duration::ZERO,
    unread: Duration::from_secs(60),
};

/// For answers that take up to a minute, and clients that bring many people's requests.
pub const API: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(5),
    connections: 256,
    each: 256,
    head: Duration::from_secs(30),
    whole: Duration::from_secs(600),
    last: Duration::from_secs(60),
    unread: Duration::from_secs(60),
};

/// For people on other machines, whose answers may follow something: as the sockets', but for the
/// length of a connection, so that a token that was revoked ends with it.
pub const REMOTE: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(5),
    connections: 512,
    each: 128,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(3_600),
    last: Duration::ZERO,
    unread: Duration::from_secs(600),
};

/// The longest head of a request, in bytes.
pub(crate) const LONGEST_HEAD: usize = 16 * 1024;
/// What keeps a connection from being taken (no more files, say) may pass.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);

/// Why somebody is not let in is told that often.
const TELL: Duration = Duration::from_secs(60);

/// Who is at the other end; an extension of each request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The certificate (DER) that it showed and that was verified; none where none is asked for.
    pub certificate: Option<Arc<[u8]>>,
}

/// What connections are taken with.
#[derive(Clone)]
pub enum Security {
    /// As they come.
    Plain,
    /// By TLS, with what this gives when one comes; where it gives nothing, none is taken.
    Tls(Arc<dyn Fn() -> Option<TlsAcceptor> + Send + Sync>),
}

/// Who came, or why nobody was let in.
type Admitted = Result<(Box<dyn Wire>, Peer), String>;

/// Serves as long as it is polled. A service that panics concerns its own connection.
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
                    sleep(AGAIN).await;
                }
            },
            Some(shown) = unauthenticated.tasks.join_next() => match shown {
                Ok(Ok((wire, peer))) => {
                    let address = peer.address.ip();
                    served.take(address, converse(wire, peer, service.clone(), limits), limits);
                }
                Ok(Err(why)) => unauthenticated.warn_now_and_then(&why),
                // One that made room.
                Err(_) => {}
            },
            Some(Ok(address)) = served.tasks.join_next() => served.forget(address),
        }
    }
}

/// Connections that have not shown who they are.
#[derive(Default)]
struct UnauthenticatedConnections {
    tasks: JoinSet<Admitted>,
    /// The oldest first; some may be through by now.
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

    /// Now and then: strangers are not to fill a log.
    fn warn_now_and_then(&mut self, why: &str) {
        let now = Instant::now();
        let again = |reported: Instant| now.saturating_duration_since(reported) >= TELL;
        if self.reported.is_none_or(again) {
            self.reported = Some(now);
            tracing::warn!("a client is not let in: {why}");
        }
    }
}

/// Connections that are served.
#[derive(Default)]
struct Served {
    tasks: JoinSet<IpAddr>,
    held: BTreeMap<IpAddr, usize>,
}

impl Served {
    fn take(
        &mut self,
        address: IpAddr,
        task: impl Future<Output = ()> + Send + 'static,
        limits: Limits,
    ) {
        let its = self.held.entry(address).or_default();
        if *its >= limits.each || self.tasks.len() >= limits.connections {
            tracing::debug!(%address, "a connection too many");
            return;
        }
        *its = its.saturating_add(1);
        self.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(%address, "a service panicked; its connection is closed");
            }
            address
        });
    }

    fn forget(&mut self, address: IpAddr) {
        if let Some(its) = self.held.get_mut(&address) {
            *its = its.saturating_sub(1);
            if *its == 0 {
                self.held.remove(&address);
            }
        }
    }
}

/// Lets a client show who it is.
async fn show(
    stream: TcpStream,
    address: SocketAddr,
    security: Security,
    limits: Limits,
) -> Admitted {
    let plain = Peer {
        address,
        certificate: None,
    };
    let acceptor = match &security {
        Security::Plain => return Ok((Box::new(stream), plain)),
        Security::Tls(acceptor) => acceptor(),
    };
    let acceptor = acceptor.ok_or_else(|| format!("{address}: nobody can be verified yet"))?;
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

async fn converse<S, B>(wire: Box<dyn Wire>, peer: Peer, service: S, limits: Limits)
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
        .max_buf_size(LONGEST_HEAD)
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
        Some(Err(error)) => tracing::debug!(%address, %error, "a connection failed"),
        None => tracing::debug!(%address, "a connection took too long"),
    }
}

#[cfg(test)]
mod tests;
