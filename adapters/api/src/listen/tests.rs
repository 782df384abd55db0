use std::future::{Ready, ready};

use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use vsiflow_engine::model::{Actor, Who};

use super::*;
use crate::{
    Caller, Certificate, Clients, Rights, acceptor,
    api::places::{PlaceLimits, Places},
};

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

fn ok(_: Request<Incoming>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::from("ok"))))
}

async fn begin(security: Security, limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, security, service_fn(ok), limits));
    address
}

/// Everything that arrives until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn who_begins_and_does_not_ask_is_cut_off_and_others_are_answered_meanwhile() {
    let limits = Limits {
        head: Duration::from_millis(300),
        ..METRICS
    };
    let address = begin(Security::Plain, limits).await;
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
    let limits = Limits { each: 2, ..METRICS };
    let address = begin(Security::Plain, limits).await;
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
        // The first two may not have been accepted yet.
        while !ask().await.is_empty() {}
    };
    timeout(Duration::from_secs(20), refused).await.unwrap();
    drop(held);
    let answered = async { while !ask().await.ends_with("ok") {} };
    timeout(Duration::from_secs(20), answered).await.unwrap();
}

#[tokio::test]
async fn a_connection_ends_after_its_time_whatever_goes_on_there() {
    let limits = Limits {
        whole: Duration::from_millis(200),
        ..METRICS
    };
    let address = begin(Security::Plain, limits).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HT").await.unwrap();
    let ended = timeout(Duration::from_secs(20), rest(&mut stream)).await;
    assert_eq!(ended.expect("still open"), "");
}

fn secured(clients: Clients<'_>) -> Security {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.pem");
    let certificate = Certificate::stored(&path, &["localhost".to_owned()]).unwrap();
    let acceptor = acceptor(&certificate, clients).unwrap();
    Security::Tls(Arc::new(move || Some(acceptor.clone())))
}

/// The output of OpenSSL's own client.
async fn openssl(address: SocketAddr, more: &[&str]) -> String {
    let mut client = tokio::process::Command::new("openssl");
    client.args(["s_client", "-quiet", "-connect", &address.to_string()]);
    client.args(more).kill_on_drop(true);
    client.stdin(std::process::Stdio::piped());
    client.stdout(std::process::Stdio::piped());
    client.stderr(std::process::Stdio::null());
    let mut client = client.spawn().unwrap();
    let mut to = client.stdin.take().unwrap();
    to.write_all(ASK).await.unwrap();
    let done = timeout(Duration::from_secs(30), client.wait_with_output()).await;
    String::from_utf8_lossy(&done.unwrap().unwrap().stdout).into_owned()
}

#[tokio::test]
async fn strangers_that_hold_connections_open_keep_nobody_out() {
    let limits = Limits {
        handshakes: 4,
        handshake: Duration::from_secs(60),
        ..METRICS
    };
    let address = begin(secured(Clients::Anybody), limits).await;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(openssl(address, &[]).await.ends_with("ok"));
    // The oldest connection was closed to make room.
    let first = timeout(Duration::from_secs(20), rest(&mut strangers[0])).await;
    assert_eq!(first.expect("still open"), "");
}

#[tokio::test]
async fn who_shows_no_certificate_or_that_of_another_authority_gets_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Certificate::stored(&folder.path().join("ca.pem"), &[]).unwrap();
    let only = secured(Clients::Only(authority.pem().as_bytes()));
    let address = begin(only, METRICS).await;
    assert_eq!(openssl(address, &[]).await, "");
    let other = folder.path().join("other.pem");
    Certificate::stored(&other, &[]).unwrap();
    let other = other.to_str().unwrap();
    assert_eq!(openssl(address, &["-cert", other, "-key", other]).await, "");
}

/// Sends a request on a connection that stays open; whether it was answered.
async fn is_answered(stream: &mut TcpStream, more: &str) -> bool {
    let ask = format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    if stream.write_all(ask.as_bytes()).await.is_err() {
        return false;
    }
    let mut answer = Vec::new();
    let answered = async {
        while !answer.ends_with(b"ok") {
            let mut piece = [0; 1024];
            match stream.read(&mut piece).await {
                Ok(length) if length > 0 => answer.extend(&piece[..length]),
                _ => return false,
            }
        }
        true
    };
    timeout(Duration::from_secs(20), answered).await.unwrap()
}

#[tokio::test]
async fn who_shows_no_valid_token_takes_few_places_and_no_other_ones() {
    let limits = Limits {
        unknown: 4,
        ..METRICS
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let places = Places::new(PlaceLimits {
        all: 1,
        looking: 1,
        each: 1,
    });
    let caller = Caller {
        actor: Actor::Token(Who::new("shop")),
        rights: Rights::Look,
    };
    let places = Arc::new(places);
    let (taken, holder) = (places.clone(), caller.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let peer = request.extensions().get::<Peer>().unwrap();
        if request.headers().contains_key("authorization") && !peer.is_known() {
            peer.note_known(taken.try_take(&holder).unwrap());
        }
        ok(request)
    });
    tokio::spawn(serve(listener, Security::Plain, service, limits));
    let mut known = TcpStream::connect(address).await.unwrap();
    assert!(is_answered(&mut known, "Authorization: good\r\n").await);
    let mut strangers = Vec::new();
    for _ in 0..12 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut stranger, "").await);
        strangers.push(stranger);
    }
    assert!(
        !is_answered(&mut strangers[0], "").await,
        "the oldest is closed"
    );
    assert!(is_answered(&mut strangers[11], "").await);
    assert!(is_answered(&mut known, "Authorization: good\r\n").await);
    assert!(places.try_take(&caller).is_none(), "as long as it is open");
    drop(known);
    let freed = timeout(Duration::from_secs(20), places.take(&caller)).await;
    assert!(freed.unwrap().is_ok());
}

#[tokio::test]
async fn idle_connections_of_many_addresses_keep_no_probe_from_the_public_pages() {
    let address = begin(Security::Plain, METRICS).await;
    let mut idle = Vec::new();
    for client in 2..8 {
        for _ in 0..METRICS.each {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            let source = SocketAddr::from(([127, 0, 0, client], 0));
            socket.bind(source).unwrap();
            idle.push(socket.connect(address).await.unwrap());
        }
    }
    for _ in 0..20 {
        let mut probe = TcpStream::connect(address).await.unwrap();
        assert!(is_answered(&mut probe, "Connection: close\r\n").await);
    }
}

#[test]
fn an_ipv6_network_is_one_client() {
    let client = |text: &str| client_of(text.parse().unwrap());
    assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:1"));
    assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
    assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
    assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
}
