//! The `console` subresource: a connection that is upgraded to the bytes of a guest's console.
//!
//! The API server passes such a connection through unchanged, without a time limit after the upgrade.
//! The bytes are carried by a port: its implementation is composed elsewhere, like the listener.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use http::{
    Extensions, HeaderValue, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full};
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, Text, Who},
};
use vsiflow_workflows::fleet::FleetError;

use super::{
    HttpAnswer, Refusal, RequestCaller, RouteTarget, SubresourceState, review, route::RouteOptions,
};

/// The protocol that the connection is upgraded to.
pub const PROTOCOL: &str = "vsiflow-console";

/// A request for a console.
pub struct ConsoleRequest {
    /// The namespace of the VSI.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether to close a console that another user has open.
    pub force: bool,
    /// The user, and the reason.
    pub by: By,
    /// Extensions of the HTTP request, which give access to the bytes of its connection.
    pub connection: Extensions,
    /// Asks again for the user's right, while the console is open.
    pub right: RightReview,
}

/// Asks the API server for a user's right once more: why it is refused, if it is. An API server that does not
/// answer refuses nothing.
pub type RightReview = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Error: the console was not opened.
#[derive(Debug)]
pub enum ConsoleRefused {
    /// Too many consoles are open.
    Busy,
    /// The connection cannot be upgraded.
    Connection,
    /// The error of the host or the journal.
    Failed(FleetError),
}

/// Carries the bytes of consoles.
#[async_trait]
pub trait Consoles: Send + Sync {
    /// Opens a console, records that, and carries its bytes once the connection is upgraded.
    ///
    /// # Errors
    /// If it cannot be opened; the connection is not upgraded then.
    async fn open(&self, console: ConsoleRequest) -> Result<(), ConsoleRefused>;
}

impl From<ConsoleRefused> for Refusal {
    fn from(why: ConsoleRefused) -> Self {
        match why {
            ConsoleRefused::Busy => Self::busy(),
            ConsoleRefused::Connection => Self::upgrade(PROTOCOL),
            ConsoleRefused::Failed(error) => error.into(),
        }
    }
}

/// Opens the console of a VSI.
pub(super) async fn open(
    inner: &SubresourceState,
    consoles: &dyn Consoles,
    (entity, target): (EntityId, &RouteTarget),
    parts: Parts,
    caller: &RequestCaller,
) -> Result<Response<HttpAnswer>, Refusal> {
    let query = parts.uri.query().unwrap_or_default();
    let options = RouteOptions::of(query, &["force"])?;
    let protocol = parts.headers.get(UPGRADE);
    if protocol.is_none_or(|to| !to.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes())) {
        return Err(Refusal::upgrade(PROTOCOL));
    }
    let (namespace, name) = (target.namespace.clone(), target.name.clone());
    // Consoles are opened by name; the name must belong to this object.
    if inner.fleet.vsis().find(&namespace, &name).await? != entity {
        return Err(Refusal::no_such_object(target));
    }
    let verb = target.verb(&parts.method)?;
    let by = By {
        actor: Actor::Kubernetes(Who::new(caller.user.clone())),
        reason: Text::new(""),
    };
    let console = ConsoleRequest {
        namespace,
        name,
        force: options.force,
        by,
        connection: parts.extensions,
        right: right_review(inner, target, verb, caller),
    };
    consoles.open(console).await?;
    Ok(changes_over())
}

fn right_review(
    inner: &SubresourceState,
    target: &RouteTarget,
    verb: &'static str,
    caller: &RequestCaller,
) -> RightReview {
    let (client, target, caller) = (inner.client.clone(), target.clone(), caller.clone());
    Arc::new(move || {
        let (client, target, caller) = (client.clone(), target.clone(), caller.clone());
        async move {
            match review::ask(&client, &caller, &target, verb).await {
                Err(refusal) if refusal.is_forbidden() => Err(refusal.to_string()),
                _ => Ok(()),
            }
        }
        .boxed()
    })
}

fn changes_over() -> Response<HttpAnswer> {
    let body = Full::new(Bytes::new()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}
