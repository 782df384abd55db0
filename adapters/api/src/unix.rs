//! Connections of a unix socket; the kernel identifies their users.
//!
//! They may last as long as the request that they follow. A connection that sends no request, or reads
//! nothing of an answer, is closed.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::{
    Problem,
    listen::{MAX_HEAD_LEN, RETRY_WAIT},
};

/// Limits on the connections of a socket.
#[derive(Clone, Copy, Debug)]
pub struct UnixLimits {
    /// Connections at the same time. When all are taken, a new connection replaces the oldest one that
    /// has not sent a request yet; if there is none, it is refused.
    pub connections: usize,
    /// The same for one user.
    pub each: usize,
    /// How long a request's head may take, and how long a connection may idle between two requests.
    pub head: Duration,
    /// How long a client may read nothing of an answer.
    pub unread: Duration,
}

/// Limits for the owner of a state directory. A user who suspends a terminal reads nothing for that
/// time.
pub const OWNER: UnixLimits = UnixLimits {
    connections: 512,
    each: 512,
    head: Duration::from_secs(5),
    unread: Duration::from_secs(3_600),
};

/// Limits for users who may only look: no single user can take all connections.
pub const LOOKING: UnixLimits = UnixLimits {
    each: 128,
    unread: Duration::from_secs(600),
    ..OWNER
};

/// The user of a connection; an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixPeer {
    /// The user ID, from the kernel.
    pub uid: u32,
}

/// Additional connections that are only sent a refusal.
const MAX_REFUSALS: usize = 64;
/// How long a client may take to read a refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until it is stopped, and then until the running answers have ended. A panic in the service
/// ends only its own connection. Cancel safe: all connections end with it.
pub async fn serve_unix<S, B>(
    listener: UnixListener,
    service: S,
    limits: UnixLimits,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut held = SocketConnections::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = held.tasks.join_next_with_id() => held.forget(ended),
            (stream, peer) = accept(&listener) => match held.has_room(peer, limits) {
                true => {
                    let has_asked = Arc::new(AtomicBool::new(false));
                    let service = Noticed {
                        service: service.clone(),
                        peer,
                        has_asked: has_asked.clone(),
                    };
                    held.take(peer, has_asked, run_http(stream, service, limits, stop.clone()));
                }
                false if held.all.len() < limits.connections.saturating_add(MAX_REFUSALS) => {
                    held.take(peer, Arc::default(), refuse(stream));
                }
                false => {}
            },
        }
    }
    while let Some(ended) = held.tasks.join_next_with_id().await {
        held.forget(ended);
    }
}

async fn accept(listener: &UnixListener) -> (UnixStream, UnixPeer) {
    loop {
        let accepted = listener.accept().await;
        let known = accepted.and_then(|(stream, _)| {
            let uid = stream.peer_cred()?.uid();
            Ok((stream, UnixPeer { uid }))
        });
        match known {
            Ok(known) => return known,
            Err(error) => {
                tracing::warn!(%error, "a caller cannot be accepted");
                sleep(RETRY_WAIT).await;
            }
        }
    }
}

type Ended = Result<(tokio::task::Id, ()), tokio::task::JoinError>;

/// The connections, the oldest first.
#[derive(Default)]
struct SocketConnections {
    tasks: JoinSet<()>,
    all: VecDeque<SocketConnection>,
}

struct SocketConnection {
    task: AbortHandle,
    uid: u32,
    /// Whether it has sent a request.
    has_asked: Arc<AtomicBool>,
}

impl SocketConnections {
    /// Whether the user may have one more connection; if necessary, closes the oldest one that has not
    /// sent a request.
    fn has_room(&mut self, peer: UnixPeer, limits: UnixLimits) -> bool {
        let own = |one: &&SocketConnection| one.uid == peer.uid;
        let too_many = self.all.iter().filter(own).count() >= limits.each;
        if !too_many && self.all.len() < limits.connections {
            return true;
        }
        let idle = self.all.iter().position(|one| {
            let is_in_the_way = one.uid == peer.uid || !too_many;
            is_in_the_way && !one.has_asked.load(Ordering::Relaxed)
        });
        let idle = idle.and_then(|at| self.all.remove(at));
        idle.inspect(|one| one.task.abort()).is_some()
    }

    fn take(
        &mut self,
        peer: UnixPeer,
        has_asked: Arc<AtomicBool>,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(task);
        let uid = peer.uid;
        self.all.push_back(SocketConnection {
            task,
            uid,
            has_asked,
        });
    }

    fn forget(&mut self, ended: Ended) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if error.is_panic() {
                    tracing::error!("a service panicked; its connection is closed");
                }
                error.id()
            }
        };
        self.all.retain(|one| one.task.id() != id);
    }
}

/// Adds the user to each request, and notes that a request was sent.
struct Noticed<S> {
    service: S,
    peer: UnixPeer,
    has_asked: Arc<AtomicBool>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Noticed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        self.has_asked.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(self.peer);
        self.service.call(request)
    }
}

async fn run_http<S, B>(stream: UnixStream, service: S, limits: UnixLimits, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD_LEN)
        .serve_connection(TokioIo::new(with_timeout(stream, limits)), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let done = tokio::select! {
        done = &mut serving => done,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%error, "a connection failed");
    }
}

/// Adds a timeout to writes, for clients that read nothing.
fn with_timeout(stream: UnixStream, limits: UnixLimits) -> Pin<Box<TimeoutStream<UnixStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.unread));
    Box::pin(stream)
}

/// Sends a refusal without reading the request.
async fn refuse(mut stream: UnixStream) {
    let problem = Problem::busy("too many connections are open");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        Problem::MEDIA_TYPE,
        body.len()
    );
    let _ = timeout(REFUSAL_TIMEOUT, stream.write_all(answer.as_bytes())).await;
}

#[cfg(test)]
mod tests;
