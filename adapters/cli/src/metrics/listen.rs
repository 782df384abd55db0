//! Takes HTTP connections, no more than can be served and for no longer than it takes.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

/// How many connections are held open, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenLimits {
    /// Connections at a time; more are closed at once.
    pub(super) connections: usize,
    /// Of them, those of one address: nobody takes the places of all.
    pub(super) each: usize,
    /// How long a request's head may take, and a connection rest between two.
    pub(super) head: Duration,
    /// How long a connection lasts, whatever goes on there.
    pub(super) whole: Duration,
}

pub(super) const LIMITS: ListenLimits = ListenLimits {
    connections: 64,
    each: 16,
    head: Duration::from_secs(10),
    whole: Duration::from_secs(60),
};

/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// What keeps a connection from being taken (no more files, say) may pass.
const AGAIN: Duration = Duration::from_millis(100);

/// Answers as long as it is polled.
pub(super) async fn answer(
    listener: TcpListener,
    pages: Router,
    limits: ListenLimits,
) -> io::Result<()> {
    let mut answers = JoinSet::new();
    let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((stream, peer)) => {
                    let its = held.entry(peer.ip()).or_default();
                    if *its < limits.each && answers.len() < limits.connections {
                        *its = its.saturating_add(1);
                        answers.spawn(one(stream, peer, pages.clone(), limits));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection is not taken");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(ended) = answers.join_next() => match ended {
                Ok(peer) => forget(&mut held, peer),
                Err(error) => return Err(io::Error::other(error)),
            },
        }
    }
}

fn forget(held: &mut BTreeMap<IpAddr, usize>, peer: IpAddr) {
    if let Some(its) = held.get_mut(&peer) {
        *its = its.saturating_sub(1);
        if *its == 0 {
            held.remove(&peer);
        }
    }
}

async fn one(stream: TcpStream, peer: SocketAddr, pages: Router, limits: ListenLimits) -> IpAddr {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(pages));
    match timeout(limits.whole, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics failed"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
    }
    peer.ip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    async fn serve(limits: ListenLimits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let pages = Router::new().route("/", get(|| async { "ok" }));
        tokio::spawn(answer(listener, pages, limits));
        address
    }

    /// What comes until the other side closes.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn who_begins_and_does_not_ask_is_cut_off_and_others_are_answered_meanwhile() {
        let limits = ListenLimits {
            head: Duration::from_millis(300),
            ..LIMITS
        };
        let address = serve(limits).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        let mut other = TcpStream::connect(address).await.unwrap();
        other.write_all(ASK).await.unwrap();
        assert!(rest(&mut other).await.ends_with("ok"));
        let cut = timeout(Duration::from_secs(20), rest(&mut slow)).await;
        assert!(!cut.expect("still open").ends_with("ok"));
    }

    #[tokio::test]
    async fn nobody_holds_more_than_their_share_and_it_is_free_again_afterwards() {
        let limits = ListenLimits { each: 2, ..LIMITS };
        let address = serve(limits).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET").await.unwrap();
            held.push(stream);
        }
        let ask = || async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(ASK).await;
            rest(&mut stream).await
        };
        let refused = async {
            // The first two may not have been taken yet.
            while !ask().await.is_empty() {}
        };
        timeout(Duration::from_secs(20), refused).await.unwrap();
        drop(held);
        let answered = async { while !ask().await.ends_with("ok") {} };
        timeout(Duration::from_secs(20), answered).await.unwrap();
    }
}
