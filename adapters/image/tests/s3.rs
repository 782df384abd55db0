//! Object storage, honest and not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vsiflow_engine::secret::Secret;
use vsiflow_image::{AddressPolicy, HttpOptions, HttpSource, S3Options, S3Source, ServerAccess};
use vsiflow_steps::ports::{ImageSource, SourceError, SourceErrorKind};

#[derive(Clone, Default)]
struct Storage {
    port: u16,
    /// Status, further headers and body of the answer.
    answer: Arc<Mutex<(u16, String, Vec<u8>)>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Storage {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let storage = Self {
            port,
            ..Self::default()
        };
        let served = storage.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1
                {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap().to_lowercase();
                let (mut status, mut more, mut body) = served.answer.lock().unwrap().clone();
                let tag = more
                    .split("etag: ")
                    .nth(1)
                    .and_then(|rest| rest.lines().next());
                let range = head.split("range: bytes=").nth(1);
                let same = tag.is_some_and(|tag| head.contains(&format!("if-range: {tag}")));
                if let Some(range) = range.filter(|_| same) {
                    let from: usize = range.split('-').next().unwrap().parse().unwrap();
                    let whole = body.len();
                    more += &format!("content-range: bytes {from}-{}/{whole}\r\n", whole - 1);
                    status = 206;
                    body.drain(..from);
                }
                served.heads.lock().unwrap().push(head);
                let length = body.len();
                let start = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n"
                );
                let _ = stream.write_all(&[start.as_bytes(), &body].concat()).await;
            }
        });
        storage
    }

    fn answers(&self, status: u16, more: &str, body: &[u8]) {
        *self.answer.lock().unwrap() = (status, more.to_owned(), body.to_vec());
    }

    fn source(&self, change: impl FnOnce(&mut HttpOptions)) -> S3Source {
        let mut options = HttpOptions {
            insecure: true,
            ..HttpOptions::default()
        };
        change(&mut options);
        let http = HttpSource::new(&options).unwrap();
        S3Source::new(
            http,
            S3Options {
                endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
                region: Some("eu-1".to_owned()),
                key: Some(("KEYNAME".to_owned(), Secret::new("S3CRET"))),
            },
        )
    }
}

async fn read(
    source: &S3Source,
    at: u64,
    known: Option<&str>,
) -> Result<(u64, Option<String>, Vec<u8>), SourceError> {
    let mut stream = source.open_at("s3://images/a b.qcow2", at, known).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((stream.starts_at(), stream.info().validator.clone(), bytes))
}

#[tokio::test]
async fn an_object_arrives_signed_and_resumes_while_it_is_the_same() {
    let storage = Storage::new().await;
    storage.answers(200, "etag: \"one\"\r\n", b"some bytes");
    // What is for another purpose on the same server is not shown to object storage.
    let server = format!("127.0.0.1:{}", storage.port);
    let access = ServerAccess::new(&server, None, Secret::new("T0KEN")).unwrap();
    let source = storage.source(|options| options.access = vec![access]);
    let (_, known, bytes) = read(&source, 0, None).await.unwrap();
    assert_eq!(bytes, b"some bytes");
    let (at, _, rest) = read(&source, 5, known.as_deref()).await.unwrap();
    assert_eq!((at, rest.as_slice()), (5, b"bytes".as_slice()));
    storage.answers(200, "etag: \"two\"\r\n", b"other bytes");
    let (changed_at, now, changed_bytes) = read(&source, 5, known.as_deref()).await.unwrap();
    assert!(changed_at == 0 && now != known && changed_bytes == b"other bytes");
    for head in storage.heads.lock().unwrap().iter() {
        assert!(head.starts_with("get /images/a%20b.qcow2?"), "{head}");
        assert!(
            head.contains("keyname%2f") && head.contains("%2feu-1%2fs3%2faws4_request"),
            "{head}"
        );
        assert!(
            head.contains("x-amz-signature=") && !head.contains("authorization"),
            "{head}"
        );
        assert!(!head.contains("s3cret"), "{head}");
    }
}

#[tokio::test]
async fn a_refusal_names_its_code_and_a_clock_that_is_off() {
    let storage = Storage::new().await;
    let xml = b"<Error><Code>RequestTimeTooSkewed</Code></Error>";
    storage.answers(403, "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", xml);
    let source = storage.source(|_| {});
    let error = read(&source, 0, None).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Forbidden, "{error}");
    for word in [
        "RequestTimeTooSkewed",
        "minutes ahead of the service's",
        "set the clock",
    ] {
        assert!(error.message.contains(word), "{error}");
    }
    assert_eq!(error.url, "s3://images/a b.qcow2".replace(' ', "%20"));
    storage.answers(404, "", b"<Error><Code>NoSuchKey</Code></Error>");
    let missing = read(&source, 0, None).await.unwrap_err();
    assert_eq!(missing.kind, SourceErrorKind::NotFound, "{missing}");
    assert!(
        missing.message.contains("NoSuchKey") && !missing.message.contains("clock"),
        "{missing}"
    );
}

#[tokio::test]
async fn nothing_is_signed_in_the_open_or_asked_where_that_is_not_permitted() {
    let storage = Storage::new().await;
    storage.answers(200, "", b"some bytes");
    let open = storage.source(|options| options.insecure = false);
    let within = |networks: &[&str]| {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        storage.source(|options| options.addresses = AddressPolicy::PublicAnd(networks))
    };
    for source in [&open, &within(&[]), &within(&["127.0.0.2"])] {
        let error = read(source, 0, None).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Refused, "{error}");
    }
    assert!(storage.heads.lock().unwrap().is_empty());
    let inner = format!("location: http://127.0.0.2:{}/x\r\n", storage.port);
    storage.answers(307, &inner, b"");
    let error = read(&within(&["127.0.0.1"]), 0, None).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Refused, "{error}");
}
