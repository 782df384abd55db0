//! A listener on loopback for one person's browser, in front of a daemon.
//!
//! A link that works once creates the session; its cookie is hidden from scripts and not sent by other
//! sites. Every other request needs the cookie. The `Host` header must be the listener's own address, so
//! that a foreign name that resolves to this machine is refused, and requests that change something must
//! come from one of its own pages. The daemon decides what this process may do.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, future::BoxFuture};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE, TE,
        TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use vsiflow_engine::model::Hash;

use crate::{DaemonAddress, Limits, Problem, Security, listen};

/// Error code: the browser is refused.
const NOT_LET_IN: &str = "VSI0027";
/// Error code: the server behind the listener does not answer.
const SILENT: &str = "VSI0025";
const SESSION: &str = "vsiflow_session";

/// The limits for one person's pages, each of which follows the events.
const LIMITS: Limits = Limits {
    handshakes: 64,
    handshake: Duration::from_secs(5),
    connections: 64,
    each: 64,
    unknown: 64,
    head: Duration::from_secs(30),
    whole: Duration::from_secs(3_600),
    last: Duration::ZERO,
    unread: Duration::from_secs(600),
};

fn hashed(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}

/// A random word that cannot be guessed.
fn random() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Listens for one browser on loopback, in front of a daemon.
pub struct BrowserListener {
    listener: TcpListener,
    address: SocketAddr,
    link: String,
    service: SessionService,
}

impl BrowserListener {
    /// Listens on a port of loopback, 0 for any, in front of that daemon.
    ///
    /// # Errors
    /// If the port is in use.
    pub async fn open(port: u16, place: DaemonAddress) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let link = random()?;
        let keys = Keys {
            link: Some(hashed(&link)),
            session: None,
        };
        let service = SessionService(Arc::new(Sessions {
            address,
            place,
            keys: Mutex::new(keys),
        }));
        Ok(Self {
            listener,
            address,
            link,
            service,
        })
    }

    /// The link that creates the session. It works once.
    pub fn link(&self) -> String {
        format!("http://{}/open?link={}", self.address, self.link)
    }

    /// Serves as long as it is polled.
    pub async fn serve(self) -> Infallible {
        listen::serve(self.listener, Security::Plain, self.service, LIMITS).await
    }
}

struct Keys {
    link: Option<Hash>,
    session: Option<Hash>,
}

struct Sessions {
    address: SocketAddr,
    place: DaemonAddress,
    keys: Mutex<Keys>,
}

/// Answers each request of the browser.
#[derive(Clone)]
struct SessionService(Arc<Sessions>);

impl Service<Request<Incoming>> for SessionService {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            let answer = inner.answer(request).await;
            Ok(answer.unwrap_or_else(IntoResponse::into_response))
        })
    }
}

impl Sessions {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Problem> {
        self.is_expected_name(request.headers())?;
        if request.uri().path() == "/open" {
            return self.begin(request.uri().query().unwrap_or_default());
        }
        self.is_known(request.headers())?;
        self.is_same_origin(request.method(), request.headers())?;
        self.pass_on(request).await.map_err(|error| {
            let detail = format!("the server at {} does not answer: {error}", self.place);
            let remedy = "see that `vsiflow serve` runs there";
            Problem::new(StatusCode::BAD_GATEWAY, SILENT, detail, remedy)
        })
    }

    /// Refuses requests for another host name: a foreign name may resolve to this machine.
    fn is_expected_name(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let own = host.is_some_and(|host| self.names().iter().any(|name| name == host));
        if own && hosts.next().is_none() {
            Ok(())
        } else {
            Err(refused("the request is not for this address"))
        }
    }

    fn names(&self) -> [String; 2] {
        [
            self.address.to_string(),
            format!("localhost:{}", self.address.port()),
        ]
    }

    /// Consumes the link, which works once, and creates the session.
    fn begin(&self, query: &str) -> Result<Response, Problem> {
        let link = query.strip_prefix("link=").map(hashed);
        let session = random().map_err(|error| refused(&format!("no session: {error}")))?;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if link.is_none() || link != keys.link {
            return Err(refused("the link is wrong, or was used before"));
        }
        keys.link = None;
        keys.session = Some(hashed(&session));
        let cookie = format!("{SESSION}={session}; Path=/; HttpOnly; SameSite=Strict");
        let head = [
            (LOCATION, "/"),
            (SET_COOKIE, &cookie),
            (CACHE_CONTROL, "no-store"),
        ];
        Ok((StatusCode::SEE_OTHER, head).into_response())
    }

    fn is_known(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let cookies = headers.get_all(COOKIE).iter();
        let cookies = cookies.filter_map(|all| all.to_str().ok());
        let pairs = cookies
            .flat_map(|all| all.split(';'))
            .filter_map(|one| one.trim().split_once('='));
        let mut shown = pairs
            .filter(|(name, _)| *name == SESSION)
            .map(|(_, key)| hashed(key));
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.any(|key| Some(key) == keys.session) {
            Ok(())
        } else {
            Err(Problem {
                status: StatusCode::UNAUTHORIZED.as_u16(),
                title: "Unauthorized".to_owned(),
                ..refused("there is no session")
            })
        }
    }

    /// A request that changes something must come from a page of this listener.
    fn is_same_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        if [Method::GET, Method::HEAD].contains(method) {
            return Ok(());
        }
        let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        match (
            origin.and_then(|origin| origin.strip_prefix("http://")),
            host,
        ) {
            (Some(origin), Some(host)) if origin == host => Ok(()),
            _ => Err(refused("the request comes from another page")),
        }
    }

    /// The request that is forwarded, without the headers that are for the listener.
    fn passed(&self, request: Request<Incoming>) -> io::Result<Request<Incoming>> {
        let (mut parts, body) = request.into_parts();
        strip(&mut parts.headers);
        for own in [COOKIE, ORIGIN, AUTHORIZATION] {
            parts.headers.remove(own);
        }
        let host = HeaderValue::from_static("localhost");
        parts.headers.insert(HOST, host);
        if let Some(token) = self.place.authorization()? {
            parts.headers.insert(AUTHORIZATION, token);
        }
        Ok(Request::from_parts(parts, body))
    }

    async fn pass_on(&self, request: Request<Incoming>) -> io::Result<Response> {
        let stream = self.place.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        let answer = sender.send_request(self.passed(request)?).await;
        let (mut head, body) = answer.map_err(io::Error::other)?.into_parts();
        strip(&mut head.headers);
        // The connection lives until its answer is read.
        let body = body.into_data_stream().map(move |piece| {
            let _ = &task;
            piece
        });
        Ok(Response::from_parts(head, Body::from_stream(body)))
    }
}

/// Removes headers that belong to one connection. Console upgrades are not forwarded.
fn strip(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    for own in [
        CONNECTION,
        UPGRADE,
        KEEP_ALIVE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ] {
        headers.remove(own);
    }
}

fn refused(why: &str) -> Problem {
    let remedy =
        "open the link that `vsiflow ui` prints, which works once; start it again for another";
    Problem::new(StatusCode::FORBIDDEN, NOT_LET_IN, why, remedy)
}
