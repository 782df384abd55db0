//! The aggregated API `subresources.vsiflow.io/v1`: data about an object that only the journal or a host
//! has, and actions on it, for users with a right on that object.
//!
//! ```text
//! GET       /apis/subresources.vsiflow.io/v1/namespaces/NS/PLURAL/NAME/history  [?follow&from=OFFSET]
//! GET       …/logs                                        [?follow&from=BYTE] or [?failed&definition]
//! POST, PUT …/retry, …/cancel                             {"reason": TEXT, "waitSeconds": N}
//! POST      …/console                                     [?force], Upgrade: vsiflow-console
//! POST, PUT …/namespaces/NS/images/NAME/upload            (`upload`)
//! ```
//!
//! **Authentication.** Only the cluster's API server may send requests; it has authenticated a user and
//! names that user in headers. It authenticates itself with the client certificate of its front proxy.
//! Before any byte of HTTP is read, the listener verifies that the certificate is valid now and issued
//! by the authority in the ConfigMap `extension-apiserver-authentication` (in `kube-system`). Here its
//! common name must be one of those that the ConfigMap allows (`trust`). Only then the headers are
//! trusted, under the names in the ConfigMap (`caller`). The ConfigMap is read again every minute; if it
//! cannot be read nothing changes, and if it names no authority all requests are refused.
//!
//! **Authorization.** A `SubjectAccessReview` is created for each request (`review`): with that user,
//! the group of this API, the object's namespace, plural and name, the subresource, and the verb `get`
//! for reads, `create` (POST) or `update` (PUT) for actions. The API server has checked the same before;
//! it is checked again because this process acts. Without an answer the request is refused, with an
//! error that says so.
//!
//! **Answers.** An object is a resource that exists now in a served namespace. It is looked up by its
//! UID, so that the new owner of a name cannot read what its former owner did. History is one JSON
//! object per line, a log is the bytes that the guest wrote, an action returns its result. Errors are a
//! Kubernetes `Status` whose cause is the VSI code with the remedy as its message (`refusal`).
//!
//! **Time limits.** The API server cuts off answers after a minute, so no answer lasts longer than 50 s.
//! An answer that follows ends then, and the client asks again from where it ended, which checks the
//! user's rights again. Bodies are limited in size and time, and so is the number of concurrent
//! requests. A console is the exception: its connection is upgraded and stays open.
//!
//! What this module never does: listen (that is composed elsewhere), trust a header from any other
//! client, or decide anything about a VSI.

mod action;
mod caller;
mod console;
mod discard;
mod discovery;
mod follow;
mod refusal;
mod register;
mod review;
mod route;
mod trust;
mod turns;
mod upload;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, EXPECT},
};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use kube::Client;
use serde_json::Value;
use tokio::{sync::watch, time::timeout};
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::Fleet,
    record::{disk_entity, vsi_entity},
};

pub(crate) use self::refusal::after;
pub(crate) use self::upload::Announcement;
pub use self::{
    action::ActionDone,
    console::{ConsoleRefused, ConsoleRequest, Consoles, PROTOCOL, RightReview},
    register::ServiceName,
    trust::Authorities,
    upload::{AnnouncedUpload, NotUploaded, UploadPiece, UploadReader, UploadedFile, Uploads},
};
use self::{
    caller::RequestCaller,
    refusal::Refusal,
    route::{Route, RouteTarget, UploadTarget},
    trust::Trust,
    turns::{NamespaceTurn, NamespaceTurns},
};
use crate::{
    kind::{ResourceKind, Subresource},
    resource::ResourceKey,
    resource_cache::ResourceCache,
};

/// The API group.
pub const GROUP: &str = "subresources.vsiflow.io";
/// The version of the API.
pub const VERSION: &str = "v1";
/// The header with the position of an answer's first byte in the log.
pub const OFFSET: &str = "vsiflow-offset";

/// The maximum duration of an answer.
const ANSWER: Duration = Duration::from_secs(50);
/// The number of requests that are processed at the same time; answers that follow do not count while
/// they wait.
const MAX_CONCURRENT: usize = 32;
/// The same for one namespace, whose hosts may be slow.
const MAX_OF_NAMESPACE: usize = 8;
/// The number of requests that are answered at the same time, also while they follow something or wait for a
/// turn, in total and for one namespace. Each has a connection of the listener, which serves a few more.
const ANSWERS: usize = 224;
const ANSWERS_OF_NAMESPACE: usize = 56;
/// Pieces of files that are received at the same time, in total and for one namespace.
const PIECES: usize = 64;
const PIECES_OF_NAMESPACE: usize = 16;
/// How long a request waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(5);

/// The body of an answer.
pub type HttpAnswer = UnsyncBoxBody<Bytes, std::io::Error>;

/// Answers requests while the cluster is served.
#[derive(Clone)]
pub struct Subresources {
    inner: Arc<SubresourceState>,
}

struct SubresourceState {
    client: Client,
    fleet: Fleet,
    cache: Arc<ResourceCache>,
    trust: watch::Sender<Option<Arc<Trust>>>,
    answers: NamespaceTurns,
    turns: NamespaceTurns,
    pieces: NamespaceTurns,
}

impl Subresources {
    pub(crate) fn new(client: Client, fleet: Fleet, cache: Arc<ResourceCache>) -> Self {
        let inner = SubresourceState {
            client,
            fleet,
            cache,
            trust: watch::Sender::new(None),
            answers: NamespaceTurns::new(ANSWERS, ANSWERS_OF_NAMESPACE),
            turns: NamespaceTurns::new(MAX_CONCURRENT, MAX_OF_NAMESPACE),
            pieces: NamespaceTurns::new(PIECES, PIECES_OF_NAMESPACE),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Answers a request from the client with that certificate (DER), which the listener verified with
    /// [`Subresources::authorities`]. Cancel safe except for actions, which may be partly carried out.
    pub async fn answer<B>(
        &self,
        certificate: Option<&[u8]>,
        request: Request<B>,
        ports: (&dyn Consoles, &dyn Uploads),
    ) -> Response<HttpAnswer>
    where
        B: Body + Unpin,
        B::Error: std::fmt::Display,
    {
        let path = request.uri().path().to_owned();
        let (parts, mut body) = request.into_parts();
        // A client that expects `100 Continue` has sent no body yet, and reading would make it send.
        let awaits_continue = parts.headers.contains_key(EXPECT);
        let lent = Request::from_parts(parts, &mut body);
        let answered = timeout(ANSWER, self.inner.answered(certificate, lent, ports)).await;
        match answered.unwrap_or_else(|_| Err(Refusal::late())) {
            Ok(response) => response,
            Err(refusal) => {
                tracing::debug!(path, code = refusal.code(), "refused: {refusal}");
                if !awaits_continue {
                    discard::rest(&mut body).await;
                }
                refusal.response()
            }
        }
    }
}

impl SubresourceState {
    async fn answered<B>(
        self: &Arc<Self>,
        certificate: Option<&[u8]>,
        request: Request<B>,
        (consoles, uploads): (&dyn Consoles, &dyn Uploads),
    ) -> Result<Response<HttpAnswer>, Refusal>
    where
        B: Body + Unpin,
        B::Error: std::fmt::Display,
    {
        let caller = self.caller(certificate, request.headers())?;
        let route = route::route(request.uri().path()).ok_or_else(Refusal::no_such_path)?;
        let target = match (route, request.method()) {
            (Route::Group, &Method::GET) => return Ok(json(&discovery::group())),
            (Route::Version, &Method::GET) => return Ok(json(&discovery::resources())),
            (Route::Target(target), _) => target,
            (Route::Upload(target), method) => {
                let verb = UploadTarget::verb(method)?;
                review::ask(&self.client, &caller, &target, verb).await?;
                let _place = self.answers.turn_now(&target.namespace)?;
                let (parts, body) = request.into_parts();
                let query = parts.uri.query().unwrap_or_default();
                let sent = (&parts.method, body);
                let answer = upload::answer(self, uploads, (&target, query), sent, &caller);
                return Box::pin(answer).await;
            }
            _ => return Err(Refusal::method(request.method())),
        };
        let verb = target.verb(request.method())?;
        review::ask(&self.client, &caller, &target, verb).await?;
        self.permitted(&target, request, consoles, &caller).await
    }

    /// The answer to a permitted request about an object, which has a place of its namespace until it ends.
    async fn permitted<B>(
        self: &Arc<Self>,
        target: &RouteTarget,
        request: Request<B>,
        consoles: &dyn Consoles,
        caller: &RequestCaller,
    ) -> Result<Response<HttpAnswer>, Refusal>
    where
        B: Body + Unpin,
        B::Error: std::fmt::Display,
    {
        let place = self.answers.turn_now(&target.namespace)?;
        let answer = self.answer_of(target, request, consoles, caller).await?;
        Ok(holding(answer, place))
    }

    async fn answer_of<B>(
        self: &Arc<Self>,
        target: &RouteTarget,
        request: Request<B>,
        consoles: &dyn Consoles,
        caller: &RequestCaller,
    ) -> Result<Response<HttpAnswer>, Refusal>
    where
        B: Body + Unpin,
        B::Error: std::fmt::Display,
    {
        let entity = self.entity(target)?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        match target.subresource {
            Subresource::History => {
                follow::history(self, (entity, &target.namespace), &query).await
            }
            Subresource::Logs => follow::logs(self, entity, target, &query).await,
            Subresource::Console => {
                let (parts, _) = request.into_parts();
                console::open(self, consoles, (entity, target), parts, caller).await
            }
            action => {
                route::no_query(&query)?;
                let patch = action::read(request.into_body()).await?;
                action::act(self, (entity, &target.namespace), action, patch, caller).await
            }
        }
    }

    fn caller(
        &self,
        certificate: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Result<RequestCaller, Refusal> {
        let trust = self.trust.borrow().clone();
        let trust = trust.ok_or_else(|| Refusal::stranger("no caller can be verified yet"))?;
        trust.caller(certificate, headers)
    }

    /// The entity of an object that exists and that the engine knows by the same UID.
    fn entity(&self, target: &RouteTarget) -> Result<EntityId, Refusal> {
        let key = ResourceKey {
            kind: target.kind,
            namespace: target.namespace.clone(),
            name: target.name.clone(),
        };
        let missing = || Refusal::no_such_object(target);
        if !self.cache.has_listed(&target.namespace) {
            return Err(Refusal::unlisted(&target.namespace));
        }
        let resource = self.cache.resource(&key).ok_or_else(missing)?;
        let uid = self.cache.uid_of_vsi(&resource);
        let entity = match target.kind {
            ResourceKind::DataDisk => disk_entity(uid),
            _ => vsi_entity(uid),
        };
        let entity = entity.map_err(|_| missing())?;
        if self.fleet.history().knows(&entity) {
            Ok(entity)
        } else {
            Err(missing())
        }
    }

    /// Waits for a turn of this namespace.
    async fn turn(&self, namespace: &str) -> Result<NamespaceTurn, Refusal> {
        self.turns.turn(namespace).await
    }
}

/// Holds the place of an answer that is sent in pieces until it ends.
fn holding(response: Response<HttpAnswer>, place: NamespaceTurn) -> Response<HttpAnswer> {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        let held = body.map_frame(move |frame| {
            let _held = &place;
            frame
        });
        held.boxed_unsync()
    })
}

fn json(value: &Value) -> Response<HttpAnswer> {
    answer(StatusCode::OK, "application/json", value.to_string())
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<HttpAnswer> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
