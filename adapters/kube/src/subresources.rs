//! The aggregated API `subresources.vsiflow.io/v1`: what only the journal or a host can tell of an
//! object, and what is asked of the engine for it, for whoever has a right on that very object.
//!
//! ```text
//! GET       /apis/subresources.vsiflow.io/v1/namespaces/NS/PLURAL/NAME/history  [?follow&from=OFFSET]
//! GET       …/logs                                        [?follow&from=BYTE] or [?failed&definition]
//! POST, PUT …/retry, …/cancel                             {"reason": TEXT, "waitSeconds": N}
//! POST      …/console                                     [?force], Upgrade: vsiflow-console
//! POST, PUT …/namespaces/NS/images/NAME/upload            (`upload`)
//! ```
//!
//! **Who asks.** Nobody but the cluster's API server, which has authenticated a user and names them in
//! headers. It proves itself by the client certificate of its front proxy: the listener verifies that
//! it is good now and of the authority that the ConfigMap `extension-apiserver-authentication` (in
//! `kube-system`) names, before a byte of HTTP is read; here its common name has to be one of those
//! allowed there (`trust`), and only then the headers are believed, by the names that are said there
//! (`caller`). The ConfigMap is read anew every minute; one that cannot be read changes nothing, one
//! that names no authority lets nobody in.
//!
//! **Who may.** A SubjectAccessReview is asked for each request (`review`): that user, the group of
//! this API, the object's namespace, plural and name, the subresource, and `get` for what is read,
//! `create` (POST) or `update` (PUT) for what is done. The API server has asked itself the same before;
//! it is asked again since it is this process that acts. No answer is no right, and said to be no answer.
//!
//! **What is answered.** An object is a resource that is there now in a namespace that is served; it is
//! looked up by its UID, so that whoever got a name tells nobody what its former holder did. History is
//! one JSON object a line, a log the bytes the guest wrote, an action what came of it. What fails is a
//! Kubernetes `Status` whose cause is the VSI code, its message the remedy (`refusal`).
//!
//! **How long.** The API server cuts off what takes longer than a minute. So no answer lasts longer than
//! 50 s: one that follows simply ends then, and whoever follows asks again from where it ended, which
//! has their rights looked at anew. Bodies are bounded in size and time, and so is what is worked on at
//! a time. A console is the exception: its connection changes over, and lasts.
//!
//! What this module never does: listen (that is composed elsewhere), believe a header of anybody else,
//! or decide anything of a VSI.

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
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::timeout,
};
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{
    fleet::Fleet,
    record::{disk_entity, vsi_entity},
};

pub(crate) use self::refusal::after;
pub(crate) use self::upload::Announcement;
pub use self::{
    action::ActionDone,
    console::{ConsoleRefused, ConsoleRequest, Consoles, PROTOCOL},
    register::ServiceName,
    trust::Authorities,
    upload::{AnnouncedUpload, NotUploaded, UploadPiece, UploadReader, UploadedFile, Uploads},
};
use self::{
    caller::RequestCaller,
    refusal::Refusal,
    route::{Route, RouteTarget, UploadTarget},
    trust::Trust,
    upload::PieceTurns,
};
use crate::{
    kind::{ResourceKind, Subresource},
    resource::ResourceKey,
    resource_cache::ResourceCache,
};

/// The group of this API.
pub const GROUP: &str = "subresources.vsiflow.io";
/// Its version.
pub const VERSION: &str = "v1";
/// Where the body of an answer begins: a byte of the log.
pub const OFFSET: &str = "vsiflow-offset";

/// No answer takes longer.
const ANSWER: Duration = Duration::from_secs(50);
/// What is worked on at a time; what follows is not, while it waits.
const AT_A_TIME: usize = 32;
/// How long a request waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// The body of an answer.
pub type HttpAnswer = UnsyncBoxBody<Bytes, std::io::Error>;

/// What answers, as long as the cluster is served.
#[derive(Clone)]
pub struct Subresources {
    inner: Arc<SubresourceState>,
}

struct SubresourceState {
    client: Client,
    fleet: Fleet,
    cache: Arc<ResourceCache>,
    trust: watch::Sender<Option<Arc<Trust>>>,
    turns: Semaphore,
    pieces: PieceTurns,
}

impl Subresources {
    pub(crate) fn new(client: Client, fleet: Fleet, cache: Arc<ResourceCache>) -> Self {
        let inner = SubresourceState {
            client,
            fleet,
            cache,
            trust: watch::Sender::new(None),
            turns: Semaphore::new(AT_A_TIME),
            pieces: PieceTurns::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Answers a request of whoever showed that certificate (DER), which was verified by
    /// [`Subresources::authorities`]. Cancel safe but for actions, of which a part may be done.
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
        // Such a client has sent nothing yet, and reading would have it send.
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
        let entity = self.entity(&target)?;
        let query = request.uri().query().unwrap_or_default().to_owned();
        match target.subresource {
            Subresource::History => follow::history(self, entity, &query).await,
            Subresource::Logs => follow::logs(self, entity, &target, &query).await,
            Subresource::Console => {
                let (parts, _) = request.into_parts();
                console::open(self, consoles, (entity, &target), parts, &caller).await
            }
            action => {
                route::no_query(&query)?;
                let patch = action::read(request.into_body()).await?;
                action::act(self, entity, action, patch, &caller).await
            }
        }
    }

    fn caller(
        &self,
        certificate: Option<&[u8]>,
        headers: &HeaderMap,
    ) -> Result<RequestCaller, Refusal> {
        let trust = self.trust.borrow().clone();
        let trust = trust.ok_or_else(|| Refusal::stranger("nobody is trusted yet"))?;
        trust.caller(certificate, headers)
    }

    /// The entity of an object that is there, and that the engine knows by that very UID.
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

    /// Waits for a turn to work.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        turn(&self.turns).await
    }
}

async fn turn(of: &Semaphore) -> Result<SemaphorePermit<'_>, Refusal> {
    match timeout(TURN, of.acquire()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(Refusal::busy()),
    }
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
