//! Registries, honest and hostile.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vsiflow_engine::secret::Secret;
use vsiflow_image::{
    AddressPolicy, FileSource, HttpOptions, HttpSource, OciSource, Router, ServerAccess,
};
use vsiflow_steps::ports::{ImageSource, SourceError, SourceErrorKind, SourceInfo};

#[derive(Clone, Default)]
struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// So many bytes of the first answer arrive.
    cut: Option<usize>,
    /// Whether it continues for ever.
    endless: bool,
    /// What has to be shown.
    asks: Option<String>,
}

#[derive(Default)]
struct RegistryState {
    replies: BTreeMap<String, Reply>,
    requests: Vec<(String, String)>,
}

#[derive(Clone)]
struct TestRegistry {
    port: u16,
    state: Arc<Mutex<RegistryState>>,
}

fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

impl TestRegistry {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<RegistryState>>::default();
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, served.clone()));
            }
        });
        Self { port, state }
    }

    fn at(&self, path: &str, reply: Reply) {
        let mut state = self.state.lock().unwrap();
        state.replies.insert(path.to_owned(), reply);
    }

    fn gives(&self, path: &str, body: &[u8]) {
        let (status, body) = (200, body.to_vec());
        self.at(
            path,
            Reply {
                status,
                body,
                ..Reply::default()
            },
        );
    }

    fn change(&self, path: &str, change: impl FnOnce(&mut Reply)) {
        change(self.state.lock().unwrap().replies.get_mut(path).unwrap());
    }

    fn blob(&self, body: &[u8]) -> String {
        let digest = digest(body);
        self.gives(&format!("/v2/a/blobs/{digest}"), body);
        digest
    }

    /// A tag whose image is one blob, as a file or as a layer.
    fn tag(&self, tag: &str, blob: &[u8], title: Option<&str>) -> String {
        let annotations =
            title.map(|title| serde_json::json!({"org.opencontainers.image.title": title}));
        let manifest = serde_json::json!({"schemaVersion": 2, "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": self.blob(blob),
            "size": blob.len(), "annotations": annotations}]});
        let manifest = manifest.to_string();
        self.gives(&format!("/v2/a/manifests/{tag}"), manifest.as_bytes());
        let digest = digest(manifest.as_bytes());
        self.gives(&format!("/v2/a/manifests/{digest}"), manifest.as_bytes());
        digest
    }

    fn url(&self, reference: &str) -> String {
        format!("oci+http://127.0.0.1:{}/a{reference}", self.port)
    }

    /// What was shown whenever a path was asked for.
    fn shown(&self, path: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_path = state
            .requests
            .iter()
            .filter(|(asked, _)| asked.starts_with(path));
        of_path.map(|(_, shown)| shown.clone()).collect()
    }
}

async fn answer(mut stream: TcpStream, state: Arc<Mutex<RegistryState>>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).await.unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        let line = head
            .lines()
            .find(|line| line.to_lowercase().starts_with(name));
        line.map(|line| line.split_once(": ").unwrap().1.to_owned())
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let shown = header("authorization:").unwrap_or_default();
    let mut reply = {
        let mut state = state.lock().unwrap();
        state.requests.push((path.clone(), shown.clone()));
        let key = path.split('?').next().unwrap().to_owned();
        let found = state.replies.get_mut(&key);
        let reply = found.as_ref().map(|found| (**found).clone());
        if let Some(found) = found {
            found.cut = None;
        }
        reply.unwrap_or(Reply {
            status: 404,
            ..Reply::default()
        })
    };
    if reply.asks.as_ref().is_some_and(|asks| *asks != shown) {
        (reply.status, reply.body, reply.cut) = (401, Vec::new(), None);
    } else if reply.asks.is_some() {
        reply.headers.clear();
    }
    let whole = reply.body.len();
    if let Some(range) = header("range:").filter(|_| reply.status == 200) {
        let from: usize = range
            .trim_start_matches("bytes=")
            .trim_end_matches('-')
            .parse()
            .unwrap();
        reply.status = 206;
        let last = whole - 1;
        reply.headers += &format!("Content-Range: bytes {from}-{last}/{whole}\r\n");
        reply.body.drain(..from);
    }
    let length = if reply.endless {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", reply.body.len())
    };
    let answer = format!(
        "HTTP/1.1 {} X\r\nConnection: close\r\n{length}{}\r\n",
        reply.status, reply.headers
    );
    let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
    let _ = stream.write_all(&[answer.as_bytes(), body].concat()).await;
    while reply.endless && stream.write_all(&[b' '; 65_536]).await.is_ok() {}
}

fn http(change: impl FnOnce(&mut HttpOptions)) -> HttpSource {
    let mut options = HttpOptions {
        idle_deadline: Duration::from_secs(5),
        ..HttpOptions::default()
    };
    change(&mut options);
    HttpSource::new(&options).unwrap()
}

fn source() -> OciSource {
    OciSource::new(http(|_| {}), None)
}

async fn from(
    source: &dyn ImageSource,
    url: &str,
    at: u64,
    validator: Option<&str>,
) -> Result<(SourceInfo, u64, Vec<u8>), SourceError> {
    let mut stream = source.open_at(url, at, validator).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok((stream.info().clone(), stream.starts_at(), bytes))
}

async fn read(url: &str) -> Result<(SourceInfo, u64, Vec<u8>), SourceError> {
    from(&source(), url, 0, None).await
}

async fn refused(url: &str, kind: SourceErrorKind) -> String {
    let error = read(url).await.unwrap_err();
    assert_eq!(error.kind, kind, "{error}");
    error.message
}

fn disk(seed: u32) -> Vec<u8> {
    (0..300_000_u32)
        .map(|n| (n.wrapping_mul(seed) >> 7) as u8)
        .collect()
}

fn layer(path: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    tar.append_data(&mut header, path, content).unwrap();
    tar.into_inner().unwrap()
}

#[tokio::test]
async fn an_artifact_arrives_and_is_entered_where_it_is_the_same() {
    let (registry, disk) = (TestRegistry::new().await, disk(3));
    registry.tag("v1", &disk, Some("disk.qcow2"));
    let (info, _, bytes) = read(&registry.url(":v1")).await.unwrap();
    assert!(bytes == disk && info.length == Some(300_000));
    assert_eq!(info.validator, Some(digest(&disk)));
    // Another image has the tag by now.
    registry.tag("v1", b"QFI\xfbother", Some("disk.qcow2"));
    let known = info.validator.as_deref();
    let (same, at, rest) = from(&source(), &registry.url(":v1"), 100_000, known)
        .await
        .unwrap();
    assert!(at == 100_000 && rest == disk[100_000..] && same == info);
    let (_, _, moved_bytes) = read(&registry.url(":v1")).await.unwrap();
    assert_eq!(moved_bytes, b"QFI\xfbother");
    // The first is collected: what there is now is told by its validator.
    registry.at(
        &format!("/v2/a/blobs/{}", digest(&disk)),
        Reply {
            status: 404,
            ..Reply::default()
        },
    );
    let (other, other_at, _) = from(&source(), &registry.url(":v1"), 100_000, known)
        .await
        .unwrap();
    assert!(other_at == 0 && other.validator != info.validator);
}

#[tokio::test]
async fn a_container_disk_arrives_by_architecture_and_stays_what_it_was() {
    let (registry, ours) = (TestRegistry::new().await, disk(5));
    let mut image = ours.clone();
    image.splice(..4, *b"QFI\xfb");
    let of = [
        (
            "s390x",
            registry.tag("one", &layer("disk/a.qcow2", &image), None),
        ),
        (
            "amd64",
            registry.tag("two", &layer("disk/a.qcow2", &disk(7)), None),
        ),
    ];
    let index = of.map(|(arch, digest)| serde_json::json!({"digest": digest, "size": 1, "platform": {"architecture": arch}}));
    registry.gives(
        "/v2/a/manifests/all",
        serde_json::json!({"manifests": index})
            .to_string()
            .as_bytes(),
    );
    let router = Router::with(http(|_| {}), FileSource::new());
    let url = registry.url(":all?arch=s390x");
    let (info, _, bytes) = from(&router, &url, 0, None).await.unwrap();
    assert!(bytes == image && info.length == Some(300_000));
    registry.at(
        "/v2/a/manifests/all",
        Reply {
            status: 404,
            ..Reply::default()
        },
    );
    let known = info.validator.as_deref();
    let (_, at, resumed_bytes) = from(&router, &url, 4_096, known).await.unwrap();
    assert!(
        at == 0 && resumed_bytes == image,
        "it is read from its start"
    );
    registry.gives(
        "/v2/a/manifests/all",
        serde_json::json!({"manifests": []}).to_string().as_bytes(),
    );
    refused(&registry.url(":all?arch=s390x"), SourceErrorKind::Invalid).await;
}

#[tokio::test]
async fn a_packed_disk_in_a_registry_is_unpacked_and_found_again() {
    let (registry, disk) = (TestRegistry::new().await, disk(9));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &disk).unwrap();
    registry.tag("v1", &gzip.finish().unwrap(), Some("disk.raw.gz"));
    let router = Router::with(http(|_| {}), FileSource::new());
    let (info, _, bytes) = from(&router, &registry.url(":v1"), 0, None).await.unwrap();
    assert!(bytes == disk);
    registry.tag("v1", b"QFI\xfbother", Some("disk.qcow2"));
    let known = info.validator.as_deref();
    let (same, at, resumed_bytes) = from(&router, &registry.url(":v1"), 50, known)
        .await
        .unwrap();
    assert!(same == info && at == 0 && resumed_bytes == disk);
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again_at_the_next_byte() {
    let (registry, disk) = (TestRegistry::new().await, disk(11));
    registry.tag("v1", &disk, Some("disk.qcow2"));
    let path = format!("/v2/a/blobs/{}", digest(&disk));
    registry.change(&path, |reply| reply.cut = Some(123_456));
    let (_, _, bytes) = read(&registry.url(":v1")).await.unwrap();
    assert!(bytes == disk);
    assert_eq!(registry.shown(&path).len(), 2);
}

#[tokio::test]
async fn what_lies_is_refused() {
    let (registry, disk) = (TestRegistry::new().await, disk(13));
    let lying = SourceErrorKind::Mismatch;
    // A blob of other bytes, of the same length and not.
    registry.tag("v1", &disk, Some("disk.qcow2"));
    let path = format!("/v2/a/blobs/{}", digest(&disk));
    registry.change(&path, |reply| reply.body[200_000] ^= 1);
    assert!(
        refused(&registry.url(":v1"), lying)
            .await
            .contains(&digest(&disk))
    );
    registry.change(&path, |reply| reply.body.truncate(200_000));
    refused(&registry.url(":v1"), lying).await;
    registry.change(&path, |reply| reply.endless = true);
    refused(&registry.url(":v1"), lying).await;
    // The same in a layer.
    let tar = layer("disk/a", &disk);
    registry.tag("v2", &tar, None);
    let tar_path = format!("/v2/a/blobs/{}", digest(&tar));
    registry.change(&tar_path, |reply| reply.body[200_000] ^= 1);
    refused(&registry.url(":v2"), lying).await;
    // A manifest that is not the one of the digest.
    let named = registry.tag("v3", &disk, Some("disk.qcow2"));
    let manifest_path = format!("/v2/a/manifests/{named}");
    registry.change(&manifest_path, |reply| reply.body.push(b' '));
    refused(&registry.url(&format!(":v3@{named}")), lying).await;
    // Layers and manifests that are none.
    registry.tag("v4", &layer("etc/passwd", b"x"), None);
    refused(&registry.url(":v4"), SourceErrorKind::Invalid).await;
    registry.at(
        "/v2/a/manifests/v5",
        Reply {
            status: 200,
            endless: true,
            ..Reply::default()
        },
    );
    refused(&registry.url(":v5"), SourceErrorKind::Invalid).await;
    registry.gives("/v2/a/manifests/v6", b"<html>");
    refused(&registry.url(":v6"), SourceErrorKind::Invalid).await;
    refused(&registry.url(":v7"), SourceErrorKind::NotFound).await;
    // An index that leads to itself.
    let index = serde_json::json!({"manifests": [{"digest": digest(b"x"), "size": 1}]}).to_string();
    registry.gives("/v2/a/manifests/v8", index.as_bytes());
    registry.gives(
        &format!("/v2/a/manifests/{}", digest(b"x")),
        index.as_bytes(),
    );
    refused(&registry.url(":v8"), lying).await;
}

#[tokio::test]
async fn nothing_leads_to_an_address_that_is_not_permitted() {
    let (registry, inner, disk) = (
        TestRegistry::new().await,
        TestRegistry::new().await,
        disk(15),
    );
    let policy = |text: &[&str]| {
        AddressPolicy::PublicAnd(text.iter().map(|it| it.parse().unwrap()).collect())
    };
    let kind =
        async |source: &OciSource, url: &str| from(source, url, 0, None).await.unwrap_err().kind;
    registry.tag("v1", &disk, Some("disk.qcow2"));
    let none = OciSource::new(http(|options| options.addresses = policy(&[])), None);
    assert_eq!(
        kind(&none, &registry.url(":v1")).await,
        SourceErrorKind::Refused
    );
    let by_name = registry.url(":v1").replace("127.0.0.1", "localhost");
    assert_eq!(kind(&none, &by_name).await, SourceErrorKind::Refused);
    assert!(registry.shown("/").is_empty());
    // The registry is permitted; where it leads to is not.
    let some = OciSource::new(
        http(|options| options.addresses = policy(&["127.0.0.1"])),
        None,
    );
    assert!(from(&some, &registry.url(":v1"), 0, None).await.is_ok());
    let elsewhere = format!("http://127.0.0.2:{}/x", inner.port);
    let redirect = Reply {
        status: 307,
        headers: format!("Location: {elsewhere}\r\n"),
        ..Reply::default()
    };
    registry.at(&format!("/v2/a/blobs/{}", digest(&disk)), redirect.clone());
    assert_eq!(
        kind(&some, &registry.url(":v1")).await,
        SourceErrorKind::Refused
    );
    registry.at("/v2/a/manifests/v1", redirect);
    assert_eq!(
        kind(&some, &registry.url(":v1")).await,
        SourceErrorKind::Refused
    );
    for realm in [
        elsewhere.as_str(),
        "http://169.254.169.254/token",
        "http://[::1]/token",
    ] {
        let headers = format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n");
        registry.at(
            "/v2/a/manifests/v1",
            Reply {
                status: 401,
                headers,
                ..Reply::default()
            },
        );
        assert_eq!(
            kind(&some, &registry.url(":v1")).await,
            SourceErrorKind::Refused,
            "{realm}"
        );
    }
    let headers = "WWW-Authenticate: Bearer realm=\"file:///etc/passwd\"\r\n".to_owned();
    registry.at(
        "/v2/a/manifests/v1",
        Reply {
            status: 401,
            headers,
            ..Reply::default()
        },
    );
    assert_eq!(
        kind(&some, &registry.url(":v1")).await,
        SourceErrorKind::Invalid
    );
    assert!(inner.shown("/").is_empty());
}

/// A registry that wants a token of a server.
async fn guarded(realm: &str) -> TestRegistry {
    let registry = TestRegistry::new().await;
    registry.tag("v1", &disk(17), Some("disk.qcow2"));
    let realm = realm.replace("SELF", &format!("127.0.0.1:{}", registry.port));
    let headers = format!(
        "WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:other:*\"\r\n"
    );
    for reply in registry.state.lock().unwrap().replies.values_mut() {
        (reply.asks, reply.headers) = (Some("Bearer T0KEN".to_owned()), headers.clone());
    }
    registry
}

fn with_password(
    registry: &TestRegistry,
    token_server: Option<String>,
    insecure: bool,
) -> OciSource {
    let server = format!("127.0.0.1:{}", registry.port);
    let password = Secret::new(b"S3CRET".to_vec());
    let access = ServerAccess::new(&server, Some("me".to_owned()), password);
    let http = http(|options| {
        options.access = access.into_iter().collect();
        options.insecure = insecure;
    });
    OciSource::new(http, token_server)
}

const TOKEN: &[u8] = br#"{"token": "T0KEN", "expires_in": 300}"#;

#[tokio::test]
async fn a_token_is_got_for_the_password_and_for_no_more_than_is_needed() {
    let registry = guarded("http://SELF/token").await;
    registry.at(
        "/token",
        Reply {
            status: 200,
            body: TOKEN.to_vec(),
            asks: Some("Basic bWU6UzNDUkVU".to_owned()),
            ..Reply::default()
        },
    );
    let source = with_password(&registry, None, true);
    let (_, _, bytes) = from(&source, &registry.url(":v1"), 0, None).await.unwrap();
    assert!(bytes == disk(17));
    assert_eq!(registry.shown("/token").len(), 1, "it is kept for a while");
    assert_eq!(
        registry
            .shown("/token?service=s&scope=repository%3Aa%3Apull")
            .len(),
        1
    );
    // Over plain HTTP it is not shown unless that is permitted.
    let without = with_password(&registry, None, false);
    let error = from(&without, &registry.url(":v1"), 0, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Refused, "{error}");
    assert!(!error.to_string().contains("S3CRET"));
}

#[tokio::test]
async fn another_server_for_tokens_sees_no_password_unless_it_is_named() {
    let tokens = TestRegistry::new().await;
    tokens.gives("/token", TOKEN);
    let at = format!("localhost:{}", tokens.port);
    let registry = guarded(&format!("http://{at}/token")).await;
    let source = with_password(&registry, None, true);
    let (_, _, bytes) = from(&source, &registry.url(":v1"), 0, None).await.unwrap();
    assert!(bytes == disk(17), "the token is for everybody");
    assert_eq!(tokens.shown("/token"), [""]);
    tokens.change("/token", |reply| {
        reply.asks = Some("Basic bWU6UzNDUkVU".to_owned())
    });
    let permitted = with_password(&registry, None, true);
    let error = from(&permitted, &registry.url(":v1"), 0, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Forbidden, "{error}");
    assert!(error.message.contains("IMAGE_TOKEN_SERVER"), "{error}");
    assert_eq!(tokens.shown("/token"), ["", ""]);
    let at_server = with_password(&registry, Some(at), true);
    assert!(
        from(&at_server, &registry.url(":v1"), 0, None)
            .await
            .is_ok()
    );
    assert_eq!(tokens.shown("/token").last().unwrap(), "Basic bWU6UzNDUkVU");
}

#[tokio::test]
async fn a_blob_elsewhere_sees_neither_token_nor_password() {
    let (store, registry) = (
        TestRegistry::new().await,
        guarded("http://SELF/token").await,
    );
    registry.gives("/token", TOKEN);
    store.gives("/blob", &disk(17));
    let place = format!("Location: http://localhost:{}/blob\r\n", store.port);
    registry.at(
        &format!("/v2/a/blobs/{}", digest(&disk(17))),
        Reply {
            status: 307,
            headers: place,
            ..Reply::default()
        },
    );
    let source = with_password(&registry, None, true);
    assert!(
        from(&source, &registry.url(":v1"), 0, None)
            .await
            .unwrap()
            .2
            == disk(17)
    );
    assert_eq!(store.shown("/blob"), [""]);
}

#[tokio::test]
async fn a_registry_that_wants_a_password_is_shown_it_and_says_so_without() {
    let registry = TestRegistry::new().await;
    registry.tag("v1", &disk(19), Some("disk.qcow2"));
    for reply in registry.state.lock().unwrap().replies.values_mut() {
        reply.headers = "WWW-Authenticate: Basic realm=\"r\"\r\n".to_owned();
        reply.asks = Some("Basic bWU6UzNDUkVU".to_owned());
    }
    let source = with_password(&registry, None, true);
    assert!(from(&source, &registry.url(":v1"), 0, None).await.is_ok());
    let why = refused(&registry.url(":v1"), SourceErrorKind::Forbidden).await;
    assert!(why.contains("pull secret"), "{why}");
}
