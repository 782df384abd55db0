use std::{
    future::{Ready, ready},
    io::ErrorKind,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use tokio::io::AsyncReadExt as _;

use super::*;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Answers a request; the answer to `/long` is longer than a single read.
fn answer(request: Request<Incoming>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    assert!(request.extensions().get::<UnixPeer>().is_some());
    let body = match request.uri().path() {
        "/long" => Bytes::from(vec![b'a'; 16 * 1024 * 1024]),
        "/panic" => panic!("asked to"),
        _ => Bytes::from_static(b"ok"),
    };
    ready(Ok(Response::new(Full::from(body))))
}

struct SocketRig {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl SocketRig {
    fn begin(limits: UnixLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("sock")).unwrap();
        let stop = CancellationToken::new();
        let serving = serve_unix(listener, service_fn(answer), limits, stop.clone());
        Self {
            folder,
            stop,
            serving: tokio::spawn(serving),
        }
    }

    async fn connect(&self) -> UnixStream {
        loop {
            match UnixStream::connect(self.folder.path().join("sock")).await {
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(RETRY_WAIT / 10).await,
                stream => return stream.unwrap(),
            }
        }
    }

    async fn ask(&self) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(ASK).await;
        rest(&mut stream).await
    }
}

/// Everything that arrives until the other side closes.
async fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn who_begins_and_does_not_ask_is_cut_off_and_others_are_answered_meanwhile() {
    let rig = SocketRig::begin(UnixLimits {
        head: Duration::from_millis(300),
        ..OWNER
    });
    let mut slow = rig.connect().await;
    slow.write_all(b"GET / HT").await.unwrap();
    assert!(rig.ask().await.ends_with("ok"));
    let cut = timeout(Duration::from_secs(20), rest(&mut slow)).await;
    assert!(!cut.expect("still open").ends_with("ok"));
}

#[tokio::test]
async fn of_many_that_ask_nothing_the_oldest_make_room() {
    let rig = SocketRig::begin(UnixLimits {
        connections: 8,
        each: 8,
        head: Duration::from_secs(600),
        ..OWNER
    });
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(rig.connect().await);
    }
    let answer = timeout(Duration::from_secs(20), rig.ask()).await;
    assert!(answer.expect("no place").ends_with("ok"));
    // The newest connections are still open.
    let last = held.last_mut().unwrap();
    last.write_all(ASK).await.unwrap();
    assert!(rest(last).await.ends_with("ok"));
}

#[tokio::test]
async fn where_everybody_reads_an_answer_one_more_is_told_that_there_is_no_place() {
    let rig = SocketRig::begin(UnixLimits {
        connections: 2,
        each: 2,
        ..OWNER
    });
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = rig.connect().await;
        stream
            .write_all(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        // It gets an answer, and reads no further.
        stream.read_u8().await.unwrap();
        held.push(stream);
    }
    let answer = rig.ask().await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("VSI0023"), "{answer}");
    drop(held);
    let free = async { while !rig.ask().await.ends_with("ok") {} };
    let free = timeout(Duration::from_secs(20), free).await;
    free.expect("places are not free again");
}

#[tokio::test]
async fn who_reads_nothing_of_an_answer_is_cut_off() {
    let rig = SocketRig::begin(UnixLimits {
        connections: 1,
        each: 1,
        unread: Duration::from_millis(300),
        ..OWNER
    });
    let mut stream = rig.connect().await;
    stream
        .write_all(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    stream.read_u8().await.unwrap();
    let free = async { while !rig.ask().await.ends_with("ok") {} };
    let free = timeout(Duration::from_secs(20), free).await;
    free.expect("it still has the place");
}

#[tokio::test]
async fn a_panic_concerns_its_own_connection() {
    let rig = SocketRig::begin(OWNER);
    let mut stream = rig.connect().await;
    stream
        .write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(rest(&mut stream).await, "");
    assert!(rig.ask().await.ends_with("ok"));
}

#[tokio::test]
async fn what_is_stopped_ends_once_answers_under_way_have_ended() {
    let rig = SocketRig::begin(OWNER);
    let mut stream = rig.connect().await;
    stream
        .write_all(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    stream.read_u8().await.unwrap();
    rig.stop.cancel();
    assert!(rest(&mut stream).await.ends_with("aaa"));
    let ended = timeout(Duration::from_secs(20), rig.serving).await;
    ended.expect("still serving").unwrap();
}
