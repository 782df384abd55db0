//! Connections of a unix socket: who they are is what the kernel says.
//!
//! They may last as long as what they follow does. What ends is a connection that sends no request,
//! or that reads nothing of an answer.

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
    listen::{AGAIN, LONGEST_HEAD},
};

/// How many connections a socket holds, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct UnixLimits {
    /// Connections at a time. For one more the oldest makes room that never asked anything; where
    /// there is none, it is told that there is no place.
    pub connections: usize,
    /// Of them, those of one user.
    pub each: usize,
    /// How long a request's head may take, and a connection rest between two.
    pub head: Duration,
    /// How long nothing of an answer may be read.
    pub unread: Duration,
}

/// For the owner of a state directory. Somebody who stops a terminal reads nothing meanwhile.
pub const OWNER: UnixLimits = UnixLimits {
    connections: 512,
    each: 512,
    head: Duration::from_secs(5),
    unread: Duration::from_secs(3_600),
};

/// For people who may look: none of them takes the places of all.
pub const LOOKING: UnixLimits = UnixLimits {
    each: 128,
    unread: Duration::from_secs(600),
    ..OWNER
};

/// Who is at the other end; an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixPeer {
    /// The user, as the kernel says.
    pub uid: u32,
}

/// Connections that are just told so.
const REFUSED: usize = 64;
/// How long somebody may take to read that there is no place.
const REFUSING: Duration = Duration::from_secs(1);

/// Serves until it is stopped, and then to the end of the answers under way. A service that panics
/// concerns its own connection. Cancel safe: all connections end with it.
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
                    held.take(peer, has_asked, converse(stream, service, limits, stop.clone()));
                }
                false if held.all.len() < limits.connections.saturating_add(REFUSED) => {
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
                sleep(AGAIN).await;
            }
        }
    }
}

type Ended = Result<(tokio::task::Id, ()), tokio::task::JoinError>;

/// Connections, the oldest first.
#[derive(Default)]
struct SocketConnections {
    tasks: JoinSet<()>,
    all: VecDeque<SocketConnection>,
}

struct SocketConnection {
    task: AbortHandle,
    uid: u32,
    /// Whether it ever asked anything.
    has_asked: Arc<AtomicBool>,
}

impl SocketConnections {
    /// Whether there is room for one more of that user, made by the oldest that never asked anything.
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

/// Tells a service who asks, and notes that something was asked.
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

async fn converse<S, B>(stream: UnixStream, service: S, limits: UnixLimits, stop: CancellationToken)
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
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(wire(stream, limits)), service)
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

/// Writing to somebody who reads nothing ends at some time.
fn wire(stream: UnixStream, limits: UnixLimits) -> Pin<Box<TimeoutStream<UnixStream>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.unread));
    Box::pin(stream)
}

/// Says that there is no place, without reading what is asked.
async fn refuse(mut stream: UnixStream) {
    let problem = Problem::busy("too many connections are open");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        Problem::MEDIA_TYPE,
        body.len()
    );
    let _ = timeout(REFUSING, stream.write_all(answer.as_bytes())).await;
}

#[cfg(test)]
mod tests;
