//! The HTTP source against a small server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vsiflow_engine::secret::Secret;
use vsiflow_image::{AddressPolicy, HttpOptions, HttpSource, ServerAccess};
use vsiflow_steps::ports::{ImageSource, SourceError, SourceErrorKind, SourceInfo};

/// Answers every request by its path; the request's head decides.
async fn serve() -> u16 {
    serve_at("127.0.0.1").await
}

async fn serve_at(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, port));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, port: u16) {
    let head = request(&mut stream).await;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let full = |headers: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
    };
    let status = |line: &str| format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n");
    let to = |place: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n")
    };
    let reply = match path.as_str() {
        "/image" => full("ETag: \"one\"\r\n", "some bytes"),
        "/ranges" if !head.to_lowercase().contains("if-range: \"one\"") => {
            full("ETag: \"one\"\r\n", "some bytes")
        }
        "/ranges" if head.contains("bytes=50-") => status("416 Range Not Satisfiable"),
        "/ranges" => "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/10\r\n\r\nbytes".into(),
        // Whoever does not look at the condition may give a part of another image.
        "/terse" if head.contains("bytes=5-") => "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 5-9/10\r\n\r\nother".into(),
        "/terse" => full("ETag: \"one\"\r\n", "some bytes"),
        // A cache that sends whole blocks, here of four bytes.
        "/blocks" if head.contains("bytes=5-") => "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Length: 6\r\nContent-Range: bytes 4-9/10\r\n\r\n bytes".into(),
        "/weak" => full(
            "ETag: W/\"x\"\r\nLast-Modified: Sat, 01 Jan 2022 00:00:00 GMT\r\n",
            "some",
        ),
        "/unnamed" => full("", "some"),
        "/chunked" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n".into()
        }
        "/chunked-cut" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nso".into(),
        "/chunked-empty" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        "/empty" => full("", ""),
        "/html" => full(
            "Content-Type: text/html; charset=utf-8\r\n",
            "<html>login</html>",
        ),
        "/gzip" => full("Content-Encoding: gzip\r\n", "x"),
        "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome".into(),
        "/stall" => "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome".into(),
        "/redirect" => to("/image"),
        "/loop" => to("/loop"),
        "/inside" => to(&format!("http://127.0.0.1:{port}/image")),
        "/asks" if head.to_lowercase().contains("referer") => status("400 Told"),
        "/asks" => full("", "some"),
        "/tells" => to("/asks"),
        "/elsewhere" => to(&format!(
            "http://localhost:{port}/no-credentials?token=SECRET"
        )),
        "/login" if head.contains("authorization: Basic bWU6cCthL3Nz\r\n") => full("", "some"),
        "/login" => status("401 Unauthorized"),
        "/token" if head.contains("authorization: Bearer T0KEN\r\n") => full("", "some"),
        "/token" => status("401 Unauthorized"),
        "/away" => to(&format!("http://localhost:{port}/no-credentials")),
        "/no-credentials" if head.to_lowercase().contains("authorization") => status("400 Sent"),
        "/no-credentials" => full("", "some"),
        "/silent" => String::new(),
        code => status(&format!("{} Code", code.trim_start_matches('/'))),
    };
    let _ = stream.write_all(reply.as_bytes()).await;
    let _ = stream.flush().await;
    if matches!(path.as_str(), "/stall" | "/silent") {
        // As long as the other side waits.
        let _ = stream.read(&mut [0; 1]).await;
    }
}

async fn request(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn source() -> HttpSource {
    let idle_deadline = Duration::from_millis(300);
    HttpSource::new(&HttpOptions {
        idle_deadline,
        ..HttpOptions::default()
    })
    .unwrap()
}

async fn read(url: &str) -> Result<(SourceInfo, Vec<u8>), SourceError> {
    read_from(&source(), url).await
}

async fn read_from(source: &HttpSource, url: &str) -> Result<(SourceInfo, Vec<u8>), SourceError> {
    let mut stream = source.open(url).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((stream.info().clone(), bytes))
}

async fn get(path: &str) -> Result<(SourceInfo, Vec<u8>), SourceError> {
    let port = serve().await;
    read(&format!("http://127.0.0.1:{port}{path}")).await
}

async fn kind(path: &str) -> SourceErrorKind {
    get(path).await.unwrap_err().kind
}

#[tokio::test]
async fn an_image_arrives_whole() {
    let (info, bytes) = get("/image").await.unwrap();
    assert_eq!(bytes, b"some bytes");
    assert_eq!(
        info,
        SourceInfo {
            length: Some(10),
            validator: Some("etag \"one\"".into())
        }
    );
    let (chunked_info, chunked_bytes) = get("/chunked").await.unwrap();
    assert_eq!(
        (chunked_info.length, chunked_bytes.as_slice()),
        (None, b"some".as_slice())
    );
}

#[tokio::test]
async fn probing_says_what_opening_says() {
    let url = format!("http://127.0.0.1:{}/image", serve().await);
    assert_eq!(
        source().probe(&url).await.unwrap(),
        read(&url).await.unwrap().0
    );
}

#[tokio::test]
async fn only_strong_validators_are_kept() {
    let weak = get("/weak").await.unwrap().0.validator;
    assert_eq!(
        weak.as_deref(),
        Some("modified Sat, 01 Jan 2022 00:00:00 GMT; 4 bytes")
    );
    assert_eq!(get("/unnamed").await.unwrap().0.validator, None);
}

#[tokio::test]
async fn each_status_has_its_kind() {
    use SourceErrorKind::{Empty, Encoded, Forbidden, Invalid, NotFound, Redirected, Transient};
    for (path, expected) in [
        ("/404", NotFound),
        ("/410", NotFound),
        ("/401", Forbidden),
        ("/403", Forbidden),
        ("/429", Transient),
        ("/500", Transient),
        ("/503", Transient),
        ("/204", Empty),
        ("/206", Encoded),
        ("/300", Redirected),
        ("/304", Invalid),
        ("/400", Invalid),
    ] {
        assert_eq!(kind(path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    for (path, expected) in [
        ("/empty", SourceErrorKind::Empty),
        ("/chunked-empty", SourceErrorKind::Empty),
        ("/html", SourceErrorKind::Page),
        ("/gzip", SourceErrorKind::Encoded),
    ] {
        assert_eq!(kind(path).await, expected, "{path}");
    }
    let error = get("/html").await.unwrap_err();
    assert!(
        error.message.contains("a web page, not an image"),
        "{error}"
    );
}

#[tokio::test]
async fn an_image_that_is_compared_with_a_checksum_is_one_image_whatever_its_mirrors_say() {
    let port = serve().await;
    let options = HttpOptions {
        checked: true,
        ..HttpOptions::default()
    };
    let source = HttpSource::new(&options).unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let known = source.probe(&url("/image")).await.unwrap();
    let mut rest = source
        .open_at(&url("/terse"), 5, known.validator.as_deref())
        .await
        .unwrap();
    assert_eq!((rest.starts_at(), rest.info()), (5, &known));
    assert_eq!(rest.next().await.unwrap().unwrap().as_ref(), b"other");
}

#[tokio::test]
async fn half_an_image_is_an_error() {
    for path in ["/cut", "/chunked-cut"] {
        assert_eq!(kind(path).await, SourceErrorKind::Transient, "{path}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    for path in ["/stall", "/silent"] {
        let begin = Instant::now();
        let error = get(path).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Transient, "{path}");
        assert!(error.message.contains("sent nothing"), "{error}");
        assert!(begin.elapsed() < Duration::from_secs(10), "{path}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(
        read(&url).await.unwrap_err().kind,
        SourceErrorKind::Transient
    );
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    assert_eq!(get("/redirect").await.unwrap().1, b"some bytes");
    assert_eq!(kind("/loop").await, SourceErrorKind::Redirected);
}

#[tokio::test]
async fn credentials_go_to_their_host_and_into_no_error() {
    let port = serve().await;
    let url = |path: &str| format!("http://me:p%2Ba%2Fss@127.0.0.1:{port}{path}");
    let source = HttpSource::new(&HttpOptions {
        idle_deadline: Duration::from_millis(300),
        insecure: true,
        ..HttpOptions::default()
    });
    let source = source.unwrap();
    let read = async |address: &str| read_from(&source, address).await;
    assert_eq!(read(&url("/login")).await.unwrap().1, b"some");
    assert_eq!(read(&url("/elsewhere")).await.unwrap().1, b"some");
    for path in [
        "/404?token=SECRET",
        "/html?token=SECRET",
        "/cut?token=SECRET",
        "/loop",
    ] {
        let error = read(&url(path)).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            !text.contains("p%2Ba") && !text.contains("p+a") && !text.contains("SECRET"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_password_or_token_goes_to_its_server_only() {
    let port = serve().await;
    let read = async |user: Option<&str>, secret: &str, server: &str, path: &str| {
        let secret = Secret::new(secret.as_bytes().to_vec());
        let access = ServerAccess::new(server, user.map(str::to_owned), secret);
        let options = HttpOptions {
            access: access.into_iter().collect(),
            insecure: true,
            ..HttpOptions::default()
        };
        let source = HttpSource::new(&options).unwrap();
        let url = format!("http://127.0.0.1:{port}{path}");
        source
            .probe(&url)
            .await
            .map(drop)
            .map_err(|error| error.kind)
    };
    let here = format!("127.0.0.1:{port}");
    let me = Some("me");
    assert_eq!(read(me, "p+a/ss", &here, "/login").await, Ok(()));
    assert_eq!(read(None, "T0KEN", &here, "/token").await, Ok(()));
    assert_eq!(read(None, "T0KEN", &here, "/away").await, Ok(()));
    let refused = Err(SourceErrorKind::Forbidden);
    assert_eq!(read(me, "other", &here, "/login").await, refused);
    assert_eq!(read(None, "T0KEN", "127.0.0.1", "/token").await, refused);
    assert_eq!(
        read(None, "T0KEN", "localhost", "/no-credentials").await,
        Ok(())
    );
}

async fn rest(path: &str, offset: u64, validator: Option<&str>) -> (u64, String, Option<u64>) {
    let url = format!("http://127.0.0.1:{}{path}", serve().await);
    let source = HttpSource::new(&HttpOptions::default()).unwrap();
    let mut stream = source.open_at(&url, offset, validator).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    let text = String::from_utf8(bytes).unwrap();
    (stream.starts_at(), text, stream.info().length)
}

#[tokio::test]
async fn an_image_is_entered_in_its_middle_only_while_it_is_the_same() {
    let known = Some("etag \"one\"");
    let entered = (5, "bytes".to_owned(), Some(10));
    assert_eq!(rest("/ranges", 5, known).await, entered);
    let whole = (0, "some bytes".to_owned(), Some(10));
    assert_eq!(rest("/ranges", 5, Some("etag \"two\"")).await, whole);
    assert_eq!(rest("/ranges", 5, None).await, whole);
    assert_eq!(rest("/blocks", 5, known).await, entered, "begins earlier");
    assert_eq!(rest("/ranges", 50, known).await, whole, "past the end");
    assert_eq!(rest("/image", 5, known).await, whole, "knows no ranges");
    assert_eq!(rest("/terse", 5, known).await, whole, "of whatever image");
    let time = Some("modified Sat, 01 Jan 2022 00:00:00 GMT; 4 bytes");
    assert_eq!(rest("/weak", 2, time).await.0, 0);
}

/// What comes of reading a URL where only these networks are permitted.
async fn within(networks: &[&str], url: &str) -> Result<(), SourceError> {
    let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
    let options = HttpOptions {
        addresses: AddressPolicy::PublicAnd(networks),
        ..HttpOptions::default()
    };
    HttpSource::new(&options)
        .unwrap()
        .probe(url)
        .await
        .map(drop)
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_connected_to_by_name_redirect_or_itself() {
    let (port, other) = (serve().await, serve_at("127.0.0.2").await);
    let refused = async |networks: &[&str], url: String| {
        let error = within(networks, &url).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Refused, "{url}: {error}");
        assert!(error.message.contains("--allow-image-addresses"), "{error}");
    };
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        refused(&[], format!("http://{host}:{port}/image")).await;
        refused(&["127.0.0.2/32"], format!("http://{host}:{port}/image")).await;
    }
    // The second server's own address is permitted, and where it redirects to is not.
    let second = |path: &str| format!("http://127.0.0.2:{other}{path}");
    assert_eq!(within(&["127.0.0.2/32"], &second("/image")).await, Ok(()));
    refused(&["127.0.0.2/32"], second("/inside")).await;
    refused(&["127.0.0.2/32"], second("/elsewhere")).await;
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/image");
        assert_eq!(within(&["127.0.0.0/8"], &url).await, Ok(()), "{host}");
    }
}

#[tokio::test]
async fn a_password_or_token_goes_over_plain_http_only_where_that_is_permitted() {
    let port = serve().await;
    let server = format!("127.0.0.1:{port}");
    let with = |insecure| HttpOptions {
        access: ServerAccess::new(&server, None, Secret::new(b"T0KEN".to_vec()))
            .into_iter()
            .collect(),
        insecure,
        ..HttpOptions::default()
    };
    let probe = async |insecure, path: &str| {
        let source = HttpSource::new(&with(insecure)).unwrap();
        source.probe(&format!("http://{server}{path}")).await
    };
    let error = probe(false, "/token").await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Refused, "{error}");
    assert!(error.message.contains("IMAGE_ALLOW_INSECURE"), "{error}");
    assert!(probe(true, "/token").await.is_ok());
    let source = HttpSource::new(&HttpOptions::default()).unwrap();
    // Nobody is on the way to this machine; a name may mean another one.
    let here = source.probe(&format!("http://me:pw@{server}/token")).await;
    assert!(!matches!(here, Err(failed) if failed.kind == SourceErrorKind::Refused));
    let url = format!("http://me:pw@localhost:{port}/token");
    let refusal = source.probe(&url).await.unwrap_err();
    assert_eq!(refusal.kind, SourceErrorKind::Refused, "{refusal}");
}

#[tokio::test]
async fn a_query_is_told_to_no_other_server() {
    assert_eq!(get("/tells?any=SECRET").await.unwrap().1, b"some");
}
